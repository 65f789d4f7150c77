"""What the layers of a user's network ask for: `kernel_regularizer` and its like."""

from __future__ import annotations

import typing

import keras
import tensorflow as tf

from tla_tf.ops import sums


def regularized(variables: typing.Iterable[keras.Variable]) -> list[keras.Variable]:
  """The variables that have a regularizer."""
  return [v for v in variables if getattr(v, "regularizer", None) is not None]


def regularization(variables: typing.Iterable[keras.Variable]) -> tf.Tensor:
  """Sum of what the regularizers of `variables` say of them, as Keras adds to its losses.

  Args:
    variables: Keras variables.

  Returns:
    A float32 scalar, 0 where none has a regularizer.
  """
  terms = [tf.cast(v.regularizer(v), tf.float32) for v in regularized(variables)]
  return sums.in_order(terms)
