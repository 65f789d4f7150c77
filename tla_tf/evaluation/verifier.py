"""An independent check of adversarial images, in NumPy, without the attacks' code."""

from __future__ import annotations

import numpy as np

# Float32 rounding of x + epsilon for pixels in [0, 1].
TOLERANCE = 1e-6
_NORMS = ("linf", "l2", "l0")


def verify(
  images: np.ndarray, adversarial: np.ndarray, epsilon: float, norm: str = "linf", eight_bit: bool = False
) -> np.ndarray:
  """Which adversarial images keep the rules.

  Args:
    images: float32 [n, ...] in [0, 1], the clean ones.
    adversarial: float32 [n, ...].
    epsilon: radius of the ball.
    norm: "linf", no pixel further than epsilon; "l2", the length of the change;
      "l0", the share of pixel values that changed at all.
    eight_bit: whether every pixel must be a whole grey level of 255.

  Returns:
    bool [n]: finite, in [0, 1], in the ball and, where asked, of 8 bits.

  Raises:
    ValueError: for another norm.
  """
  clean, found = flat(images), flat(adversarial)
  finite = np.isfinite(found).all(1)
  with np.errstate(invalid="ignore"):
    in_range = (found >= 0.0).all(1) & (found <= 1.0).all(1)
    in_ball = _lengths(found - clean, norm) <= epsilon + TOLERANCE * max(1.0, epsilon)
    whole = np.abs(found * 255 - np.rint(found * 255)).max(1, initial=0.0) < 1e-3 if eight_bit else True
  return finite & in_range & in_ball & whole


def distance(images: np.ndarray, adversarial: np.ndarray, norm: str = "linf") -> np.ndarray:
  """Size of the change of each image in a norm, float64 [n]; arguments as in `verify`."""
  return _lengths(flat(adversarial) - flat(images), norm)


def flat(images: np.ndarray) -> np.ndarray:
  """Images as rows of pixels, float64 [n, height * width * channels]."""
  images = np.asarray(images, np.float64)
  return images.reshape(len(images), int(np.prod(images.shape[1:])))


def _lengths(change: np.ndarray, norm: str) -> np.ndarray:
  if norm not in _NORMS:
    raise ValueError(f"norm {norm!r}: expected one of {list(_NORMS)}")
  if norm == "l2":
    return np.sqrt((change**2).sum(1))
  return (change != 0.0).mean(1) if norm == "l0" else np.abs(change).max(1, initial=0.0)
