"""Max pooling whose gradient keeps its fast kernel inside a compiled loop.

On a CPU TensorFlow hands pooling to oneDNN, the gradient only if it meets the
forward pass first when it walks through the graph. In the graph of a loop, which
has cycles, that is a matter of chance; the kernel that is left otherwise takes
longer in bfloat16 than all convolutions of a network together. Hence the gradient
is a function of its own, with a graph of its own, that pools again.
"""

import functools
import typing

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tla_tf")
class MaxPooling2D(keras.layers.MaxPooling2D):
  """Keras's layer, for bfloat16 with the gradient above; float32 is left as it is."""

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    if inputs.dtype != tf.bfloat16 or self.data_format != "channels_last":
      return super().call(inputs)
    strides = self.strides if isinstance(self.strides, (tuple, list)) else (self.strides,) * 2
    return _max_pool(tuple(self.pool_size), tuple(strides), self.padding.upper())(inputs)


@functools.cache
def _max_pool(size: tuple, strides: tuple, padding: str) -> typing.Callable[[tf.Tensor], tf.Tensor]:
  @tf.function(experimental_attributes={"_noinline": True}, reduce_retracing=True, autograph=False)
  def gradient(images, pooled_gradient):
    return tf.raw_ops.MaxPoolGrad(
      orig_input=images,
      orig_output=tf.nn.max_pool2d(images, size, strides, padding),
      grad=pooled_gradient,
      ksize=[1, *size, 1],
      strides=[1, *strides, 1],
      padding=padding,
    )

  @tf.custom_gradient
  def pool(images):
    return tf.nn.max_pool2d(images, size, strides, padding), functools.partial(gradient, images)

  return pool
