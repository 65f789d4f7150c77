"""The authors' pre-activation ResNet-50 for Tiny ImageNet (paper, Table 1)."""

import keras

from tla_tf.networks.blocks import ColourBlocks
from tla_tf.networks.standardisation import PerImageStandardisation

# Bottlenecks a group: 12 in all, where the usual ResNet-50 has 16.
_COUNTS = (2, 3, 5, 2)


def resnet_50(input_shape: tuple[int, ...], num_classes: int, seed: int = 0, width: int = 64) -> keras.Model:
  """Conv7x7, four groups of pre-activation bottlenecks, global average, FC.

  No pooling after the first convolution, which has stride 1.

  Args:
    input_shape: (height, width, channels).
    num_classes: number of classes.
    seed: seed of the initial weights.
    width: filters of the first convolution and of the first bottlenecks.

  Returns:
    A `keras.Model` from images in [0, 1] to {"embedding": [n, 32 `width`],
    "logits": [n, `num_classes`]}; the embedding is taken after ReLU.
  """
  blocks = ColourBlocks(seed)
  images = keras.Input(input_shape, name="images")
  x = PerImageStandardisation(name="standardise")(images)
  x = blocks.activated(blocks.conv(x, width, 7, "input.init_conv"), "input")
  for group, (count, stride) in enumerate(zip(_COUNTS, (1, 2, 2, 2)), start=1):
    for unit in range(count):
      x = _bottleneck(
        blocks, x, width * 2 ** (group - 1), stride if unit == 0 else 1, f"unit_{group}_{unit}", project=unit == 0
      )
  x = blocks.activated(x, "unit_last")
  embedding = blocks.average(x, "embedding")
  logits = blocks.logits(embedding, num_classes)
  return keras.Model(images, {"embedding": embedding, "logits": logits}, name="resnet_50")


def _bottleneck(blocks, x, filters, stride, scope, project):
  shortcut = x
  x = blocks.activated(x, f"{scope}.residual_only_activation")
  x = blocks.conv(x, filters, 1, f"{scope}.sub1.conv1", stride)
  x = blocks.activated(x, f"{scope}.sub2")
  x = blocks.conv(x, filters, 3, f"{scope}.sub2.conv2")
  x = blocks.activated(x, f"{scope}.sub3")
  x = blocks.conv(x, 4 * filters, 1, f"{scope}.sub3.conv3")
  if project:
    # The raw input, not the activated one.
    shortcut = blocks.conv(shortcut, 4 * filters, 1, f"{scope}.sub_add.conv1s", stride)
  return keras.layers.Add(name=f"{scope}.add")([x, shortcut])
