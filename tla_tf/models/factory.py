"""The model of a training configuration."""

from tla_tf.models.adversarial_training import AdversarialTraining
from tla_tf.models.logit_pairing import LogitPairing
from tla_tf.models.triplet import TripletTraining
from tla_tf.models.undefended import Undefended
from tla_tf.types import Method


def make_model(config, network):
  """Makes the model that a `TrainingConfig` describes.

  Args:
    config: TrainingConfig.
    network: the network to train.

  Returns:
    A `RobustModel`, not compiled.
  """
  shared = {
    "attack": config.attack,
    "validation_attack": config.validation_attack,
    "weight_decay": config.weight_decay,
    "label_smoothing": config.label_smoothing,
    "clean_weight": config.clean_weight,
    "attack_mode": config.attack_mode,
    "seed": config.seed,
  }
  pairing = {"pairing": config.pairing, "pairing_weight": config.pairing_weight}
  if config.method is Method.UM:
    return Undefended(network, **{**shared, "clean_weight": 0.0})
  if config.method is Method.AT:
    return AdversarialTraining(network, **shared)
  if config.method is Method.ALP:
    return LogitPairing(network, **pairing, **shared)
  return TripletTraining(network, triplet=config.triplet, **pairing, **shared)


def needs(config):
  """What the method reads from the stream: (class-mates, pool)."""
  triplet = config.method in (Method.TLA, Method.TLA_RN, Method.TLA_SA)
  return triplet and config.triplet.positives.value != "twin", triplet
