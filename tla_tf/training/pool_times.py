"""The training times of the paper's Table 2: what a pool of negatives costs, beside AT.

Source: Mao et al. 2019, Table 2. Its "Mini-Batch TT" is the time to embed the pool and to pick from it, its "Total TT"
that of a whole iteration.
"""

from __future__ import annotations

import collections.abc
import statistics
import typing

from tla_tf import published
from tla_tf.config import TrainingConfig, require
from tla_tf.errors import InputError
from tla_tf.persistence.versions import versions
from tla_tf.records.pool_times import PoolTime, PoolTimes
from tla_tf.training import cost, machine
from tla_tf.training.step_timer import MiningTimer, StepTimer, same_step
from tla_tf.types import NegativePool, Negatives

# Those of the paper.
POOLS = (1, 250, 500, 1000, 2000)
# Of a round, a step's seconds at least; of a step that is counted instead.
_ROUND, _TOO_LONG = 0.3, 20.0


def training_times(
  config: TrainingConfig,
  pools: collections.abc.Sequence[int] = POOLS,
  *,
  rounds: int = 5,
  longest: float = _TOO_LONG,
  image_shape: tuple[int, ...] | None = None,
  num_classes: int | None = None,
  progress: typing.Callable[[str], object] | None = None,
) -> PoolTimes:
  """Times a step of AT and of TLA with pools of different sizes, in turn, on noise in the shape of the data.

  A pool of 1 is a random negative for every anchor, for which nothing is searched (TLA-RN,
  whose accuracies the paper's row of size 1 has).

  Args:
    config: TrainingConfig of TLA with a fresh pool; AT has its batch, its attack and its own published settings.
    pools: sizes.
    rounds: medians are taken of so many.
    longest: seconds of a step that is still measured; one that would take longer is counted, at the rates of TLA's
      step.
    image_shape: (height, width, channels); None for the data set's.
    num_classes: number of classes; None for the data set's.
    progress: called with what is being done, or None.

  Raises:
    InputError: for a method without such a pool.
  """
  say = progress or (lambda what: None)
  if getattr(config.recipe, "negative_pool", None) is not NegativePool.FRESH:
    raise InputError(f"Method {config.method!r} has no pool of images to take negatives from: give the setting of tla.")
  for pool in pools:
    require(type(pool) is int and pool >= 1, "pools", "sizes of at least 1", pool)
  shape, classes = cost.data_shape(config, image_shape, num_classes)
  configs = {0: _of_at(config), **{pool: _with_pool(config, pool) for pool in pools}}
  say("operations per second")
  # One pair for all: what is counted is to be compared, and a machine may be busier a minute later.
  rates = cost.rates(config, shape, classes)
  steps, mining, counted = {}, {}, {}
  for pool, each in configs.items():
    say(f"{_named(pool)}: compiling")
    counted[pool] = _counted(pool, each.method, cost.step_operations(each, shape, classes), rates)
    if counted[pool].seconds <= longest:
      steps[pool] = StepTimer(same_step(each), shape, classes)
      if counted[pool].mining_seconds:
        mining[pool] = MiningTimer(steps[pool])
  taken = _in_turn(steps, rounds, lambda done: say(f"steps: round {done} of {rounds}"))
  mined = _in_turn(mining, rounds, lambda done: say(f"mining: round {done} of {rounds}"))
  times = {pool: _measured(counted[pool], taken.get(pool), mined.get(pool), taken.get(0)) for pool in configs}
  at = times[0]
  unmatched = {pool for pool, time in times.items() if not (time.measured and at.measured)}
  times.update({pool: times[pool].replace(relative=times[pool].seconds / at.seconds) for pool in unmatched})
  return PoolTimes(
    dataset=config.dataset,
    network=config.network,
    batch_size=config.batch_size,
    attack_steps=config.attack.steps,
    attack_batch_size=config.attack_batch_size,
    machine=machine.described(),
    versions=versions(),
    rounds=rounds,
    at=at,
    pools=[times[pool] for pool in pools],
  )


def _named(pool):
  return f"TLA, pool of {pool}" if pool else "AT"


def _of_at(config):
  """AT's published setting with the batch, the attack and the machine's settings of another method."""
  recipe = published.setting(config.dataset, "at", config.network).recipe
  return config.replace(method="at", recipe=recipe, schedules=())


def _with_pool(config, size):
  if size > 1:
    return config.replace(negative_pool_size=size)
  triplet = config.recipe.triplet.replace(negatives=Negatives.RANDOM)
  return config.replace(triplet=triplet, negative_pool_size=config.batch_size)


def _counted(pool, method, operations, rates):
  """What counting says of a step."""
  return PoolTime(
    method=method,
    pool=pool,
    mining_seconds=operations.mining / rates.attack,
    seconds=operations.seconds(rates),
    relative=1.0,
    measured=False,
  )


def _in_turn(timers, rounds, say):
  """Seconds of a step by each timer, one number a round: a machine that is busy meanwhile is so for all."""
  first = {name: timer.seconds(2)[-1] for name, timer in timers.items()}  # the very first compiles
  found: dict[int, list[float]] = {name: [] for name in timers}
  for done in range(rounds if timers else 0):
    say(done + 1)
    for name, timer in timers.items():
      found[name].append(statistics.median(timer.seconds(max(1, round(_ROUND / first[name])))))
  return found


def _measured(counted, seconds, mining, of_at):
  """What was measured, in the place of what was counted."""
  if seconds is None:
    return counted
  return counted.replace(
    seconds=statistics.median(seconds),
    mining_seconds=statistics.median(mining or [0.0]),
    relative=statistics.median(own / at for own, at in zip(seconds, of_at)) if of_at else 1.0,
    measured=True,
  )
