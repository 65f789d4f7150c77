"""TLA, TLA-RN and TLA-SA: triplet loss adversarial training.

Source: Mao et al. 2019, Section 4 and Equation 1.
"""

import keras
import tensorflow as tf

from tla_tf.config import TripletConfig
from tla_tf.losses import feature_norm, triplet_parts
from tla_tf.models.logit_pairing import pairing_term
from tla_tf.models.robust_model import RobustModel, Term
from tla_tf.ops import mining, seeds
from tla_tf.types import FeatureNorm, Negatives, PairingTarget, Positives, Role


@keras.saving.register_keras_serializable(package="tla_tf")
class TripletTraining(RobustModel):
  """Cross-entropy of A' plus one or two triplet terms on embeddings.

  Anchor A' (attacked), positive A1 (a class-mate) or A (the clean twin) or
  both, negative from a pool of clean images. With `switch_anchor` the positive
  takes the anchor's place (TLA-SA).

  Args:
    network: see `RobustModel`.
    triplet: TripletConfig.
    pairing: what `pairing_weight` pairs, "logits" or "embedding".
    pairing_weight: weight of the pairing of A' and A; needs the twin, which
      it adds to the step where the triplet terms do not use it.
    **kwargs: see `RobustModel`.
  """

  def __init__(self, network, triplet=TripletConfig(), pairing="embedding", pairing_weight=0.0, **kwargs):
    super().__init__(network, **kwargs)
    self.triplet = triplet
    self.pairing = PairingTarget(pairing)
    self.pairing_weight = pairing_weight
    # Role of the positive -> margin of its term.
    self.positives = {
      Positives.CLASSMATE: {Role.POSITIVE: triplet.margin},
      Positives.TWIN: {Role.TWIN: triplet.twin_margin},
      Positives.BOTH: {Role.TWIN: triplet.twin_margin, Role.POSITIVE: triplet.margin},
    }[triplet.positives]

  def logged_names(self):
    names = [*super().logged_names(), "triplet", "feature_norm", "positive_distance", "negative_distance"]
    return names + ["pairing"] * bool(self.pairing_weight)

  def step_images(self, batch, seed):
    labels = batch["label"]
    adversarial = self.perturb(batch["image"], labels, seeds.fold(seed, 0))
    negative = self._pick_negatives(adversarial, batch, seeds.fold(seed, 1))
    # The authors' graph order, which is the order of the moving averages.
    result = {}
    if Role.TWIN in self.positives or self.pairing_weight or self.clean_weight:
      result[Role.TWIN] = (self._twin(batch["image"], seeds.fold(seed, 2)), labels)
    result[Role.ADVERSARIAL] = (adversarial, labels)
    result[Role.NEGATIVE] = (tf.gather(batch["pool"], negative), tf.gather(batch["pool_label"], negative))
    if Role.POSITIVE in self.positives:
      result[Role.POSITIVE] = (batch["positive"], labels)
    return result

  def _pick_negatives(self, adversarial, batch, key):
    kind = self.triplet.negatives
    if kind is not Negatives.NEAREST:
      return mining.random_negative(batch["label"], batch["pool_label"], key, kind is Negatives.RANDOM)
    count = tf.shape(adversarial)[0]
    both = self.network(tf.concat([adversarial, batch["pool"]], 0), training=False)["embedding"]
    return mining.nearest_negative(both[:count], both[count:], batch["label"], batch["pool_label"])

  def _twin(self, images, key):
    noise = self.triplet.twin_noise
    if not noise:
      return images
    noisy = images + seeds.uniform(tf.shape(images), key, -noise, noise)
    return tf.clip_by_value(tf.round(noisy * 255.0) / 255.0, 0.0, 1.0)

  def step_terms(self, outputs, labels):
    terms, logged = super().step_terms(outputs, labels)
    config = self.triplet
    embeddings = {role: output["embedding"] for role, output in outputs.items()}
    losses, positive_distances, negative_distances, norms = [], [], [], []
    # A pool without any other class offers no negative: such an anchor has no triplet loss.
    valid = tf.cast(labels[Role.NEGATIVE] != labels[Role.ADVERSARIAL], tf.float32)
    if config.negatives is Negatives.AUTHORS_RANDOM:
      valid = tf.ones_like(valid)
    for role, margin in self.positives.items():
      anchor, positive, negative = embeddings[Role.ADVERSARIAL], embeddings[role], embeddings[Role.NEGATIVE]
      if config.switch_anchor:
        anchor, positive = positive, anchor
      parts = triplet_parts(anchor, positive, negative, margin, config.distance)
      losses.append(tf.reduce_mean(parts.loss * valid))
      positive_distances.append(tf.reduce_mean(parts.positive_distance))
      negative_distances.append(tf.reduce_mean(parts.negative_distance))
      norms.append(feature_norm([anchor, positive, negative], config.feature_norm))
    count = float(len(self.positives))
    # The code multiplies its feature norm by lambda_1 too; the paper's stands alone.
    factor = config.weight if config.feature_norm is FeatureNorm.MEAN_SQUARE else 1.0
    terms["triplet"] = Term(tf.add_n(losses), config.weight)
    terms["feature_norm"] = Term(tf.add_n(norms), config.feature_norm_weight * factor)
    if self.pairing_weight:
      terms["pairing"] = pairing_term(outputs, self.pairing, self.pairing_weight)
    logged = {
      **logged,
      "positive_distance": tf.add_n(positive_distances) / count,
      "negative_distance": tf.add_n(negative_distances) / count,
    }
    return terms, logged

  def get_config(self):
    return {
      **super().get_config(),
      "triplet": self.triplet.to_dict(),
      "pairing": self.pairing.value,
      "pairing_weight": self.pairing_weight,
    }

  @classmethod
  def from_config(cls, config):
    return super().from_config({**config, "triplet": TripletConfig.from_dict(dict(config["triplet"]))})
