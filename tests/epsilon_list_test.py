"""Several radii in one go: an evaluation each, one table and one curve."""

import dataclasses

import cli_support as cli
import pytest

import tla_tf
from tla_tf import published
from tla_tf.errors import InputError
from tla_tf.reporting import figures, tables

LIST = "[{attack: fgsm}, {attack: pgd, norm: l2, steps: 3}]"


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
  """(run folder, notes, Findings) of a barely trained network at three radii in L-infinity and two in L2."""
  folder = tmp_path_factory.mktemp("runs")
  config = published.setting("digits", "um").replace(
    network="mlp_8", train_steps=40, checkpoint_every=40, validation_examples=20, jit="off"
  )
  config = config.replace(validation_attack=config.validation_attack.scaled(steps=1))
  (folder / "mine.yaml").write_text(LIST)
  tla_tf.train(config, folder / "um")
  notes = []
  found = tla_tf.evaluate_run(
    folder / "um",
    suites=(),
    suite_file=folder / "mine.yaml",
    epsilon=(0.2, 0.05, 0.1),
    l2_epsilon=[0.3, 0.6],
    num_examples=40,
    probe_examples=5,
    note=notes.append,
  )
  return folder / "um", notes, found


def test_every_radius_is_an_evaluation(judged):
  _, notes, found = judged
  rows = [(row.name, row.norm.value, row.epsilon) for row in found.attacks]
  assert rows == [
    ("fgsm", "linf", 0.2),
    ("pgd", "l2", 0.3),
    ("fgsm", "linf", 0.05),
    ("pgd", "l2", 0.6),
    ("fgsm", "linf", 0.1),
    ("pgd", "l2", 0.6),  # The list as a whole has changed.
  ]
  assert notes == []
  by_ball = {(left.norm.value, left.epsilon): left.accuracy for left in found.worst_case.by_threat}
  curve = [found.clean.accuracy, *(by_ball["linf", radius] for radius in (0.05, 0.1, 0.2))]
  assert curve == sorted(curve, reverse=True) and curve[0] > curve[-1]
  assert sum(record.probes is not None for record in found.evaluations) == 1


def test_one_table_and_one_curve(judged):
  run, _, found = judged
  table = tables.worst_case_table({"um": [found]})
  assert {"L-inf epsilon 0.05", "L-inf epsilon 0.1", "L-inf epsilon 0.2", "L2 epsilon 0.3"} <= set(table.header)
  assert (run / "figures" / "epsilon_curves.png").stat().st_size > 10_000
  assert "epsilon 0.05" in (run / "evaluation.md").read_text()
  assert not (run / "evaluation_state").exists()
  report = tla_tf.write_report([run], run.parent / "report.html")
  assert "epsilon_curves" in report.markdown.read_text()


def test_one_radius_has_no_curve(judged, tmp_path):
  _, _, found = judged
  threats = [left for left in found.worst_case.by_threat if left.epsilon in (0.2, 0.3)]
  single = dataclasses.replace(found, worst_case=dataclasses.replace(found.worst_case, by_threat=threats))
  assert not figures.has_epsilon_curves({"um": [single]})
  assert figures.has_epsilon_curves({"um": [single], "at": [found]})
  many = {f"run {i}": [found] for i in range(11)}
  assert figures.epsilon_curves(many, tmp_path / "many.png").stat().st_size > 10_000


def test_wrong_lists_are_refused_before_anything_is_loaded(judged):
  run, _, _ = judged
  for epsilon, words in (((0.1, 0.1), "once"), ((0.1, 3.0), "at most 1"), ((0.1, "x"), "0.1|x")):
    with pytest.raises(InputError, match=f"`epsilon`.*({words})"):
      tla_tf.evaluate_run(run, epsilon=epsilon)


@pytest.mark.parametrize(
  "given, words",
  [
    ("--epsilon=0.1,3", "--epsilon: expected a number in [0, 1], got 3"),
    ("--epsilon=1/255,x", "8/255, got 'x'"),
    ("--l2_epsilon=1,1", "--l2_epsilon: expected every radius once"),
  ],
)
def test_the_tool_takes_lists_and_refuses_wrong_ones(judged, given, words):
  cli.assert_refused(cli.run("tla-evaluate", f"--run_dir={judged[0]}", given), words)
