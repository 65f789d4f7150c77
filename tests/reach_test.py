"""How far the steps of an attack go: scaled with ball and steps, and said aloud where they end before its edge."""

import dataclasses
import json
import subprocess
import sys
import warnings

import numpy as np
import pytest

from tla_tf import attack_configs, datasets, models, networks, published, recipes, training
from tla_tf.attacks import GradientAttack, presets
from tla_tf.config import AttackConfig
from tla_tf.errors import AttackWarning, InputError
from tla_tf.evaluation import SUITES, EvaluationOptions, evaluate, raise_alarms, read_suite, suite
from tla_tf.evaluation.planning import planned_attacks
from tla_tf.persistence import RunFolder
from tla_tf.records.run import DataFacts
from tla_tf.training.trainer import cautions

PGD = AttackConfig(epsilon=0.3, step_size=0.01, steps=40)


@pytest.mark.parametrize(
  "config, expected",
  [
    (PGD, 4 / 3),
    (PGD.replace(steps=20), 2 / 3),
    (PGD.replace(steps=20, restarts=50, momentum=0.9), 2 / 3),
    (presets.fgsm(0.3), 1.0),
    (AttackConfig(epsilon=3.0, step_size=0.1, steps=15, norm="l2"), 0.5),
    (AttackConfig(epsilon=0.0, step_size=0.0, steps=3), float("inf")),
  ],
)
def test_the_reach_of_an_attack(config, expected):
  assert config.reach == pytest.approx(expected)


@pytest.mark.parametrize("momentum, rule", [(0.0, "normalized"), (0.9, "normalized"), (0.9, "averaged")])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_reach_is_how_far_a_linear_network_is_pushed(momentum, rule, norm):
  network = networks.logits_function(lambda x: np.float32([[1.0, -1.0]]) * x[:, 0, 0, :1])
  config = AttackConfig(0.4, 0.05, 5, random_start=False, momentum=momentum, momentum_rule=rule, norm=norm)
  images = np.full((2, 1, 1, 1), 0.5, np.float32)
  found = GradientAttack(network, config, jit="off")(images, [0, 0])
  np.testing.assert_allclose(found.distance / 0.4, config.reach, rtol=1e-5)


@pytest.mark.parametrize(
  "changes, step_size",
  [
    ({}, 0.01),
    ({"epsilon": 0.15}, 0.005),
    ({"steps": 20}, 0.02),
    ({"steps": 80}, 0.005),
    ({"epsilon": 0.15, "steps": 20}, 0.01),
    ({"steps": 1}, 0.3),  # no longer than epsilon
    ({"epsilon": 0.1, "steps": 1}, 0.1),
    ({"steps": 0}, 0.01),
  ],
)
def test_the_step_size_follows_ball_and_steps(changes, step_size):
  scaled = PGD.scaled(**changes)
  assert scaled.step_size == pytest.approx(step_size)
  assert scaled == PGD.replace(**changes, step_size=scaled.step_size)
  assert not attack_configs.falls_short(scaled)


def test_what_stays_keeps_its_bits():
  for spec in map(datasets.get, datasets.names()):
    attack = spec.training.attack
    assert attack.scaled(attack.epsilon, attack.steps) == attack
  assert AttackConfig(epsilon=0.8, step_size=0.8, steps=1).scaled(epsilon=1.0).step_size <= 1.0
  both = published.setting("mnist", "at").scaled(epsilon=0.2, attack_steps=20, validation_attack_steps=50)
  assert (both.attack.epsilon, both.attack.steps, both.attack.reach) == (0.2, 20, pytest.approx(PGD.reach))
  assert (both.validation_attack.steps, both.validation_attack.reach) == (50, pytest.approx(10 / 3))


def test_every_published_attack_reaches_its_edge_and_that_on_heldout_images_crosses_its_ball():
  for dataset in datasets.names():
    for method in recipes.names():
      try:
        setting = published.setting(dataset, method)
      except InputError:
        continue  # It has none for this data set.
      # From edge to edge, but for the 20 steps of 0.003 at 0.031 that TRADES is published with.
      assert setting.attack.reach >= 1 and setting.validation_attack.reach > 1.93, (dataset, method)
      assert cautions(setting) == []
    for name in SUITES:
      for attack in suite(name, dataset, black_box=name == "table1") + suite(name, dataset, epsilon=0.07):
        assert not attack_configs.falls_short(attack.config), (dataset, attack)


# --------------------------------------------------------------------------- what is said


def test_a_training_says_which_of_its_attacks_falls_short():
  config = published.setting("mnist", "at")
  short = config.replace(validation_attack=config.validation_attack.replace(steps=20))
  assert cautions(short) == [
    "the attack on held-out images cannot reach the edge of its ball: 20 steps of 0.01 go 0.2 far from the centre of a "
    "ball of 0.3; give `validation_attack_steps` or `validation_attack_step_size`."
  ]
  weak = config.replace(attack=config.attack.replace(steps=3))
  (sentence,) = cautions(weak)
  assert sentence.startswith("the training attack") and "`attack_step_size`" in sentence
  assert cautions(weak.replace(method="um")) == []  # It trains on clean images.


@pytest.mark.parametrize(
  "schedules, short",
  [
    ({"epsilon": ((0, 0.0), (9, 1.0))}, False),  # The step size follows.
    ({"epsilon": ((0, 0.0), (9, 1.0)), "step_size": ((0, 1.0),)}, False),
    ({"step_size": ((0, 1.0), (9, 0.5))}, True),
    ({"step_size": ((0, 1.0), (9_000_000, 0.5))}, False),  # Not before the training's end.
  ],
)
def test_schedules_count(schedules, short):
  assert bool(cautions(published.setting("mnist", "at").replace(schedules=schedules))) == short


def test_the_models_warn():
  network = networks.build("mlp_8", (4, 4, 1), 3)
  with pytest.warns(AttackWarning, match="`attack`: 3 steps of 0.01 go 0.03 far.*ball of 0.3.*scaled"):
    models.AdversarialTraining(network, attack=PGD.replace(steps=3), validation_attack=PGD)
  with warnings.catch_warnings():
    warnings.simplefilter("error", AttackWarning)
    models.AdversarialTraining(network, attack=PGD)
    models.AdversarialTraining(network, attack=presets.noise(0.3, 1))
    models.Undefended(network, attack=PGD.replace(steps=3), validation_attack=PGD)


def test_an_evaluation_says_so_before_and_raises_an_alarm_after(tmp_path):
  (tmp_path / "mine.yaml").write_text(
    "[{attack: pgd, epsilon: 0.3, step_size: 0.01, steps: 20}, {attack: noise, tries: 2},"
    " {attack: bim, epsilon: 0.3, step_size: 0.02, steps: 20}, {attack: apgd, steps: 2}]"
  )
  options = EvaluationOptions(suites=(), suite_file=tmp_path / "mine.yaml")
  plan = planned_attacks(options, "digits")
  (caution,) = plan.cautions
  assert caution.startswith("pgd cannot reach the edge of its ball: 20 steps of 0.01 go 0.2 far")
  network = networks.build("mlp_8", (8, 8, 1), 10)
  found = evaluate(network, datasets.load("digits").test.take(slice(20)), plan.attacks, jit="off")
  alarms = {alarm.code: alarm.seen for alarm in raise_alarms(found.attacks, found.fell, found.right)}
  assert alarms["CANNOT_CROSS_THE_BALL"] == "pgd: 20 steps of 0.01 go 0.2 far from the centre of a ball of 0.3."
  replayed = attack_configs.TransferConfig(PGD.replace(steps=20))
  assert attack_configs.falls_short(replayed) and not attack_configs.falls_short(attack_configs.TransferConfig(PGD))


def test_what_a_list_of_ones_own_leaves_out_follows_the_data_set(tmp_path):
  (tmp_path / "mine.yaml").write_text(
    "[{attack: pgd}, {name: a, attack: pgd, steps: 10}, {name: b, attack: gradient, epsilon: 0.15},"
    " {name: c, attack: cw_pgd, norm: l2, steps: 20}, {name: d, attack: pgd, step_size: 0.001}]"
  )
  attacks = [attack.config for attack in read_suite(tmp_path / "mine.yaml", "mnist")]
  assert [(a.epsilon, a.steps) for a in attacks] == [(0.3, 40), (0.3, 10), (0.15, 40), (3.0, 20), (0.3, 40)]
  assert [a.step_size for a in attacks] == pytest.approx([0.01, 0.04, 0.005, 0.2, 0.001])


# --------------------------------------------------------------------------- the command line

# Many command lines in one process, which must not be that of the tests: flags are defined once in a process.
PARSED = """
import json, sys
from absl import flags
from tla_tf.binaries import presets, training_flags
dataset, *lines = json.loads(sys.argv[1])
presets.define(dataset)
training_flags.define(dataset)
for words in lines:
  flags.FLAGS.unparse_flags()
  for name in flags.FLAGS:
    flags.FLAGS[name].unparse()
  sys.argv = ["tla-train", *words]
  flags.FLAGS(["tla-train", *presets.expand(words, dataset)])
  config = training_flags.config(dataset)
  print(json.dumps([config.attack.to_dict(), config.validation_attack.to_dict()]))
"""


def _parsed(dataset, *lines):
  done = subprocess.run(
    [sys.executable, "-c", PARSED, json.dumps([dataset, *lines])], capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
  return [[AttackConfig.from_dict(attack) for attack in json.loads(line)] for line in done.stdout.splitlines()]


def _begun(folder, config):
  RunFolder(folder).write_config(config, DataFacts("0" * 64, (28, 28, 1), 10, tuple("0123456789"), None), {})
  return f"--output_dir={folder}"


def test_flags_of_training_scale_the_step_size_unless_it_is_given(tmp_path):
  setting = published.setting("mnist", "tla")
  old = setting.replace(validation_attack=setting.validation_attack.replace(steps=20))  # As 0.2 understood the flag.
  begun, new = _begun(tmp_path / "old", old), f"--output_dir={tmp_path / 'new'}"
  (tmp_path / "mine.flags").write_text("--epsilon=0.2\n--attack_steps=10\n--attack_step_size=0.05\n")
  lines = {
    (new,): (setting.attack, setting.validation_attack),
    (new, "--epsilon=0.3", "--attack_steps=40", "--validation_attack_steps=100"): None,
    (new, "--epsilon=0.15"): (0.005, 0.005),
    (new, "--epsilon=0.15", "--attack_step_size=0.01"): (0.01, 0.005),
    (new, "--attack_steps=20", "--validation_attack_steps=20"): (0.02, 0.05),
    (new, "--validation_attack_steps=20", "--validation_attack_step_size=0.03"): (0.01, 0.03),
    # A preset is a setting of its own; what changes it scales, too.
    (new, "--preset=mnist_mlp"): (0.01, 0.01),
    (new, "--preset=mnist_mlp", "--epsilon=0.15", "--attack_steps=80"): (0.0025, 0.005),
    (new, "--preset=mnist_mlp", "--epsilon", "0.15", "--attack_step_size", "0.01"): (0.01, 0.005),
    (new, f"--flagfile={tmp_path / 'mine.flags'}"): (0.05, 0.01 * 0.2 / 0.3),
    (new, f"--flagfile={tmp_path / 'mine.flags'}", "--epsilon=0.1"): (0.025, 0.01 / 3),
    # The same command goes on as it began.
    (begun, "--validation_attack_steps=20"): (0.01, 0.01),
    (begun, "--validation_attack_steps=25"): (0.01, 0.04),
  }
  found = _parsed("mnist", *map(list, lines))
  assert tuple(found[0]) == tuple(found[1]) == (setting.attack, setting.validation_attack)
  for (words, expected), attacks in list(zip(lines.items(), found))[2:]:
    assert [attack.step_size for attack in attacks] == pytest.approx(list(expected)), words


def test_a_training_in_python_says_it_once(tmp_path):
  config = published.setting("digits", "at").replace(
    network="mlp_8", validation_examples=20, train_steps=2, checkpoint_every=2, batch_size=10, jit="off"
  )
  said = []
  short = config.replace(attack=dataclasses.replace(config.attack, steps=2))
  with warnings.catch_warnings():
    warnings.simplefilter("error", AttackWarning)
    training.train(short, tmp_path / "run", say=said.append)
  assert [line for line in said if line.startswith("note: the training attack")]
