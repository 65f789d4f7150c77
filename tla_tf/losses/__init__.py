"""One term each: a pure function per example or batch, then a thin class."""

from tla_tf.losses.feature_norm import feature_norm
from tla_tf.losses.pairing import PairingLoss, pairing
from tla_tf.losses.regularization import regularization
from tla_tf.losses.triplet import TripletLoss, TripletParts, triplet, triplet_parts
from tla_tf.losses.weight_decay import weight_decay

__all__ = [
  "PairingLoss",
  "TripletLoss",
  "TripletParts",
  "feature_norm",
  "pairing",
  "regularization",
  "triplet",
  "triplet_parts",
  "weight_decay",
]
