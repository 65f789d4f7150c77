"""Optimisers and learning rates with the update rules of the authors' code."""

import keras
import tensorflow as tf

from tla_tf.errors import InputError


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

  def __init__(self, learning_rate=0.1, momentum=0.9, name="momentum", **kwargs):
    super().__init__(learning_rate=learning_rate, name=name, **kwargs)
    self.momentum = momentum

  def build(self, variables):
    if not self.built:
      super().build(variables)
      self._accumulators = [self.add_variable_from_reference(v, name="accumulator") for v in variables]

  def update_step(self, gradient, variable, learning_rate):
    accumulator = self._accumulators[self._get_variable_index(variable)]
    self.assign(accumulator, self.momentum * tf.convert_to_tensor(accumulator) + tf.cast(gradient, variable.dtype))
    self.assign_sub(variable, tf.cast(learning_rate, variable.dtype) * tf.convert_to_tensor(accumulator))

  def get_config(self):
    return {**super().get_config(), "momentum": self.momentum}


def make_learning_rate(rate, drops=()):
  """A constant or piecewise constant learning rate.

  Args:
    rate: the rate of the first step.
    drops: pairs (step, rate); a new rate holds from the step *after* the
      boundary (`golden/schedule.json`).

  Returns:
    A number or a Keras schedule of the step, counted from 0.
  """
  if not drops:
    return rate
  steps, rates = zip(*drops)
  return keras.optimizers.schedules.PiecewiseConstantDecay(list(steps), [rate, *rates])


def make_optimizer(name, rate, drops=()):
  """The optimiser of a run: "adam" (TF1's epsilon 1e-8) or "momentum" (0.9).

  Raises:
    InputError: for another name.
  """
  learning_rate = make_learning_rate(rate, drops)
  if name == "adam":
    return keras.optimizers.Adam(learning_rate, epsilon=1e-8)
  if name == "momentum":
    return Momentum(learning_rate)
  raise InputError(f"Unknown optimizer {name!r}: expected 'adam' or 'momentum'.")
