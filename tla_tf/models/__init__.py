"""Trainable models: a network, an attack, and how the loss is put together."""

from tla_tf.models.adversarial_training import AdversarialTraining
from tla_tf.models.factory import make_model
from tla_tf.models.logit_pairing import LogitPairing
from tla_tf.models.robust_model import RobustModel, Term
from tla_tf.models.triplet import TripletTraining
from tla_tf.models.undefended import Undefended

__all__ = ["AdversarialTraining", "LogitPairing", "RobustModel", "Term", "TripletTraining", "Undefended", "make_model"]
