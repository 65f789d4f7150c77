"""The authors' first step on colour images: zero mean, unit variance per image."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tla_tf")
class PerImageStandardisation(keras.layers.Layer):
  """Pixels in [0, 1] -> [0, 255] -> minus mean, divided by standard deviation.

  The deviation has the floor 1 / sqrt(number of values), which is not free of
  scale: hence the 255. Unlike `tf.image.per_image_standardization` the
  gradient at an image of one colour is finite.
  """

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    pixels = inputs * 255.0
    axes = list(range(1, inputs.shape.rank))
    mean, variance = tf.nn.moments(pixels, axes, keepdims=True)
    count = 1
    for axis in axes:
      count *= inputs.shape[axis]
    # The floor below the root, not above it: the root of 0 has no gradient.
    return (pixels - mean) * tf.math.rsqrt(tf.maximum(variance, 1.0 / count))
