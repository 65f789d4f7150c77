"""An exponential average of the weights, which is judged in their place.

Source: Izmailov et al. 2018 average weights along training; the exponential form
with this warm-up is that of TensorFlow's ExponentialMovingAverage with num_updates.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tla_tf import networks
from tla_tf.errors import InputError, first_line


class WeightAverage:
  """average <- d average + (1 - d) weights, with d = min(decay, (1 + t) / (10 + t)).

  t counts steps from `start`; before, the average is the weights themselves.
  Statistics of batch normalisation are copied, not averaged.

  Args:
    network: the network whose weights are averaged.
    decay: of the average, above 0 and below 1.
    start: step at which it starts.

  Attributes:
    network: a network of the same kind with the averaged weights.
  """

  def __init__(self, network: keras.Model, decay: float, start: int = 0):
    self.network = _copy(network)
    self.network.trainable = False
    self.start_from(network)
    self._decay, self._start = decay, start

  def start_from(self, network: keras.Model) -> None:
    """Makes the average the weights and statistics of a network."""
    for average, variable in zip(self.network.variables, network.variables, strict=True):
      average.assign(variable)
    networks.finalize(self.network)

  def update(self, network: keras.Model, step: tf.Tensor) -> None:
    """Takes in the weights after a step, which is counted from 0."""
    time = tf.cast(step, tf.float32) - self._start
    decay = tf.where(time < 0.0, 0.0, tf.minimum(self._decay, (1.0 + time) / (10.0 + time)))
    averaged = {id(variable) for variable in network.trainable_variables}
    for average, variable in zip(self.network.variables, network.variables):
      value = tf.convert_to_tensor(variable)
      if id(variable) in averaged:
        value = decay * tf.convert_to_tensor(average) + (1.0 - decay) * value
      average.assign(value)


def _copy(network):
  """A network of the same kind; raises InputError where it cannot be made from its config."""
  try:
    copy = keras.models.clone_model(network)
    fits = [v.shape for v in copy.variables] == [v.shape for v in network.variables]
  except Exception as error:  # noqa: BLE001  Classes of the user's raise whatever they raise.
    fits, reason = False, first_line(error)
  else:
    reason = "its variables have other shapes"
  if not fits:
    raise InputError(
      f"`weight_average` needs a copy of the network, which cannot be made from its config ({reason}): let the "
      "constructors of your layers and models take **kwargs, and their get_config give what else they take."
    )
  return copy
