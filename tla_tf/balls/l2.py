"""The L2 ball: the Euclidean length of the change is at most epsilon."""

import tensorflow as tf

from tla_tf.ops import seeds
from tla_tf.ops.examples import per_example
from tla_tf.types import Norm

# Floor on a length before dividing by it.
_TINY = 1e-30


class L2Ball:
  """Random start, projection, steepest step and distance in L2."""

  norm = Norm.L2

  def random_start(self, center: tf.Tensor, epsilon: float | tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Uniform points of the ball.

    Args:
      center: float32 [n, ...], the images.
      epsilon: the radius, a number or scalar tensor.
      key: int32 [2], one key for the batch, or [n, 2], one an example.

    Returns:
      float32 [n, ...]; some pixels outside [0, 1].
    """
    count, size = tf.shape(center)[0], tf.reduce_prod(tf.shape(center)[1:])
    # A normal vector has every direction alike; the radius has the volume's distribution.
    draws = seeds.normal([count, size + 1], key)
    direction = tf.reshape(draws[:, :-1], tf.shape(center))
    share = 0.5 * (1.0 + tf.math.erf(draws[:, -1] * 0.5**0.5))
    radius = epsilon * share ** (1.0 / tf.cast(size, tf.float32))
    return center + per_example(radius, center) * self.steepest_step(direction)

  def project(self, images: tf.Tensor, center: tf.Tensor, epsilon: float | tf.Tensor) -> tf.Tensor:
    """The nearest points of the ball around `center`: [n, ...] x 2 -> [n, ...]; epsilon as in `random_start`."""
    change = images - center
    length = _lengths(change)
    # Inside the ball nothing moves, not even by rounding.
    shrink = tf.where(length > epsilon, epsilon / tf.maximum(length, _TINY), 1.0)
    return tf.where(per_example(length > epsilon, images), center + change * per_example(shrink, images), images)

  def steepest_step(self, gradient: tf.Tensor) -> tf.Tensor:
    """The step of length 1 along which the objective grows most, 0 for a gradient of 0: [n, ...] -> [n, ...]."""
    axes = list(range(1, gradient.shape.rank))
    # Divided by the largest entry first: squares of small gradients vanish in float32.
    scaled = gradient / tf.maximum(tf.reduce_max(tf.abs(gradient), axes, keepdims=True), _TINY)
    return scaled / tf.maximum(per_example(_lengths(scaled), gradient), _TINY)

  def distance(self, images: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
    """Euclidean length of the change: [n, ...] x 2 -> [n]."""
    return _lengths(images - center)


def _lengths(change):
  return tf.sqrt(tf.reduce_sum(tf.square(tf.reshape(change, [tf.shape(change)[0], -1])), -1))
