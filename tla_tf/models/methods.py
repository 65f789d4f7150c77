"""The methods of the paper as Keras models: faces of their recipes."""

import keras

from tla_tf.models.robust_model import RobustModel


@keras.saving.register_keras_serializable(package="tla_tf")
class Undefended(RobustModel):
  """UM: cross-entropy of clean images; the attack serves `evaluate` alone."""

  method = "um"


@keras.saving.register_keras_serializable(package="tla_tf")
class AdversarialTraining(RobustModel):
  """AT (Madry et al. 2018): cross-entropy of adversarial images.

  Settings besides those of `RobustModel`: `clean_weight`, the weight of the
  cross-entropy of clean images, and `attack_mode`, whether the attack sees the
  network in inference or in training mode.
  """

  method = "at"


@keras.saving.register_keras_serializable(package="tla_tf")
class LogitPairing(RobustModel):
  """ALP (Kannan et al. 2018): AT that pairs each attacked image with its clean one.

  Settings besides those of AT: `pairing`, "logits" or "embedding", and
  `pairing_weight`.
  """

  method = "alp"


@keras.saving.register_keras_serializable(package="tla_tf")
class TripletTraining(RobustModel):
  """TLA, TLA-RN and TLA-SA (Mao et al. 2019): AT with triplet terms on embeddings.

  Settings besides those of AT: those of `recipes.triplet.TripletTrainingConfig`,
  with `triplet` (`TripletConfig`) and `negative_pool` among them. TLA-RN
  is `TripletConfig(negatives="random")`, TLA-SA `TripletConfig(switch_anchor=True)`.
  """

  method = "tla"
