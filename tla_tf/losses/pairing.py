"""Pairing of adversarial and clean logits or embeddings.

Source: Kannan et al. 2018 (ALP), as the paper uses it; `match_l2` of the
authors' code.
"""

from __future__ import annotations

import typing

import keras
import tensorflow as tf

from tla_tf.ops import distances


def pairing(adversarial: tf.Tensor, clean: tf.Tensor) -> tf.Tensor:
  """Squared L2 distance per example: float32 [n, d] x 2 -> [n]."""
  return distances.squared_euclidean(adversarial, clean)


@keras.saving.register_keras_serializable(package="tla_tf")
class PairingLoss(keras.losses.Loss):
  """`pairing` as a Keras loss: `PairingLoss()(clean, adversarial)`."""

  def __init__(self, name: str = "pairing", reduction: str | None = "sum_over_batch_size"):
    super().__init__(name=name, reduction=reduction)

  def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    return pairing(y_pred, y_true)

  def get_config(self) -> dict[str, typing.Any]:
    return {"name": self.name, "reduction": self.reduction}
