"""How sure an accuracy is: confidence intervals, and the spread over seeds."""

from __future__ import annotations

import collections.abc

import numpy as np
from scipy import stats


def interval(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
  """The exact (Clopper and Pearson 1934) confidence interval of a share.

  Args:
    count: images that were right.
    total: images, at least 1.
    confidence: how often such an interval covers the true share.

  Returns:
    (low, high).
  """
  found = stats.binomtest(int(count), int(total)).proportion_ci(confidence, method="exact")
  return float(found.low), float(found.high)


def spread(values: collections.abc.Sequence[float]) -> tuple[float, float | None]:
  """Mean and sample standard deviation (None of fewer than two) of accuracies over seeds."""
  found = np.asarray(values, float)
  return float(found.mean()), float(found.std(ddof=1)) if len(found) > 1 else None


def interval_of_mean(
  values: collections.abc.Sequence[float],
  intervals: collections.abc.Sequence[tuple[float, float]] | None = None,
  confidence: float = 0.95,
) -> tuple[float, float] | None:
  """A confidence interval of a mean over trainings, each measured on the same images.

  What other seeds would have given is in Student's t interval of the values; what
  other images would have, in the trainings' own intervals, whose mean half-widths
  stand for the mean's (as if all trainings erred on the same images: it is never
  narrower). Both are independent: their half-widths are joined by the root of the
  sum of squares, below and above.

  Args:
    values: one a training.
    intervals: those of the values over images; None where there are none.
    confidence: as above.

  Returns:
    (low, high): of one training its own interval; None if there is none.
  """
  mean, deviation = spread(values)
  over_seeds = 0.0
  if deviation is None:
    if intervals is None:
      return None
  else:
    quantile = stats.t.ppf((1 + confidence) / 2, len(values) - 1)
    over_seeds = float(quantile) * deviation / len(values) ** 0.5
  below = above = 0.0
  if intervals is not None:
    below = float(np.mean([value - low for value, (low, _) in zip(values, intervals, strict=True)]))
    above = float(np.mean([high - value for value, (_, high) in zip(values, intervals, strict=True)]))
  return mean - float(np.hypot(over_seeds, below)), mean + float(np.hypot(over_seeds, above))
