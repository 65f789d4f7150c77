"""The authors' ConvNet for CIFAR-10 (paper, Table 4)."""

import keras

from tla_tf.networks.blocks import ColourBlocks
from tla_tf.networks.pooling import MaxPooling2D
from tla_tf.networks.standardisation import PerImageStandardisation


def convnet(input_shape: tuple[int, ...], num_classes: int, seed: int = 0, width: int = 32) -> keras.Model:
  """Three 5x5 convolutions, each pooled by 2; conv 4x4 without padding; FC.

  Each convolution -> batch normalisation -> ReLU. On 32x32 images one position
  is left after the last convolution; on larger ones the mean is taken over
  those that are left, on smaller ones its kernel is as small as they are.

  Args:
    input_shape: (height, width, channels).
    num_classes: number of classes.
    seed: seed of the initial weights.
    width: filters of the first two convolutions; the third has twice, the last
      four times as many.

  Returns:
    A `keras.Model` from images in [0, 1] to {"embedding": [n, 4 `width`],
    "logits": [n, `num_classes`]}; the embedding is taken after ReLU.
  """
  blocks = ColourBlocks(seed)
  images = keras.Input(input_shape, name="images")
  x = PerImageStandardisation(name="standardise")(images)
  x = blocks.activated(blocks.conv(x, width, 5, "input.init_conv"), "input")
  x = MaxPooling2D(2, padding="same", name="pool1")(x)
  x = blocks.activated(blocks.conv(x, width, 5, "conv1"), "conv1")
  x = keras.layers.AveragePooling2D(2, padding="same", name="pool2")(x)
  x = blocks.activated(blocks.conv(x, 2 * width, 5, "conv2"), "conv2")
  x = keras.layers.AveragePooling2D(2, padding="same", name="pool3")(x)
  size = min(4, x.shape[1], x.shape[2])
  x = blocks.activated(blocks.conv(x, 4 * width, size, "conv3", padding="valid"), "conv3")
  embedding = blocks.average(x, "embedding")
  logits = blocks.logits(embedding, num_classes)
  return keras.Model(images, {"embedding": embedding, "logits": logits}, name="convnet")
