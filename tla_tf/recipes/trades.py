"""TRADES: accuracy on clean images traded against agreement of clean and attacked predictions.

Source: Zhang et al. 2019, "Theoretically Principled Trade-off between Robustness
and Accuracy", Equation 5 and Algorithm 1; numbers of its Section 5 and code.
"""

from __future__ import annotations

import dataclasses
import typing

from tla_tf.config import AttackConfig, RecipeConfig, option, require_number
from tla_tf.lazy import lazy
from tla_tf.recipes.inner_attack import InnerAttack
from tla_tf.recipes.recipe import Recipe
from tla_tf.recipes.terms import CrossEntropy, Step, Term
from tla_tf.registry import METHODS
from tla_tf.types import Role

tf = lazy("tensorflow")
balls = lazy("tla_tf.balls")


@dataclasses.dataclass(frozen=True)
class TradesConfig(RecipeConfig):
  """Settings of TRADES.

  Attributes:
    beta: weight of the divergence (1 / lambda of the paper).
    start_deviation: standard deviation of the noise that the attack starts
      with, in pixels of [0, 1]; at the clean image itself the divergence has no
      gradient.
  """

  beta: float = option(6.0, "Weight of the KL divergence of clean and attacked predictions.")
  start_deviation: float = option(
    0.001, "Standard deviation of the Gaussian noise that the training attack starts with.", pixels=True
  )

  def validate(self) -> None:
    require_number(self, "beta")
    require_number(self, "start_deviation", above=0.0, high=1.0)


_BATCH = 128


def _steps(epochs: int, images: int) -> int:
  return round(epochs * images / _BATCH)


def kl_divergence(clean_logits: typing.Any, logits: typing.Any) -> typing.Any:
  """KL(p || q) of the softmaxes of clean logits (p) and of others (q): float32 [n, classes] x 2 -> [n]."""
  log_p, log_q = tf.nn.log_softmax(clean_logits), tf.nn.log_softmax(logits)
  return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), -1)


class DivergenceAttack(InnerAttack):
  """Increases the divergence from the clean prediction, from a Gaussian start, in inference mode."""

  def __init__(self, deviation: float):
    super().__init__()
    self._deviation = deviation

  def start(
    self, images: typing.Any, ball: typing.Any, attack: AttackConfig, epsilon: typing.Any, key: typing.Any
  ) -> typing.Any:
    return balls.gaussian_start(images, self._deviation, key)

  def objective(
    self, forward: typing.Callable, images: typing.Any, attack: AttackConfig, label_smoothing: float
  ) -> typing.Callable:
    clean_logits = tf.stop_gradient(forward(images))
    return lambda logits, labels: kl_divergence(clean_logits, logits)


class Divergence(Term):
  """Mean divergence of attacked from clean predictions; gradients go through both."""

  needs_embedding = False

  def __call__(self, step: Step) -> tuple[typing.Any, dict]:
    clean, attacked = (step.outputs[role]["logits"] for role in (Role.TWIN, Role.ADVERSARIAL))
    return step.mean(kl_divergence(clean, attacked)), {}


class Trades(Recipe[TradesConfig]):
  """Cross-entropy of clean images + beta x KL(p(clean) || p(attacked))."""

  name = "trades"
  help = "TRADES (Zhang et al. 2019)"
  config_class = TradesConfig
  # The paper has MNIST and CIFAR-10, whose beta the other data sets take.
  published = {"mnist": TradesConfig(beta=1.0), "digits": TradesConfig(beta=1.0), "*": TradesConfig()}
  rank = 6

  def shared_settings(self, dataset: str, network: str) -> dict:
    # As the authors' scripts; images are those that are not held out.
    if dataset == "mnist":
      return {
        "batch_size": _BATCH,
        "train_steps": _steps(100, 55_000),
        "optimizer": "momentum",
        "learning_rate": 0.01,
        "learning_rate_drops": ((_steps(54, 55_000), 0.001),),
        "weight_decay": 0.0,
      }
    if dataset == "cifar10":
      return {
        "attack": AttackConfig(epsilon=0.031, step_size=0.007, steps=10),
        "validation_attack": AttackConfig(epsilon=0.031, step_size=0.003, steps=20),
        "augment_pad": 4,
        "batch_size": _BATCH,
        "train_steps": _steps(76, 49_000),
        "learning_rate_drops": ((_steps(74, 49_000), 0.01),),
      }
    return {}

  def roles(self, config: TradesConfig) -> tuple:
    return (Role.TWIN, Role.ADVERSARIAL)

  def inner_attack(self, config: TradesConfig) -> InnerAttack:
    return DivergenceAttack(config.start_deviation)

  def terms(self, config: TradesConfig) -> list[Term]:
    return [CrossEntropy(Role.TWIN), Divergence("kl", config.beta)]


METHODS.register("trades", Trades())
