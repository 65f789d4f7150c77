"""L0: how many of an image's pixel values change, as a share of all."""

import tensorflow as tf

from tla_tf.types import Norm


class L0Ball:
  """Distance in L0. Attacks in it choose pixels: they have no start, projection or step."""

  norm = Norm.L0

  def distance(self, images: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
    """Share of the pixel values that differ: [n, ...] x 2 -> [n]."""
    count = tf.shape(images)[0]
    return tf.reduce_mean(tf.cast(tf.reshape(images != center, [count, -1]), tf.float32), -1)
