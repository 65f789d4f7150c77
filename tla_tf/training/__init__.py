"""Running a configured training: stream, model, callbacks, exact resume."""

from tla_tf.training.optimizers import Momentum, make_learning_rate, make_optimizer
from tla_tf.training.trainer import build_model, train

__all__ = ["Momentum", "build_model", "make_learning_rate", "make_optimizer", "train"]
