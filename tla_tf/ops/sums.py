"""Sums of tensors in one order, the same in every run.

`tf.add_n` promises no order, not even under TensorFlow's op determinism: it begins with
the first term whose memory nobody else needs any more, which with several threads is
now this and now that one. Of three terms and more the last bit then differs from run to
run. So it does of `a + b + c`, which TensorFlow's optimiser turns into `tf.add_n`, and of
gradients that reach a tensor from three sides. Two terms have no order.
"""

import typing

import tensorflow as tf


def in_order(values: typing.Sequence[tf.Tensor]) -> tf.Tensor:
  """The sum of tensors of one shape and type; 0 of none. Gradients reach every term."""
  if not values:
    return tf.constant(0.0)
  return tf.reduce_sum(tf.stack(values), 0) if len(values) > 1 else values[0]


def copies(value: tf.Tensor, count: int) -> list[tf.Tensor]:
  """A tensor as often as it is used, so that the gradients of its uses are summed in their order."""
  return tf.unstack(tf.broadcast_to(value, [count, *value.shape])) if count > 1 else [value]
