"""One Gaussian per class over embeddings, with a regularised covariance.

Embeddings behind a ReLU have many dimensions, most of them 0 for any one class,
so that a sample covariance is singular. It is shrunk towards a multiple of the
identity, (1 - s) S + s (tr S / d) I, with s of Ledoit and Wolf 2004 unless given.

Source: Mao et al. 2019, Section 5.3; the paper does not say how it regularises.
"""

from __future__ import annotations

import math
import typing

import numpy as np
import scipy.linalg
from sklearn.covariance import ledoit_wolf_shrinkage

from tla_tf.errors import InputError
from tla_tf.types import Covariance

_BLOCK = 2048
# A class whose embeddings do not vary gets this part of the mean variance of all classes.
_VARIANCE_FLOOR = 1e-6


class ClassGaussians(typing.NamedTuple):
  """One Gaussian per class; they have no weights, a density is that of its class alone.

  Attributes:
    covariance: a `types.Covariance`.
    means: float32 [classes, d].
    whitening: float32, what a centred embedding is multiplied with to have unit
      covariance: upper triangles [classes, d, d] (full) or [1, d, d] (tied), or
      factors [classes, d] (diagonal).
    log_peaks: float64 [classes], log densities at the means.
    shrinkage: float64 [classes], or [1] (tied): the s that was used.
  """

  covariance: Covariance
  means: np.ndarray
  whitening: np.ndarray
  log_peaks: np.ndarray
  shrinkage: np.ndarray

  def is_whole(self) -> bool:
    """Whether the arrays are finite and of the shapes and kinds that belong together."""
    classes, width = self.means.shape if self.means.ndim == 2 else (0, 0)
    shapes = {
      Covariance.FULL: ((classes, width, width), classes),
      Covariance.TIED: ((1, width, width), 1),
      Covariance.DIAGONAL: ((classes, width), classes),
    }
    whitening, shrinkage = shapes[self.covariance]
    arrays = (self.means, self.whitening, self.log_peaks, self.shrinkage)
    fitting = classes and (self.whitening.shape, self.log_peaks.shape, self.shrinkage.shape) == (
      whitening,
      (classes,),
      (shrinkage,),
    )
    return bool(fitting and all(array.dtype.kind == "f" and np.isfinite(array).all() for array in arrays))

  def log_densities(self, embeddings: np.ndarray) -> np.ndarray:
    """Log density of every class at every embedding: [n, d] -> float64 [n, classes], in nats.

    Raises:
      InputError: for embeddings of another width.
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or embeddings.shape[1] != self.means.shape[1]:
      raise InputError(f"Expected embeddings [n, {self.means.shape[1]}], got shape {embeddings.shape}.")
    blocks = [self._of_block(embeddings[i : i + _BLOCK].astype(np.float64)) for i in range(0, len(embeddings), _BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros((0, len(self.means)))

  def _of_block(self, block: np.ndarray) -> np.ndarray:
    densities = np.empty((len(block), len(self.means)))
    means = self.means.astype(np.float64)
    if self.covariance is Covariance.TIED:
      # Whitening is linear: once for all classes.
      whitening = self.whitening[0].astype(np.float64)
      block, means = block @ whitening, means @ whitening
    for k, mean in enumerate(means):
      white = block - mean
      if self.covariance is Covariance.FULL:
        white = white @ self.whitening[k].astype(np.float64)
      elif self.covariance is Covariance.DIAGONAL:
        white = white * self.whitening[k].astype(np.float64)
      densities[:, k] = self.log_peaks[k] - 0.5 * np.einsum("ij,ij->i", white, white)
    return densities


def fit_gaussians(
  embeddings: np.ndarray,
  labels: np.ndarray,
  num_classes: int,
  covariance: Covariance | str = Covariance.FULL,
  shrinkage: float | None = None,
) -> ClassGaussians:
  """Fits one Gaussian to the embeddings of every class.

  Args:
    embeddings: float [n, d].
    labels: integer [n], the classes.
    num_classes: how many classes there are; each needs two embeddings.
    covariance: a `types.Covariance`.
    shrinkage: s in [0, 1]; None for Ledoit and Wolf's, which minimises the
      expected squared error of the full matrix and serves the diagonal, too.

  Returns:
    ClassGaussians.

  Raises:
    InputError: if a class has too few embeddings, or a covariance is singular
      because it is not shrunk.
  """
  embeddings, labels, covariance = np.asarray(embeddings), np.asarray(labels), Covariance(covariance)
  if shrinkage is not None and not 0 <= shrinkage <= 1:
    raise InputError(f"`shrinkage={shrinkage:g}`: expected a number in [0, 1].")
  counts = np.bincount(labels, minlength=num_classes)
  if counts.min() < 2:
    raise InputError(
      f"Class {counts.argmin()} has {counts.min()} images to fit a Gaussian to; take more images (`fit_examples`)."
    )
  if not np.isfinite(embeddings).all():
    raise InputError(
      "The embeddings hold NaN or infinity, which nothing is measured by: take an earlier checkpoint, or leave such "
      "images out."
    )
  means = np.stack([embeddings[labels == k].mean(0, dtype=np.float64) for k in range(num_classes)])
  floor = _VARIANCE_FLOOR * np.mean([_centred(embeddings, labels, means, k).var() for k in range(num_classes)])
  if not floor:
    raise InputError("The embeddings of every class are all the same: there is no spread to fit a Gaussian to.")
  groups: typing.Iterable[np.ndarray]
  if covariance is Covariance.TIED:
    groups = [np.concatenate([_centred(embeddings, labels, means, k) for k in range(num_classes)])]
  else:
    groups = (_centred(embeddings, labels, means, k) for k in range(num_classes))
  parts = [_whitening(group, covariance, shrinkage, floor) for group in groups]
  whitening, log_scales, used = (np.array(values) for values in zip(*parts))
  log_peaks = np.broadcast_to(log_scales, [num_classes]) - 0.5 * embeddings.shape[1] * math.log(2 * math.pi)
  return ClassGaussians(covariance, means.astype(np.float32), whitening, log_peaks, used)


def _centred(embeddings: np.ndarray, labels: np.ndarray, means: np.ndarray, k: int) -> np.ndarray:
  return embeddings[labels == k].astype(np.float64) - means[k]


def _whitening(
  centred: np.ndarray, covariance: Covariance, shrinkage: float | None, floor: float
) -> tuple[np.ndarray, float, float]:
  """(whitening float32, log of its determinant, shrinkage) of centred embeddings."""
  if shrinkage is None:
    shrinkage = ledoit_wolf_shrinkage(centred, assume_centered=True) if centred.any() else 1.0
  variances = np.mean(centred**2, 0)
  target = max(variances.mean(), floor)
  if not variances.mean() > floor:
    shrinkage = 1.0
  if covariance is Covariance.DIAGONAL:
    variances = (1 - shrinkage) * variances + shrinkage * target
    if not variances.min() > 0:
      raise _singular()
    factors = (1 / np.sqrt(variances)).astype(np.float32)
    return factors, np.log(factors, dtype=np.float64).sum(), shrinkage
  matrix = (1 - shrinkage) * (centred.T @ centred / len(centred))
  matrix[np.diag_indices_from(matrix)] += shrinkage * target
  try:
    lower = scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
  except np.linalg.LinAlgError:
    raise _singular() from None
  inverse = scipy.linalg.solve_triangular(lower, np.eye(len(lower)), lower=True, check_finite=False)
  if not np.isfinite(inverse).all():
    raise _singular()
  # Kept in float32, as they are stored: whoever computes with them in float64 gets the same densities.
  factors = inverse.T.astype(np.float32)
  return factors, np.log(np.diag(factors), dtype=np.float64).sum(), shrinkage


def _singular() -> InputError:
  return InputError(
    "A class's covariance is singular: dimensions of its embeddings do not vary, or it has fewer "
    "images than dimensions; give a larger `shrinkage`, or leave it to Ledoit and Wolf's."
  )
