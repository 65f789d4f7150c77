"""The L-infinity ball: every pixel moves by at most epsilon."""

import tensorflow as tf

from tla_tf.ops import seeds
from tla_tf.types import Norm


class LinfBall:
  """Random start, projection, steepest step and distance in L-infinity."""

  norm = Norm.LINF

  def random_start(self, center: tf.Tensor, epsilon: float | tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Uniform points of the ball.

    Args:
      center: float32 [n, ...], the images.
      epsilon: the radius, a number or scalar tensor.
      key: int32 [2], one key for the batch, or [n, 2], one an example.

    Returns:
      float32 [n, ...]; some pixels outside [0, 1].
    """
    return center + seeds.uniform(tf.shape(center), key, -epsilon, epsilon)

  def project(self, images: tf.Tensor, center: tf.Tensor, epsilon: float | tf.Tensor) -> tf.Tensor:
    """The nearest points of the ball around `center`: [n, ...] x 2 -> [n, ...]; epsilon as in `random_start`."""
    return tf.clip_by_value(images, center - epsilon, center + epsilon)

  def steepest_step(self, gradient: tf.Tensor) -> tf.Tensor:
    """The step of length 1 along which the objective grows most: [n, ...] -> [n, ...]."""
    return tf.sign(gradient)

  def distance(self, images: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
    """Largest absolute pixel difference: [n, ...] x 2 -> [n]."""
    count = tf.shape(images)[0]
    return tf.reduce_max(tf.reshape(tf.abs(images - center), [count, -1]), -1)
