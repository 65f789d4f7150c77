"""Nearest neighbours among natural training images: classification and retrieval."""

from __future__ import annotations

import numpy as np
import sklearn
from sklearn.neighbors import KNeighborsClassifier

from tla_tf.errors import InputError
from tla_tf.types import Metric

# MiB that a block of distances may take.
_WORKING_MEMORY = 512


class Neighbours:
  """scikit-learn's k nearest neighbours by brute force, in blocks.

  The paper (Table 6: k = 50; Figure 4) does not name its metric; the cosine is
  what the embedding was trained for.

  Args:
    reference: float32 [n, d], embeddings of natural training images.
    labels: integer [n].
    k: neighbours that vote.
    metric: a `types.Metric`.

  Raises:
    InputError: if there are fewer than k reference embeddings.
  """

  def __init__(self, reference: np.ndarray, labels: np.ndarray, k: int = 50, metric: Metric | str = Metric.COSINE):
    if not 1 <= k <= len(reference):
      raise InputError(f"`k={k}` neighbours: expected at least 1 and at most the {len(reference)} training embeddings.")
    self.labels = np.asarray(labels)
    self._classifier = KNeighborsClassifier(k, algorithm="brute", metric=Metric(metric).value)
    self._classifier.fit(np.asarray(reference), self.labels)

  def predict(self, queries: np.ndarray) -> np.ndarray:
    """The class of most of the k nearest, int [m]; of equally many, the lowest class."""
    if not len(queries):
      return np.zeros(0, self.labels.dtype)
    with sklearn.config_context(working_memory=_WORKING_MEMORY):
      return self._classifier.predict(np.asarray(queries))

  def accuracy(self, queries: np.ndarray, labels: np.ndarray) -> float:
    """Share of queries [m, d] whose neighbours vote for their class."""
    return float(np.mean(self.predict(queries) == np.asarray(labels)))

  def nearest(self, queries: np.ndarray, count: int) -> np.ndarray:
    """Positions of the nearest reference embeddings, nearest first: int [m, count]."""
    count = min(count, len(self.labels))
    if not len(queries):
      return np.zeros((0, count), int)
    with sklearn.config_context(working_memory=_WORKING_MEMORY):
      return self._classifier.kneighbors(np.asarray(queries), count, return_distance=False)
