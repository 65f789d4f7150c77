"""AT: training on PGD examples (Madry et al. 2018)."""

import keras

from tla_tf.models.robust_model import RobustModel


@keras.saving.register_keras_serializable(package="tla_tf")
class AdversarialTraining(RobustModel):
  """Cross-entropy of adversarial images, plus `clean_weight` times that of clean ones."""
