"""Blocks that the authors' MNIST networks share."""

import keras

from tla_tf.networks.batch_norm import BranchBatchNormalization
from tla_tf.ops import seeds


class AuthorsBlocks:
  """Adds layers with the authors' initialisers: truncated normal 0.1, bias 0.1.

  Args:
    seed: seed of the network; every layer derives its own.
  """

  def __init__(self, seed):
    self._seed = seed

  def _initialisers(self, name):
    return {
      "kernel_initializer": keras.initializers.TruncatedNormal(stddev=0.1, seed=seeds.derive(self._seed, name)),
      "bias_initializer": keras.initializers.Constant(0.1),
      "name": name,
    }

  def dense(self, x, units, name):
    """A fully connected layer."""
    return keras.layers.Dense(units, **self._initialisers(name))(x)

  def dense_unit(self, x, units, name, activation_name=None):
    """Fully connected -> batch normalisation -> ReLU."""
    return self._normalised(self.dense(x, units, name), name, activation_name)

  def conv_unit(self, x, filters, name):
    """Convolution 3x3 -> batch normalisation -> ReLU."""
    x = keras.layers.Conv2D(filters, 3, padding="same", **self._initialisers(name))(x)
    return self._normalised(x, name, None)

  def _normalised(self, x, name, activation_name):
    x = BranchBatchNormalization(name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=activation_name or f"{name}_relu")(x)
