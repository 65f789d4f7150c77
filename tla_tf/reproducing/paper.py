"""The paper's figures: every number of its tables, as they are printed, from `paper.yaml`."""

from __future__ import annotations

import functools
import pathlib
import typing

from tla_tf import datasets, yaml_file
from tla_tf.errors import InputError
from tla_tf.registry import expected

FILE = pathlib.Path(__file__).with_name("paper.yaml")
TABLE, FIGURE = "table", "figure"


class Cell(typing.NamedTuple):
  """A number of the paper.

  Attributes:
    printed: as it is printed: "65.88%".
    value: the number; of a percentage its fraction.
    rounding: half a unit of its last digit, in the same unit.
  """

  printed: str
  value: float
  rounding: float


class Column(typing.NamedTuple):
  """A column of a table.

  Attributes:
    name: as printed.
    ours: what of ours it is compared with, see `paper.yaml`.
    percent: whether its cells are percentages.
    steps: of its attack; None where the paper gives none.
  """

  name: str
  ours: str
  percent: bool
  steps: int | None = None

  @property
  def title(self) -> str:
    """With the number of steps, as the paper's header has it: "PGD (100)"."""
    return self.name if self.steps is None else f"{self.name} ({self.steps})"

  @property
  def suite(self) -> str | None:
    """The suite of attacks that it is of, or None."""
    suite, _, _ = self.ours.partition("/")
    return suite if suite.startswith("table") else None

  @property
  def black_box(self) -> bool:
    """Whether its images are made on another network."""
    return self.suite is not None and "/BB-" in self.ours

  @property
  def of_machine(self) -> bool:
    """Whether it is a time."""
    return self.ours.startswith("seconds/")

  @property
  def of_analysis(self) -> bool:
    """Whether `tla-analyze` measures it."""
    return self.ours == "area/misclassified" or self.ours.startswith(("separation/", "neighbours/"))


class Part(typing.NamedTuple):
  """A table or figure of the paper, as far as it is of one data set.

  Attributes:
    kind, number: `TABLE` or `FIGURE`, and which.
    title: what it shows.
    dataset, network: that it is of.
    columns: of a table, and of the numbers of a figure.
    rows: dict from a row's name to its cells; None where the paper gives no number.
    variants: dict from a row's name to the variant of the grid that stands for it.
    classes: of a picture, the data set's names.
    gain: of Figure 5, what TLA is said to be above the best of the others; or None.
  """

  kind: str
  number: str
  title: str
  dataset: str
  network: str
  columns: tuple[Column, ...]
  rows: dict[str, tuple[Cell | None, ...]]
  variants: dict[str, str]
  classes: tuple[str, ...] = ()
  gain: Cell | None = None

  @property
  def name(self) -> str:
    """ "Table 1"."""
    return f"{self.kind.capitalize()} {self.number}"

  @property
  def is_picture(self) -> bool:
    """Whether it has no numbers."""
    return not self.columns


class Claim(typing.NamedTuple):
  """What the text says of a table: `row` less the best of `over`, in a column, is `value`."""

  text: str
  where: str
  part: Part
  column: int
  row: str
  over: tuple[str, ...]
  value: Cell


class Contradiction(typing.NamedTuple):
  """Where numbers of tables contradict each other or the text; `dataset` is None where it is of several."""

  tables: tuple[str, ...]
  dataset: str | None
  text: str

  def is_of(self, part: Part) -> bool:
    """Whether a reader of a part should know."""
    return part.kind == TABLE and part.number in self.tables and self.dataset in (None, part.dataset)

  def __str__(self) -> str:
    of = f", {datasets.get(self.dataset).title}" if self.dataset else ""
    return f"Table{'s' * (len(self.tables) > 1)} {' and '.join(self.tables)}{of} - {self.text}"


class Paper(typing.NamedTuple):
  """The paper.

  Attributes:
    title: author, year, title, place.
    parts: in the paper's order, tables first.
    claims: of the text.
    contradictions: between numbers, or of numbers and the text.
  """

  title: str
  parts: tuple[Part, ...]
  claims: tuple[Claim, ...]
  contradictions: tuple[Contradiction, ...]

  def chosen(self, kind: str | None = None, number: str | None = None, dataset: str | None = None) -> list[Part]:
    """The parts of a table or figure and a data set; None for any.

    Raises:
      InputError: if there is no such table or figure, or it is not of the data set.
    """
    found = [part for part in self.parts if kind in (None, part.kind) and number in (None, part.number)]
    if not found:
      there_are = list(dict.fromkeys(part.number for part in self.parts if part.kind == kind))
      raise InputError(f"`{kind}={number}`: {expected(str(number), there_are)}.")
    of_dataset = [part for part in found if dataset in (None, part.dataset)]
    if not of_dataset:
      there_are = list(dict.fromkeys(part.dataset for part in found))
      what = found[0].name if number else "The paper"
      raise InputError(f"`dataset={dataset}`: {what} is not of it; {expected(str(dataset), there_are)}.")
    return of_dataset


@functools.cache
def read() -> Paper:
  """All of `paper.yaml`."""
  content = yaml_file.read(FILE)
  tables = [
    _table(number, table, dataset, part)
    for number, table in content["tables"].items()
    for dataset, part in table["parts"].items()
  ]
  figures = [
    _figure(number, figure, dataset, part)
    for number, figure in content["figures"].items()
    for dataset, part in figure["parts"].items()
  ]
  of_table = {(part.number, part.dataset): part for part in tables}
  claims = [
    Claim(
      text=claim["text"],
      where=claim["where"],
      part=of_table[claim["table"], claim["dataset"]],
      column=claim["column"],
      row=claim["row"],
      over=tuple(claim["over"]),
      value=cell(claim["value"], True),
    )
    for claim in content["claims"]
  ]
  contradictions = [
    Contradiction(tuple(one["tables"]), one.get("dataset"), one["text"]) for one in content["contradictions"]
  ]
  return Paper(content["paper"], (*tables, *figures), tuple(claims), tuple(contradictions))


def cell(printed: str, percent: bool) -> Cell:
  """A number as it is printed; a percentage may lack its sign."""
  digits = printed.removesuffix("%")
  scale = 100 if percent else 1
  return Cell(printed, float(digits) / scale, 0.5 * 10.0 ** -len(digits.partition(".")[2]) / scale)


def _table(number: str, table: dict, dataset: str, part: dict) -> Part:
  columns = tuple(
    Column(column["name"], column["ours"], column.get("unit", table["unit"]) == "percent", column.get("steps"))
    for column in part["columns"]
  )
  rows: dict[str, tuple[Cell | None, ...]] = {
    name: tuple(cell(printed, column.percent) for printed, column in zip(printed_row.split(), columns, strict=True))
    for name, printed_row in part["rows"].items()
  }
  variants = {name: _variant(name) for name in rows} | part.get("variants", {})
  return Part(TABLE, number, table["title"], dataset, part["network"], columns, rows, variants)


def _figure(number: str, figure: dict, dataset: str, part: dict) -> Part:
  gain = cell(part["gain"], True) if "gain" in part else None
  columns = () if gain is None else (Column("AUC", "area/misclassified", False),)
  return Part(
    kind=FIGURE,
    number=number,
    title=figure["title"],
    dataset=dataset,
    network=part["network"],
    columns=columns,
    rows={name: (None,) * len(columns) for name in figure["rows"]},
    variants={name: _variant(name) for name in figure["rows"]},
    classes=tuple(figure.get("classes", ())),
    gain=gain,
  )


def _variant(row: str) -> str:
  return row.lower().replace("-", "_")
