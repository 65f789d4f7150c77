"""Figure 5: a detector, fitted to clean and weakly attacked images, tested on clean and strongly attacked ones."""

from __future__ import annotations

import typing

import numpy as np

from tla_tf.detection import Detector, Roc, auc_interval, fit_gaussians, roc_curve, scaled, threshold_at
from tla_tf.detection.gaussians import ClassGaussians
from tla_tf.errors import InputError
from tla_tf.evaluation.analysed_images import AnalysedImages
from tla_tf.evaluation.analysis_planning import AnalysisAttacks, AnalysisOptions
from tla_tf.evaluation.embeddings import Embedded
from tla_tf.evaluation.subject import Subject
from tla_tf.records.analysis import DetectionAreas, DetectionResult, FlaggedShares
from tla_tf.records.detector import DetectorFacts
from tla_tf.types import Covariance

# Full matrices of more bytes than this are refused: the tied one is there for them.
_LARGEST_DETECTOR = 1 << 29


class DetectorAnalysis(typing.NamedTuple):
  """What became of the detector.

  Attributes:
    result: DetectionResult.
    detector: Detector, with its threshold.
    curves: dict from "misclassified" and "adversarial" to Roc.
  """

  result: DetectionResult
  detector: Detector
  curves: dict[str, Roc]


def chosen_covariance(subject: Subject, options: AnalysisOptions) -> Covariance:
  """The covariance of the detector that is stored.

  Raises:
    InputError: if the one that is asked for would be too large.
  """
  width, count = subject.embedding_width, subject.test.num_classes
  if options.covariance is None:
    return Covariance.TIED if _too_large(count, width) else Covariance.FULL
  if _too_large(count, width) and Covariance(options.covariance) is Covariance.FULL:
    raise InputError(
      f"{count} full covariances of {width} dimensions take more than {_LARGEST_DETECTOR >> 20} MiB; "
      "give `covariance=tied` or `covariance=diagonal`."
    )
  return Covariance(options.covariance)


def _too_large(count: int, width: int) -> bool:
  return count * width**2 * 4 > _LARGEST_DETECTOR


def analyse_detector(
  images: AnalysedImages, attacks: AnalysisAttacks, options: AnalysisOptions, chosen: Covariance, facts: dict
) -> DetectorAnalysis:
  """Fits the detector of every covariance, and judges the chosen one.

  Args:
    images: AnalysedImages.
    attacks: AnalysisAttacks.
    options: AnalysisOptions.
    chosen: covariance of the detector that is stored.
    facts: `Subject.facts`.

  Returns:
    DetectorAnalysis.

  Raises:
    InputError: if the chosen one cannot be fitted.
  """
  wrong = np.concatenate([images.test.errs, images.strong.errs])
  attacked = np.repeat([False, True], len(images.test.labels))
  groups = np.tile(np.arange(len(images.test.labels)), 2)
  by_covariance, fits = {}, {}
  for covariance, gaussians in _fitted(images, options, chosen):
    scores = np.concatenate([_scores(gaussians, side, options) for side in (images.test, images.strong)])
    curves = {"misclassified": roc_curve(scores, wrong), "adversarial": roc_curve(scores, attacked)}
    by_covariance[covariance.value] = DetectionAreas(**{f"auc_{name}": curve.auc for name, curve in curves.items()})
    fits[covariance] = gaussians, scores, curves
  gaussians, scores, curves = fits[chosen]
  threshold = threshold_at(_scores(gaussians, images.heldout, options), options.false_positive_rate)
  flagged = scores < threshold
  shares = {
    f"{name}_flagged": float(np.mean(flagged[mask])) if mask.any() else None
    for name, mask in (("clean", ~attacked), ("adversarial", attacked), ("misclassified", wrong))
  }
  detector = Detector(
    gaussians,
    threshold,
    options.unit_length,
    DetectorFacts(
      checkpoint=facts["checkpoint"],
      checkpoint_digest=facts["checkpoint_digest"],
      false_positive_rate=options.false_positive_rate,
      attack=attacks.weak,
      fit_examples=len(images.fit),
      seed=options.seed,
    ),
  )
  result = DetectionResult(
    auc=curves["misclassified"].auc,
    auc_misclassified=curves["misclassified"].auc,
    auc_adversarial=curves["adversarial"].auc,
    auc_misclassified_interval=auc_interval(scores, wrong, groups, options.seed),
    auc_adversarial_interval=auc_interval(scores, attacked, groups, options.seed),
    covariance=chosen,
    unit_length=options.unit_length,
    shrinkage="given" if options.shrinkage is not None else "ledoit_wolf",
    shrinkage_values=[float(value) for value in gaussians.shrinkage],
    by_covariance=by_covariance,
    fit_examples=len(images.fit),
    fit_epsilon=attacks.weak.epsilon,
    test_epsilon=attacks.strong.epsilon,
    threshold=threshold,
    false_positive_rate=options.false_positive_rate,
    at_threshold=FlaggedShares(**shares),
  )
  return DetectorAnalysis(result, detector, curves)


def _fitted(
  images: AnalysedImages, options: AnalysisOptions, chosen: Covariance
) -> typing.Iterator[tuple[Covariance, ClassGaussians]]:
  """Gaussians of the chosen covariance, and of every other that can be fitted."""
  count = len(images.class_names)
  embeddings = scaled(
    np.concatenate([images.train.embeddings[images.fit], images.fit_attacked.embeddings]), options.unit_length
  )
  labels = np.concatenate([images.train.labels[images.fit], images.fit_attacked.labels])
  for covariance in Covariance:
    # The others are there to compare with: they may be too large, or singular without enough shrinkage.
    if covariance is Covariance.FULL and covariance is not chosen and _too_large(count, embeddings.shape[1]):
      continue
    try:
      yield covariance, fit_gaussians(embeddings, labels, count, covariance, options.shrinkage)
    except InputError:
      if covariance is chosen:
        raise


def _scores(gaussians: ClassGaussians, side: Embedded, options: AnalysisOptions) -> np.ndarray:
  return gaussians.log_densities(scaled(side.embeddings, options.unit_length)).max(1)
