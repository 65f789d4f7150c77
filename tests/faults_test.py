"""A handful of cases of `make faults`: a tool is killed, or power cut, or its files may not grow, and it goes on."""

import json

import numpy as np
import pytest
import tensorflow as tf
from campaigns import faults


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
  return faults.Campaign(tmp_path_factory.mktemp("faults"), seed=1, tools=["train", "evaluate"])


@pytest.mark.parametrize(
  "case",
  [
    faults.Case("kill", "train", 1),  # Between two touches of files.
    faults.Case("kill", "evaluate", 2),  # Within the writing of a file.
    faults.Case("cut", "train", 2),  # With any luck.
    faults.Case("file", "evaluate", 0),
  ],
  ids=lambda case: case.name,
)
def test_the_same_command_goes_on_to_the_same_results(campaign, case):
  said = campaign.run(case)
  assert "too late" not in said and "enough" not in said, said


def test_differences_and_leftovers_are_found(tmp_path):
  for name in ("one", "two"):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "record.json").write_text(json.dumps({"accuracy": 0.5, "seconds": len(name)}))
    np.savez(folder / "arrays.npz", a=np.arange(3))
  one, two = (faults.results(tmp_path / name) for name in ("one", "two"))
  assert faults.difference(one, two) is None
  np.savez(tmp_path / "two" / "arrays.npz", a=np.array([0, 1, 3]))
  assert "arrays.npz/a" in faults.difference(one, faults.results(tmp_path / "two"))
  (tmp_path / "one" / ".record.json.x1y2").write_text("half")
  assert "left over" in faults.difference(one, faults.results(tmp_path / "one"))
  (tmp_path / "two" / ".model.x1y2").mkdir()
  (tmp_path / "two" / ".model.x1y2" / "record.json").touch()
  assert faults.results(tmp_path / "two")[".model.x1y2/"] == "left over"


def test_an_export_of_other_weights_and_a_cut_off_one_are_found(tmp_path):
  for name, value in (("one", 1.0), ("two", 1.0), ("other", 2.0)):
    module = tf.Module()
    module.weight = tf.Variable(value)
    tf.saved_model.save(module, str(tmp_path / name / "saved_model"))
  one, two, other = (faults.results(tmp_path / name) for name in ("one", "two", "other"))
  assert faults.difference(one, two) is None
  assert "variables" in faults.difference(one, other)
  for place in ("saved_model.pb", "variables/variables.index"):
    path = tmp_path / "two" / "saved_model" / place
    path.write_bytes(path.read_bytes()[:-9])
  found = faults.results(tmp_path / "two")
  assert found["saved_model/saved_model.pb"] == found["saved_model/variables/"] == "damaged"


def test_a_campaign_has_all_that_it_is_to_have():
  found = faults.cases(kills=50, disks=40, cuts=60, pairs=5)
  assert len(found) == len(set(found)) == 5 * 50 + 40 + 10 + 60 + 6 * 5
  assert {case.of for case in found if case.fault == "kill"} == {"train", "evaluate", "analyze", "compare", "reproduce"}
