"""What a training costs: passes x operations of the network, against the rate of the machine at hand.

seconds of a step = operations of its attack, its mining and its training pass / operations per second

The rate is measured by a few attack steps on the network itself. docs/scaling.md says how far the prediction is off.
"""

from __future__ import annotations

import time
import typing

import keras
import numpy as np
import tensorflow as tf

from tla_tf import recipes
from tla_tf.attacks import GradientSearch
from tla_tf.config import AttackConfig, TrainingConfig
from tla_tf.networks.flops import flops
from tla_tf.ops import seeds
from tla_tf.types import Role


class StepCost(typing.NamedTuple):
  """Floating-point operations of one training step.

  Attributes:
    attack: of its inner attack: a pass and its gradient at every step.
    mining: of finding negatives.
    training: of the pass over all roles and its gradients.
  """

  attack: int
  mining: int
  training: int

  @property
  def total(self) -> int:
    """Of the step."""
    return self.attack + self.mining + self.training


def step_cost(config: TrainingConfig, network: keras.Model, step: int = 0) -> StepCost:
  """Counts the operations of a training step.

  Left out: the clean pass that TRADES's attack begins with, and what moves memory alone.

  Args:
    config: TrainingConfig.
    network: a network that `networks.flops` can count.
    step: its number, which tells a cheaper inner attack from PGD.
  """
  recipe, batch, once = recipes.get(config.method), config.batch_size, flops(network)
  roles, source = recipe.roles(config.recipe), recipe.negatives(config.recipe)
  attack, inner = 0, recipe.inner_attack(config.recipe)
  if Role.ADVERSARIAL in roles and not inner.needs_gradient:  # which takes it from the training pass
    kinds = list(inner.attacks(config.attack).values())
    attack = batch * kinds[0 if step < inner.first_pgd_step else -1].steps * once.attack
  mining = 0
  if source is not None:
    mining = source.mined(batch) * once.forward + 2 * source.compared(batch) * network.output["embedding"].shape[-1]
  return StepCost(attack, mining, batch * len(roles) * once.training)


def run_cost(config: TrainingConfig, network: keras.Model) -> int:
  """Floating-point operations of a whole training, with its looks at held-out images."""
  once, last = flops(network), config.train_steps
  cheap = min(last, recipes.get(config.method).inner_attack(config.recipe).first_pgd_step)
  steps = cheap * step_cost(config, network).total + (last - cheap) * step_cost(config, network, last).total
  look = config.validation_examples * (config.validation_attack.steps * once.attack + 2 * once.forward)
  return steps + -(-last // config.checkpoint_every) * look


def measured_rate(network: keras.Model, batch_size: int = 50, seconds: float = 1.0) -> float:
  """Floating-point operations per second that attack steps reach here.

  Args:
    network: the network to be trained.
    batch_size: images of a batch.
    seconds: how long to measure, at least; compiling comes on top.
  """
  images = tf.constant(np.random.default_rng(0).random((batch_size, *network.input_shape[1:])), tf.float32)
  labels = tf.zeros([batch_size], tf.int32)
  search, key = GradientSearch(network), seeds.key(0, "rate")

  def timed(steps):
    began = time.perf_counter()
    np.asarray(search.run(images, labels, key, AttackConfig(steps=steps), record=False).adversarial)
    return time.perf_counter() - began

  timed(1)  # compiles
  steps = max(3, round(seconds / timed(1)))
  return steps * batch_size * flops(network).attack / timed(steps)
