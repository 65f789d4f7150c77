"""What attacks increase: one number per example, never a mean.

With a sum over the batch, the gradient of an example does not depend on how
many others are attacked with it.
"""

import functools
import typing

import tensorflow as tf

from tla_tf.types import Objective

# Carlini and Wagner's kappa as the authors' evaluation sets it.
MARGIN_CONFIDENCE = 50.0


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float | tf.Tensor = 0.0) -> tf.Tensor:
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


def logit_lead(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
  """z_label - max_other z: above 0 where the label is what the network says.

  Args:
    logits: float32 [n, classes].
    labels: integer [n].

  Returns:
    float32 [n].
  """
  true = tf.one_hot(labels, tf.shape(logits)[-1], on_value=True, off_value=False, dtype=tf.bool)
  of_true = tf.reduce_sum(tf.where(true, logits, 0.0), -1)
  best_other = tf.reduce_max(tf.where(true, logits.dtype.min, logits), -1)
  return of_true - best_other


def margin(
  logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float | tf.Tensor = 0.0, targeted: bool = False
) -> tf.Tensor:
  """-max(0, z_true - max_other z + 50), the margin loss of C&W, per example.

  Args:
    logits: float32 [n, classes].
    labels: integer [n].
    label_smoothing: has no meaning for a margin; accepted for the common
      signature.
    targeted: the labels are classes to be reached, not to be left.

  Returns:
    float32 [n].
  """
  del label_smoothing
  lead = logit_lead(logits, labels)
  return -tf.nn.relu((-lead if targeted else lead) + MARGIN_CONFIDENCE)


def get(objective: Objective | str, targeted: bool = False) -> typing.Callable[..., tf.Tensor]:
  """The function of a `types.Objective`.

  Args:
    objective: a `types.Objective`.
    targeted: the labels are classes to be reached, not to be left: the
      cross-entropy is decreased; the margin is that of C&W towards the target,
      -max(0, max_other z - z_target + 50).

  Returns:
    A function (logits, labels, label_smoothing) -> float32 [n] to increase.
  """
  plain = {Objective.CROSS_ENTROPY: cross_entropy, Objective.MARGIN: margin}[Objective(objective)]
  if not targeted:
    return plain
  if plain is margin:
    return functools.partial(margin, targeted=True)
  return lambda logits, labels, label_smoothing=0.0: -cross_entropy(logits, labels, label_smoothing)
