"""Choosing the negative of each anchor in a pool of embeddings.

Source: Mao et al. 2019, Section 4, "Negative Sample Selection". The authors'
code multiplies the similarities of the own class by 0; here the own class is
excluded.
"""

import tensorflow as tf

from tla_tf.ops import distances, seeds


def similarity_scores(
  anchors: tf.Tensor, pool: tf.Tensor, anchor_labels: tf.Tensor, pool_labels: tf.Tensor, large_pool: bool = False
) -> tf.Tensor:
  """Signed cosine similarities, -inf where the classes are the same or the pool has no image, else inf for NaN.

  Args:
    anchors: float32 [n, d].
    pool: float32 [m, d].
    anchor_labels: integer [n].
    pool_labels: integer [m]; below 0 where the pool has no image.
    large_pool: compute them without a copy of the pool, with other rounding.

  Returns:
    float32 [n, m].
  """
  scores = distances.pairwise_cosine_similarity(anchors, pool, scale_products=large_pool)
  # Taken first, so that the loss shows it: `argmax` passes over NaN, or stops there, as it is compiled.
  scores = tf.where(tf.math.is_nan(scores), tf.constant(float("inf"), scores.dtype), scores)
  same = _same_class(anchor_labels, pool_labels)
  return tf.where(same, tf.constant(float("-inf"), scores.dtype), scores)


def _same_class(anchor_labels, pool_labels):
  """bool [n, m]: whether a place of the pool has an anchor's class, or no image."""
  pool_labels = tf.cast(pool_labels, anchor_labels.dtype)[None, :]
  return (anchor_labels[:, None] == pool_labels) | (pool_labels < 0)


def nearest_negative(
  anchors: tf.Tensor, pool: tf.Tensor, anchor_labels: tf.Tensor, pool_labels: tf.Tensor, large_pool: bool = False
) -> tf.Tensor:
  """Index in the pool of the nearest image of another class; arguments as in `similarity_scores`.

  Where the pool holds no other class, the index is 0: compare the labels.

  Returns:
    int32 [n].
  """
  scores = similarity_scores(anchors, pool, anchor_labels, pool_labels, large_pool)
  return tf.argmax(scores, axis=1, output_type=tf.int32)


def random_negative(
  anchor_labels: tf.Tensor, pool_labels: tf.Tensor, key: tf.Tensor, other_class: bool = True
) -> tf.Tensor:
  """Index in the pool of a random image.

  Args:
    anchor_labels: integer [n].
    pool_labels: integer [m].
    key: int32 [2].
    other_class: leave out the anchor's class (paper); False draws from any
      class (authors' code).

  Returns:
    int32 [n].
  """
  draws = seeds.uniform([tf.size(anchor_labels), tf.size(pool_labels)], key)
  if other_class:
    draws = tf.where(_same_class(anchor_labels, pool_labels), -1.0, draws)
  else:
    draws = tf.where(pool_labels[None, :] < 0, -1.0, draws)
  return tf.argmax(draws, axis=1, output_type=tf.int32)


def random_classmate(labels: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
  """For each image of a batch, the index of another image of its class.

  An image that is alone in its class gets its own index.

  Args:
    labels: integer [n].
    key: int32 [2].

  Returns:
    int32 [n].
  """
  count = tf.size(labels)
  draws = seeds.uniform([count, count], key)
  same = labels[:, None] == labels[None, :]
  itself = tf.eye(count, dtype=tf.bool)
  return tf.argmax(tf.where(itself, -0.5, tf.where(same, draws, -1.0)), axis=1, output_type=tf.int32)
