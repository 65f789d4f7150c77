"""The table of targets says what was measured, what was missed and what could not be measured."""

import importlib
import json
import pathlib
import sys

import pytest
import tensorflow as tf

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "benchmarks"))
targets, side_by_side = (importlib.import_module(name) for name in ("targets", "side_by_side"))
Target, measure, ratios, target_table = (
  getattr(side_by_side, name) for name in ("Target", "measure", "ratios", "target_table")
)


def test_ratios_are_taken_within_rounds_and_against_the_fastest_of_several():
  seconds = {"ours": [2.0, 6.0], "bare": [1.0, 6.0], "theirs": [4.0, 3.0]}
  assert ratios(seconds, "theirs", "ours") == [2.0, 0.5]
  assert ratios(seconds, "ours", ("bare", "theirs")) == [2.0, 2.0]


def test_measure_calls_each_function_once_before_the_rounds():
  calls = []
  seconds = measure({name: lambda name=name: calls.append(name) for name in "ab"}, 3)
  assert calls[:2] == ["a", "b"] and sorted(calls) == ["a"] * 4 + ["b"] * 4
  assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


@pytest.mark.parametrize(
  "relation, limit, values, verdict",
  [
    ("at least", 2, [1.0, 2.0, 9.0], "ok"),
    ("at least", 2, [1.9, 1.9, 9.0], "MISS"),
    ("at most", 2, [1.9, 2.0, 9.0], "ok"),
    ("at most", 2, [2.1], "MISS"),
    ("at most", 2, [], "not measured"),
  ],
)
def test_the_median_decides(relation, limit, values, verdict):
  assert Target("work", "a / b", relation, limit, "s", values).verdict == verdict


def test_the_table_shows_median_and_spread_and_why_a_row_is_empty():
  found = target_table(
    [
      Target("PGD", "a / b", "at least", 2, "s", [3.0, 1.0, 2.5]),
      Target("PGD", "c / b", "at most", 1.05, "s", note="ImportError: no c"),
    ]
  ).splitlines()
  cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in found]
  assert cells[2] == ["PGD", "a / b", ">= 2", "2.50", "1.00 to 3.00", "3", "ok"]
  assert cells[3] == ["PGD", "c / b", "<= 1.05", "", "", "", "not measured (ImportError: no c)"]
  assert len({len(line) for line in found}) == 1


def test_every_target_has_a_section_and_a_section_that_fails_leaves_the_others(monkeypatch, tmp_path, capsys):
  found = targets.all_targets()
  assert {target.section for target in found.values()} == set(targets.SECTIONS)
  limits = {key: target.limit for key, target in found.items()}
  assert (limits["mlp/cleverhans"], limits["mlp/Foolbox"], limits["mlp/ART"]) == (2, 4, 5)
  assert (limits["convnet/cleverhans"], limits["wrn_16_2/ART"], limits["torch/lenet"]) == (1.2, 3.3, 1.9)

  def fails(rounds, options):
    raise ValueError("no such thing")

  monkeypatch.setitem(targets.SECTIONS, "loop", fails)
  monkeypatch.setitem(targets.SECTIONS, "workers", lambda rounds, options: ({"workers/mlp": [1.7] * rounds}, {}))
  path = tmp_path / "build" / "found.json"
  monkeypatch.setattr(sys, "argv", ["targets.py", "--only", "loop", "workers", "--rounds", "2", "--json", str(path)])
  with pytest.raises(SystemExit) as status:
    targets.main()
  assert status.value.code == 1
  rows = {row["section"]: row for row in json.loads(path.read_text())["targets"] if "lenet" not in row["work"]}
  assert rows["loop"]["verdict"] == "not measured" and "no such thing" in rows["loop"]["note"]
  assert rows["workers"]["verdict"] == "ok" and rows["workers"]["values"] == [1.7, 1.7]
  assert "1.70" in capsys.readouterr().out


def test_hardness_is_the_mean_cosine_of_the_nearest_of_another_class():
  anchors, pool = tf.constant([[1.0, 0.0], [0.0, 2.0]]), tf.constant([[5.0, 0.0], [0.6, 0.8], [-1.0, 0.0], [0.0, 0.0]])
  labels, pool_labels = tf.constant([0, 1]), tf.constant([0, 1, 1, -1])
  # The first anchor may not take (5, 0), which has its class, nor the empty place; the second not (0.6, 0.8).
  hardness = importlib.import_module("negatives").hardness(anchors, labels, pool, pool_labels)
  assert hardness == pytest.approx((0.6 + 0.0) / 2, abs=1e-6)
