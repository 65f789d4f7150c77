"""Several evaluations of one network: kept beside each other, merged image by image, replaced one by one."""

import csv
import dataclasses
import io

import numpy as np
import pytest
from result_support import attack_row, measured

from tla_tf import reporting
from tla_tf.errors import InputError, RecordWarning
from tla_tf.records import Alarm, EvaluationBook
from tla_tf.records.evaluation import EpsilonPoint, NoiseProbe, Probes, StepsPoint
from tla_tf.summaries import Evaluations, findings_of, keep_evaluations, read_evaluations, seed_groups
from tla_tf.types import Norm, Split

FGSM, PGD = attack_row("FGSM"), attack_row("PGD", steps=40, accuracies=(0.4,))
QUICK = measured([FGSM, PGD], [(0, 1), (1, 2, 3)])
L2 = measured([attack_row("PGD (L2)", "l2", Norm.L2, 1.0)], [(3, 4)])
SMALLER = measured([attack_row("FGSM", epsilon=0.1), attack_row("PGD", epsilon=0.1, steps=40)], [(), (5,)])
PROBES = Probes(
  num_examples=5,
  norm=Norm.LINF,
  epsilon=0.3,
  clean_accuracy=1.0,
  noise=NoiseProbe(tries=20, accuracy=1.0),
  epsilons=[EpsilonPoint(epsilon=0.0, accuracy=1.0), EpsilonPoint(epsilon=1.0, accuracy=0.4)],
  steps=[StepsPoint(steps=1, accuracy=1.0), StepsPoint(steps=100, accuracy=1.0)],
  same_outputs=True,
)


def _changed(one, **changes):
  return one._replace(record=one.record.replace(**changes))


def _balls(found):
  return {(left.norm.value, left.epsilon): round(10 * left.accuracy) for left in found.worst_case.by_threat}


def test_suites_are_merged_image_by_image():
  (found,) = findings_of([QUICK, L2])
  assert [record.suite for record in found.evaluations] == found.suites == ["own", "l2"]
  # 0, 1, 2, 3 fell in one suite, 3 and 4 in the other.
  assert found.worst_case.accuracy == pytest.approx(0.5)
  assert {suite: round(10 * left.accuracy) for suite, left in found.worst_case.by_suite.items()} == {"own": 6, "l2": 8}
  assert _balls(found) == {("linf", 0.3): 6, ("l2", 1.0): 8}
  assert found.standing("l2", 1.0).tolist() == [i not in (3, 4) for i in range(10)]
  assert [row.name for row in found.attacks] == ["FGSM", "PGD", "PGD (L2)"]


def test_another_epsilon_has_a_table_of_its_own_and_counts_in_the_larger_ball():
  found = findings_of([QUICK, SMALLER])
  assert _balls(found[0]) == {("linf", 0.3): 5, ("linf", 0.1): 9}
  assert list(found[0].images.attacks) == ["FGSM", "PGD", "FGSM at 0.1", "PGD at 0.1"]
  tables = reporting.suite_tables({"at": found})
  assert [table.title.rpartition(", ")[2] for table in tables[:2]] == ["L-inf epsilon 0.3", "L-inf epsilon 0.1"]
  # Names of attacks do not hang on what else was judged.
  assert tables[0].header == tables[1].header
  assert tables[2].header == ("Model", "images", "Clean", "L-inf epsilon 0.1", "L-inf epsilon 0.3")
  assert [cell.split()[0] for cell in tables[2].rows[0][3:]] == ["90.00%", "50.00%"]
  rows = [row for row in found[0].rows() if row["attack"] == "worst case"]
  assert [(row["suite"], row["epsilon"]) for row in rows] == [("own", 0.3), ("own", 0.1), (None, 0.3), (None, 0.1)]


@pytest.mark.parametrize(
  "other",
  [
    measured([FGSM], [(7,)], count=9),
    _changed(measured([FGSM], [(7,)]), eight_bit=True),
    _changed(measured([FGSM], [(7,)]), data_digest="e"),
    _changed(measured([FGSM], [(7,)]), split=Split.HELD_OUT),
    measured([FGSM], [(7,)], wrong=(9,)),
    measured([FGSM], [(7,)])._replace(images=None),
  ],
  ids=["fewer images", "8 bits", "other data", "held out", "other answers", "not known which image"],
)
def test_what_was_judged_on_other_images_stands_apart(other):
  found = findings_of([QUICK, other])
  assert sorted(round(len(one.evaluations)) for one in found) == [1, 1]
  assert _balls(found[0]) == {("linf", 0.3): 6}
  if other.images is None:
    with pytest.raises(ValueError, match="which image"):
      found[1].standing("linf", 0.3)


def test_other_seeds_are_one_row_of_mean_and_spread():
  later = _changed(
    measured([FGSM, dataclasses.replace(PGD, accuracy=0.2, accuracy_per_seed=[0.2])], [(0, 1), (6,)]), seed=1
  )
  (found,) = findings_of([QUICK, later])
  (record,) = found.evaluations
  fgsm, pgd = record.attacks
  assert pgd.accuracy_per_seed == [0.4, 0.2] and pgd.accuracy == pytest.approx(0.3)
  assert pgd.accuracy_std == pytest.approx(0.2 / 2**0.5)
  # 1, 2, 3 and 6 fell under one seed or the other.
  assert pgd.accuracy_worst_over_seeds == pytest.approx(0.6) and pgd.images_attacked == 18
  assert (record.num_seeds, found.worst_case.accuracy) == (2, 0.5)
  assert fgsm.name == "FGSM"


def test_what_several_evaluations_show_together_raises_an_alarm():
  single = measured([attack_row("FGSM", "one")], [(0, 1, 2, 3)])
  longer = measured([attack_row("PGD", "two", steps=40, accuracies=(0.8,))], [(0, 1)])
  (found,) = findings_of([single, longer])
  assert [alarm.code for alarm in found.alarms] == ["ONE_STEP_IS_ENOUGH"]
  seen = Alarm("ZERO_GRADIENTS", "Seen.", "Why.", "Remedy.")
  (found,) = findings_of([_changed(single, alarms=[seen]), _changed(longer, alarms=[seen])])
  assert [alarm.code for alarm in found.alarms] == ["ZERO_GRADIENTS", "ONE_STEP_IS_ENOUGH"]


def test_a_suite_with_a_further_attack_is_one_table():
  more = measured([FGSM, dataclasses.replace(PGD, name="PGD-40")], [(0, 1), (8,)])
  (found,) = findings_of([QUICK, more])
  (record,) = found.evaluations
  assert [row.name for row in record.attacks] == ["FGSM", "PGD", "PGD-40"]
  assert record.worst_case.accuracy == pytest.approx(0.5)
  # Two attacks of one name that differ stay two.
  other = measured([attack_row("PGD", steps=20)], [(9,)])
  (found,) = findings_of([QUICK, other])
  assert [row.name for row in found.evaluations[0].attacks] == ["FGSM", "PGD", "PGD (own)"]


# --------------------------------------------------------------------------- seeds of the training


def _trained(accuracy, seed, **settings):
  """A model's Findings: PGD leaves an accuracy of ten images."""
  config = {"dataset": "digits", "method": "at", "seed": seed, **settings}
  row = attack_row("PGD", accuracies=(accuracy,))
  return findings_of([_changed(measured([row], [range(10 - round(10 * accuracy))]), config=config)])


SEEDS = {
  "at_8": _trained(0.3, 8),
  "at_9": _trained(0.5, 9),
  "um": _trained(0.1, 8, method="um"),
  "at_10": _trained(0.4, 10),
}


def test_models_that_differ_in_the_seed_only_have_a_row_of_mean_spread_and_number():
  (table,) = reporting.suite_tables(SEEDS)
  assert [row[0] for row in table.rows] == ["at_8", "at_9", "um", "at_10", "at_* (3 seeds)"]
  assert table.rows[-1] == ("at_* (3 seeds)", "100.00% ± 0.00", "40.00% ± 10.00", "40.00% ± 10.00", "-")
  assert "| at_\\* (3 seeds) | 100.00% ± 0.00 | 40.00% ± 10.00 |" in reporting.markdown_evaluation(SEEDS)


def test_an_interval_is_of_one_model_alone():
  alike = {name: _trained(0.3, seed) for name, seed in (("at_0", 0), ("at_1", 1))}
  (table,) = reporting.suite_tables(alike)
  assert table.rows[0][-1] == table.rows[1][-1] and table.rows[2][-2:] == ("30.00% ± 0.00", "-")


@pytest.mark.parametrize(
  "settings, expected",
  [
    ({"a": {"seed": 0}, "b": {"seed": 1}}, [("a, b (2 seeds)", ("a", "b"))]),
    ({"r/s1/at": {"seed": 0}, "r/s12/at": {"seed": 1}}, [("r/s*/at (2 seeds)", ("r/s1/at", "r/s12/at"))]),
    # The same run twice, another setting, and models from elsewhere, which have no seed.
    ({"a": {"seed": 0}, "b": {"seed": 0}}, []),
    ({"a": {"seed": 0, "attack": {"epsilon": 0.1}}, "b": {"seed": 1, "attack": {"epsilon": 0.2}}}, []),
    ({"a": {"model": "m"}, "b": {"model": "m"}}, []),
  ],
)
def test_groups_of_seeds(settings, expected):
  assert seed_groups(settings) == expected


def test_csv_has_numbers_with_what_they_are_made_from():
  lines = list(csv.DictReader(io.StringIO(reporting.csv_tables(reporting.suite_tables(SEEDS)))))
  cells = {(line["model"], line["column"]): line for line in lines}
  assert len(lines) == 5 * 4 and len(cells) == len(lines)
  assert lines[0]["table"] == "Accuracy on 10 test images of digits, suite own, L-inf epsilon 0.3"
  mean = cells["at_* (3 seeds)", "PGD"]
  assert (mean["row"], mean["seeds"], mean["shown"], mean["low"]) == ("5", "3", "40.00% ± 10.00", "")
  assert (float(mean["value"]), float(mean["std"])) == (pytest.approx(0.4), pytest.approx(0.1))
  worst = cells["at_8", "Worst case"]
  assert [float(worst[name]) for name in ("value", "low", "high")] == pytest.approx([0.3, 0.0667, 0.6525], abs=1e-4)
  assert (worst["seeds"], worst["std"], cells["um", "95% interval"]["value"]) == ("", "", "")


# --------------------------------------------------------------------------- in a folder


@pytest.fixture
def places(tmp_path):
  return tmp_path / "evaluation.json", tmp_path / "evaluation_images"


def _records(known):
  return [record.replace(images_digest=None) for record, _ in known.measured]


def test_what_has_its_results_has_what_shows_them(places):
  keep_evaluations(*places, [QUICK])
  before = places[0].read_bytes()
  shown = []

  def killed(known):
    shown.append(_records(known))
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    keep_evaluations(*places, [L2], killed)
  assert shown == [[QUICK.record, L2.record]]
  assert places[0].read_bytes() == before and _records(read_evaluations(*places)) == [QUICK.record]


def test_evaluations_are_added_and_the_same_settings_replace(places):
  keep_evaluations(*places, [QUICK])
  keep_evaluations(*places, [L2, SMALLER])
  again = _changed(QUICK, seconds=7.0)
  known = keep_evaluations(*places, [again])
  assert _records(known) == [L2.record, SMALLER.record, again.record]
  found = read_evaluations(*places)
  assert _records(found) == _records(known)
  assert found.findings == known.findings and len(found.findings) == 1
  for one, expected in zip(found.measured, (L2, SMALLER, again), strict=True):
    np.testing.assert_array_equal(one.images.broken, expected.images.broken)
  assert len(list(places[1].glob("*.npz"))) == 3


def test_other_checkpoints_stay_and_are_named(places):
  new = {"checkpoint": 60, "checkpoint_digest": "b" * 64}
  keep_evaluations(*places, [QUICK, L2])
  known = keep_evaluations(*places, [_changed(measured([FGSM], [(9,)]), **new)])
  assert [record.suite for record in known.others] == ["own", "l2"]
  assert _balls(known.findings[0]) == {("linf", 0.3): 9}
  text = reporting.markdown_evaluation({"at": known.findings}, {"at": known.others})
  assert "other checkpoints" in text
  assert "| at | step 30, aaaaaaaa | l2 | L2 epsilon 1 | 10 | 100.00% (69.2-100.0) | 80.00% (44.4-97.5) |" in text
  # Judged again, it is the one that is spoken of.
  assert [record.checkpoint for record in keep_evaluations(*places, [QUICK]).others] == [60]


def test_a_kill_between_two_files_leaves_what_was_there(places, monkeypatch):
  keep_evaluations(*places, [QUICK])
  before = places[0].read_bytes()

  def killed(*_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
    patched.setattr(EvaluationBook, "write", killed)
    keep_evaluations(*places, [L2])
  assert places[0].read_bytes() == before
  (found,) = read_evaluations(*places).findings
  assert found.images is not None and found.suites == ["own"]
  assert len(list(places[1].glob("*.npz"))) == 2
  keep_evaluations(*places, [SMALLER])
  assert len(list(places[1].glob("*.npz"))) == 2 and len(read_evaluations(*places).findings[0].evaluations) == 2


@pytest.mark.parametrize("damage", ["missing", "another's", "cut"])
def test_images_that_do_not_belong_are_not_merged(places, damage):
  first, second = keep_evaluations(*places, [QUICK, L2]).measured
  mine, other = (places[1] / f"{one.record.images_digest[:16]}.npz" for one in (first, second))
  if damage == "missing":
    mine.unlink()
  else:
    mine.write_bytes(other.read_bytes() if damage == "another's" else mine.read_bytes()[:-9])
  with pytest.warns(RecordWarning, match=f"{mine.name}: .*; run tla-evaluate again: the evaluation by own stands"):
    found = read_evaluations(*places).findings
  assert [one.images is None for one in found] == [True, False]
  assert found[0].worst_case == QUICK.record.worst_case
  # Judged again, all is well again.
  with pytest.warns(RecordWarning):
    assert len(keep_evaluations(*places, [QUICK]).findings) == 1


def test_a_damaged_book_is_refused_and_stays(places):
  places[0].write_text("{")
  with pytest.raises(InputError, match="move it away and run tla-evaluate again"):
    keep_evaluations(*places, [QUICK])
  assert places[0].read_text() == "{"


def test_probes_that_were_not_run_again_stay():
  with_probes = _changed(QUICK, probes=PROBES, alarms=[])
  known = Evaluations([with_probes]).adding([QUICK])
  (found,) = known.findings
  assert found.probes == PROBES and [alarm.code for alarm in found.alarms] == ["LARGE_EPSILON_SURVIVES"]
  other = dataclasses.replace(PROBES, epsilons=[*PROBES.epsilons[:1], EpsilonPoint(epsilon=1.0, accuracy=0.0)])
  again = _changed(QUICK, probes=other)
  assert known.adding([again]).findings[0].probes == other and not known.adding([again]).findings[0].alarms
