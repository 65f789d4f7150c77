"""Running a configured training: stream, model, callbacks, exact resume."""

from tla_tf.training.initialisation import find_init, initialise
from tla_tf.training.optimizers import Momentum, WarmUp, make_learning_rate, make_optimizer
from tla_tf.training.trainer import build_model, train
from tla_tf.training.workers import is_chief

__all__ = [
  "Momentum",
  "WarmUp",
  "build_model",
  "find_init",
  "initialise",
  "is_chief",
  "make_learning_rate",
  "make_optimizer",
  "train",
]
