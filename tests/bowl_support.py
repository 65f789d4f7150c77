"""A network on which an attack's every decision is known beforehand and none is a matter of rounding."""

import numpy as np
import tensorflow as tf


class Bowl:
  """Two classes; the logit of class 1 is -sum_i w_i |x_i - c_i|^p, that of class 0 is 0.

  Its gradient changes sign pixel by pixel at known places: where a test stays
  away from them, float32 of any compiler and batch size takes the decisions of
  float64.

  Args:
    seed: a whole number.
    shape: of an image.
    power: p, 2 or 1; with 2, steps become shorter on the way to the bottom.
    reach: c lies within so much of 0.5.
  """

  def __init__(self, seed, shape, power=2, reach=0.2):
    rng = np.random.default_rng(seed)
    self.bottom = 0.5 + rng.uniform(-reach, reach, shape)
    self.weights = rng.uniform(0.5, 1.5, shape)
    self.power = power

  def __call__(self, images):
    depth = tf.abs(images - tf.cast(self.bottom, tf.float32)) ** self.power
    score = -tf.reduce_sum(tf.cast(self.weights, tf.float32) * depth, list(range(1, len(images.shape))))
    return tf.stack([tf.zeros_like(score), score], 1)

  def score(self, x):
    """Logit of class 1: float64 [n, ...] -> [n]."""
    return -(self.weights * np.abs(x - self.bottom) ** self.power).reshape(len(x), -1).sum(1)

  def gradient(self, x):
    """Its gradient, float64 [n, ...]; AssertionError where a sign is within rounding."""
    change = x - self.bottom
    assert np.abs(change).min() > 1e-5
    return -self.power * self.weights * np.sign(change) * np.abs(change) ** (self.power - 1)
