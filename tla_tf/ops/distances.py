"""Distances between embeddings, row by row.

Source: Mao et al. 2019, Section 4 (angular); the authors' code (the others).
"""

import typing

import tensorflow as tf

from tla_tf.types import Distance

# Floor on a squared norm before its root: a zero embedding gets similarity 0
# and a finite gradient.
_SQUARED_NORM_FLOOR = 1e-12


def cosine_similarity(u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
  """Cosine of the angle between the rows of u and v: [n, d] x 2 -> [n]."""
  return tf.reduce_sum(
    tf.math.l2_normalize(u, -1, _SQUARED_NORM_FLOOR) * tf.math.l2_normalize(v, -1, _SQUARED_NORM_FLOOR), -1
  )


def pairwise_cosine_similarity(u: tf.Tensor, v: tf.Tensor, scale_products: bool = False) -> tf.Tensor:
  """Cosines of all rows of u with all rows of v: [n, d], [m, d] -> [n, m].

  Args:
    u: float32 [n, d].
    v: float32 [m, d].
    scale_products: divide the products by the norms of v, not v itself: the same but for rounding, without a copy of v,
      which is what a v of many rows costs most.
  """
  if scale_products:
    # Squared norms as a product with ones: XLA sums rows one number at a time on a CPU.
    squared = tf.linalg.matvec(tf.square(v), tf.ones(tf.shape(v)[1:]))
    products = tf.matmul(tf.math.l2_normalize(u, -1, _SQUARED_NORM_FLOOR), v, transpose_b=True)
    return products * tf.math.rsqrt(tf.maximum(squared, _SQUARED_NORM_FLOOR))
  return tf.matmul(
    tf.math.l2_normalize(u, -1, _SQUARED_NORM_FLOOR), tf.math.l2_normalize(v, -1, _SQUARED_NORM_FLOOR), transpose_b=True
  )


def angular(u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
  """D(u, v) = 1 - |cos(u, v)|, in [0, 1]: [n, d] x 2 -> [n]."""
  return 1.0 - tf.abs(cosine_similarity(u, v))


def squared_euclidean(u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
  """Sum of squared differences: [n, d] x 2 -> [n]."""
  return tf.reduce_sum(tf.math.squared_difference(u, v), -1)


def symmetrised_kl(u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
  """(KL(p, q) + KL(q, p)) / 2 of the softmaxes of u and v: [n, d] x 2 -> [n]."""
  log_p, log_q = tf.nn.log_softmax(u), tf.nn.log_softmax(v)
  return 0.5 * tf.reduce_sum((tf.exp(log_p) - tf.exp(log_q)) * (log_p - log_q), -1)


def get(distance: Distance | str) -> typing.Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
  """The function of a `types.Distance`."""
  return {
    Distance.ANGULAR: angular,
    Distance.SQUARED_EUCLIDEAN: squared_euclidean,
    Distance.SYMMETRISED_KL: symmetrised_kl,
  }[Distance(distance)]
