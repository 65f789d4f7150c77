"""An independent check of adversarial images, in NumPy, without the attacks' code."""

import numpy as np

# Float32 rounding of x + epsilon for pixels in [0, 1].
TOLERANCE = 1e-6


def verify(images, adversarial, epsilon, norm="linf"):
  """Which adversarial images keep the rules.

  Args:
    images: float32 [n, ...] in [0, 1], the clean ones.
    adversarial: float32 [n, ...].
    epsilon: radius of the ball.
    norm: "linf", no pixel further than epsilon, or "l2", the length of the
      change.

  Returns:
    bool [n]: finite, in [0, 1], and in the ball.

  Raises:
    ValueError: for another norm.
  """
  if norm not in ("linf", "l2"):
    raise ValueError(f"norm {norm!r}: expected 'linf' or 'l2'")
  images = np.asarray(images, np.float64)
  flat = (len(images), int(np.prod(images.shape[1:])))
  clean, found = images.reshape(flat), np.asarray(adversarial, np.float64).reshape(flat)
  finite = np.isfinite(found).all(1)
  with np.errstate(invalid="ignore"):
    in_range = (found >= 0.0).all(1) & (found <= 1.0).all(1)
    change = found - clean
    size = np.sqrt((change**2).sum(1)) if norm == "l2" else np.abs(change).max(1, initial=0.0)
    in_ball = size <= epsilon + TOLERANCE * max(1.0, epsilon)
  return finite & in_range & in_ball
