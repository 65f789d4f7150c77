"""UM: training on clean images only."""

import keras

from tla_tf.models.robust_model import RobustModel, Term
from tla_tf.types import Role


@keras.saving.register_keras_serializable(package="tla_tf")
class Undefended(RobustModel):
  """Cross-entropy of clean images; the attack serves `evaluate` alone."""

  accuracy_role = Role.TWIN

  def logged_names(self):
    return ["cross_entropy"]

  def step_images(self, batch, seed):
    return {Role.TWIN: (batch["image"], batch["label"])}

  def step_terms(self, outputs, labels):
    return {"cross_entropy": Term(self.mean_cross_entropy(outputs, labels, Role.TWIN), 1.0)}, {}
