"""What an evaluation found: an entry of `evaluation.json`, and image by image a file of `evaluation_images/`.

Accuracies are shares of the judged images; intervals are exact 95% intervals of
them; pixels, and so epsilon, are in [0, 1].
"""

from __future__ import annotations

import dataclasses
import json
import typing

import numpy as np

from tla_tf.attack_configs import KINDS
from tla_tf.config import Config, require
from tla_tf.records.arrays import ArrayRecord, Layout
from tla_tf.types import Norm, Precision, Split, Target


@dataclasses.dataclass(frozen=True)
class Share:
  """A share of the judged images, with its interval."""

  accuracy: float
  interval: tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CleanShare:
  """The share of images that are classified correctly when nothing attacks them."""

  accuracy: float
  num_examples: int
  interval: tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThreatShare:
  """The share that withstands every attack in one ball."""

  norm: Norm
  epsilon: float
  accuracy: float
  interval: tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorstCase:
  """The share that withstands every attack under every seed.

  Attributes:
    accuracy, interval: of all attacks.
    by_suite: of each suite's attacks.
    by_threat: of the attacks in each ball.
  """

  accuracy: float
  interval: tuple[float, float]
  by_suite: dict[str, Share]
  by_threat: list[ThreatShare]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnostics:
  """Counts of images, over all seeds.

  Attributes:
    zero_gradient_images: the whole gradient was 0 at some step of a start that did
      not break the image.
    nonfinite_gradient_images: it held NaN or infinity at some step.
    rejected_by_verifier: successes that the verifier refused.
  """

  zero_gradient_images: int
  nonfinite_gradient_images: int
  rejected_by_verifier: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackRow:
  """What one attack left.

  Attributes:
    name: of the attack, unique in the evaluation but for attacks that suites share.
    suite: that it belongs to.
    kind: of `attack_configs.KINDS`.
    norm, epsilon, restarts: of its config.
    steps, step_size: of its config, where it has such.
    settings: its config as JSON values.
    target: the class that it aims at.
    on_survivors: whether it saw only what the suite's earlier attacks left; the
      accuracy is then what stands after all of them.
    accuracy: mean over the seeds; `accuracy_per_seed`, `accuracy_std` (sample standard
      deviation, None of one seed) and `accuracy_worst_over_seeds` say more.
    interval: of the mean.
    images_attacked: how many it was shown, over all seeds.
    median_distance: of the images that it broke, in its norm; None without such.
    seconds: wall-clock time of the process that finished it.
    diagnostics: Diagnostics.
    target_success: share of attacked images that got the target; of a targeted attack.
  """

  name: str
  suite: str
  kind: str
  norm: Norm
  epsilon: float
  steps: int | None
  step_size: float | None
  restarts: int
  settings: dict
  target: Target
  on_survivors: bool
  accuracy: float
  interval: tuple[float, float]
  accuracy_per_seed: list[float]
  accuracy_std: float | None
  accuracy_worst_over_seeds: float
  images_attacked: int
  median_distance: float | None
  seconds: float
  diagnostics: Diagnostics
  target_success: float | None = None

  def __post_init__(self) -> None:
    require(self.kind in KINDS, "kind", f"one of {list(KINDS)}", self.kind)
    _ = self.config

  @property
  def config(self) -> typing.Any:
    """The attack's settings as a config of its kind."""
    kind: type[Config] = KINDS[self.kind]
    return kind.from_dict(self.settings)


@dataclasses.dataclass(frozen=True)
class Alarm:
  """One alarm.

  Attributes:
    code: its name, as in docs/alarms.md.
    seen: what was measured.
    why: why it matters.
    remedy: what to do.
  """

  code: str
  seen: str
  why: str
  remedy: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseProbe:
  """What random points of the ball left."""

  tries: int
  accuracy: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpsilonPoint:
  """What PGD with this radius left."""

  epsilon: float
  accuracy: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepsPoint:
  """What PGD with so many steps left."""

  steps: int
  accuracy: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probes:
  """Small experiments behind alarms and curves; accuracies are shares of the probed images.

  Attributes:
    num_examples: images that were probed, the first ones.
    norm, epsilon: the ball.
    clean_accuracy: without an attack.
    noise: random points of the ball.
    epsilons: PGD, by radius in increasing order; the first is 0, the last holds every
      image.
    steps: PGD, by number of steps in increasing order; at least two.
    same_outputs: whether the network says the same of the same images again.
  """

  num_examples: int
  norm: Norm
  epsilon: float
  clean_accuracy: float
  noise: NoiseProbe
  epsilons: list[EpsilonPoint]
  steps: list[StepsPoint]
  same_outputs: bool

  def __post_init__(self) -> None:
    require(self.norm is not Norm.L0, "norm", "'linf' or 'l2'", self.norm.value)
    require(len(self.epsilons) >= 1, "epsilons", "at least one point", self.epsilons)
    require(len(self.steps) >= 2, "steps", "at least two points", self.steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossCheck:
  """What other libraries found in one ball.

  Attributes:
    norm, epsilon: the ball.
    withstood: images that withstood our attacks in the ball.
    broken: those of them that other libraries' attacks broke.
    share: the same as a share of all images.
  """

  norm: Norm
  epsilon: float
  withstood: int
  broken: int
  share: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
  """How a network fared under a suite of attacks: one of the evaluations in `evaluation.json`.

  Attributes:
    clean, attacks, worst_case: the accuracies.
    alarms: signs that they flatter the network.
    probes: Probes, or None where none were run.
    suite: its name; of several that older releases kept together, joined by commas.
    seed, num_seeds: of the attacks that draw.
    eight_bit: whether adversarial images were rounded to whole grey levels.
    search_precision: in which type gradient attacks searched; all is judged in float32.
    source: where the black-box attack's images come from: "run_dir" and what names
      its network; or None.
    seconds: wall-clock time of its attacks.
    training_epsilon: radius in L-infinity that the run was trained at; None of a
      foreign model, and of a run that was not trained in such a ball.
    notes: sentences on how it was judged that a reader should know.
    checkpoint: step of a run's checkpoint; None of a foreign model.
    checkpoint_digest: SHA-256 of the weights that were judged.
    config: settings of the training, or of the foreign model; "dataset" among them.
    data_digest: of the data set.
    versions: from package to version.
    cross_check: what attacks of other libraries found that ours had missed, by ball;
      None where there were none.
    images_digest: SHA-256 of the file of `evaluation_images/` that says which image
      withstood which attack; None where there is none.
    split: which images it was judged on.
  """

  clean: CleanShare
  attacks: list[AttackRow]
  worst_case: WorstCase
  alarms: list[Alarm]
  probes: Probes | None
  suite: str
  seed: int
  num_seeds: int
  eight_bit: bool
  source: dict | None
  seconds: float
  training_epsilon: float | None
  notes: list[str]
  checkpoint: int | None = None
  checkpoint_digest: str
  search_precision: Precision = Precision.FLOAT32
  config: dict
  data_digest: str
  versions: dict[str, str]
  cross_check: list[CrossCheck] | None = None
  images_digest: str | None = None
  split: Split = Split.TEST

  def __post_init__(self) -> None:
    require(isinstance(self.config.get("dataset"), str), "config", "settings with a 'dataset'", sorted(self.config))

  @property
  def dataset(self) -> str:
    """The data set's name."""
    return self.config["dataset"]

  @property
  def suites(self) -> list[str]:
    """Names of the suites, in order."""
    return list(dict.fromkeys(row.suite for row in self.attacks))

  def of_suite(self, suite: str) -> list[AttackRow]:
    """The rows of a suite's attacks, in order."""
    return [row for row in self.attacks if row.suite == suite]

  @property
  def num_examples(self) -> int:
    """Images that it was judged on, the first of its split."""
    return self.clean.num_examples

  @property
  def judged(self) -> tuple:
    """What names the network: its digest and, of a foreign model, how it is called."""
    return (self.checkpoint_digest, json.dumps(self.config.get("pixel_range")))

  @property
  def settings(self) -> frozenset[str]:
    """All that its results hang on, as a text for each of its suites: another of the same takes its place."""
    shared = [*self.judged, self.data_digest, self.num_examples, self.seed, self.num_seeds, self.eight_bit]
    if self.search_precision is not Precision.FLOAT32:
      shared.append(self.search_precision.value)
    if self.split is not Split.TEST:
      shared.append(self.split.value)
    return frozenset(
      json.dumps([*shared, suite, [self.attack_settings(row) for row in self.of_suite(suite)]], sort_keys=True)
      for suite in self.suites
    )

  def attack_settings(self, row: AttackRow) -> list:
    """What makes one of its attacks the same as one of another evaluation, as JSON values."""
    source = self.source.get("checkpoint_digest") if self.source and row.kind == "transfer" else None
    # What was left to it depends on the rest of its suite.
    chain = row.suite if row.on_survivors else None
    return [row.name, row.kind, row.settings, row.target.value, chain, source]

  def replace(self, **changes: typing.Any) -> EvaluationRecord:
    """A copy with some fields changed."""
    return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class EvaluationImages(ArrayRecord):
  """A file of `evaluation_images/`: which image withstood which attack of an evaluation.

  Attributes:
    labels: int [n], the true classes.
    predictions: int [n], what the network says of the clean images; -1 for NaN.
    right: bool [n], whether they are classified correctly.
    attacks: text [a], names of the attacks.
    broken: bool [n, a], what an attack itself broke under any seed; of one on
      survivors, without what had fallen before.
  """

  FILE, REMEDY = "evaluation_images/*.npz", "run tla-evaluate again"

  labels: typing.Annotated[np.ndarray, Layout("iu", "n")]
  predictions: typing.Annotated[np.ndarray, Layout("iu", "n")]
  right: typing.Annotated[np.ndarray, Layout("b", "n")]
  attacks: typing.Annotated[np.ndarray, Layout("U", "a")]
  broken: typing.Annotated[np.ndarray, Layout("b", "n", "a")]
