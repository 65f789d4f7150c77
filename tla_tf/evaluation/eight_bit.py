"""Rounding of adversarial images to whole grey levels, as a picture file would.

A network is then shown what an attacker could save and send. Rounding must not
leave the ball, and undoes what lies just beyond a boundary: the same change,
larger, may still do.
"""

from __future__ import annotations

import numpy as np

from tla_tf.evaluation.verifier import TOLERANCE, distance, flat

# Factors on a change that rounding undid.
OUTWARD = (1.02, 1.05, 1.1, 1.2, 1.5, 2.0, 4.0)


def to_eight_bits(images: np.ndarray, adversarial: np.ndarray, epsilon: float, norm: str = "linf") -> np.ndarray:
  """Rounds adversarial images to whole grey levels without leaving the ball.

  Args:
    images: float32 [n, ...], clean, of whole grey levels.
    adversarial: float32 [n, ...].
    epsilon: radius of the ball.
    norm: "linf", "l2" or "l0".

  Returns:
    float32 [n, ...]: the nearest levels. Where these lie outside the ball, as
    few pixels as needed, those that rounding moved furthest outward, take the
    level towards the clean image instead. Pixels of no change stay as they are.
  """
  clean, found = flat(images), flat(adversarial)
  change = np.nan_to_num(found - clean) * 255
  nearest = np.rint(change)
  # 1e-3 of a level: a whole number of levels, in float32, is not to lose one.
  inward = np.sign(change) * np.floor(np.abs(change) + 1e-3)
  if norm == "linf":
    chosen = np.where(np.abs(nearest) / 255 > epsilon + TOLERANCE, inward, nearest)
  elif norm == "l2":
    chosen = _inside_l2(nearest, inward, np.abs(nearest) - np.abs(change), 255 * epsilon)
  else:
    chosen = nearest
  levels = np.clip(np.rint(clean * 255) + chosen, 0, 255) / 255
  return np.where(chosen == 0, clean, levels).astype(np.float32).reshape(np.shape(adversarial))


def _inside_l2(nearest: np.ndarray, inward: np.ndarray, excess: np.ndarray, radius: float) -> np.ndarray:
  """`nearest`, where the entries of largest excess become those of `inward` until the length is within `radius`."""
  order = np.argsort(-excess, 1)
  saved = np.take_along_axis(nearest**2 - inward**2, order, 1)
  lengths = np.concatenate([np.zeros((len(saved), 1)), np.cumsum(saved, 1)], 1)
  needed = (nearest**2).sum(1) - (radius + 255 * TOLERANCE) ** 2
  # The first number of replaced entries that is enough; all, if none is.
  count = np.where((lengths >= needed[:, None]).any(1), (lengths >= needed[:, None]).argmax(1), saved.shape[1])
  rank = np.argsort(order, 1)
  return np.where(rank < count[:, None], inward, nearest)


def further_out(images: np.ndarray, adversarial: np.ndarray, epsilon: float, norm: str, factor: float) -> np.ndarray:
  """The same changes, larger, but inside ball and range.

  Args:
    images: float32 [n, ...], clean.
    adversarial: float32 [n, ...].
    epsilon: radius of the ball.
    norm: "linf", "l2" or "l0"; in L0 a change grows without leaving the ball.
    factor: how much larger, at most.

  Returns:
    float32 [n, ...] in [0, 1].
  """
  change = adversarial - images
  limit = np.inf if norm == "l0" else epsilon / np.maximum(distance(images, adversarial, norm), 1e-12)
  scale = np.broadcast_to(np.minimum(factor, limit), [len(images)]).reshape(-1, *[1] * (images.ndim - 1))
  return np.clip(images + scale * change, 0, 1).astype(np.float32)


def whole_levels(images: np.ndarray) -> bool:
  """Whether pixels in [0, 1] are whole grey levels of 255."""
  levels = images * 255
  return bool(np.abs(levels - np.rint(levels)).max(initial=0.0) < 1e-2)
