"""What an analysis is asked for, and its two attacks, before anything is loaded."""

from __future__ import annotations

import typing

from tla_tf import datasets
from tla_tf.attacks import presets
from tla_tf.config import AttackConfig, require, require_number, require_whole
from tla_tf.errors import InputError
from tla_tf.records.analysis import epsilon_key
from tla_tf.records.shown import pixels
from tla_tf.types import Covariance, Metric, Split, values

# Those of the paper's Table 6.
NEIGHBOURS = 50


class AnalysisOptions(typing.NamedTuple):
  """How a run is analysed.

  Attributes:
    weak_epsilon: radius that detectors are fitted at, in L-infinity; None for the data
      set's, or that of the run's training.
    strong_epsilon: radius that they are tested at.
    num_examples: images, drawn by the seed; None for all.
    num_train_examples: natural training images that neighbours are sought among; None
      for all.
    fit_examples: training images that detectors are fitted to, each clean and attacked.
    k: neighbours that vote; None for `NEIGHBOURS`, or as many as the smallest class has
      training images where those are fewer.
    metric: of neighbours and t-SNE.
    covariance: of the detector that is stored; None for full where that is not too
      large, else tied.
    shrinkage: of the covariances; None for Ledoit and Wolf's.
    unit_length: whether embeddings are scaled to length 1 for the detector.
    false_positive_rate: share of clean images that it may flag.
    seed: of random starts, subsets and t-SNE.
    batch_size: images a batch.
    split: a `types.Split`, which images are analysed.
  """

  weak_epsilon: float | None = None
  strong_epsilon: float | None = None
  num_examples: int | None = None
  num_train_examples: int | None = None
  fit_examples: int = 10_000
  k: int | None = None
  metric: Metric | str = Metric.COSINE
  covariance: Covariance | str | None = None
  shrinkage: float | None = None
  unit_length: bool = False
  false_positive_rate: float = 0.05
  seed: int = 0
  batch_size: int = 100
  split: Split | str = Split.TEST


class AnalysisAttacks(typing.NamedTuple):
  """The two attacks of an analysis.

  Attributes:
    weak: that detectors are fitted at.
    strong: that they are tested at.
    usual: "weak" or "strong", which of them Table 6 and Figures 1, 2 and 4 are at.
    notes: sentences for the record.
  """

  weak: AttackConfig
  strong: AttackConfig
  usual: str
  notes: tuple[str, ...]

  @property
  def by_name(self) -> dict[str, AttackConfig]:
    return {"weak": self.weak, "strong": self.strong}


def planned_attacks(options: AnalysisOptions, dataset: str, training_epsilon: float | None = None) -> AnalysisAttacks:
  """The attacks for a data set and a run's training.

  The usual one is at the epsilon of the run's training. The other stays at the data
  set's, unless weak would then not be weaker than strong: then it scales with it.

  Args:
    options: AnalysisOptions.
    dataset: the data set's name.
    training_epsilon: radius in L-infinity that the network was trained at, or None.

  Returns:
    AnalysisAttacks.

  Raises:
    InputError: for wrong options, or if the weak epsilon is not below the strong one.
  """
  _require_sound(options)
  scale = datasets.get(dataset).analysis_scale
  own = {"weak": scale.weak_epsilon, "strong": scale.strong_epsilon}
  asked = {"weak": options.weak_epsilon, "strong": options.strong_epsilon}
  usual, other = scale.usual, {"weak": "strong", "strong": "weak"}[scale.usual]
  chosen, notes = {name: own[name] if radius is None else radius for name, radius in asked.items()}, []
  if asked[usual] is None and training_epsilon is not None and training_epsilon != own[usual]:
    chosen[usual] = training_epsilon
    note = (
      f"Its epsilon is {pixels(training_epsilon)}, not {dataset}'s {pixels(own[usual])}: the {usual} attack is "
      "at its own"
    )
    if asked[other] is None and not _apart(**chosen):
      chosen[other] = min(1.0, own[other] * training_epsilon / own[usual])
      note += f", and the {other} one scales with it from {pixels(own[other])} to {pixels(chosen[other])}"
    notes.append(f"{note}.")
  if not _apart(**chosen):
    raise InputError(
      f"Weak epsilon {chosen['weak']:.4g} and strong epsilon {chosen['strong']:.4g}: expected 0 < weak < strong <= 1; "
      "give `weak_epsilon` and `strong_epsilon`."
    )
  steps = {"weak": scale.weak_steps, "strong": scale.strong_steps}
  made = {name: presets.pgd(chosen[name], 2.5 * chosen[name] / steps[name], steps[name]) for name in chosen}
  return AnalysisAttacks(**made, usual=usual, notes=tuple(notes))


def _apart(weak: float, strong: float) -> bool:
  # Results are kept under epsilons of four digits.
  return 0 < weak < strong <= 1 and epsilon_key(weak) != epsilon_key(strong)


def _require_sound(options: AnalysisOptions) -> None:
  for name in ("weak_epsilon", "strong_epsilon", "shrinkage"):
    if getattr(options, name) is not None:
      require_number(options, name, high=1.0)
  for name in ("num_examples", "num_train_examples"):
    if getattr(options, name) is not None:
      require_whole(options, name, low=2)
  require_whole(options, "fit_examples", low=2)
  if options.k is not None:
    require_whole(options, "k", low=1)
  require_whole(options, "batch_size", low=1)
  require_whole(options, "seed")
  require(options.seed < 2**32, "seed", "a number below 2**32", options.seed)
  require_number(options, "false_positive_rate", high=1.0)
  require(options.false_positive_rate < 1, "false_positive_rate", "a number below 1", options.false_positive_rate)
  require(options.metric in values(Metric), "metric", f"one of {values(Metric)}", options.metric)
  kinds = [None, *values(Covariance)]
  require(options.covariance in kinds, "covariance", f"one of {kinds}", options.covariance)
