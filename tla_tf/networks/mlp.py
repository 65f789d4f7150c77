"""The authors' MLP for MNIST (paper, Table 4): three hidden layers of 1,024."""

import keras

from tla_tf.networks.blocks import MnistBlocks


def mlp(input_shape: tuple[int, ...], num_classes: int, seed: int = 0, width: int = 1024) -> keras.Model:
  """FC `width` x 3, FC classes; FC -> BN -> ReLU.

  Args:
    input_shape: (height, width, channels).
    num_classes: number of classes.
    seed: seed of the initial weights.
    width: units of each hidden layer.

  Returns:
    A `keras.Model` from images in [0, 1] to {"embedding": [n, `width`],
    "logits": [n, `num_classes`]}; the embedding is taken after ReLU.
  """
  blocks = MnistBlocks(seed)
  images = keras.Input(input_shape, name="images")
  x = keras.layers.Flatten(name="flatten")(images)
  x = blocks.dense_unit(x, width, "fc1")
  x = blocks.dense_unit(x, width, "fc2")
  embedding = blocks.dense_unit(x, width, "fc3", activation_name="embedding")
  logits = blocks.dense(embedding, num_classes, "logits")
  return keras.Model(images, {"embedding": embedding, "logits": logits}, name="mlp")
