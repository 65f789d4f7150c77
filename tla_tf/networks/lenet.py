"""The authors' LeNet with batch normalisation for MNIST (paper, Table 1)."""

import keras

from tla_tf.networks.blocks import MnistBlocks
from tla_tf.networks.pooling import MaxPooling2D


def lenet(input_shape: tuple[int, ...], num_classes: int, seed: int = 0, width: int = 32) -> keras.Model:
  """Two pairs of 3x3 convolutions, each max-pooled; FC, FC classes.

  Args:
    input_shape: (height, width, channels).
    num_classes: number of classes.
    seed: seed of the initial weights.
    width: filters of the first convolution; the others have 2, 4 and 8 times
      as many, the embedding 32 times as many entries.

  Returns:
    A `keras.Model` from images in [0, 1] to {"embedding": [n, 32 `width`],
    "logits": [n, `num_classes`]}; the embedding is taken after ReLU.
  """
  blocks = MnistBlocks(seed)
  images = keras.Input(input_shape, name="images")
  x = blocks.conv_unit(images, width, "conv1")
  x = blocks.conv_unit(x, 2 * width, "conv2")
  x = MaxPooling2D(2, padding="same", name="pool1")(x)
  x = blocks.conv_unit(x, 4 * width, "conv3")
  x = blocks.conv_unit(x, 8 * width, "conv4")
  x = MaxPooling2D(2, padding="same", name="pool2")(x)
  x = keras.layers.Flatten(name="flatten")(x)
  embedding = blocks.dense_unit(x, 32 * width, "fc1", activation_name="embedding")
  logits = blocks.dense(embedding, num_classes, "logits")
  return keras.Model(images, {"embedding": embedding, "logits": logits}, name="lenet")
