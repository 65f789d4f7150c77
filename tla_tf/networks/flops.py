"""Floating-point operations of a network's products: what a pass costs.

Counted are matrix products and convolutions, two operations for each
multiplication with its addition. Normalisation, activations and pooling move
memory rather than compute; they lower the rate that a machine reaches.
"""

import typing

import tensorflow as tf

from tla_tf.errors import InputError
from tla_tf.networks.forward import logits_function


class Flops(typing.NamedTuple):
  """Operations for one image.

  Attributes:
    layers: dict from the name of a product to its operations, in their order.
  """

  layers: dict[str, int]

  @property
  def forward(self) -> int:
    """A pass from image to logits."""
    return sum(self.layers.values())

  @property
  def attack(self) -> int:
    """A pass and its gradient with respect to the image: each product once more."""
    return 2 * self.forward

  @property
  def training(self) -> int:
    """A pass and its gradient with respect to the weights, which the first product's input needs none for."""
    return 3 * self.forward - next(iter(self.layers.values()))


def flops(network: typing.Any, image_shape: tuple[int, ...] | None = None) -> Flops:
  """Counts the products of a network by tracing it for one image.

  Args:
    network: maps float32 images [n, ...] to logits or {"embedding", "logits"}.
    image_shape: of one image; None takes that of a `keras.Model`.

  Raises:
    InputError: if it holds no product, or hides them in functions of its own.
  """
  shape = network.input_shape[1:] if image_shape is None else image_shape
  call = tf.function(logits_function(network), autograph=False)
  traced = call.get_concrete_function(tf.TensorSpec([1, *shape], tf.float32))
  found = dict(_products(traced.graph))
  if not found:
    raise InputError("The network shows no matrix product and no convolution whose operations could be counted.")
  return Flops(found)


def _products(graph: typing.Any, scope: str = "") -> typing.Iterator[tuple[str, int]]:
  """(name, operations) of a graph's products and of those in functions that it calls."""
  for op in graph.get_operations():
    if op.type in _PRODUCTS:
      yield scope + op.name, _operations(op)
    elif op.type in ("PartitionedCall", "StatefulPartitionedCall"):
      called = graph._get_function(op.get_attr("f").name)  # noqa: SLF001
      yield from _products(called.graph, f"{scope}{op.name}/")


def _operations(op: tf.Operation) -> int:
  """Two for every multiplication of a product."""
  given, weights, output = op.inputs[0].shape, op.inputs[1].shape, op.outputs[0].shape
  if op.type == "DepthwiseConv2dNative":
    return 2 * output[1] * output[2] * weights.num_elements()
  if op.type.startswith("Conv"):
    return 2 * output.num_elements() // output[-1] * weights.num_elements()
  # [..., n, k] x [..., k, m]: one sum over k for each entry of the output.
  return 2 * output.num_elements() * (given.num_elements() // output[:-1].num_elements())


_PRODUCTS = ("MatMul", "BatchMatMulV2", "Conv2D", "Conv3D", "DepthwiseConv2dNative")
