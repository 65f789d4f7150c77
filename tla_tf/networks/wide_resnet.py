"""The authors' wide residual network for CIFAR-10 (paper, Table 1; Madry et al. 2018)."""

import typing

import keras
import tensorflow as tf

from tla_tf.errors import InputError
from tla_tf.networks.blocks import ColourBlocks
from tla_tf.networks.standardisation import PerImageStandardisation

_SLOPE = 0.1


def wide_resnet(
  input_shape: tuple[int, ...], num_classes: int, seed: int = 0, depth: int = 32, width: int = 10
) -> keras.Model:
  """Conv3x3-16, three groups of pre-activation units, global average, FC.

  The groups have 16, 32 and 64 times `width` filters and strides 1, 2, 2.

  Args:
    input_shape: (height, width, channels).
    num_classes: number of classes.
    seed: seed of the initial weights.
    depth: 6 k + 2 (the authors' way of counting) or 6 k + 4 (Zagoruyko and
      Komodakis's), either with k units a group: 32 and 34 are the same
      network.
    width: factor on the number of filters.

  Returns:
    A `keras.Model` from images in [0, 1] to {"embedding": [n, 64 `width`],
    "logits": [n, `num_classes`]}; some entries of the embedding are negative.

  Raises:
    InputError: for another depth.
  """
  units, rest = divmod(depth, 6)
  if units < 1 or rest not in (2, 4):
    raise InputError(
      f"Invalid depth {depth} of a wide residual network: expected 6 k + 2 or 6 k + 4, as 8, 10, 28, 32 or 34."
    )
  blocks = ColourBlocks(seed, slope=_SLOPE)
  images = keras.Input(input_shape, name="images")
  x = PerImageStandardisation(name="standardise")(images)
  x = blocks.conv(x, 16, 3, "input.init_conv")
  for group, stride in enumerate((1, 2, 2), start=1):
    for unit in range(units):
      x = _unit(
        blocks,
        x,
        16 * width * 2 ** (group - 1),
        stride if unit == 0 else 1,
        f"unit_{group}_{unit}",
        activate_before_shortcut=group == 1 and unit == 0,
      )
  x = blocks.activated(x, "unit_last")
  embedding = blocks.average(x, "embedding")
  logits = blocks.logits(embedding, num_classes)
  return keras.Model(images, {"embedding": embedding, "logits": logits}, name="wide_resnet")


def _unit(blocks, x, filters, stride, scope, activate_before_shortcut):
  shortcut = x
  if activate_before_shortcut:
    x = shortcut = blocks.activated(x, f"{scope}.shared_activation")
  else:
    x = blocks.activated(x, f"{scope}.residual_only_activation")
  x = blocks.conv(x, filters, 3, f"{scope}.sub1.conv1", stride)
  x = blocks.activated(x, f"{scope}.sub2")
  x = blocks.conv(x, filters, 3, f"{scope}.sub2.conv2")
  if shortcut.shape[-1] != filters:
    if stride > 1:
      shortcut = keras.layers.AveragePooling2D(stride, padding="same", name=f"{scope}.pool")(shortcut)
    shortcut = PadChannels(filters, name=f"{scope}.pad")(shortcut)
  return keras.layers.Add(name=f"{scope}.add")([x, shortcut])


@keras.saving.register_keras_serializable(package="tla_tf")
class PadChannels(keras.layers.Layer):
  """Zeros before and after the channels, up to `channels` of them.

  Args:
    channels: number of channels to reach.
    **kwargs: as in `keras.layers.Layer`.
  """

  def __init__(self, channels: int, **kwargs: typing.Any):
    super().__init__(**kwargs)
    self.channels = channels

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    missing = self.channels - inputs.shape[-1]
    return tf.pad(inputs, [[0, 0]] * (inputs.shape.rank - 1) + [[missing // 2, missing - missing // 2]])

  def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    return (*input_shape[:-1], self.channels)

  def get_config(self) -> dict[str, typing.Any]:
    return {**super().get_config(), "channels": self.channels}
