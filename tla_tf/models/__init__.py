"""Trainable models: a network, an attack, and the recipe of a method."""

from tla_tf.models.factory import make_model
from tla_tf.models.methods import AdversarialTraining, LogitPairing, TripletTraining, Undefended
from tla_tf.models.robust_model import RobustModel

__all__ = ["AdversarialTraining", "LogitPairing", "RobustModel", "TripletTraining", "Undefended", "make_model"]
