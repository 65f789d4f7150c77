"""Blocks that the authors' networks share, with their initialisers."""

import keras

from tla_tf.networks.batch_norm import BranchBatchNormalization
from tla_tf.ops import seeds


class MnistBlocks:
  """Layers of the MNIST networks: truncated normal 0.1, bias 0.1, ReLU.

  Args:
    seed: seed of the network; every layer derives its own.
  """

  def __init__(self, seed: int):
    self._seed = seed

  def _initialisers(self, name):
    return {
      "kernel_initializer": keras.initializers.TruncatedNormal(stddev=0.1, seed=seeds.derive(self._seed, name)),
      "bias_initializer": keras.initializers.Constant(0.1),
      "name": name,
    }

  def dense(self, x: keras.KerasTensor, units: int, name: str) -> keras.KerasTensor:
    """A fully connected layer."""
    return keras.layers.Dense(units, **self._initialisers(name))(x)

  def dense_unit(
    self, x: keras.KerasTensor, units: int, name: str, activation_name: str | None = None
  ) -> keras.KerasTensor:
    """Fully connected -> batch normalisation -> ReLU."""
    return self._normalised(self.dense(x, units, name), name, activation_name)

  def conv_unit(self, x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """Convolution 3x3 -> batch normalisation -> ReLU."""
    x = keras.layers.Conv2D(filters, 3, padding="same", **self._initialisers(name))(x)
    return self._normalised(x, name, None)

  def _normalised(self, x, name, activation_name):
    x = BranchBatchNormalization(name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=activation_name or f"{name}_relu")(x)


class ColourBlocks:
  """Layers of the networks for colour images: no biases, normal sqrt(2 / (k k out)).

  A layer is named by its scope in the authors' graph, with dots for slashes.

  Args:
    seed: seed of the network; every layer derives its own.
    slope: of the leaky ReLU for negative inputs; 0 is the plain ReLU.
  """

  def __init__(self, seed: int, slope: float = 0.0):
    self._seed = seed
    self._slope = slope

  def conv(
    self, x: keras.KerasTensor, filters: int, size: int, name: str, stride: int = 1, padding: str = "same"
  ) -> keras.KerasTensor:
    """A convolution without bias."""
    deviation = (2.0 / (size * size * filters)) ** 0.5
    kernel = keras.initializers.RandomNormal(stddev=deviation, seed=seeds.derive(self._seed, name))
    return keras.layers.Conv2D(filters, size, stride, padding, use_bias=False, kernel_initializer=kernel, name=name)(x)

  def activated(self, x: keras.KerasTensor, scope: str) -> keras.KerasTensor:
    """Batch normalisation -> (leaky) ReLU."""
    x = BranchBatchNormalization(name=f"{scope}.BatchNorm")(x)
    return keras.layers.ReLU(negative_slope=self._slope, name=f"{scope}.relu")(x)

  def average(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Mean over all positions."""
    return keras.layers.GlobalAveragePooling2D(name=name)(x)

  def logits(self, x: keras.KerasTensor, num_classes: int) -> keras.KerasTensor:
    """The last layer: uniform unit scaling, bias 0."""
    kernel = keras.initializers.VarianceScaling(1.0, "fan_in", "uniform", seed=seeds.derive(self._seed, "logit"))
    return keras.layers.Dense(num_classes, kernel_initializer=kernel, name="logit")(x)
