"""The result files: what earlier releases wrote, what damage does, arrays, rows for pandas."""

import dataclasses
import json
import pathlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tla_tf.errors import InputError
from tla_tf.records import AnalysisArrays, AnalysisRecord, EvaluationBook, EvaluationImages, training_epsilon
from tla_tf.summaries import Measured, findings_of
from tla_tf.types import Norm, Target

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
# Written by version 0.1.0, which numbered no format.
FORMAT_1 = {
  record: json.loads((FIXTURES / f"{name}_format_1.json").read_text())
  for record, name in ((EvaluationBook, "evaluation"), (AnalysisRecord, "analysis"))
}
RECORDS = list(FORMAT_1)


@pytest.mark.parametrize("kind", RECORDS)
def test_a_file_of_format_1_says_the_same_in_later_ones(kind):
  content = kind.from_dict(FORMAT_1[kind], "old.json").to_dict()
  found = {**content, **content["evaluations"][0]} if kind is EvaluationBook else content
  assert {name: found[name] for name in FORMAT_1[kind]} == FORMAT_1[kind]
  added = {name: value for name, value in found.items() if name not in FORMAT_1[kind] and name != "evaluations"}
  assert added == {"format": kind.FORMAT, "training_epsilon": 0.2, "notes": []}
  assert kind.from_dict(content, "new.json").to_dict() == content
  if kind is EvaluationBook:
    assert content == {"format": 4, "evaluations": [{name: found[name] for name in content["evaluations"][0]}]}
    # Format 2 held one evaluation, too.
    second = {"format": 2, **content["evaluations"][0]}
    assert kind.from_dict(second, "old.json").to_dict() == content


@pytest.mark.parametrize(
  "settings, expected",
  [
    ({"attack": {"epsilon": 0.1, "norm": "linf"}}, 0.1),
    ({"attack": {"epsilon": 1, "norm": "linf"}}, 1.0),
    ({"attack": {"epsilon": 0.5, "norm": "l2"}}, None),
    ({"attack": {"epsilon": 0.0, "norm": "linf"}}, None),
    ({"attack": {"epsilon": "0.1", "norm": "linf"}}, None),
    ({"attack": None}, None),
    ({"model": "mine.keras"}, None),
    (None, None),
  ],
)
def test_the_training_epsilon_is_that_of_an_attack_in_linf(settings, expected):
  assert training_epsilon(settings) == expected


def _places(content, path=()):
  """Paths to every value of a JSON object."""
  items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
  for key, value in items:
    yield (*path, key)
    yield from _places(value, (*path, key))


def _deep(levels):
  value = 0
  for _ in range(levels):
    value = [value]
  return value


_values = st.one_of(
  st.none(),
  st.booleans(),
  st.integers(),
  st.sampled_from([10**100, -(10**400), 2**63, 0, -1, {}, [], "", [[]], {"": 0}, [0.5, 0.5]]),
  st.floats(),
  st.text(max_size=8),
  st.integers(1, 120).map(_deep),
)


@pytest.mark.parametrize("kind", RECORDS)
@hypothesis.settings(max_examples=150)
@hypothesis.given(draw=st.data())
def test_a_damaged_file_gives_a_record_of_the_same_form_or_one_sentence(kind, draw, tmp_path_factory):
  content = json.loads(json.dumps(FORMAT_1[kind] | {"format": draw.draw(st.sampled_from([1, 1, 1, 2, 3, 0, None]))}))
  for _ in range(draw.draw(st.integers(1, 3))):
    places = list(_places(content))
    *above, last = draw.draw(st.sampled_from(places))
    parent = content
    for key in above:
      parent = parent[key]
    if draw.draw(st.booleans()):
      del parent[last]
    elif isinstance(parent, dict) and draw.draw(st.booleans()):
      parent[draw.draw(st.text(max_size=4))] = draw.draw(_values)
    else:
      parent[last] = draw.draw(_values)
  path = tmp_path_factory.getbasetemp() / f"{kind.__name__}.json"
  path.write_text(json.dumps(content), encoding="utf-8")
  try:
    found = kind.read(path)
  except InputError as error:
    assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    assert str(error).endswith((f"; {kind.REMEDY}.", "use the release that made it."))
  else:
    assert found.to_dict().keys() >= kind.from_dict(FORMAT_1[kind], "whole").to_dict().keys()
    assert all(isinstance(row, dict) for row in _rows(found))


def _rows(record):
  if isinstance(record, AnalysisRecord):
    return record.rows()
  (found,) = findings_of(Measured(one, None) for one in record.evaluations)
  return found.rows()


WRONG = {
  "an unknown kind of attack": (("attacks", 0, "kind"), "magic", "kind"),
  "settings of another kind": (("attacks", 0, "settings"), {"overshoot": 1}, "Unknown setting 'overshoot'"),
  "a norm": (("attacks", 0, "norm"), "l3", r"attacks\[0\].norm.*'l2'"),
  "no data set": (("config",), {"method": "at"}, "config.*dataset"),
  "probes of one number of steps": (("probes", "steps"), [{"steps": 1, "accuracy": 1.0}], "at least two points"),
  "probes in L0": (("probes", "norm"), "l0", "'linf' or 'l2'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_no_evaluation_holds_is_refused(case):
  (*above, last), value, words = WRONG[case]
  content = json.loads(json.dumps(FORMAT_1[EvaluationBook]))
  parent = content
  for key in above:
    parent = parent[key]
  parent[last] = value
  with pytest.raises(InputError, match=words):
    EvaluationBook.from_dict(content, "evaluation.json")


def test_an_area_without_an_interval_is_refused():
  content = json.loads(json.dumps(FORMAT_1[AnalysisRecord]))
  content["detection"]["auc_adversarial_interval"] = None
  with pytest.raises(InputError, match="auc_adversarial_interval"):
    AnalysisRecord.from_dict(content, "analysis.json")


# --------------------------------------------------------------------------- what records say


def test_rows_of_an_evaluation_are_flat_and_all_alike():
  (record,) = EvaluationBook.from_dict(FORMAT_1[EvaluationBook], "evaluation.json").evaluations
  rows = _rows(EvaluationBook([record]))
  balls = len(record.worst_case.by_threat)
  assert [row["attack"] for row in rows[:2]] == ["clean", "FGSM"]
  assert len(rows) == 1 + len(record.attacks) + 2 + balls and len({tuple(row) for row in rows}) == 1
  assert all(isinstance(value, (str, int, float, type(None))) for row in rows for value in row.values())
  pgd = next(row for row in rows if row["attack"] == "PGD-50")
  expected = next(row for row in record.attacks if row.name == "PGD-50")
  assert (pgd["accuracy"], pgd["interval_low"]) == (expected.accuracy, expected.interval[0])
  assert (pgd["suite"], pgd["epsilon"], pgd["steps"], pgd["method"]) == ("table1", 0.2, 50, "at")
  worst = [row for row in rows if row["attack"] == "worst case"]
  assert [row["suite"] for row in worst] == [*record.suites, *[None] * balls] and record.suites == ["table1", "own"]
  assert [(row["norm"], row["epsilon"]) for row in worst[2:]] == [
    (left.norm.value, left.epsilon) for left in record.worst_case.by_threat
  ]


def test_rows_of_an_analysis_have_every_epsilon():
  record = AnalysisRecord.from_dict(FORMAT_1[AnalysisRecord], "analysis.json")
  natural, weak, strong = record.rows()
  assert (natural["epsilon"], natural["knn_accuracy"]) == (0.0, record.knn.natural)
  assert weak["separation_ratio"] == record.separation_ratio["0.05"] and weak["auc_misclassified"] is None
  assert strong["auc_misclassified"] == record.detection.auc and strong["accuracy"] == 0.0


def test_attacks_of_a_record_are_configs_again():
  (record,) = EvaluationBook.from_dict(FORMAT_1[EvaluationBook], "evaluation.json").evaluations
  by_name = {row.name: row for row in record.attacks}
  assert by_name["BB-20"].config.attack.steps == 20
  assert (by_name["deepfool"].norm, by_name["deepfool"].target) == (Norm.L2, Target.SECOND_LIKELY)
  assert by_name["FGSM"].target_success is None and by_name["deepfool"].target_success == 0.25


# --------------------------------------------------------------------------- arrays


def _images(**changes):
  arrays = {
    "labels": np.arange(4),
    "predictions": np.array([0, 1, 2, -1]),
    "right": np.array([True, True, True, False]),
    "attacks": np.array(["FGSM", "PGD"]),
    "broken": np.zeros((4, 2), bool),
  }
  return arrays | changes


def test_arrays_come_back(tmp_path):
  record = EvaluationImages(**_images())
  record.write(tmp_path / "evaluation_images.npz")
  found = EvaluationImages.read(tmp_path / "evaluation_images.npz")
  for field in dataclasses.fields(EvaluationImages):
    np.testing.assert_array_equal(getattr(found, field.name), getattr(record, field.name))


@pytest.mark.parametrize(
  "changes",
  [
    {"predictions": np.arange(3)},
    {"broken": np.zeros((2, 4), bool)},
    {"broken": np.zeros((4, 2))},
    {"right": np.zeros((4, 1), bool)},
    {"attacks": np.array([1, 2])},
  ],
)
def test_arrays_of_another_form_are_refused(tmp_path, changes):
  with pytest.raises(TypeError, match=next(iter(changes))):
    EvaluationImages(**_images(**changes))
  np.savez(tmp_path / "evaluation_images.npz", **_images(**changes))
  with pytest.raises(InputError, match=f"array '{next(iter(changes))}'"):
    EvaluationImages.read(tmp_path / "evaluation_images.npz")


def test_arrays_too_few_and_too_many_are_named(tmp_path):
  path = tmp_path / "evaluation_images.npz"
  np.savez(path, **{name: array for name, array in _images().items() if name != "right"})
  with pytest.raises(InputError, match="'right' is missing.*tla-evaluate again"):
    EvaluationImages.read(path)
  np.savez(path, **_images(more=np.zeros(1)))
  with pytest.raises(InputError, match="'more' is not known"):
    EvaluationImages.read(path)


def test_objects_in_arrays_are_not_unpickled(tmp_path):
  path = tmp_path / "evaluation_images.npz"
  np.savez(path, **_images(attacks=np.array([{"a": 1}, None], object)))
  with pytest.raises(InputError, match="damaged.*tla-evaluate again"):
    EvaluationImages.read(path)


@hypothesis.settings(max_examples=100)
@hypothesis.given(place=st.floats(0, 1), byte=st.integers(0, 255), cut=st.integers(0, 40))
def test_damaged_bytes_are_one_sentence(place, byte, cut, tmp_path_factory):
  path = tmp_path_factory.getbasetemp() / "damaged.npz"
  EvaluationImages(**_images()).write(path)
  content = bytearray(path.read_bytes())
  content[int(place * (len(content) - 1))] = byte
  path.write_bytes(content[: len(content) - cut])
  try:
    found = EvaluationImages.read(path)
  except InputError as error:
    assert str(error).startswith(f"{path}: ") and str(error).endswith("; run tla-evaluate again.")
  else:
    assert found.broken.shape == (len(found.labels), len(found.attacks))


def test_arrays_of_another_analysis_are_refused(tmp_path):
  with pytest.raises(InputError, match="none.npz: no such file.*tla-analyze again"):
    AnalysisArrays.read(tmp_path / "none.npz", "0" * 64)
  np.savez(tmp_path / "analysis.npz", **_images())
  with pytest.raises(InputError, match="not the file that belongs here; run tla-analyze again"):
    AnalysisArrays.read(tmp_path / "analysis.npz", "0" * 64)
