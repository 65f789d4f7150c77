"""One number or one decision an example, against images [n, ...]."""

import tensorflow as tf


def per_example(values: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
  """Reshapes [n] to [n, 1, ...] so that it broadcasts against images."""
  return tf.reshape(values, tf.concat([[-1], tf.ones([tf.rank(images) - 1], tf.int32)], 0))


def choose(condition: tf.Tensor, chosen: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
  """`tf.where` with one condition an example: bool [n] against [n, ...] x 2."""
  return tf.where(per_example(condition, chosen), chosen, other)
