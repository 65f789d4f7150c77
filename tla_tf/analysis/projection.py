"""Embeddings in the plane."""

import numpy as np
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from tla_tf.analysis.separation import unit_rows
from tla_tf.errors import InputError
from tla_tf.types import Metric


def project(
  embeddings: np.ndarray, seed: int = 0, perplexity: float = 30.0, metric: Metric | str = Metric.COSINE
) -> np.ndarray:
  """t-SNE of embeddings (van der Maaten and Hinton 2008), by scikit-learn.

  Args:
    embeddings: float [n, d], at least 3.
    seed: of the projection; the same seed gives the same points.
    perplexity: about how many neighbours an embedding has; lowered where there
      are too few embeddings for it.
    metric: a `types.Metric`.

  Returns:
    float32 [n, 2]; zeros where the embeddings are all the same.

  Raises:
    InputError: for fewer than three embeddings.
  """
  embeddings, metric = np.asarray(embeddings, np.float32), Metric(metric)
  if len(embeddings) < 3:
    raise InputError(f"t-SNE needs at least 3 embeddings, got {len(embeddings)}.")
  shown = unit_rows(embeddings) if metric is Metric.COSINE else embeddings
  spread = np.ptp(shown, axis=0)
  if not spread.max() > 1e-6 * np.abs(shown).max():
    # One point: scikit-learn would divide by its spread, and crash.
    return np.zeros((len(embeddings), 2), np.float32)
  # Principal components need two dimensions that vary.
  init = "pca" if np.sum(np.ptp(embeddings, axis=0) > 0) > 1 else "random"
  tsne = TSNE(
    2, perplexity=min(perplexity, (len(embeddings) - 1) / 3), metric=metric.value, init=init, random_state=seed
  )
  # Several threads add up in no fixed order, and t-SNE makes rounding errors large.
  with threadpool_limits(1):
    return tsne.fit_transform(embeddings).astype(np.float32)
