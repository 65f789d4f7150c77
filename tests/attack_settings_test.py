"""A direct call does what its settings say: every field of every attack, restarts above all."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tla_tf import attack_configs as configs
from tla_tf.attacks import Apgd, Attack, AttackFactory, AttackResult, Fab, GradientAttack, attack_survivors, presets
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.ops import seeds

RNG = np.random.default_rng(0)
HIDDEN = RNG.normal(size=(25, 12)).astype(np.float32)
LAST = RNG.normal(size=(12, 5)).astype(np.float32)
IMAGES = RNG.uniform(0.1, 0.9, size=(24, 5, 5, 1)).astype(np.float32)


def network(images):
  return tf.tanh(tf.reshape(images - 0.5, [-1, 25]) @ HIDDEN) @ LAST


LABELS = np.argmax(network(IMAGES), -1)
PGD = AttackConfig(0.03, 0.02, 5, momentum=0.7)
MADE = GradientAttack(network, PGD.replace(epsilon=0.1, step_size=0.05), jit="off")(IMAGES, LABELS).adversarial.numpy()
# By kind: settings, and another value for every field of theirs.
CASES = {
  "gradient": (
    PGD,
    {
      "epsilon": 0.04,
      "step_size": 0.005,
      "steps": 7,
      "random_start": False,
      "objective": "margin",
      "momentum": 0.2,
      "momentum_rule": "averaged",
      "restarts": 5,
      "norm": "l2",
    },
  ),
  "carlini_wagner": (
    configs.CarliniWagnerConfig(0.5, steps=20, binary_search_steps=2, initial_constant=0.1),
    {
      "epsilon": 0.2,
      "steps": 30,
      "step_size": 0.02,
      "binary_search_steps": 3,
      "initial_constant": 1.0,
      "confidence": 0.5,
      "restarts": 2,
      "norm": "linf",
    },
  ),
  "deepfool": (
    configs.DeepFoolConfig(1.0, candidates=3),
    {"epsilon": 0.2, "steps": 1, "overshoot": 0.1, "candidates": 1, "restarts": 2, "norm": "linf"},
  ),
  "jsma": (configs.JsmaConfig(0.1, restarts=1), {"epsilon": 0.4, "theta": -0.5, "restarts": 4, "norm": "l2"}),
  "apgd": (configs.ApgdConfig(0.05, 5), {"epsilon": 0.1, "steps": 9, "loss": "dlr", "restarts": 3, "norm": "l2"}),
  "fab": (
    configs.FabConfig(0.01, 5, restarts=1),
    {"epsilon": 0.2, "steps": 1, "alpha_max": 0.5, "eta": 1.2, "beta": 0.5, "restarts": 4, "norm": "l2"},
  ),
  "square": (
    configs.SquareConfig(0.05, 60),
    {"epsilon": 0.2, "steps": 90, "initial_share": 0.3, "rescale_schedule": False, "restarts": 3, "norm": "l2"},
  ),
  "library": (
    configs.LibraryConfig("cleverhans_pgd", 0.03, 5),
    {"attack": "cleverhans_mim", "epsilon": 0.05, "steps": 8, "restarts": 3, "norm": "l2"},
  ),
  "transfer": (configs.TransferConfig(PGD.replace(epsilon=0.1)), {"attack": PGD}),
}
FIELDS = [(kind, field.name) for kind, config in configs.KINDS.items() for field in dataclasses.fields(config)]


def _found(config, **call):
  transfers = {config: MADE} if isinstance(config, configs.TransferConfig) else {}
  return AttackFactory(network, "off", transfers).make(config)(IMAGES, LABELS, **call)


@pytest.fixture(scope="module")
def usual():
  return {kind: _found(config) for kind, (config, _) in CASES.items()}


def _same(first, second):
  return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("kind, field", FIELDS)
def test_every_setting_changes_what_a_call_does_or_is_refused(usual, kind, field):
  config, changes = CASES[kind]
  try:
    found = _found(config.replace(**{field: changes[field]}))
  except InputError as error:
    assert f"`{field}`" in str(error)
    return
  assert not _same(found, usual[kind])
  assert _same(usual[kind], _found(config))


def test_images_of_another_network_count_within_epsilon_alone(usual):
  assert usual["transfer"].success.numpy().any()
  assert not _found(configs.TransferConfig(PGD)).success.numpy().any()


@pytest.mark.parametrize(
  "config",
  [
    AttackConfig(0.1, 0.01, 3, random_start=False, restarts=2),
    configs.CarliniWagnerConfig(restarts=2),
    configs.DeepFoolConfig(restarts=2),
  ],
)
def test_restarts_that_would_do_the_same_again_are_refused(config):
  with pytest.raises(InputError, match="`restarts`: expected 1, since the attack draws nothing.*received 2"):
    AttackFactory(network, "off").make(config)


def test_a_start_of_ones_own_is_one_start():
  attack = GradientAttack(network, PGD.replace(restarts=2), jit="off")
  with pytest.raises(InputError, match="give `restarts=1`"):
    attack(IMAGES, LABELS, start=IMAGES)
  with pytest.raises(InputError, match="`start` of the images' shape"):
    GradientAttack(network, PGD, jit="off")(IMAGES, LABELS, start=IMAGES[:2])


# --------------------------------------------------------------------------- restarts


class _Scripted(Attack):
  """Breaks image i (its pixels are i / 10) at the starts that a script names, and remembers what it was shown."""

  def __init__(self, restarts, broken_at=(), losses=(0.0,) * 9):
    super().__init__(network, AttackConfig(restarts=restarts), "off")
    self.script, self.losses, self.shown = dict(broken_at), losses, []

  def num_classes(self, images):
    return 10

  def run(self, images, labels, key, targets, restart):
    names = np.rint(np.asarray(images)[:, 0, 0, 0] * 10).astype(int)
    self.shown.append((restart, sorted(set(names.tolist())), key.numpy().tolist()))
    count = len(names)
    return AttackResult(
      images + 0.01 * (restart + 1),
      np.array([self.script.get(name) == restart for name in names]),
      np.full(count, self.losses[restart], np.float32),
      np.full(count, 0.01 * (restart + 1), np.float32),
      np.full(count, 2),
      np.full(count, 1),
    )


NUMBERED = np.tile(np.arange(4, dtype=np.float32)[:, None, None, None] / 10, [1, 2, 2, 1])
NONE = np.zeros(4, int)


def test_a_call_restarts_on_what_still_stands():
  attack = _Scripted(4, {0: 0, 1: 1, 3: 2})
  found = attack(NUMBERED, NONE)
  assert [shown for _, shown, _ in attack.shown] == [[0, 1, 2, 3], [1, 2, 3], [2, 3], [2]]
  assert found.success.numpy().tolist() == [True, True, False, True]
  assert found.zero_gradients.numpy().tolist() == [2, 4, 8, 6]
  assert found.nonfinite_gradients.dtype == tf.int32
  np.testing.assert_allclose(found.distance, [0.01, 0.02, 0.01, 0.03])
  np.testing.assert_allclose(found.adversarial[:, 0, 0, 0], [0.01, 0.12, 0.21, 0.33], atol=1e-6)


def test_of_starts_that_break_nothing_the_one_of_highest_loss_is_returned():
  found = _Scripted(3, {1: 2}, losses=(1.0, 3.0, 2.0))(NUMBERED, NONE)
  assert found.loss.numpy().tolist() == [3.0, 2.0, 3.0, 3.0]


def test_a_start_that_is_named_is_the_only_one():
  attack = _Scripted(4)
  attack(NUMBERED, NONE, restart=2)
  assert [restart for restart, *_ in attack.shown] == [2]


def test_every_start_has_keys_of_its_own_and_the_first_those_of_a_single_start():
  one, more, each = _Scripted(1), _Scripted(3), _Scripted(2)
  one(NUMBERED, NONE, seed=5)
  more(NUMBERED, NONE, seed=5)
  each(NUMBERED, NONE, seed=seeds.example_keys(seeds.key(1), tf.range(4)))
  keys = [key for *_, key in more.shown]
  assert keys[0] == one.shown[0][2]
  assert len({str(key) for key in keys[1] + keys[2]}) == 8
  first, second = (key for *_, key in each.shown)
  assert len({str(key) for key in first + second}) == 8


def test_keys_by_example_do_not_depend_on_who_fell():
  few, all_ = _Scripted(2, {0: 0, 2: 0}), _Scripted(2)
  few(NUMBERED, NONE)
  all_(NUMBERED, NONE)
  # Padded to four: images 1 and 3, again and again.
  assert few.shown[1][2][:2] == [all_.shown[1][2][i] for i in (1, 3)]


def test_restarts_break_as_much_as_attack_survivors_does():
  config = presets.noise(0.2, 60)
  images = np.tile(IMAGES, [4, 1, 1, 1])
  labels = np.tile(LABELS, 4)
  one = GradientAttack(network, config.replace(restarts=1), jit="off")(images, labels).success.numpy()
  attack = GradientAttack(network, config, jit="off")
  many, survivors = attack(images, labels).success.numpy(), attack_survivors(attack, images, labels).success
  assert one.sum() < many.sum() and np.all(many >= one)
  assert abs(int(many.sum()) - int(survivors.sum())) <= 2


def test_restarts_need_no_further_trace():
  attack = Apgd(network, configs.ApgdConfig(0.02, 3, restarts=4), "off")
  attack(IMAGES, LABELS)
  attack(IMAGES, LABELS, targets=(LABELS + 1) % 5)
  attack(IMAGES, LABELS, seed=1)
  assert attack.trace_count == 2


def test_an_attack_that_aims_makes_as_many_starts_as_there_are_other_classes():
  attack = Fab(network, configs.FabConfig(1e-4, 2, restarts=9), "off")
  seen = []
  run = attack.run
  attack.run = lambda *arguments: seen.append(arguments[-1]) or run(*arguments)
  attack(IMAGES, LABELS)
  assert seen == [0, 1, 2, 3]
  seen.clear()
  attack_survivors(attack, IMAGES, LABELS)
  assert seen == [0, 1, 2, 3]
  seen.clear()
  attack(IMAGES, LABELS, targets=(LABELS + 1) % 5)
  assert seen == [0]


def test_a_call_on_no_images():
  found = _Scripted(3)(NUMBERED[:0], NONE[:0])
  assert [len(field) for field in found] == [0] * 6
