"""Receiver operating characteristics of a score that is low for what is to be found."""

from __future__ import annotations

import typing

import numpy as np
from sklearn import metrics


class Roc(typing.NamedTuple):
  """A ROC curve.

  Attributes:
    false_positive_rate: float64 [points], share of negatives that are flagged.
    true_positive_rate: float64 [points], share of positives that are flagged.
    auc: area under the curve: the chance that a positive scores lower than a
      negative. None without positives or without negatives.
  """

  false_positive_rate: np.ndarray
  true_positive_rate: np.ndarray
  auc: float | None


def roc_curve(scores: np.ndarray, positive: np.ndarray) -> Roc:
  """The curve of flagging what scores below a threshold, for all thresholds.

  Args:
    scores: float [n], low where an image is suspicious.
    positive: bool [n], what is to be found.

  Returns:
    Roc, by scikit-learn.
  """
  scores, positive = np.asarray(scores), np.asarray(positive, bool)
  if positive.all() or not positive.any():
    return Roc(np.zeros(0), np.zeros(0), None)
  false_positive_rate, true_positive_rate, _ = metrics.roc_curve(positive, -scores)
  return Roc(false_positive_rate, true_positive_rate, float(metrics.roc_auc_score(positive, -scores)))


def auc_interval(
  scores: np.ndarray,
  positive: np.ndarray,
  groups: np.ndarray,
  seed: int = 0,
  resamples: int = 200,
  confidence: float = 0.95,
) -> tuple[float, float] | None:
  """Bootstrap percentile interval of the AUC.

  Args:
    scores: float [n], low where an image is suspicious.
    positive: bool [n], what is to be found.
    groups: int [n], what is drawn together: an image and its attacked version.
    seed: of the resamples.
    resamples: how many are drawn.
    confidence: how often such an interval covers the true area.

  Returns:
    (low, high), or None where the AUC is None.
  """
  scores, positive, groups = np.asarray(scores), np.asarray(positive, bool), np.asarray(groups)
  if positive.all() or not positive.any():
    return None
  rng = np.random.default_rng(seed)
  _, places = np.unique(groups, return_inverse=True)
  areas = []
  for _ in range(resamples):
    # How often each group was drawn weighs its members.
    weights = np.bincount(rng.integers(0, places.max() + 1, places.max() + 1), minlength=places.max() + 1)[places]
    if weights[positive].any() and weights[~positive].any():
      areas.append(metrics.roc_auc_score(positive, -scores, sample_weight=weights))
  outside = (1 - confidence) / 2
  low, high = np.quantile(areas, [outside, 1 - outside])
  return float(low), float(high)
