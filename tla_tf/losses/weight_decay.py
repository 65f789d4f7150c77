"""Weight decay as a loss term, over kernels and matrices only."""

from __future__ import annotations

import typing

import keras
import tensorflow as tf

from tla_tf.ops import sums


def decayed(variables: typing.Iterable[keras.Variable]) -> list[keras.Variable]:
  """The variables that decay: kernels, no biases, no batch normalisation."""
  return [v for v in variables if v.name.endswith("kernel")]


def weight_decay(variables: typing.Iterable[keras.Variable]) -> tf.Tensor:
  """Sum of half the squared L2 norms of the kernels among `variables`.

  Args:
    variables: Keras variables.

  Returns:
    A float32 scalar, 0 when there is no kernel.
  """
  terms = [tf.nn.l2_loss(tf.convert_to_tensor(v)) for v in decayed(variables)]
  return sums.in_order(terms)
