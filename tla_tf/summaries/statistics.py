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
