"""Pairing of adversarial and clean logits or embeddings.

Source: Kannan et al. 2018 (ALP), as the paper uses it; `match_l2` of the
authors' code.
"""

import keras

from tla_tf.ops import distances


def pairing(adversarial, clean):
  """Squared L2 distance per example: float32 [n, d] x 2 -> [n]."""
  return distances.squared_euclidean(adversarial, clean)


@keras.saving.register_keras_serializable(package="tla_tf")
class PairingLoss(keras.losses.Loss):
  """`pairing` as a Keras loss: `PairingLoss()(clean, adversarial)`."""

  def __init__(self, name="pairing", reduction="sum_over_batch_size"):
    super().__init__(name=name, reduction=reduction)

  def call(self, y_true, y_pred):
    return pairing(y_pred, y_true)

  def get_config(self):
    return {"name": self.name, "reduction": self.reduction}
