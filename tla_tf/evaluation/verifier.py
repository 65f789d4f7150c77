"""An independent check of adversarial images, in NumPy, without the attacks' code."""

import numpy as np

# Float32 rounding of x + epsilon for pixels in [0, 1].
TOLERANCE = 1e-6


def verify(images, adversarial, epsilon):
  """Which adversarial images keep the rules.

  Args:
    images: float32 [n, ...] in [0, 1], the clean ones.
    adversarial: float32 [n, ...].
    epsilon: radius of the L-infinity ball.

  Returns:
    bool [n]: finite, in [0, 1], and no pixel further than epsilon.
  """
  images = np.asarray(images, np.float64)
  flat = (len(images), int(np.prod(images.shape[1:])))
  clean, found = images.reshape(flat), np.asarray(adversarial, np.float64).reshape(flat)
  finite = np.isfinite(found).all(1)
  with np.errstate(invalid="ignore"):
    in_range = (found >= 0.0).all(1) & (found <= 1.0).all(1)
    in_ball = (np.abs(found - clean) <= epsilon + TOLERANCE).all(1)
  return finite & in_range & in_ball
