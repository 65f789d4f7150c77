"""An independent check of adversarial images, in NumPy, without the attacks' code."""

import numpy as np

# Float32 rounding of x + epsilon for pixels in [0, 1].
TOLERANCE = 1e-6
_NORMS = ("linf", "l2", "l0")


def verify(images, adversarial, epsilon, norm="linf", eight_bit=False):
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
  clean, found = _flat(images), _flat(adversarial)
  finite = np.isfinite(found).all(1)
  with np.errstate(invalid="ignore"):
    in_range = (found >= 0.0).all(1) & (found <= 1.0).all(1)
    in_ball = _lengths(found - clean, norm) <= epsilon + TOLERANCE * max(1.0, epsilon)
    whole = np.abs(found * 255 - np.rint(found * 255)).max(1, initial=0.0) < 1e-3 if eight_bit else True
  return finite & in_range & in_ball & whole


def to_eight_bits(images, adversarial, epsilon, norm="linf"):
  """Rounds adversarial images to whole grey levels without leaving the ball.

  Args:
    images: float32 [n, ...], clean, of whole grey levels.
    adversarial: float32 [n, ...].
    epsilon: radius of the ball.
    norm: as in `verify`.

  Returns:
    float32 [n, ...]: the nearest levels. Where these lie outside the ball, as
    few pixels as needed, those that rounding moved furthest outward, take the
    level towards the clean image instead. Pixels of no change stay as they are.
  """
  clean, found = _flat(images), _flat(adversarial)
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


def _inside_l2(nearest, inward, excess, radius):
  """`nearest`, where the entries of largest excess become those of `inward` until the length is within `radius`."""
  order = np.argsort(-excess, 1)
  saved = np.take_along_axis(nearest**2 - inward**2, order, 1)
  lengths = np.concatenate([np.zeros((len(saved), 1)), np.cumsum(saved, 1)], 1)
  needed = (nearest**2).sum(1) - (radius + 255 * TOLERANCE) ** 2
  # The first number of replaced entries that is enough; all, if none is.
  count = np.where((lengths >= needed[:, None]).any(1), (lengths >= needed[:, None]).argmax(1), saved.shape[1])
  rank = np.argsort(order, 1)
  return np.where(rank < count[:, None], inward, nearest)


def distance(images, adversarial, norm="linf"):
  """Size of the change, float64 [n]: arguments as in `verify`."""
  return _lengths(_flat(adversarial) - _flat(images), norm)


def _flat(images):
  images = np.asarray(images, np.float64)
  return images.reshape(len(images), int(np.prod(images.shape[1:])))


def _lengths(change, norm):
  if norm not in _NORMS:
    raise ValueError(f"norm {norm!r}: expected one of {list(_NORMS)}")
  if norm == "l2":
    return np.sqrt((change**2).sum(1))
  return (change != 0.0).mean(1) if norm == "l0" else np.abs(change).max(1, initial=0.0)
