"""Triplet loss on embeddings.

Source: Mao et al. 2019, Section 4: [D(a, p) - D(a, n) + alpha]_+.
"""

from __future__ import annotations

import typing

import keras
import tensorflow as tf

from tla_tf.ops import distances
from tla_tf.types import Distance


class TripletParts(typing.NamedTuple):
  """The loss and the two distances, each float32 [n]."""

  loss: tf.Tensor
  positive_distance: tf.Tensor
  negative_distance: tf.Tensor


def triplet_parts(
  anchor: tf.Tensor,
  positive: tf.Tensor,
  negative: tf.Tensor,
  margin: float | tf.Tensor,
  distance: Distance | str = Distance.ANGULAR,
) -> TripletParts:
  """max(0, D(a, p) - D(a, n) + margin) per example, with both distances.

  Args:
    anchor: float32 [n, d].
    positive: float32 [n, d], of the anchor's class.
    negative: float32 [n, d], of another class.
    margin: alpha.
    distance: a `types.Distance` or its value.

  Returns:
    TripletParts.
  """
  measure = distances.get(distance)
  positive_distance = measure(anchor, positive)
  negative_distance = measure(anchor, negative)
  loss = tf.nn.relu(positive_distance - negative_distance + margin)
  return TripletParts(loss, positive_distance, negative_distance)


def triplet(
  anchor: tf.Tensor,
  positive: tf.Tensor,
  negative: tf.Tensor,
  margin: float | tf.Tensor,
  distance: Distance | str = Distance.ANGULAR,
) -> tf.Tensor:
  """The loss of `triplet_parts` alone: float32 [n]."""
  return triplet_parts(anchor, positive, negative, margin, distance).loss


@keras.saving.register_keras_serializable(package="tla_tf")
class TripletLoss(keras.losses.Loss):
  """`triplet` as a Keras loss.

  Example:
    loss = TripletLoss(margin=0.05)
    loss(anchor, tf.stack([positive, negative], axis=1))

  Args:
    margin: alpha.
    distance: a `types.Distance` or its value.
    name: name of the loss.
    reduction: as in `keras.losses.Loss`.
  """

  def __init__(
    self,
    margin: float = 0.05,
    distance: Distance | str = "angular",
    name: str = "triplet",
    reduction: str | None = "sum_over_batch_size",
  ):
    super().__init__(name=name, reduction=reduction)
    self.margin = float(margin)
    self.distance = Distance(distance)

  def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Anchors [n, d] and, stacked, positives and negatives [n, 2, d] -> [n]."""
    return triplet(y_true, y_pred[:, 0], y_pred[:, 1], self.margin, self.distance)

  def get_config(self) -> dict[str, typing.Any]:
    config = {"margin": self.margin, "distance": self.distance.value, "name": self.name, "reduction": self.reduction}
    return config
