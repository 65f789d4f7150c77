"""The L-infinity ball: every pixel moves by at most epsilon."""

import tensorflow as tf

from tla_tf.ops import seeds
from tla_tf.types import Norm


def per_example(values, images):
  """Reshapes [n] to [n, 1, ...] so that it broadcasts against images."""
  return tf.reshape(values, tf.concat([[-1], tf.ones([tf.rank(images) - 1], tf.int32)], 0))


class LinfBall:
  """Random start, projection, steepest step and distance in L-infinity."""

  norm = Norm.LINF

  def random_start(self, center, epsilon, key):
    """Uniform points of the ball around `center`; key as in `seeds.uniform`."""
    return center + seeds.uniform(tf.shape(center), key, -epsilon, epsilon)

  def project(self, images, center, epsilon):
    """The nearest points of the ball."""
    return tf.clip_by_value(images, center - epsilon, center + epsilon)

  def steepest_step(self, gradient):
    """The step of length 1 along which the objective grows most."""
    return tf.sign(gradient)

  def distance(self, images, center):
    """Largest absolute pixel difference: [n, ...] x 2 -> [n]."""
    count = tf.shape(images)[0]
    return tf.reduce_max(tf.reshape(tf.abs(images - center), [count, -1]), -1)
