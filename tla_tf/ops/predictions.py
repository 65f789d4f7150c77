"""The class that a network says.

A network whose logits hold NaN says nothing. `argmax` would call that class 0, or, compiled by
XLA, the largest of the other logits, and so call the network right on images of that class.
"""

from __future__ import annotations

import tensorflow as tf

# What is said of an image where a logit is NaN: no class, so that it is wrong whatever the label.
NO_CLASS = -1


def predicted_classes(logits: tf.Tensor, dtype: tf.DType = tf.int32) -> tf.Tensor:
  """The class of the largest logit, the first of equal ones; `NO_CLASS` where a logit is NaN.

  Args:
    logits: float [n, classes].
    dtype: of the classes, an integer.

  Returns:
    dtype [n].
  """
  said = tf.argmax(logits, -1, output_type=dtype)
  return tf.where(silent(logits), tf.constant(NO_CLASS, dtype), said)


def silent(logits: tf.Tensor) -> tf.Tensor:
  """Whether a logit is NaN: float [n, classes] -> bool [n]."""
  return tf.reduce_any(tf.math.is_nan(logits), -1)
