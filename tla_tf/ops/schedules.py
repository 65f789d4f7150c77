"""Numbers that follow the step within one graph."""

from __future__ import annotations

import typing

import tensorflow as tf


def piecewise_linear(step: typing.Any, points: typing.Sequence[tuple[int, float]]) -> tf.Tensor:
  """The value at a step of a line through points; before the first and after the last it is constant.

  Args:
    step: a whole number or integer scalar tensor.
    points: (step, value) pairs in increasing order of steps.

  Returns:
    A float32 scalar.
  """
  time = tf.cast(step, tf.float32)
  value = tf.constant(points[0][1], tf.float32)
  for (begin, first), (end, last) in zip(points, points[1:]):
    share = tf.clip_by_value((time - begin) / (end - begin), 0.0, 1.0)
    # A sum, so that the end of a stretch is its value to the bit.
    value = tf.where(time > begin, first * (1.0 - share) + last * share, value)
  return value
