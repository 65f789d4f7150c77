"""How far attacked images lie from the natural images of the class they are taken for.

Source: Mao et al. 2019, Section 5.2 and Table 5.
"""

from __future__ import annotations

import typing

import numpy as np

from tla_tf.errors import InputError

# Rows of a block of distances: 2,048 rows against 6,000 images of a class are 48 MiB.
_BLOCK = 2048
# Mean distances below this are rounding errors of float32: the class has no spread to compare with.
_NO_SPREAD = 1e-6


class ClassSeparation(typing.NamedTuple):
  """A class's part of the ratio.

  Attributes:
    label: the class.
    natural: its natural images.
    adversarial: attacked images of other classes that are taken for it.
    within: mean D over all pairs of its natural images; None with fewer than
      two.
    between: mean D over all pairs of such an attacked image and a natural one;
      None where there are none.
    ratio: between / within; None where the class is left out: one is None, or
      its natural images all have one direction.
  """

  label: int
  natural: int
  adversarial: int
  within: float | None
  between: float | None
  ratio: float | None


class Separation(typing.NamedTuple):
  """Table 5's ratio.

  Attributes:
    ratio: r, the mean over the classes that have one; None where none has.
    classes: a ClassSeparation for every class.
    left_out: labels of the classes without a ratio.
  """

  ratio: float | None
  classes: tuple
  left_out: tuple


def unit_rows(embeddings: np.ndarray) -> np.ndarray:
  """Rows scaled to length 1, float32 [n, d]; a row of zeros stays so, which gives it D = 1 to all."""
  embeddings = np.asarray(embeddings, np.float32)
  # Scaled by the largest value first: squares of very large or small embeddings leave float32.
  largest = np.abs(embeddings).max(1, keepdims=True, initial=0)
  scaled = embeddings / np.where(largest > 0, largest, 1)
  norms = np.linalg.norm(scaled, axis=1, keepdims=True)
  return scaled / np.where(norms > 0, norms, 1)


def angular_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
  """D(u, v) = 1 - |cos(u, v)| of all rows of two arrays: [n, d], [m, d] -> float32 [n, m] in [0, 1].

  It does not change where embeddings are scaled. Source: Mao et al. 2019,
  Section 4.
  """
  return 1 - np.minimum(np.abs(unit_rows(left) @ unit_rows(right).T), 1)


def separation_ratio(
  natural: np.ndarray,
  labels: np.ndarray,
  adversarial: np.ndarray,
  true_labels: np.ndarray,
  predictions: np.ndarray,
  num_classes: int,
) -> Separation:
  """The ratio r: distance of attacked images from the class they are taken for, over that class's own spread.

  Exact over all pairs, computed in blocks.

  Args:
    natural: float [n, d], embeddings of natural images.
    labels: integer [n], their classes.
    adversarial: float [m, d], embeddings of attacked images.
    true_labels: integer [m], the classes that they had.
    predictions: integer [m], the classes that the network says; an image counts
      where it differs from the true one.
    num_classes: how many classes there are.

  Returns:
    Separation.

  Raises:
    InputError: if arrays differ in length or embeddings in width, or are not
      finite.
  """
  natural, adversarial = _checked(natural, labels), _checked(adversarial, true_labels, predictions)
  if natural.shape[1] != adversarial.shape[1]:
    raise InputError(
      f"Embeddings of {natural.shape[1]} and of {adversarial.shape[1]} dimensions are not of one network."
    )
  labels, true_labels, predictions = (np.asarray(values) for values in (labels, true_labels, predictions))
  classes = tuple(
    _of_class(label, natural[labels == label], adversarial[(predictions == label) & (true_labels != label)])
    for label in range(num_classes)
  )
  ratios = [part.ratio for part in classes if part.ratio is not None]
  return Separation(
    float(np.mean(ratios)) if ratios else None, classes, tuple(part.label for part in classes if part.ratio is None)
  )


def _checked(embeddings: np.ndarray, *columns: np.ndarray) -> np.ndarray:
  embeddings = np.asarray(embeddings, np.float32)
  if embeddings.ndim != 2 or any(len(column) != len(embeddings) for column in columns):
    raise InputError(
      f"Expected embeddings [n, d] and n classes, got {embeddings.shape} and "
      f"{', '.join(str(len(column)) for column in columns)}."
    )
  if not np.isfinite(embeddings).all():
    raise InputError(
      "The embeddings hold NaN or infinity, which nothing is measured by: take an earlier checkpoint, or leave such "
      "images out."
    )
  return embeddings


def _of_class(label: int, natural: np.ndarray, adversarial: np.ndarray) -> ClassSeparation:
  natural, adversarial = unit_rows(natural), unit_rows(adversarial)
  count = len(natural)
  within = between = None
  if count > 1:
    # The sum over all ordered pairs counts every image with itself, too: a length of 1, or 0.
    own = np.einsum("ij,ij->", natural, natural, dtype=np.float64)
    within = float(max(0.0, 1 - (_sum_of_cosines(natural, natural) - own) / (count * (count - 1))))
  if count and len(adversarial):
    between = float(max(0.0, 1 - _sum_of_cosines(adversarial, natural) / (count * len(adversarial))))
  ratio = between / within if between is not None and within is not None and within > _NO_SPREAD else None
  return ClassSeparation(label, count, len(adversarial), within, between, ratio)


def _sum_of_cosines(left: np.ndarray, right: np.ndarray) -> float:
  """Sum of |cos| over all pairs of unit rows."""
  blocks = (np.abs(left[i : i + _BLOCK] @ right.T).sum(dtype=np.float64) for i in range(0, len(left), _BLOCK))
  return sum(blocks)
