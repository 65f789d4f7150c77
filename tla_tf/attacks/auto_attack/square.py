"""Square attack: random search over squares, by queries alone.

Source: Andriushchenko, Croce, Flammarion and Hein 2020, "Square attack: a
query-efficient black-box adversarial attack via random search", Algorithms 1
to 3; margin loss and the first share of 0.8 as in AutoAttack.
"""

import numpy as np
import tensorflow as tf

from tla_tf.attacks.attack import missed
from tla_tf.attacks.compiled import CompiledAttack
from tla_tf.attacks.result import AttackResult
from tla_tf.errors import InputError
from tla_tf.ops import objectives, seeds
from tla_tf.ops.examples import choose
from tla_tf.types import Norm

# After how many of the paper's queries the squares' area is halved.
_QUERIES = 10000
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
# Floor on a length before dividing by it.
_TINY = 1e-12


def covered_share(query: tf.Tensor, queries: tf.Tensor, initial_share: tf.Tensor) -> tf.Tensor:
  """p, the share of the image that a square covers: falls by the paper's schedule.

  Args:
    query: int32 scalar, which one.
    queries: int32 scalar, of how many: the schedule is that of 10,000, rescaled.
    initial_share: float32 scalar, the first p.

  Returns:
    float32 scalar.
  """
  done = tf.cast(query, tf.int64) * _QUERIES // tf.cast(queries, tf.int64)
  halvings = tf.reduce_sum(tf.cast(tf.constant(_HALVINGS, tf.int64) < done, tf.float32))
  return initial_share * 0.5**halvings


def offsets(row: tf.Tensor, column: tf.Tensor, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
  """How far the pixels lie below and right of corners int32 [n]: int32 [n, height, 1] and [n, 1, width]."""
  return (tf.range(height)[None] - row[:, None])[:, :, None], (tf.range(width)[None] - column[:, None])[:, None, :]


def window(rows: tf.Tensor, columns: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
  """Which pixels lie in a square, by their offsets from its corner: bool [n, height, width, 1]."""
  return (((rows >= 0) & (rows < side)) & ((columns >= 0) & (columns < side)))[..., None]


def bump(row: tf.Tensor, column: tf.Tensor, side: tf.Tensor, largest: int) -> tf.Tensor:
  """eta, two adjacent bumps of opposite sign (equation 2), not yet of length 1.

  Args:
    row: int32, offset in the square; the upper half is the first bump. Outside the
      square the value means nothing.
    column: the same from the left; both are broadcast against each other.
    side: int32 scalar, the square's side.
    largest: whole number that no side exceeds.

  Returns:
    float32 of the broadcast shape.
  """
  sums = tf.constant(np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, largest + 2) ** 2)]), tf.float32)
  half = side // 2
  upper = row < half
  centre = tf.where(upper, half // 2, half + (side - half) // 2)
  # Rings around the bump's centre: each adds 1 / (its number)^2 to all within it.
  ring = tf.maximum(tf.abs(row - centre), tf.abs(column - half))
  value = sums[half + 1] - tf.gather(sums, tf.clip_by_value(ring, 0, largest + 1))
  return tf.where(upper, value, -value)


class _LinfSquares:
  """Columns, then squares, at the ends of the range allowed to a pixel."""

  draws = 2  # a query, besides one a channel: the corner
  smallest = 1  # side of a square

  def start(self, images, epsilon, keys):
    width, channels = images.shape[2:]
    draws = seeds.uniform([tf.shape(images)[0], 1, width, channels], keys)
    return images + epsilon * _signs(draws)

  def propose(self, images, current, epsilon, side, draws):
    signs = _signs(draws[:, self.draws :])[:, None, None, :]
    # Moved by 2 epsilon and projected, every point ends at an end of its range.
    return tf.where(window(*_corner(draws, images, side), side), images + epsilon * signs, current)


class _L2Squares:
  """Bumps: budget is taken from one window, and what is left over, and given to another."""

  draws = 5  # two corners and the orientation
  smallest = 3

  def start(self, images, epsilon, keys):
    """A grid of bumps, a fifth of the shorter side each, with random signs and orientations."""
    height, width, channels = images.shape[1:]
    side = max(min(height, width) // 5, 1)
    rows, columns = height // side, width // side
    # Pixels beyond the grid, half of them on each side, belong to no tile.
    row = np.arange(height)[:, None] - (height - rows * side) // 2
    column = np.arange(width) - (width - columns * side) // 2
    inside = (row >= 0) & (row < rows * side) & (column >= 0) & (column < columns * side)
    tile = np.clip(row // side, 0, rows - 1) * columns + np.clip(column // side, 0, columns - 1)
    places = tf.constant(row % side, tf.int32), tf.constant(column % side, tf.int32)[None]
    upright, turned = (bump(*order, tf.constant(side), side)[..., None] for order in (places, places[::-1]))
    draws = tf.gather(seeds.uniform([tf.shape(images)[0], rows * columns, 1 + channels], keys), tile, axis=1)
    pattern = tf.where(draws[..., :1] < 0.5, upright, turned) * _signs(draws[..., 1:])
    pattern = tf.where(inside[..., None], pattern, 0.0)
    return images + epsilon * pattern / _lengths(pattern, [1, 2, 3])

  def propose(self, images, current, epsilon, side, draws):
    height, width, channels = images.shape[1:]
    # An odd side has a centre.
    side = tf.minimum(side + 1 - side % 2, min(height, width))
    rows, columns = _corner(draws, images, side)
    first = window(rows, columns, side)
    second = window(*_corner(draws[:, 2:], images, side), side)
    turned = draws[:, 4, None, None] < 0.5
    shape = bump(tf.where(turned, columns, rows), tf.where(turned, rows, columns), side, max(height, width))
    shape = tf.where(first, shape[..., None], 0.0)
    change = current - images
    unused = tf.nn.relu(epsilon**2 - tf.reduce_sum(change**2, [1, 2, 3], keepdims=True))
    taken = tf.reduce_sum(tf.where(first | second, change, 0.0) ** 2, [1, 2], keepdims=True)
    old = tf.where(first, change, 0.0)
    signs = _signs(draws[:, self.draws :])[:, None, None, :]
    fresh = signs * shape / _lengths(shape, [1, 2, 3]) + old / _lengths(old, [1, 2])
    fresh *= tf.sqrt(taken + unused / channels) / _lengths(fresh, [1, 2])
    return images + tf.where(first, fresh, tf.where(second, 0.0, change))


def _signs(draws):
  return tf.where(draws < 0.5, -1.0, 1.0)


def _corner(draws: tf.Tensor, images: tf.Tensor, side: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Offsets of all pixels from a random corner, anywhere where the square fits; draws float32 [n, 2 or more]."""
  height, width = images.shape[1:3]
  row, column = (
    tf.cast(draws[:, k] * tf.cast(size - side + 1, tf.float32), tf.int32) for k, size in enumerate((height, width))
  )
  return offsets(row, column, height, width)


def _lengths(change, axes):
  return tf.maximum(tf.sqrt(tf.reduce_sum(change**2, axes, keepdims=True)), _TINY)


class Square(CompiledAttack):
  """Square attack on one network, in L-infinity or L2; takes no gradients.

  The first of `steps` queries is the initial pattern; the look at the clean
  image is not counted. Every image has its own squares, and stands still once
  it is broken. The loss is minus the margin of
  the true class, or the margin of the explicit target.

  Example:
    attack = Square(network, SquareConfig(epsilon=0.3))
    result = attack(images, labels, seed=1)

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits".
    config: SquareConfig.
    jit: "auto", "on", "off" or a bool: whether XLA compiles the attack.

  Raises:
    InputError: when called with images that are not [n, height, width,
      channels].
  """

  real_numbers = ("epsilon", "initial_share")

  def run(
    self, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor, targets: tf.Tensor | None, restart: int
  ) -> AttackResult:
    if images.shape.rank != 4:
      raise InputError(f"The square attack needs images [n, height, width, channels], got shape {images.shape}.")
    return super().run(images, labels, key, targets, restart)

  def search(
    self,
    images: tf.Tensor,
    labels: tf.Tensor,
    targets: tf.Tensor | None,
    keys: tf.Tensor,
    restart: tf.Tensor,
    numbers: dict[str, tf.Tensor],
  ) -> AttackResult:
    del restart
    epsilon, steps = numbers["epsilon"], numbers["steps"]
    schedule = steps if self.config.rescale_schedule else tf.constant(_QUERIES)
    squares = _L2Squares() if self.config.norm is Norm.L2 else _LinfSquares()
    height, width, channels = images.shape[1:]
    count = tf.shape(images)[0]

    def clip(x):
      return tf.clip_by_value(self.ball.project(x, images, epsilon), 0.0, 1.0)

    def query(x):
      logits = self.forward(x)
      if targets is None:
        return -objectives.logit_lead(logits, labels), missed(logits, labels)
      return objectives.logit_lead(logits, targets), missed(logits, labels, targets)

    def body(i, current, loss, broken):
      draws = seeds.uniform([count, squares.draws + channels], seeds.fold_each(keys, i))
      area = covered_share(i, schedule, numbers["initial_share"]) * (height * width)
      side = tf.maximum(tf.cast(tf.round(tf.sqrt(area)), tf.int32), squares.smallest)
      side = tf.minimum(side, min(height, width))
      proposal = clip(squares.propose(images, current, epsilon, side, draws))
      new_loss, wrong = query(proposal)
      accepted = ~broken & (wrong | (new_loss > loss))
      return (
        i + 1,
        choose(accepted, proposal, current),
        tf.where(accepted, new_loss, loss),
        broken | (accepted & wrong),
      )

    _, already = query(images)
    start = choose(already, images, clip(squares.start(images, epsilon, seeds.fold_each(keys, 0))))
    state = (tf.constant(1), start, *query(start))
    _, found, loss, broken = tf.while_loop(
      lambda i, current, loss, broken: (i < steps) & ~tf.reduce_all(broken), body, state, parallel_iterations=1
    )
    none = tf.zeros([count], tf.int32)
    return AttackResult(found, broken, loss, self.ball.distance(found, images), none, none)
