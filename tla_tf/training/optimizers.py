"""Optimisers and learning rates with the update rules of the authors' code."""

from __future__ import annotations

import typing

import keras
import tensorflow as tf
from keras.optimizers.schedules import LearningRateSchedule

from tla_tf.config import TrainingConfig
from tla_tf.types import Schedule


@keras.saving.register_keras_serializable(package="tla_tf")
class Momentum(keras.optimizers.Optimizer):
  """Momentum SGD as TF1 has it: a <- m a + g; w <- w - rate x a.

  Keras's SGD keeps the rate inside the accumulator, so that a change of rate
  reaches the past gradients only slowly; here it reaches them at once.

  Args:
    learning_rate: a number or a schedule.
    momentum: m.
    **kwargs: as in `keras.optimizers.Optimizer`.
  """

  def __init__(
    self,
    learning_rate: float | LearningRateSchedule = 0.1,
    momentum: float = 0.9,
    name: str = "momentum",
    **kwargs: typing.Any,
  ):
    super().__init__(learning_rate=learning_rate, name=name, **kwargs)
    self.momentum = momentum

  def build(self, variables: list[keras.Variable]) -> None:
    if not self.built:
      super().build(variables)
      self._accumulators = [self.add_variable_from_reference(v, name="accumulator") for v in variables]

  def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
    accumulator = self._accumulators[self._get_variable_index(variable)]
    self.assign(accumulator, self.momentum * tf.convert_to_tensor(accumulator) + tf.cast(gradient, variable.dtype))
    self.assign_sub(variable, tf.cast(learning_rate, variable.dtype) * tf.convert_to_tensor(accumulator))

  def get_config(self) -> dict[str, typing.Any]:
    return {**super().get_config(), "momentum": self.momentum}


@keras.saving.register_keras_serializable(package="tla_tf")
class WarmUp(LearningRateSchedule):
  """A linear warm-up before a constant rate or another schedule.

  Step t of the warm-up has (t + 1) / (steps + 1) of the rate that the schedule
  has there.

  Args:
    schedule: a number or a Keras schedule, of the step of the whole run.
    steps: length of the warm-up.
  """

  def __init__(self, schedule: float | LearningRateSchedule, steps: int):
    self.schedule = schedule
    self.steps = steps

  def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
    rate = self.schedule(step) if callable(self.schedule) else self.schedule
    done = (tf.cast(step, tf.float32) + 1.0) / (self.steps + 1.0)
    return rate * tf.minimum(done, 1.0)

  def get_config(self) -> dict[str, typing.Any]:
    return {"schedule": keras.saving.serialize_keras_object(self.schedule), "steps": self.steps}

  @classmethod
  def from_config(cls, config: dict[str, typing.Any]) -> WarmUp:
    return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["steps"])


def make_learning_rate(config: TrainingConfig) -> float | LearningRateSchedule:
  """The learning rate of a run: piecewise constant or cosine, after a warm-up.

  A rate of `learning_rate_drops` holds from the step *after* its boundary
  (`golden/schedule.json`). The cosine falls from the first rate to 0 within
  `cosine_steps`, counted from step 0, and stays there.

  Args:
    config: TrainingConfig.

  Returns:
    A number or a Keras schedule of the step, counted from 0.
  """
  schedules = keras.optimizers.schedules
  rate = config.learning_rate
  if config.learning_rate_schedule is Schedule.COSINE:
    rate = schedules.CosineDecay(rate, config.cosine_steps)
  elif config.learning_rate_drops:
    steps, rates = zip(*config.learning_rate_drops)
    rate = schedules.PiecewiseConstantDecay(list(steps), [rate, *rates])
  return WarmUp(rate, config.warmup_steps) if config.warmup_steps else rate


def make_optimizer(config: TrainingConfig) -> keras.optimizers.Optimizer:
  """The optimiser of a run: "adam" (TF1's epsilon 1e-8) or "momentum" (0.9).

  Args:
    config: TrainingConfig.
  """
  learning_rate = make_learning_rate(config)
  if config.optimizer == "adam":
    return keras.optimizers.Adam(learning_rate, epsilon=1e-8)
  return Momentum(learning_rate)
