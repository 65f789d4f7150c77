"""ALP: adversarial training that pairs each attacked image with its clean one.

Source: Kannan et al. 2018; weight 0.5 in Mao et al. 2019, Section 5.
"""

import keras
import tensorflow as tf

from tla_tf.losses import pairing
from tla_tf.models.robust_model import RobustModel, Term
from tla_tf.ops import seeds
from tla_tf.types import PairingTarget, Role


@keras.saving.register_keras_serializable(package="tla_tf")
class LogitPairing(RobustModel):
  """Cross-entropy of A' + pairing_weight x mean squared L2 distance of A' and A.

  Args:
    network: see `RobustModel`.
    pairing: pair "logits" (paper) or "embedding".
    pairing_weight: lambda of the paper, 0.5.
    **kwargs: see `RobustModel`.
  """

  def __init__(self, network, pairing="logits", pairing_weight=0.5, **kwargs):
    super().__init__(network, **kwargs)
    self.pairing = PairingTarget(pairing)
    self.pairing_weight = pairing_weight

  def logged_names(self):
    return [*super().logged_names(), "pairing"]

  def step_images(self, batch, seed):
    adversarial = self.perturb(batch["image"], batch["label"], seeds.fold(seed, 0))
    return {Role.TWIN: (batch["image"], batch["label"]), Role.ADVERSARIAL: (adversarial, batch["label"])}

  def step_terms(self, outputs, labels):
    terms, logged = super().step_terms(outputs, labels)
    terms["pairing"] = pairing_term(outputs, self.pairing, self.pairing_weight)
    return terms, logged

  def get_config(self):
    return {**super().get_config(), "pairing": self.pairing.value, "pairing_weight": self.pairing_weight}


def pairing_term(outputs, target, weight):
  """The Term that pairs A' and A on their logits or embeddings."""
  name = target.value
  return Term(tf.reduce_mean(pairing(outputs[Role.ADVERSARIAL][name], outputs[Role.TWIN][name])), weight)
