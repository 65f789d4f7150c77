"""Feature-norm decay.

Source: Mao et al. 2019, Equation 1 (`l2`); the authors' code (`mean_square`).
"""

from __future__ import annotations

import typing

import tensorflow as tf

from tla_tf.ops import sums
from tla_tf.types import FeatureNorm

# Floor below the root: the gradient of a norm at 0 is undefined.
_SQUARED_NORM_FLOOR = 1e-12


def feature_norm(
  embeddings: typing.Sequence[tf.Tensor], kind: FeatureNorm | str = FeatureNorm.MEAN_SQUARE
) -> tf.Tensor:
  """Size of several embeddings, summed over them.

  Args:
    embeddings: a list of float32 [n, d]: anchor, positive, negative.
    kind: `mean_square`, the mean over batch and features of the squares
      (code), or `l2`, the mean over the batch of the L2 norms (paper).

  Returns:
    A float32 scalar.
  """
  if FeatureNorm(kind) is FeatureNorm.MEAN_SQUARE:
    return sums.in_order([tf.reduce_mean(tf.square(e)) for e in embeddings])
  norms = [tf.sqrt(tf.maximum(tf.reduce_sum(tf.square(e), -1), _SQUARED_NORM_FLOOR)) for e in embeddings]
  return sums.in_order([tf.reduce_mean(n) for n in norms])
