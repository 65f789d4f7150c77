"""The paper's figures as data: their structure, and that they agree with each other as the paper says they do."""

import fractions
import pathlib
import re

import pytest

from tla_tf import datasets
from tla_tf.errors import InputError
from tla_tf.evaluation import suites
from tla_tf.reproducing import paper

FLAGS = pathlib.Path(__file__).parent.parent / "flags"
PAPER = paper.read()
PARTS = {(part.kind, part.number, part.dataset): part for part in PAPER.parts}
each_part = pytest.mark.parametrize("part", PAPER.parts, ids=lambda part: f"{part.name} {part.dataset}")
ROBUST = ("AT", "ALP", "TLA")


def table(number, dataset):
  return PARTS["table", number, dataset]


def printed(number, dataset, row, column):
  """A number in the unit that it is printed in."""
  return float(table(number, dataset).rows[row][column].printed.removesuffix("%"))


def gain(number, dataset, column, over, row="TLA"):
  """How much a row is above the best of others, rounded as the paper prints it."""
  return round(printed(number, dataset, row, column) - max(printed(number, dataset, name, column) for name in over), 2)


def test_there_are_all_tables_and_figures_with_all_data_sets_and_rows():
  everywhere, two = ["mnist", "cifar10", "tiny_imagenet"], ["mnist", "cifar10"]
  of = {"1": everywhere, "2": ["cifar10"], "3": two, "4": two, "5": everywhere, "6": everywhere}
  assert list(PARTS) == [("table", number, name) for number, names in of.items() for name in names] + [
    *(("figure", number, "cifar10") for number in "124"),
    *(("figure", "5", name) for name in everywhere),
  ]
  rows = {"1": ("UM", "AT", "ALP", "TLA-RN", "TLA-SA", "TLA"), "2": ("1", "250", "500", "1000", "2000")}
  rows |= {"3": ROBUST, "4": ("UM", *ROBUST), "5": ROBUST, "6": ROBUST}
  for (kind, number, _), part in PARTS.items():
    if kind == "table":
      assert tuple(part.rows) == rows[number]
  assert sum(len(cells) for part in PAPER.parts for cells in part.rows.values() if part.kind == "table") == 302


@each_part
def test_cells_are_shares_or_numbers_as_they_are_printed(part):
  without_sign = {("1", "tiny_imagenet", "AT", "FGSM")}
  for row, cells in part.rows.items():
    assert len(cells) == len(part.columns)
    for column, cell in zip(part.columns, cells):
      if part.kind == "figure":
        assert cell is None
        continue
      assert re.fullmatch(r"\d+(\.\d+)?%?", cell.printed)
      signed = column.percent and (part.number, part.dataset, row, column.name) not in without_sign
      assert cell.printed.endswith("%") == signed
      assert 0 <= cell.value <= (1 if column.percent else 6) and 0 <= cell.rounding <= 0.5


def test_numbers_are_read_with_their_rounding():
  assert paper.cell("65.88%", True) == ("65.88%", pytest.approx(0.6588), pytest.approx(0.00005))
  assert paper.cell("40.4%", True)[1:] == (pytest.approx(0.404), pytest.approx(0.0005))
  assert paper.cell("1.288", False)[1:] == (pytest.approx(1.288), pytest.approx(0.0005))
  assert paper.cell("0%", True)[1:] == (0, pytest.approx(0.005))


@each_part
def test_columns_are_what_ours_are_called_and_have_the_steps_of_our_suites(part):
  known = {"clean", "area/misclassified", "separation/weak", "separation/strong"}
  known |= {"neighbours/natural", "neighbours/adversarial", "seconds/step", "seconds/mining"}
  known |= {
    f"{suite}/{attack.name}"
    for suite in ("table1", "table3")
    for attack in suites.suite(suite, part.dataset, black_box=True)
  }
  for column in part.columns:
    assert column.ours in known
    if column.steps not in (None, 1):
      assert f"-{column.steps}" in column.ours
  scale = datasets.get(part.dataset).suite_scale
  if (part.kind, part.number) == ("table", "1"):
    assert [column.steps for column in part.columns] == [
      None,
      1,
      scale.bim_steps,
      scale.margin_steps,
      scale.pgd_steps,
      scale.long_pgd_steps,
      scale.long_pgd_steps,
      scale.mim_steps,
      scale.black_box_steps,
    ]


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "tiny_imagenet"])
def test_radii_of_table_5_are_those_of_our_analysis(dataset):
  scale, words = datasets.get(dataset).analysis_scale, [column.name for column in table("5", dataset).columns]
  numbers = [float(fractions.Fraction(name.removeprefix("L-infinity = "))) for name in words]
  assert numbers == [scale.weak_epsilon, scale.strong_epsilon]


@pytest.mark.parametrize("claim", PAPER.claims, ids=lambda claim: f"{claim.where} {claim.value.printed}")
def test_what_the_text_claims_follows_from_the_numbers(claim):
  part = claim.part
  assert claim.value.printed in claim.text
  found = gain(part.number, part.dataset, claim.column, claim.over, claim.row)
  assert found == float(claim.value.printed.removesuffix("%"))


def test_the_gains_of_the_captions_are_the_largest_where_the_data_do_not_contradict_them():
  columns = range(1, 9)
  assert max(gain("1", "tiny_imagenet", column, ("AT", "ALP")) for column in columns) == 0.84
  assert max(gain("1", "cifar10", column, ("AT", "ALP")) for column in columns) == 4.12
  assert max(gain("4", "mnist", column, ("AT", "ALP")) for column in range(1, 5)) == 4.27
  assert max(gain("3", "cifar10", column, ("AT", "ALP")) for column in range(4)) == 13.1


def test_a_pool_of_one_is_tla_rn_in_every_shared_cell():
  one, rn = table("2", "cifar10"), table("1", "cifar10")
  shared = {column.title: i for i, column in enumerate(rn.columns)}
  titles = [column.title for column in one.columns[2:]]
  assert titles == ["Clean", "FGSM (1)", "BIM (7)", "C&W (30)", "PGD (20)", "MIM (40)"]
  for cell, title in zip(one.rows["1"][2:], titles):
    assert cell.printed == rn.rows["TLA-RN"][shared[title]].printed
  assert one.variants == {
    "1": "tla_rn", "250": "pool_250", "500": "tla", "1000": "pool_1000", "2000": "pool_2000"
  }  # fmt: skip


def test_stronger_attacks_leave_less():
  for dataset in ("mnist", "cifar10", "tiny_imagenet"):
    part = table("1", dataset)
    at = {column.title: i for i, column in enumerate(part.columns)}
    pgd = [title for title in at if title.startswith("PGD")]
    restarts = next(title for title in at if title.startswith("20PGD"))
    for row in part.rows:
      assert printed("1", dataset, row, at[pgd[0]]) >= printed("1", dataset, row, at[pgd[1]])
      assert printed("1", dataset, row, at[pgd[1]]) >= printed("1", dataset, row, at[restarts])
      assert printed("1", dataset, row, 0) == max(printed("1", dataset, row, i) for i in at.values())


def test_flag_files_say_the_same_figures():
  """Their headers were copied at another time, by hand, too."""
  checked = 0
  for path in sorted(FLAGS.glob("*.flags")):
    header = "".join(line[1:] for line in path.read_text().splitlines(True) if line.startswith("#"))
    which = re.search(r"Table (\d), (MNIST|CIFAR-10|Tiny ImageNet)", header)
    if not which or "Expected (paper" not in header:
      continue
    part = table(which[1], {"MNIST": "mnist", "CIFAR-10": "cifar10", "Tiny ImageNet": "tiny_imagenet"}[which[2]])
    expected = header.split("Expected (paper", 1)[1].split("):", 1)[1]
    row = re.search(r"row ([\w-]+)|out of (\d+)", header.split("Command:")[0])
    of_row = re.findall(r"(UM|AT|ALP|TLA-RN|TLA-SA|TLA)\s+([\d./ ]+\d)", expected)
    for name, numbers in of_row or [(row[1] or row[2], expected)]:
      cells = [cell for cell, column in zip(part.rows[name], part.columns) if column.percent]
      given = re.findall(r"[\d.]+", numbers)
      assert [float(number) for number in given] == [
        float(cell.printed.removesuffix("%")) for cell in cells[: len(given)]
      ], path.stem
      checked += len(given)
  assert checked > 200


def test_each_contradiction_is_one():
  """Each sentence of the file, recomputed."""
  assert len(PAPER.contradictions) == 11
  said = "\n".join(map(str, PAPER.contradictions))
  # Table 1.
  assert gain("1", "mnist", 5, ("AT", "ALP")) == 1.90 > 1.86
  assert (gain("1", "cifar10", 6, ("ALP",)), gain("1", "cifar10", 6, ("AT",))) == (4.05, 4.82)
  lost = {row: round(-gain("1", "cifar10", 6, (row,), row) + printed("1", "cifar10", row, 5)
    - printed("1", "cifar10", row, 6), 2) for row in ("AT", "ALP", "TLA-RN", "TLA-SA", "TLA")}  # fmt: skip
  assert lost.pop("TLA-RN") == 4.39 and (min(lost.values()), max(lost.values())) == (0.51, 2.52)
  assert round(printed("1", "cifar10", "TLA-RN", 7) - printed("1", "cifar10", "TLA-RN", 6), 2) == 4.08
  assert table("1", "tiny_imagenet").rows["AT"][1].printed == "21.99"
  # Tables 1 and 2.
  assert (printed("2", "cifar10", "500", 2), printed("1", "cifar10", "TLA", 0)) == (88.32, 86.21)
  assert (printed("2", "cifar10", "500", 6), printed("1", "cifar10", "TLA", 5)) == (50.46, 51.59)
  alone = printed("2", "cifar10", "1", 1)
  off = {size: round(alone + printed("2", "cifar10", size, 0) - printed("2", "cifar10", size, 1), 3)
    for size in table("2", "cifar10").rows}  # fmt: skip
  assert max(abs(off[size]) for size in ("1", "250", "500", "1000")) == 0.022 and off["2000"] == -0.642
  assert round(alone + 3.548, 3) == 5.350 and round(5.992 / alone, 2) == 3.33
  assert printed("2", "cifar10", "250", 7) == 50.31 > printed("2", "cifar10", "500", 7) == 50.07
  # Tables 3 and 4.
  assert gain("3", "mnist", 1, ("AT",)) == 0.77
  assert gain("4", "cifar10", 4, ("ALP",)) == 0.06
  assert max(gain("4", "cifar10", column, ("AT", "ALP")) for column in range(1, 5)) == 0.50
  # Table 5.
  rises = [(name, row) for name in ("mnist", "cifar10", "tiny_imagenet") for row in ROBUST
    if printed("5", name, row, 1) > printed("5", name, row, 0)]  # fmt: skip
  assert rises == [("mnist", "AT"), ("mnist", "TLA"), ("cifar10", "ALP"), ("cifar10", "TLA")]
  assert printed("5", "tiny_imagenet", "AT", 0) == 0.9949 > printed("5", "tiny_imagenet", "TLA", 0) == 0.9937
  for number in ("1.90", "4.05", "4.82", "4.39", "0.022", "5.350", "3.33", "0.77", "0.06", "0.50"):
    assert number in said


def test_parts_are_chosen_by_table_figure_and_data_set():
  assert [part.name for part in PAPER.chosen("figure", "5")] == ["Figure 5"] * 3
  assert PAPER.chosen("table", "4", "cifar10") == [table("4", "cifar10")]
  assert len(PAPER.chosen()) == len(PAPER.parts)
  assert PARTS["figure", "1", "cifar10"].is_picture and not PARTS["figure", "5", "mnist"].is_picture
  assert PARTS["figure", "5", "cifar10"].gain.value == pytest.approx(0.0645)
  assert [claim.value.printed for claim in PAPER.claims if claim.part.number == "4"] == ["4.27%", "0.55%"]


@pytest.mark.parametrize(
  "chosen, words",
  [
    (("table", "7"), "`table=7`: "),
    (("figure", "3"), "`figure=3`: "),
    (("table", "2", "mnist"), "`dataset=mnist`: Table 2 is not of it"),
    ((None, None, "digits"), "`dataset=digits`: The paper is not of it"),
  ],
)
def test_what_the_paper_has_not_is_refused(chosen, words):
  with pytest.raises(InputError, match=re.escape(words)):
    PAPER.chosen(*chosen)
