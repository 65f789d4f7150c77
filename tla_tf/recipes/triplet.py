"""TLA, TLA-RN and TLA-SA: triplet loss adversarial training.

Source: Mao et al. 2019, Section 4 and Equation 1.
"""

from __future__ import annotations

import dataclasses
import typing

from tla_tf.config import Config, option, other_default, require, require_number, require_whole
from tla_tf.lazy import lazy
from tla_tf.recipes import negatives
from tla_tf.recipes.adversarial import AdversarialTraining
from tla_tf.recipes.logit_pairing import PairingConfig, smoothed_lenet
from tla_tf.recipes.terms import Pairing, Step, Term
from tla_tf.registry import METHODS
from tla_tf.types import Distance, FeatureNorm, NegativePool, Negatives, PairingTarget, Positives, Role

tf = lazy("tensorflow")
losses = lazy("tla_tf.losses")
sums = lazy("tla_tf.ops.sums")

# All of ImageNet several times over; more would overflow its whole numbers before long.
_LARGEST_BANK = 1 << 24


@dataclasses.dataclass(frozen=True)
class TripletConfig(Config):
  """The triplet terms (paper, Section 4 and Equation 1).

  Attributes:
    weight: lambda_1. Of the mean-square feature norm it is a factor, too, but a schedule of the term "triplet" is not.
    margin: alpha of the class-mate term.
    distance: D.
    feature_norm: `mean_square` (code; its weight is multiplied by `weight`
      too) or `l2` (paper; lambda_2 stands alone).
    feature_norm_weight: weight of the feature norm.
    positives: class-mate, the anchor's clean twin, or one term for each.
    twin_margin: alpha of the twin term.
    twin_noise: half-width of the uniform noise on the clean twin, in pixels
      of [0, 1]; the noisy twin is rounded to 8 bits (code).
    negatives: how the negative is picked from the pool.
    switch_anchor: the positive takes the anchor's place (TLA-SA).
  """

  weight: float = option(0.5, "lambda_1.", flag="triplet_weight")
  margin: float = option(0.05, "alpha of the class-mate term.")
  distance: Distance = option(Distance.ANGULAR, "Distance between embeddings.")
  feature_norm: FeatureNorm = option(
    FeatureNorm.MEAN_SQUARE,
    "mean_square: authors' code, times triplet_weight too; l2: the paper's Equation 1, its weight stands alone.",
  )
  feature_norm_weight: float = option(1e-4, "Weight of the feature norm.")
  positives: Positives = option(
    Positives.CLASSMATE,
    "classmate: another image of the class; twin: the anchor's clean image; both: one triplet term each.",
  )
  twin_margin: float = option(0.05, "alpha of the twin term.")
  twin_noise: float = option(
    0.0,
    "Half-width of the noise on the twin; the authors' code has 8/255 on colour images, rounded to 8 bits.",
    pixels=True,
  )
  negatives: Negatives = option(
    Negatives.NEAREST,
    "nearest: of another class, in the pool; random: of another class (what the paper says of TLA-RN); authors_random: "
    "of any class (what the code does for it).",
  )
  switch_anchor: bool = False

  def validate(self) -> None:
    require_number(self, "weight", "margin", "feature_norm_weight", "twin_margin")
    require_number(self, "twin_noise", high=1.0)


@dataclasses.dataclass(frozen=True)
class TripletTrainingConfig(PairingConfig):
  """Settings of the TLA methods.

  Attributes:
    triplet: TripletConfig.
    negative_pool: where negatives come from.
    negative_pool_size: images of the fresh pool.
    memory_bank_size: embeddings that the memory bank keeps.
    memory_bank_start: first step whose triplet loss counts with the memory bank.
    pairing, pairing_weight: the code's `match_l2`, off by default.
  """

  triplet: TripletConfig = TripletConfig()
  negative_pool: NegativePool = option(
    NegativePool.FRESH,
    "Where negatives come from. fresh: a batch of images of its own (paper); batch: the step's own clean images; "
    "memory_bank: clean embeddings of the last steps (Wang et al. 2020), which cost next to nothing.",
  )
  negative_pool_size: int = option(50, "Images of the fresh pool.")
  memory_bank_size: int = option(8192, "Embeddings that the memory bank keeps.", ours=True)
  memory_bank_start: int = option(
    1000, "Steps before the triplet loss counts with the memory bank, while embeddings change fast.", ours=True
  )
  pairing: PairingTarget = other_default(PairingConfig, "pairing", PairingTarget.EMBEDDING)
  pairing_weight: float = other_default(PairingConfig, "pairing_weight", 0.0)

  def validate(self) -> None:
    super().validate()
    require_whole(self, "negative_pool_size", "memory_bank_size", low=1)
    size = self.memory_bank_size
    require(size <= _LARGEST_BANK, "memory_bank_size", f"at most {_LARGEST_BANK:,}", size)
    require_whole(self, "memory_bank_start")


def _positives(config: TripletConfig) -> dict[str, float]:
  """Role of the positive -> margin of its term."""
  margins = {Role.TWIN: config.twin_margin, Role.POSITIVE: config.margin}
  roles = {
    Positives.CLASSMATE: (Role.POSITIVE,),
    Positives.TWIN: (Role.TWIN,),
    Positives.BOTH: (Role.TWIN, Role.POSITIVE),
  }[config.positives]
  return {role: margins[role] for role in roles}


class _Triplets(Term):
  """What the two terms share: a triplet for every positive."""

  def __init__(self, name: str, weight: float, config: TripletConfig):
    super().__init__(name, weight)
    self._config = config
    self._margins = _positives(config)

  def _embeddings(self, step: Step) -> typing.Iterator[tuple]:
    """(anchor, positive, negative, margin) of every term."""
    for role, margin in self._margins.items():
      anchor, positive = step.outputs[Role.ADVERSARIAL]["embedding"], step.outputs[role]["embedding"]
      if self._config.switch_anchor:
        anchor, positive = positive, anchor
      yield anchor, positive, step.negatives.embedding, margin


class TripletTerm(_Triplets):
  """Sum of the triplet losses, and the mean distances of positives and negatives."""

  logged = ("positive_distance", "negative_distance")

  def __call__(self, step: Step) -> tuple[typing.Any, dict]:
    values, positive_distances, negative_distances = [], [], []
    for anchor, positive, negative, margin in self._embeddings(step):
      parts = losses.triplet_parts(anchor, positive, negative, margin, self._config.distance)
      values.append(step.mean(parts.loss * step.negatives.valid))
      positive_distances.append(tf.reduce_mean(parts.positive_distance))
      negative_distances.append(tf.reduce_mean(parts.negative_distance))
    distances = (sums.in_order(found) / float(len(values)) for found in (positive_distances, negative_distances))
    return sums.in_order(values), dict(zip(self.logged, distances))


class FeatureNormTerm(_Triplets):
  """Sum over the triplets of the size of their embeddings."""

  def __call__(self, step: Step) -> tuple[typing.Any, dict]:
    kind = self._config.feature_norm
    return sums.in_order([losses.feature_norm(list(triplet[:3]), kind) for triplet in self._embeddings(step)]), {}


class TripletTraining(AdversarialTraining[TripletTrainingConfig]):
  """Cross-entropy of A' plus one or two triplet terms on embeddings.

  Anchor A' (attacked), positive A1 (a class-mate) or A (the clean twin) or
  both, negative from a pool of clean images.
  """

  name = "tla"
  help = "triplet loss adversarial training"
  config_class = TripletTrainingConfig
  rank = 3

  _COLOUR = TripletTrainingConfig(
    triplet=TripletConfig(
      weight=2.0, margin=0.03, feature_norm_weight=1e-3, positives=Positives.BOTH, twin_margin=0.03, twin_noise=8 / 255
    ),
    negative_pool_size=500,
  )
  # The twin's margin is 30 times the class-mate's; the embeddings of A' and A are matched besides.
  _TINY = _COLOUR.replace(
    triplet=_COLOUR.triplet.replace(weight=0.5, margin=0.02, twin_margin=0.6), negative_pool_size=20, pairing_weight=0.5
  )
  published = {
    "mnist": TripletTrainingConfig(),
    "cifar10": _COLOUR,
    "tiny_imagenet": _TINY,
    # Ours: MNIST's; Tiny ImageNet's with a larger pool and without the matching.
    **dict.fromkeys(("digits", "npz"), TripletTrainingConfig()),
    "images": _TINY.replace(negative_pool_size=50, pairing_weight=0.0),
  }

  def shared_settings(self, dataset: str, network: str) -> dict:
    return smoothed_lenet(network)

  def unused_fields(self, config: TripletTrainingConfig) -> tuple:
    positives, bank = config.triplet.positives, config.negative_pool is NegativePool.MEMORY_BANK
    unused = [] if bank else ["memory_bank_size", "memory_bank_start"]
    if config.negative_pool is not NegativePool.FRESH:
      unused.append("negative_pool_size")
    if positives is Positives.CLASSMATE:
      unused += ["twin_margin"] + ["twin_noise"] * (Role.TWIN not in self.roles(config))
    if positives is Positives.TWIN:
      unused.append("margin")
    if not config.pairing_weight:
      unused.append("pairing")
    if not config.triplet.feature_norm_weight:
      unused.append("feature_norm")
    return (*super().unused_fields(config), *unused)

  def roles(self, config: TripletTrainingConfig) -> tuple:
    positives = _positives(config.triplet)
    twin = Role.TWIN in positives or config.pairing_weight or config.clean_weight
    # The authors' graph order, which is the order of the moving averages.
    return (
      *((Role.TWIN,) if twin else ()),
      Role.ADVERSARIAL,
      *((Role.NEGATIVE,) if config.negative_pool is NegativePool.FRESH else ()),
      *((Role.POSITIVE,) if Role.POSITIVE in positives else ()),
    )

  def twin_noise(self, config: TripletTrainingConfig) -> float:
    return config.triplet.twin_noise

  def negatives(self, config: TripletTrainingConfig) -> negatives.NegativeSource:
    rule = config.triplet.negatives
    if config.negative_pool is NegativePool.MEMORY_BANK:
      return negatives.MemoryBank(rule, config.memory_bank_size, config.memory_bank_start)
    if config.negative_pool is NegativePool.FRESH:
      return negatives.FreshPool(rule, config.negative_pool_size)
    return negatives.Batch(rule)

  def terms(self, config: TripletTrainingConfig) -> list[Term]:
    triplet = config.triplet
    # The code multiplies its feature norm by lambda_1 too; the paper's stands alone.
    factor = triplet.weight if triplet.feature_norm is FeatureNorm.MEAN_SQUARE else 1.0
    terms = [
      *super().terms(config),
      TripletTerm("triplet", triplet.weight, triplet),
      FeatureNormTerm("feature_norm", triplet.feature_norm_weight * factor, triplet),
    ]
    return [*terms, Pairing(config.pairing, config.pairing_weight)] if config.pairing_weight else terms


class RandomNegatives(TripletTraining):
  """TLA-RN: the negative is a random image of another class (paper) or of any (code)."""

  name = "tla_rn"
  help = "TLA with random negatives"
  refused = {"negatives": (Negatives.NEAREST,)}
  rank = 4

  def resolved(self, config: TripletTrainingConfig) -> TripletTrainingConfig:
    if config.triplet.negatives is not Negatives.NEAREST:
      return config
    return dataclasses.replace(config, triplet=config.triplet.replace(negatives=Negatives.RANDOM))


class SwitchedAnchor(TripletTraining):
  """TLA-SA: the positive takes the anchor's place."""

  name = "tla_sa"
  help = "TLA with anchor and positive switched"
  rank = 5

  def resolved(self, config: TripletTrainingConfig) -> TripletTrainingConfig:
    return dataclasses.replace(config, triplet=config.triplet.replace(switch_anchor=True))


METHODS.register("tla", TripletTraining())
METHODS.register("tla_rn", RandomNegatives())
METHODS.register("tla_sa", SwitchedAnchor())
