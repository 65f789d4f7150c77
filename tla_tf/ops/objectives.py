"""What attacks increase: one number per example, never a mean.

With a sum over the batch, the gradient of an example does not depend on how
many others are attacked with it.
"""

import tensorflow as tf

from tla_tf.types import Objective

# Carlini and Wagner's kappa as the authors' evaluation sets it.
MARGIN_CONFIDENCE = 50.0


def cross_entropy(logits, labels, label_smoothing=0.0):
  """Softmax cross-entropy of each example.

  Args:
    logits: float32 [n, classes].
    labels: integer [n].
    label_smoothing: share of the label spread evenly over all classes, a
      number or scalar tensor in [0, 1].

  Returns:
    float32 [n].
  """
  plain = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
  if isinstance(label_smoothing, (int, float)) and not label_smoothing:
    return plain
  even = -tf.reduce_mean(tf.nn.log_softmax(logits), -1)
  return (1.0 - label_smoothing) * plain + label_smoothing * even


def margin(logits, labels, label_smoothing=0.0):
  """-max(0, z_true - max_other z + 50), the margin loss of C&W, per example.

  Args:
    logits: float32 [n, classes].
    labels: integer [n].
    label_smoothing: has no meaning for a margin; accepted for the common
      signature.

  Returns:
    float32 [n].
  """
  del label_smoothing
  true = tf.one_hot(labels, tf.shape(logits)[-1], on_value=True, off_value=False, dtype=tf.bool)
  of_true = tf.reduce_sum(tf.where(true, logits, 0.0), -1)
  best_other = tf.reduce_max(tf.where(true, logits.dtype.min, logits), -1)
  return -tf.nn.relu(of_true - best_other + MARGIN_CONFIDENCE)


def get(objective):
  """The function of a `types.Objective`."""
  return {Objective.CROSS_ENTROPY: cross_entropy, Objective.MARGIN: margin}[Objective(objective)]
