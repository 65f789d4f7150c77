"""Operations of networks, steps and trainings against counts by hand."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import networks, published
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.networks.flops import flops
from tla_tf.recipes.cheap_attack import InnerAttackConfig
from tla_tf.training import cost, step_timer

# mlp_8 on 64 pixels: 64 x 8, 8 x 8, 8 x 8, 8 x 10 multiplications.
FORWARD, FIRST = 2 * (512 + 64 + 64 + 80), 2 * 512


@pytest.fixture(scope="module")
def network():
  return networks.build("mlp_8", (8, 8, 1), 10)


def test_products_of_known_layers_are_counted():
  layers = [
    keras.Input((6, 6, 3)),
    keras.layers.Conv2D(4, 5, padding="same"),  # 36 places, 5 x 5 x 3 x 4
    keras.layers.ReLU(),
    keras.layers.DepthwiseConv2D(3, padding="valid"),  # 16 places, 3 x 3 x 4
    keras.layers.Conv2D(8, 1, strides=2, groups=2),  # 4 places, 2 x 8
    keras.layers.Flatten(),
    keras.layers.Dense(10, activation="softmax"),  # 32 x 10
  ]
  model = keras.Sequential(layers)
  found = flops(model)
  assert list(found.layers.values()) == [2 * 36 * 300, 2 * 16 * 36, 2 * 4 * 16, 2 * 320]
  assert found.forward == 2 * (10800 + 576 + 64 + 320)
  assert found.attack == 2 * found.forward and found.training == 3 * found.forward - 2 * 10800
  assert flops(lambda x: tf.reshape(x, [-1, 8]) @ tf.ones([8, 2]), (2, 4)).forward == 2 * 16


def test_a_network_without_products_is_refused():
  with pytest.raises(InputError, match="no matrix product and no convolution"):
    flops(tf.identity, (8,))


@pytest.mark.parametrize(
  "method, settings, attack, mining, roles",
  [
    ("um", {}, 0, 0, 1),
    ("at", {}, 50 * 40 * 2 * FORWARD, 0, 1),
    ("tla", {}, 50 * 40 * 2 * FORWARD, 100 * FORWARD + 2 * 50 * 50 * 8, 3),
    ("tla", {"negative_pool": "memory_bank"}, 50 * 40 * 2 * FORWARD, 2 * 50 * 8192 * 8, 2),
    ("tla_rn", {"triplet": {"negatives": "random"}}, 50 * 40 * 2 * FORWARD, 0, 3),
  ],
)
def test_a_step_is_its_attack_its_mining_and_its_training_pass(network, method, settings, attack, mining, roles):
  config = published.setting("mnist", method, "mlp")
  own = {name: value for name, value in settings.items() if name != "triplet"}
  if "triplet" in settings:
    own["triplet"] = config.recipe.triplet.replace(**settings["triplet"])
  found = cost.step_cost(config.replace(recipe=config.recipe.replace(**own)), network)
  assert found == (attack, mining, 50 * roles * (3 * FORWARD - FIRST))
  assert found.total == sum(found)


def test_a_training_is_its_steps_and_its_looks_at_held_out_images(network):
  config = published.setting("mnist", "at", "mlp").replace(train_steps=100, checkpoint_every=40, validation_examples=7)
  looks = 3 * 7 * (100 * 2 + 2) * FORWARD
  assert cost.run_cost(config, network) == 100 * cost.step_cost(config, network).total + looks
  cheap = config.replace(recipe=config.recipe.replace(inner_attack=InnerAttackConfig(kind="fgsm_rs", until=60)))
  first, last = (cost.step_cost(cheap, network, step) for step in (59, 60))
  assert (first.attack, last.attack) == (50 * 2 * FORWARD, 50 * 40 * 2 * FORWARD)
  assert cost.run_cost(cheap, network) == 60 * first.total + 40 * last.total + looks


# ------------------------------------------------------------- seconds

DIGITS = published.setting("digits", "at", "mlp_8").replace(batch_size=10, jit="off", attack=AttackConfig(steps=2))


@pytest.fixture
def forgetful():
  """Nothing that another test has measured is remembered, nor what this one measures."""
  cost.forget()
  yield
  cost.forget()


def test_the_rate_of_this_machine_is_measured(monkeypatch, forgetful):
  monkeypatch.setattr(cost, "_MEASURING", 0.0)
  assert 0 < cost.judging_rate(DIGITS, (8, 8, 1), 10) < float("inf")


@pytest.fixture
def timed(monkeypatch, forgetful):
  """(config, step) of every step that is measured; it takes 7 s, but 90 at first, and 70 once; the
  optimizer takes 3 s."""
  found = []

  class Timer:
    def __init__(self, config, image_shape, num_classes, step=0):
      found.append((config, step))
      self.values = iter([90.0, 7.0, 70.0, 7.0, 7.0])

    def seconds(self, executions=1):
      return [next(self.values) for _ in range(executions)]

  class Update:
    def __init__(self, step):
      pass

    def seconds(self, executions=1):
      return [3.0] * executions

  monkeypatch.setattr(cost, "StepTimer", Timer)
  monkeypatch.setattr(cost, "UpdateTimer", Update)
  return found


def set_rate(monkeypatch, rate):
  """Lets an attack reach so many operations per second; the list takes in the batches of its trials."""
  batches = []
  operations = flops(networks.build("mlp_8", (8, 8, 1), 10)).attack

  class Timer:
    def __init__(self, network, batch_size, **how):
      self.batch_size = batch_size
      batches.append(batch_size)

    def seconds(self, steps):
      return self.batch_size * operations / rate

  monkeypatch.setattr(cost, "AttackTimer", Timer)
  return batches


def test_a_batch_that_would_take_long_is_cut_once(monkeypatch, timed):
  operations = flops(networks.build("mlp_8", (8, 8, 1), 10)).attack
  batches = set_rate(monkeypatch, operations * 30.0)  # 30 images a second
  monkeypatch.setattr(cost, "_FIRST_OPERATIONS", 8 * operations)
  config = DIGITS.replace(batch_size=50, attack_mode="inference")
  for _ in range(2):
    assert cost.rates(config, (8, 8, 1), 10).attack == pytest.approx(operations * 30.0)
  assert cost.judging_rate(config, (8, 8, 1), 10) == pytest.approx(operations * 30.0)
  assert batches == [8, 30]
  # One that is smaller than the cut is a batch of its own.
  cost.rates(config.replace(batch_size=20), (8, 8, 1), 10)
  assert batches == [8, 30, 8, 20]


def test_parts_of_a_step_are_divided_by_their_rates():
  assert cost.StepCost(attack=6, mining=2, training=12).seconds(cost.Rates(attack=4.0, training=3.0)) == 2.0 + 4.0
  assert cost.StepCost(attack=6, mining=2, training=12).seconds(cost.Rates(4.0, 3.0, update=5.0)) == 11.0


@pytest.mark.parametrize(
  "changes",
  [
    {"seed": 3, "learning_rate": 1.0, "warmup_steps": 5, "train_steps": 77},
    {"schedules": (("epsilon", ((0, 0.0), (5, 1.0))),), "weight_decay": 1.0},
    {"attack": AttackConfig(epsilon=0.2, step_size=0.03, steps=2), "checkpoint_every": 3, "validation_examples": 9},
  ],
)
def test_the_same_work_is_measured_once(timed, changes):
  assert cost.measured_step_seconds(DIGITS) == 7.0
  assert cost.measured_step_seconds(DIGITS.replace(**changes)) == 7.0
  assert len(timed) == 1


@pytest.mark.parametrize(
  "changes",
  [
    {"attack": AttackConfig(steps=3)},
    {"batch_size": 20},
    {"network": "mlp_16"},
    {"method": "um"},
    {"weight_average": 0.9},
    {"optimizer": "momentum"},
    {"jit": "on"},
  ],
)
def test_other_work_is_measured_anew(timed, changes):
  for config in (DIGITS, DIGITS.replace(**changes)):
    cost.measured_step_seconds(config)
  assert len(timed) == 2


def test_a_step_without_an_attack_is_the_same_whatever_the_attack(timed):
  for steps in (2, 40):
    cost.measured_step_seconds(published.setting("digits", "um", "mlp_8").replace(attack=AttackConfig(steps=steps)))
  assert len(timed) == 1


def test_a_step_that_takes_long_is_counted(timed, monkeypatch):
  config = DIGITS.replace(attack=AttackConfig(steps=10**7), attack_mode="inference")
  operations = cost.step_cost(config, networks.build("mlp_8", (8, 8, 1), 10))
  set_rate(monkeypatch, operations.attack / 4.0)
  # The training pass alone is what takes the timer's 7 s.
  assert cost.measured_step_seconds(config) == pytest.approx(4.0 + 7.0)
  assert [config.method for config, _ in timed] == ["um"]
  assert cost.measured_step_seconds(config, longest=12.0) == 7.0
  assert [config.method for config, _ in timed] == ["um", "at"]


def test_the_work_of_the_optimizer_is_not_counted_by_image(timed, monkeypatch):
  once = flops(networks.build("mlp_8", (8, 8, 1), 10))
  set_rate(monkeypatch, once.training * 4.0)  # so that four images are tried
  monkeypatch.setattr(cost, "_FIRST_OPERATIONS", once.attack)
  found = cost.rates(DIGITS, (8, 8, 1), 10)
  assert [config.batch_size for config, _ in timed] == [4, 4]
  assert found.update == 3.0 and found.training == pytest.approx(4 * once.training / (7.0 - 3.0))
  # Ten images in the place of four: 10 s, and 3 s once.
  assert cost.StepCost(0, 0, 10 * once.training).seconds(found) == pytest.approx(10.0 + 3.0)


def test_the_work_of_the_optimizer_is_timed_by_itself():
  ticks = iter(range(100))
  step = step_timer.StepTimer(step_timer.same_step(DIGITS).replace(learning_rate=0.1), (8, 8, 1), 10)
  before = step.model.network.trainable_variables[0].numpy()
  assert step_timer.UpdateTimer(step, timer=lambda: float(next(ticks))).seconds(2) == [1.0, 1.0]
  assert int(step.model.optimizer.iterations) == 2
  assert (step.model.network.trainable_variables[0].numpy() != before).any()


def test_mining_and_roles_are_counted_in_seconds(timed, monkeypatch):
  config = published.setting("digits", "tla", "mlp_8").replace(attack=AttackConfig(steps=3))
  network = networks.build("mlp_8", (8, 8, 1), 10)
  operations = cost.step_cost(config, network)
  set_rate(monkeypatch, 1e6)
  found = cost.counted_step_seconds(config)
  assert found == pytest.approx((operations.attack + operations.mining) / 1e6 + 7.0)
  roles = operations.training // (config.batch_size * flops(network).training)
  assert [config.batch_size for config, _ in timed] == [roles * config.batch_size]


def test_a_training_takes_its_phases_its_looks_and_its_start(monkeypatch, forgetful):
  config = DIGITS.replace(train_steps=100, checkpoint_every=40, validation_examples=7)
  config = config.replace(
    recipe=config.recipe.replace(inner_attack=InnerAttackConfig(kind="fgsm_rs", until=60)),
    validation_attack=AttackConfig(steps=3),
  )
  once = flops(networks.build("mlp_8", (8, 8, 1), 10))
  set_rate(monkeypatch, float(once.forward))

  def step_seconds(config, image_shape, num_classes, step):
    assert (image_shape, num_classes) == ((8, 8, 1), 10)
    return {0: 2.0, 60: 5.0}[step]

  looks = 3 * 7 * (3 * 2 + 2)
  assert cost.run_seconds(config, step_seconds=step_seconds) == cost.STARTING + 60 * 2.0 + 40 * 5.0 + looks


def test_each_phase_of_a_training_is_measured(timed):
  recipe = DIGITS.recipe.replace(inner_attack=InnerAttackConfig(kind="fgsm_rs", until=60))
  for step in (0, 59, 60, 99):
    cost.measured_step_seconds(DIGITS.replace(recipe=recipe, train_steps=100), step=step)
  assert [step for _, step in timed] == [0, 60]


@pytest.mark.parametrize("method", ["at", "tla"])
def test_a_timer_trains_and_gives_seconds_of_a_step(method):
  config = published.setting("digits", method, "mlp_8").replace(
    batch_size=10, attack=AttackConfig(steps=1), jit="off", steps_per_execution=4, log_every=6, learning_rate=1e-3
  )
  ticks = iter(range(1000))
  timer = step_timer.StepTimer(config, (8, 8, 1), 10, step=12, timer=lambda: float(next(ticks)))
  model = timer.model
  before = model.network.get_weights()
  # Executions end at the multiples of `log_every`, too: after 4, 2, 4 and 2 steps.
  assert timer.seconds(3) == [1 / 4, 1 / 2, 1 / 4, 1 / 2]
  assert int(model.optimizer.iterations) == 24
  assert any((a != b).any() for a, b in zip(before, model.network.get_weights(), strict=True))
  assert timer.seconds() == [1 / 4] and int(model.optimizer.iterations) == 28


def test_a_step_on_noise_stays_finite():
  timer = step_timer.StepTimer(step_timer.same_step(DIGITS.replace(learning_rate=1e9)), (8, 8, 1), 10)
  before = timer.model.network.trainable_variables[0].numpy()
  timer.seconds(3)
  assert (timer.model.network.trainable_variables[0].numpy() == before).all()


def test_noise_has_every_class_twice_and_fits_into_memory():
  labels = step_timer.noise((2, 2, 1), 1500).labels
  assert (np.bincount(labels) == 2).all() and len(labels) == 3000
  assert len(step_timer.noise((8, 8, 1), 10)) == 2000
  assert step_timer.noise((4096, 4096, 3), 10).images.nbytes < 2**28


def test_seconds_are_found_on_this_machine(forgetful):
  assert cost.counted_step_seconds(DIGITS) > 0
  assert cost.run_seconds(DIGITS, step_seconds=lambda *given: 0.0) > cost.STARTING


def test_a_data_set_without_a_shape_needs_one():
  config = published.setting("images", "at", "mlp_8")
  with pytest.raises(InputError, match="`image_shape` and `num_classes`"):
    cost.measured_step_seconds(config)
  assert cost.data_shape(config, (4, 4, 3), 2) == ((4, 4, 3), 2)
  assert cost.data_shape(published.setting("tiny_imagenet", "at")) == ((64, 64, 3), 200)


def test_the_example_of_the_docs_runs(forgetful, without_xla):
  text = (pathlib.Path(__file__).parent.parent / "docs" / "scaling.md").read_text(encoding="utf-8")
  (block,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "training import cost" in block)
  names: dict = {}
  exec(compile(block, "scaling.md", "exec"), names)
  assert names["step"] > 0 and names["hours"] > cost.STARTING / 3600
