"""The model of a training configuration."""

from __future__ import annotations

import dataclasses

import keras

from tla_tf import recipes
from tla_tf.config import TrainingConfig
from tla_tf.models.robust_model import RobustModel
from tla_tf.types import Role


def make_model(config: TrainingConfig, network: keras.Model) -> RobustModel:
  """Makes the model that a configuration describes, not compiled.

  Args:
    config: TrainingConfig.
    network: the network to train.
  """
  shared = (
    "attack",
    "validation_attack",
    "weight_decay",
    "label_smoothing",
    "schedules",
    "weight_average",
    "weight_average_start",
    "accumulate_steps",
    "attack_batch_size",
    "batch_size",
    "attack_precision",
    "mixed_precision",
    "seed",
    "sync_batch_norm",
    "negatives_across_replicas",
  )
  settings = {field.name: getattr(config.recipe, field.name) for field in dataclasses.fields(config.recipe)}
  return RobustModel(network, config.method, **{name: getattr(config, name) for name in shared}, **settings)


def needs(config: TrainingConfig) -> tuple[bool, int]:
  """What the method reads from the stream: (whether class-mates, images of the pool)."""
  recipe = recipes.get(config.method)
  source = recipe.negatives(config.recipe)
  classmates = Role.POSITIVE in recipe.roles(config.recipe)
  return classmates, 0 if source is None else source.pool_size
