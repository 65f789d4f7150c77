"""What an analysis found: `analysis.json`, and what its figures are drawn from, `analysis.npz`.

Accuracies are shares of the analysed images; pixels, and so epsilon, are in
[0, 1]. Keys of dicts by epsilon are texts of four digits, as in "0.03137".
"""

from __future__ import annotations

import dataclasses
import typing

import numpy as np

from tla_tf.config import AttackConfig, require
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.records.arrays import ArrayRecord, Layout
from tla_tf.records.evaluation import Share
from tla_tf.records.record import Record, unchanged
from tla_tf.records.training import training_epsilon
from tla_tf.types import Covariance, Metric, Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassSeparation:
  """A class's part of Table 5's ratio, with the fields of `tla_tf.analysis.ClassSeparation`."""

  label: int
  natural: int
  adversarial: int
  within: float | None
  between: float | None
  ratio: float | None
  name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeparationEntry:
  """Table 5 at one epsilon.

  Attributes:
    epsilon, steps: of the attack.
    ratio: r; None where every class is left out.
    classes: a part for each class.
    left_out: names of the classes without a ratio.
  """

  epsilon: float
  steps: int
  ratio: float | None
  classes: list[ClassSeparation]
  left_out: list[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeighbourVotes:
  """Table 6: accuracy of the vote of the k nearest natural training images.

  Attributes:
    natural: on natural images; `adversarial` at the usual epsilon.
    k: neighbours that vote.
    natural_interval, adversarial_interval: exact 95% intervals.
    metric: by which they are near.
    by_epsilon: on attacked images.
  """

  natural: float
  adversarial: float
  k: int
  natural_interval: tuple[float, float]
  adversarial_interval: tuple[float, float]
  metric: Metric
  by_epsilon: dict[str, Share]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionAreas:
  """Areas under the ROC; None where there was nothing to find."""

  auc_misclassified: float | None
  auc_adversarial: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlaggedShares:
  """Shares of images that the threshold flags; None where there are no such images."""

  clean_flagged: float | None
  adversarial_flagged: float | None
  misclassified_flagged: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionResult:
  """Figure 5: the detector, and what it finds.

  Attributes:
    auc: `auc_misclassified`, under the paper's name.
    auc_misclassified, auc_adversarial: areas of the chosen covariance; None where
      there was nothing to find.
    auc_misclassified_interval, auc_adversarial_interval: bootstrapped.
    covariance: the chosen one.
    unit_length: whether embeddings were scaled to length 1.
    shrinkage: "given" or "ledoit_wolf".
    shrinkage_values: what was used, by class or for all.
    by_covariance: areas of every covariance that could be fitted.
    fit_examples, fit_epsilon: images that it was fitted to, each clean and attacked.
    test_epsilon: of the attack that it was tested with.
    threshold: log density below which an image is suspicious.
    false_positive_rate: share of clean images that the threshold may flag.
    at_threshold: FlaggedShares.
  """

  auc: float | None
  auc_misclassified: float | None
  auc_adversarial: float | None
  auc_misclassified_interval: tuple[float, float] | None
  auc_adversarial_interval: tuple[float, float] | None
  covariance: Covariance
  unit_length: bool
  shrinkage: str
  shrinkage_values: list[float]
  by_covariance: dict[str, DetectionAreas]
  fit_examples: int
  fit_epsilon: float
  test_epsilon: float
  threshold: float
  false_positive_rate: float
  at_threshold: FlaggedShares

  def __post_init__(self) -> None:
    for name in ("auc_misclassified", "auc_adversarial"):
      area, interval = getattr(self, name), getattr(self, f"{name}_interval")
      require((area is None) == (interval is None), f"{name}_interval", "one where there is an area", interval)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalysedAccuracy:
  """The network's own accuracy, natural and under the same attacks."""

  natural: Share
  by_epsilon: dict[str, Share]


def _upgraded(content: dict) -> dict:
  # Format 1 had no number, and analysed every run at its data set's epsilons.
  return {**content, "training_epsilon": training_epsilon(content.get("config")), "notes": []}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalysisRecord(Record):
  """`analysis.json`: how a trained network sees natural and attacked images.

  Attributes:
    separation_ratio: Table 5's r by epsilon; `separation` says more.
    knn: Table 6.
    detection: Figure 5.
    accuracy: the network's own.
    attacks: "weak" and "strong".
    usual_epsilon: that of the two at which Table 6's "adversarial" and Figures 1, 2
      and 4 are.
    class_names: names of the classes.
    num_examples, num_train_examples: images that were analysed, and among which
      neighbours were sought.
    embedding_dimensions: of an embedding; `zero_share` of its values are 0.
    seed: of random starts, subsets and t-SNE.
    seconds: by part.
    training_epsilon: radius in L-infinity that the run was trained at, or None.
    notes: sentences on how it was analysed that a reader should know.
    checkpoint: step of the weights that were analysed; None of a foreign model.
    checkpoint_digest: SHA-256 of these weights, or of the foreign model.
    config: settings of the training, or of the foreign model; "dataset" among them.
    data_digest: of the data set.
    versions: from package to version.
    arrays_digest: SHA-256 of `analysis.npz`.
    split: which images were analysed.
  """

  FORMAT, FILE, REMEDY = 3, "analysis.json", "run tla-analyze again"
  UPGRADES: typing.ClassVar[dict] = {1: _upgraded, 2: unchanged}
  SEALED_SINCE = 3

  separation_ratio: dict[str, float | None]
  separation: list[SeparationEntry]
  knn: NeighbourVotes
  detection: DetectionResult
  accuracy: AnalysedAccuracy
  attacks: dict[str, AttackConfig]
  usual_epsilon: float
  class_names: list[str]
  num_examples: int
  num_train_examples: int
  embedding_dimensions: int
  zero_share: float
  seed: int
  seconds: dict[str, float]
  training_epsilon: float | None
  notes: list[str]
  checkpoint: int | None
  checkpoint_digest: str
  config: dict
  data_digest: str
  versions: dict[str, str]
  arrays_digest: str
  split: Split = Split.TEST

  def rows(self) -> list[dict[str, typing.Any]]:
    """Flat dicts for `pandas.DataFrame`: one for natural images, one for each epsilon."""
    about = {
      "dataset": self.config.get("dataset"),
      "method": self.config.get("method"),
      "network": self.config.get("network"),
      "checkpoint": self.checkpoint,
      "num_examples": self.num_examples,
      "training_epsilon": self.training_epsilon,
    }
    areas = {"auc_misclassified": self.detection.auc_misclassified, "auc_adversarial": self.detection.auc_adversarial}
    nothing = dict.fromkeys(areas)
    natural = {"knn_accuracy": self.knn.natural, "accuracy": self.accuracy.natural.accuracy}
    rows = [{**about, "epsilon": 0.0, **natural, "separation_ratio": None, **nothing}]
    for entry in self.separation:
      key = epsilon_key(entry.epsilon)
      votes, own = self.knn.by_epsilon.get(key), self.accuracy.by_epsilon.get(key)
      rows.append(
        {
          **about,
          "epsilon": entry.epsilon,
          "knn_accuracy": votes and votes.accuracy,
          "accuracy": own and own.accuracy,
          "separation_ratio": entry.ratio,
          **(areas if entry.epsilon == self.detection.test_epsilon else nothing),
        }
      )
    return rows


def epsilon_key(epsilon: float) -> str:
  """The text that results at an epsilon are kept under."""
  return f"{epsilon:.4g}"


@dataclasses.dataclass(frozen=True)
class AnalysisArrays(ArrayRecord):
  """`analysis.npz`: what the figures of a run are drawn from.

  Attributes:
    classes: the true class of Figures 1 and 2, and the class that it is taken for.
    tsne_class_points: Figure 1; `tsne_class_attacked` says which are attacked images,
      `tsne_class_predictions` what the network says (-1 for NaN).
    tsne_pair_points: Figure 2; `tsne_pair_kinds` are 0 (natural, of the true class), 1
      (natural, of the other) or 2 (attacked, taken for the other).
    retrieval_images: Figure 4's queries, clean and attacked, with `retrieval_labels`
      and `retrieval_predictions`; their neighbours are `retrieval_neighbours` with
      `retrieval_neighbour_labels`.
    roc_misclassified, roc_adversarial: Figure 5: false-positive and true-positive rates.
  """

  FILE, REMEDY = "analysis.npz", "run tla-analyze again"

  classes: typing.Annotated[np.ndarray, Layout("iu", 2)]
  tsne_class_points: typing.Annotated[np.ndarray, Layout("f", "points", 2)]
  tsne_class_attacked: typing.Annotated[np.ndarray, Layout("b", "points")]
  tsne_class_predictions: typing.Annotated[np.ndarray, Layout("iu", "points")]
  tsne_pair_points: typing.Annotated[np.ndarray, Layout("f", "pair points", 2)]
  tsne_pair_kinds: typing.Annotated[np.ndarray, Layout("iu", "pair points")]
  retrieval_images: typing.Annotated[np.ndarray, Layout("u", "queries", 2, "height", "width", "channels")]
  retrieval_labels: typing.Annotated[np.ndarray, Layout("iu", "queries")]
  retrieval_predictions: typing.Annotated[np.ndarray, Layout("iu", "queries", 2)]
  retrieval_neighbours: typing.Annotated[np.ndarray, Layout("u", "queries", 2, "k", "height", "width", "channels")]
  retrieval_neighbour_labels: typing.Annotated[np.ndarray, Layout("iu", "queries", 2, "k")]
  roc_misclassified: typing.Annotated[np.ndarray, Layout("f", 2, "curve")]
  roc_adversarial: typing.Annotated[np.ndarray, Layout("f", 2, "other curve")]

  def require_classes(self, count: int, path: AnyPath) -> None:
    """Raises InputError, which names the file, if a class is none of so many; a prediction may be -1."""
    labels = (self.classes, self.retrieval_labels, self.retrieval_neighbour_labels)
    said = (self.tsne_class_predictions, self.retrieval_predictions)
    for arrays, least in ((labels, 0), (said, -1)):
      if any(array.size and not least <= array.min() <= array.max() < count for array in arrays):
        raise InputError(f"{path}: names classes beyond the {count} of its analysis; {self.REMEDY}.")
