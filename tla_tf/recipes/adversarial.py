"""AT: training on PGD examples (Madry et al. 2018)."""

from __future__ import annotations

import dataclasses
import typing

from tla_tf.config import RecipeConfig, option, require_number
from tla_tf.recipes import cheap_attack
from tla_tf.recipes.cheap_attack import InnerAttackConfig
from tla_tf.recipes.inner_attack import InnerAttack
from tla_tf.recipes.recipe import Recipe
from tla_tf.recipes.terms import CleanCrossEntropy, CrossEntropy, Term
from tla_tf.registry import METHODS
from tla_tf.types import PassMode, Role


@dataclasses.dataclass(frozen=True)
class AdversarialConfig(RecipeConfig):
  """What every method that trains on attacked images can set.

  Attributes:
    clean_weight: weight of the mean over the step's clean roles (twin, negative,
      class-mate) of their cross-entropies.
    attack_mode: whether the training attack sees the network in inference or in
      training mode.
    inner_attack: cheaper attacks for all or a part of the run, see `cheap_attack`.
  """

  clean_weight: float = option(
    0.0,
    "Weight of the mean cross-entropy of the step's clean images: twin, negative and class-mate, as far as the method "
    "has them, and the twin at least; the authors train on adversarial images only.",
  )
  attack_mode: PassMode = option(
    PassMode.INFERENCE,
    "Batch statistics that the training attack sees: inference, or training as the authors' AT script (statistics "
    "then do not move).",
  )
  inner_attack: InnerAttackConfig = InnerAttackConfig()

  def validate(self) -> None:
    require_number(self, "clean_weight")


Adversarial = typing.TypeVar("Adversarial", bound=AdversarialConfig)


class AdversarialTraining(Recipe[Adversarial]):
  """Cross-entropy of adversarial images, plus `clean_weight` times that of clean ones."""

  name = "at"
  help = "adversarial training"
  config_class = AdversarialConfig
  # The authors' AT script attacks the network in training mode.
  published: typing.Mapping[str, AdversarialConfig] = {
    **dict.fromkeys(("mnist", "cifar10", "tiny_imagenet"), AdversarialConfig(attack_mode=PassMode.TRAINING)),
    "*": AdversarialConfig(),
  }
  rank = 1

  def roles(self, config: Adversarial) -> tuple:
    return (Role.TWIN, Role.ADVERSARIAL) if config.clean_weight else (Role.ADVERSARIAL,)

  def inner_attack(self, config: Adversarial) -> InnerAttack:
    return cheap_attack.make(config.inner_attack, config.attack_mode)

  def unused_fields(self, config: Adversarial) -> tuple:
    return config.inner_attack.unused_fields()

  def terms(self, config: Adversarial) -> list[Term]:
    return [CrossEntropy(), *([CleanCrossEntropy(config.clean_weight)] if config.clean_weight else [])]


METHODS.register("at", AdversarialTraining[AdversarialConfig]())
