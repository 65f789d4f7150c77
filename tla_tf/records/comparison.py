"""What a comparison found, variant by variant over its seeds: `comparison.json`.

Shares are fractions; pixels, and so epsilon, are in [0, 1]; times are seconds.
What was found on test images and on held-out ones are different quantities, and
so are numbers on 500 images and on 1,000: they never stand in one mean.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import typing

from tla_tf.records.record import Record, unchanged
from tla_tf.types import Norm, Split

SECONDS, TOTAL_SECONDS = "seconds", "total seconds"
VALIDATION, ROBUST_VALIDATION = "validation/clean", "validation/robust"
CLEAN, WORST_CASE = "clean", "worst case"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantity:
  """Something that is measured of every run alike.

  Attributes:
    name: what; in words of the modules' own:
      "seconds" of the training, "total seconds" with the trainings that it began with;
      "validation/clean" and "validation/robust", accuracies of the chosen checkpoint on
      held-out images, as the training measured them;
      "clean", "SUITE/ATTACK" as in "table1/PGD-100", "SUITE/worst case", and "worst case"
      of all attacks in a ball, accuracies;
      of an analysis "separation/weak" and "separation/strong" (Table 5's r),
      "neighbours/natural", "neighbours/weak" and "neighbours/strong" (Table 6, accuracies),
      "area/misclassified" and "area/adversarial" (Figure 5).
    split: the images that it is of.
    num_examples: how many; None where none are counted.
    norm, epsilon: the ball of an attack.
    eight_bit: whether attacked images were rounded.
    settings: what else it hangs on, as a digest: the same for what may be compared.
  """

  name: str
  split: Split = Split.TEST
  num_examples: int | None = None
  norm: Norm | None = None
  epsilon: float | None = None
  eight_bit: bool = False
  settings: str = ""

  @property
  def is_share(self) -> bool:
    """Whether it lies in 0 to 1: an accuracy, or an area under a curve."""
    return self.name not in (SECONDS, TOTAL_SECONDS) and not self.name.startswith("separation/")

  @property
  def suite(self) -> str | None:
    """The suite of an attack, or "separation", "neighbours", "area", "validation"."""
    before, _, after = self.name.partition("/")
    return before if after else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
  """A number of one run.

  Attributes:
    quantity: what it is of.
    value: it; of an accuracy the share.
    count, total: of an accuracy: images that were right, of how many. Over several seeds
      of an attack, rounded.
    interval: 95% of it, where other images would give another: exact of an accuracy,
      bootstrapped of an area; None where it is not known.
  """

  quantity: Quantity
  value: float
  count: int | None = None
  total: int | None = None
  interval: tuple[float, float] | None = None


class Over(str, enum.Enum):
  """What an interval of a mean accounts for: that other images, or other seeds of the training, would give another."""

  IMAGES = "images"
  SEEDS = "seeds"
  BOTH = "seeds and images"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedMean:
  """A number of a variant: the mean over the seeds of its training.

  Attributes:
    quantity: what it is of.
    seeds, values: of every run that has it.
    mean: of the values.
    std: their sample standard deviation; None of one.
    interval: 95% of the mean; None where nothing says how sure it is.
    over: what the interval accounts for. Of one seed "images", its own interval. Of several,
      Student's t over the seeds, and half the width of the runs' own intervals, joined as
      independent: the root of the sum of their squares.
  """

  quantity: Quantity
  seeds: list[int]
  values: list[float]
  mean: float
  std: float | None = None
  interval: tuple[float, float] | None = None
  over: Over | None = None


class RunState(str, enum.Enum):
  """How far a run is."""

  PLANNED = "not begun"
  TRAINING = "training"
  TRAINED = "trained"
  JUDGED = "judged"
  DAMAGED = "damaged"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparedRun:
  """A run: a variant under one seed.

  Attributes:
    variant, seed: which.
    folder: its run folder, from that of the comparison.
    state: how far it is; "judged" on test images. Of one with a damaged file the record's
      notes say what is wrong.
    steps: steps of its last checkpoint, of `train_steps`; both 0 before it begins.
    checkpoint: step of the checkpoint that was judged last, or will be: the best on held-out
      images; None before the training is done.
    checkpoint_digest: SHA-256 of it.
    alarms: codes of the alarms that its judging on test images raised, each once.
    measures: what is known of it; on test images only when its training is done, and
      of that checkpoint only.
  """

  variant: str
  seed: int
  folder: str
  state: RunState
  steps: int
  train_steps: int
  checkpoint: int | None
  checkpoint_digest: str | None
  alarms: list[str]
  measures: list[Measure]

  def find(self, name: str, split: Split = Split.TEST) -> Measure | None:
    """The measure of a quantity's name, on most images; None where there is none."""
    return _most(self.measures, name, split)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparedVariant:
  """A way to train, over its seeds.

  Attributes:
    name: the variant's.
    method, network: of its training; "" before one has begun.
    seeds: of its runs, planned ones among them.
    finished: how many of them are trained to the end.
    measures: means over the seeds of what is known.
  """

  name: str
  method: str
  network: str
  seeds: list[int]
  finished: int
  measures: list[SeedMean]

  def find(self, name: str, split: Split = Split.TEST) -> SeedMean | None:
    """The mean of a quantity's name, on most images; None where there is none."""
    return _most(self.measures, name, split)

  def of(self, quantity: Quantity) -> SeedMean | None:
    """The mean of a quantity; None where there is none."""
    return next((measure for measure in self.measures if measure.quantity == quantity), None)


_Measured = typing.TypeVar("_Measured", Measure, SeedMean)


def _most(measures: collections.abc.Iterable[_Measured], name: str, split: Split) -> _Measured | None:
  found = [one for one in measures if (one.quantity.name, one.quantity.split) == (name, split)]
  return max(found, key=lambda one: one.quantity.num_examples or 0, default=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparisonRecord(Record):
  """`comparison.json`.

  Attributes:
    dataset: the data set's name; "" before a run has begun.
    training_epsilon: radius in L-infinity that the runs were trained at, where all agree.
    variants: in the order of the plan.
    runs: in the same order, seed by seed.
    strongest: the quantity that stands for accuracy under the strongest attack: the worst
      case on test images in the ball of the training; None before one is known.
    notes: sentences that a reader should know.
  """

  FORMAT, FILE, REMEDY = 2, "comparison.json", "run tla-compare again"
  UPGRADES: typing.ClassVar[dict] = {1: unchanged}
  SEALED_SINCE = 2

  dataset: str
  training_epsilon: float | None
  variants: list[ComparedVariant]
  runs: list[ComparedRun]
  strongest: Quantity | None = None
  notes: list[str] = dataclasses.field(default_factory=list)

  def variant(self, name: str) -> ComparedVariant:
    """The variant of a name."""
    return next(variant for variant in self.variants if variant.name == name)

  def quantities(self) -> list[Quantity]:
    """All that is measured of any variant, in order of the first that has it."""
    return list(dict.fromkeys(measure.quantity for variant in self.variants for measure in variant.measures))

  def rows(self) -> list[dict[str, typing.Any]]:
    """Flat dicts for `pandas.DataFrame`: one for every number of every run."""
    return [
      {
        "variant": run.variant,
        "seed": run.seed,
        "state": run.state.value,
        "checkpoint": run.checkpoint,
        "quantity": one.quantity.name,
        "split": one.quantity.split.value,
        "num_examples": one.quantity.num_examples,
        "norm": one.quantity.norm and one.quantity.norm.value,
        "epsilon": one.quantity.epsilon,
        "value": one.value,
        "interval_low": one.interval and one.interval[0],
        "interval_high": one.interval and one.interval[1],
      }
      for run in self.runs
      for one in run.measures
    ]
