"""What pools of negatives cost: the training times of the paper's Table 2, as a JSON file holds them."""

from __future__ import annotations

import dataclasses
import typing

from tla_tf.records.record import Record, unchanged


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolTime:
  """A training step with a pool of negatives, or of AT.

  Attributes:
    method: whose step it is.
    pool: images of the pool; 1 where every anchor has one random negative, 0 of AT.
    mining_seconds: of a step, to embed the pool and to pick from it: the paper's "Mini-Batch TT".
    seconds: of the whole step: the paper's "Total TT".
    relative: to AT's step; measured in the same rounds.
    measured: False where the step would take too long, and its operations were counted.
  """

  method: str
  pool: int
  mining_seconds: float
  seconds: float
  relative: float
  measured: bool = True

  def replace(self, **changes: typing.Any) -> PoolTime:
    """A copy with some fields changed."""
    return dataclasses.replace(self, **changes)

  @property
  def minutes_per_100_steps(self) -> float:
    """Of a training without its looks at held-out images."""
    return 100.0 * self.seconds / 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolTimes(Record):
  """`training_times.json`: AT's step and those of TLA with pools of different sizes.

  Attributes:
    dataset, network, batch_size, attack_steps, attack_batch_size: of all steps.
    machine: in words.
    versions: of packages.
    rounds: that medians are taken of.
    at: AT's step.
    pools: PoolTime of every pool, in the order asked for.
  """

  FORMAT, FILE, REMEDY = 2, "training_times.json", "measure the training times again"
  UPGRADES: typing.ClassVar[dict] = {1: unchanged}
  SEALED_SINCE = 2

  dataset: str
  network: str
  batch_size: int
  attack_steps: int
  attack_batch_size: int
  machine: str
  versions: dict[str, str]
  rounds: int
  at: PoolTime
  pools: list[PoolTime]

  def by_pool(self) -> dict[int, PoolTime]:
    """The pools' times by their sizes."""
    return {time.pool: time for time in self.pools}

  def rows(self) -> list[dict[str, typing.Any]]:
    """Flat dicts for `pandas.DataFrame`: AT's step, then that of every pool."""
    about = {"dataset": self.dataset, "network": self.network, "batch_size": self.batch_size}
    return [
      {**about, **dataclasses.asdict(time), "minutes_per_100_steps": time.minutes_per_100_steps}
      for time in (self.at, *self.pools)
    ]
