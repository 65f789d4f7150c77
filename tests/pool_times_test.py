"""Training times of pools of negatives: what is timed, in which order, and what is made of it."""

import numpy as np
import pytest

from tla_tf import published
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.records import PoolTimes
from tla_tf.training import cost, pool_times
from tla_tf.training.step_timer import MiningTimer, StepTimer, same_step
from tla_tf.types import Negatives

CONFIG = published.setting("digits", "tla", "mlp_8").replace(
  batch_size=10, attack=AttackConfig(steps=1), jit="off", optimizer="momentum"
)
AT, TOTAL, MINED = 2.0, {10: 3.0, 20: 4.0, 40: 6.0}, {20: 0.5, 40: 2.5}


@pytest.fixture
def timed(monkeypatch):
  """(what, config, executions) of all that is timed; in every round everything takes twice as long as before."""
  found = []

  def values(seconds):
    yield from [90.0, seconds]  # compiled, and to know how many are needed
    while True:
      yield seconds
      seconds *= 2

  class Timer:
    def __init__(self, what, config, seconds):
      self.what, self.config, self.values = what, config, values(seconds)

    def seconds(self, executions=1):
      found.append((self.what, self.config, executions))
      return [next(self.values) for _ in range(executions)]

  def step(config, image_shape, num_classes):
    own = AT if config.method == "at" else TOTAL[config.recipe.negative_pool_size]
    return Timer("step", config, own)

  monkeypatch.setattr(pool_times, "StepTimer", step)
  monkeypatch.setattr(
    pool_times, "MiningTimer", lambda step: Timer("mining", step.config, MINED[step.config.recipe.negative_pool_size])
  )
  monkeypatch.setattr(cost, "rates", lambda *given: cost.Rates(attack=1e6, training=1e6))
  return found


def test_steps_and_mining_are_timed_in_turn(timed, tmp_path):
  found = pool_times.training_times(CONFIG, (1, 20, 40), rounds=3)
  assert (found.at.method, found.at.pool, found.at.seconds, found.at.relative) == ("at", 0, 4.0, 1.0)
  assert [time.pool for time in found.pools] == [1, 20, 40]
  # Medians of three rounds; ratios are taken within rounds.
  assert [time.seconds for time in found.pools] == [6.0, 8.0, 12.0]
  assert [time.mining_seconds for time in found.pools] == [0.0, 1.0, 5.0]
  assert [time.relative for time in found.pools] == [1.5, 2.0, 3.0]
  assert found.by_pool()[40].minutes_per_100_steps == pytest.approx(20.0)
  assert all(time.measured for time in (found.at, *found.pools))
  assert [what for what, _, executions in timed if executions == 1] == ["step"] * 12 + ["mining"] * 6
  assert [row["pool"] for row in found.rows()] == [0, 1, 20, 40]
  found.write(tmp_path / "times.json")
  assert PoolTimes.read(tmp_path / "times.json") == found


def test_a_pool_of_one_is_a_random_negative_and_all_have_one_batch_and_attack(timed):
  pool_times.training_times(CONFIG, (1, 20), rounds=1)
  configs = {config.recipe.negative_pool_size: config for _, config, _ in timed if config.method == "tla"}
  assert configs[10].recipe.triplet.negatives is Negatives.RANDOM
  assert configs[20].recipe.triplet.negatives is Negatives.NEAREST
  assert {(c.batch_size, c.attack, c.optimizer) for _, c, _ in timed} == {(10, same_step(CONFIG).attack, "momentum")}


def test_what_takes_long_is_counted(timed, monkeypatch):
  operations = cost.step_operations(CONFIG.replace(negative_pool_size=20), (8, 8, 1), 10)
  found = pool_times.training_times(CONFIG, (20,), longest=0.0)
  (time,) = found.pools
  assert not timed and not time.measured and not found.at.measured
  assert time.mining_seconds == pytest.approx(operations.mining / 1e6)
  assert time.seconds == pytest.approx(operations.total / 1e6)
  assert time.relative == pytest.approx(time.seconds / found.at.seconds)


@pytest.mark.parametrize("changes", [{"method": "at"}, {"negative_pool": "memory_bank"}])
def test_a_method_without_a_pool_is_refused(changes):
  with pytest.raises(InputError, match="no pool of images"):
    pool_times.training_times(CONFIG.replace(**changes))


def test_a_pool_has_a_size():
  with pytest.raises(InputError, match="`pools`"):
    pool_times.training_times(CONFIG, (0,))


def test_mining_embeds_the_pool_and_picks_from_it_as_a_step_does():
  ticks = iter(range(100))
  step = StepTimer(same_step(CONFIG.replace(negative_pool_size=30)), (8, 8, 1), 10)
  mining = MiningTimer(step, timer=lambda: float(next(ticks)))
  assert mining.seconds(2) == [1.0, 1.0]
  images, labels = step.model.negative_images(step.batch, step.batch["image"], step.model.step_seed(0))
  # Of another class, and the nearest of the pool.
  assert images.shape == (10, 8, 8, 1) and not np.any(labels == step.batch["label"])
  pool = step.batch["pool"].numpy().reshape(30, -1)
  assert all((pool == image.reshape(-1)).all(1).any() for image in images.numpy())
