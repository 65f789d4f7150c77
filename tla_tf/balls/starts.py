"""Starts that are no points of a ball: the attack's first projection makes them so."""

import tensorflow as tf

from tla_tf.ops import seeds


def gaussian_start(center: tf.Tensor, deviation: float | tf.Tensor, key: tf.Tensor) -> tf.Tensor:
  """Normal noise around images, as TRADES starts (Zhang et al. 2019, with a deviation of 0.001).

  Args:
    center: float32 [n, ...] in [0, 1].
    deviation: standard deviation of each pixel, a number or scalar tensor.
    key: int32 [2], one key for the batch, or [n, 2], one an example.

  Returns:
    float32 [n, ...]; some pixels outside [0, 1].
  """
  return center + deviation * seeds.normal(tf.shape(center), key)
