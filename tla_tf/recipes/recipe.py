"""What a training method is: roles x inner attack x terms x update rule, and the settings of its own.

A new method is a new file in this package that ends with `METHODS.register(...)`:
its flags, help, published settings, logged values, checkpoints, report rows and
resume follow from the recipe. No TensorFlow is imported before a part is made.
"""

from __future__ import annotations

import dataclasses
import typing

from tla_tf.config import Option, RecipeConfig, TrainingConfig, options
from tla_tf.errors import InputError
from tla_tf.recipes.inner_attack import InnerAttack
from tla_tf.recipes.negatives import NegativeSource
from tla_tf.recipes.terms import Term
from tla_tf.recipes.update_rules import UpdateRule
from tla_tf.registry import expected
from tla_tf.types import Role

# What "best" means, in order; the later of equally good checkpoints.
ROBUST_FIRST = ("val_robust_accuracy", "val_accuracy")
CLEAN_FIRST = ("val_accuracy", "val_robust_accuracy")


Settings = typing.TypeVar("Settings", bound=RecipeConfig)


class Recipe(typing.Generic[Settings]):
  """A method; subclasses say what differs.

  Attributes:
    name: as flags, configs and tables call it.
    help: one line of what it is.
    config_class: the `RecipeConfig` of its own settings.
    published: dict from data set to its config there; "*" stands for all other
      data sets. Where neither is, a data set says it in `DatasetSpec.methods`.
    best_by: names of the held-out metrics that say which checkpoint is best.
    accuracy_role: whose accuracy is logged while training.
    refused: dict from flag to values that make no sense of this method.
    rank: place in lists.
  """

  name: str = ""
  help: str = ""
  config_class: type = RecipeConfig
  published: typing.Mapping[str, RecipeConfig] = {}
  best_by: tuple = ROBUST_FIRST
  accuracy_role: str = Role.ADVERSARIAL
  refused: typing.Mapping[str, tuple] = {}
  rank: int = 100

  def __init_subclass__(cls) -> None:
    shared = {field.name for field in dataclasses.fields(TrainingConfig)}
    clash = sorted(shared & {field.name for field in dataclasses.fields(cls.config_class)})
    if clash:
      name = cls.config_class.__name__
      raise TypeError(f"{name}.{clash[0]}: TrainingConfig has a field of that name; choose another.")

  # ------------------------------------------------------------- settings

  def resolved(self, config: Settings) -> Settings:
    """The config with what the method itself fixes."""
    return config

  def shared_settings(self, dataset: str, network: str) -> dict:
    """Fields of `TrainingConfig` that the method's published setting has otherwise than its data set's."""
    del dataset, network
    return {}

  def unused_fields(self, config: Settings) -> tuple:
    """Flags of the method that have no effect beside the other settings."""
    del config
    return ()

  def fields(self) -> dict[str, dataclasses.Field]:
    """The fields of the config class by name."""
    return {field.name: field for field in dataclasses.fields(self.config_class)}

  def flags(self) -> dict[str, Option]:
    """The method's flags by name, from the config class and the configs within it."""
    return {option.flag: option for option in options(self.config_class)}

  def settings(self, values: dict) -> Settings:
    """The config from keyword arguments; raises InputError for an unknown one."""
    unknown = next((name for name in values if name not in self.fields()), None)
    if unknown is not None:
      raise InputError(f"Unknown setting `{unknown}` of method {self.name!r}: {expected(unknown, self.fields())}.")
    return self.config_class(**values)

  # ------------------------------------------------------------- parts of the step

  def roles(self, config: Settings) -> tuple:
    """The images that the step passes through the network, in the order in which batch statistics move.

    `Role.NEGATIVE` is there only with a source of negatives that gives images.
    """
    raise InputError(f"Method {self.name!r} does not say which roles it trains on.")

  def inner_attack(self, config: Settings) -> InnerAttack:
    """How the step's adversarial images are made."""
    del config
    return InnerAttack()

  def negatives(self, config: Settings) -> NegativeSource | None:
    """Where negatives come from; None for a method without."""
    del config
    return None

  def twin_noise(self, config: Settings) -> float:
    """Half-width of the uniform noise on the clean twin, in pixels of [0, 1]."""
    del config
    return 0.0

  def terms(self, config: Settings) -> list[Term]:
    """The parts of the loss, without weight decay, in the order in which they are added."""
    raise InputError(f"Method {self.name!r} does not say what its loss is.")

  def needs_embedding(self, config: Settings) -> tuple[str, ...]:
    """What of the method uses embeddings, by name: its terms that say so, and its negatives."""
    terms = tuple(term.name for term in self.terms(config) if term.needs_embedding)
    return terms or (("negatives",) if self.negatives(config) is not None else ())

  def require_micro_batches(self, config: Settings, count: int) -> None:
    """Raises InputError where a step cannot be cut into `count` micro-batches: what compares images needs them all."""
    if count == 1:
      return
    parts = [f"term {term.name!r}" for term in self.terms(config) if term.needs_whole_batch]
    source = self.negatives(config)
    if source is not None and source.needs_whole_batch:
      parts.append("`negative_pool='batch'`")
    if parts:
      raise InputError(
        f"`accumulate_steps={count}`: {' and '.join(parts)} of method {self.name!r} compares all images of a step, of "
        "which a micro-batch has a part: give `accumulate_steps=1`"
        + (", or a `negative_pool` that is fresh or a memory bank." if "`negative_pool='batch'`" in parts else ".")
      )

  def update_rule(self, config: Settings) -> UpdateRule:
    """What is done with the gradients."""
    del config
    return UpdateRule()
