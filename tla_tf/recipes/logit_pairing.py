"""ALP: adversarial training that pairs each attacked image with its clean one.

Source: Kannan et al. 2018; weight 0.5 in Mao et al. 2019, Section 5.
"""

from __future__ import annotations

import dataclasses

from tla_tf.config import option, require_number
from tla_tf.recipes.adversarial import AdversarialConfig, AdversarialTraining
from tla_tf.recipes.terms import Pairing, Term
from tla_tf.registry import METHODS
from tla_tf.types import PairingTarget, Role


@dataclasses.dataclass(frozen=True)
class PairingConfig(AdversarialConfig):
  """Settings of methods that can pair A' and A.

  Attributes:
    pairing: what of them is paired.
    pairing_weight: weight of the mean squared L2 distance.
  """

  pairing: PairingTarget = option(
    PairingTarget.LOGITS,
    "What pairs each attacked image with its clean one: logits (paper's ALP) or embedding (code's match_l2).",
  )
  pairing_weight: float = option(0.5, "Weight of the pairing.")

  def validate(self) -> None:
    super().validate()
    require_number(self, "pairing_weight")


class LogitPairing(AdversarialTraining[PairingConfig]):
  """Cross-entropy of A' + pairing_weight x mean squared L2 distance of A' and A."""

  name = "alp"
  help = "adversarial logit pairing"
  config_class = PairingConfig
  published = {"*": PairingConfig()}
  rank = 2

  def shared_settings(self, dataset: str, network: str) -> dict:
    return smoothed_lenet(network)

  def roles(self, config: PairingConfig) -> tuple:
    return (Role.TWIN, Role.ADVERSARIAL)

  def terms(self, config: PairingConfig) -> list[Term]:
    return [*super().terms(config), Pairing(config.pairing, config.pairing_weight)]


def smoothed_lenet(network: str) -> dict:
  """LeNet's labels are smoothed by the authors' TLA script, which ALP and the TLA methods share; others are not."""
  return {"label_smoothing": 0.1} if network.startswith("lenet") else {}


METHODS.register("alp", LogitPairing())
