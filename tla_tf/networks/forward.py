"""Calling a network: several roles in one pass, or logits alone."""

from __future__ import annotations

import contextlib
import typing

import keras
import tensorflow as tf

from tla_tf.networks.batch_norm import BranchBatchNormalization, branches
from tla_tf.networks.foreign import logits_of, without_squashing
from tla_tf.networks.precision import ReadyWeights, computing_in, may_refuse, ready_weights, reporting
from tla_tf.ops import seeds
from tla_tf.types import Precision


def _mixes_branches(network):
  """Whether a layer of another library pools statistics over the whole batch."""
  return any(isinstance(layer, keras.layers.BatchNormalization) for layer in network._flatten_layers())  # noqa: SLF001


def outputs_of(
  network: typing.Any, images: tf.Tensor, training: bool, precision: Precision | str = Precision.FLOAT32
) -> dict[str, tf.Tensor]:
  """What a network gives for float32 images [n, ...], in float32, computed in a `types.Precision`."""
  if Precision(precision) is Precision.FLOAT32:
    return network(images, training=training)
  with reporting(network), computing_in(network, precision):
    return {name: tf.cast(value, tf.float32) for name, value in network(images, training=training).items()}


def forward_branches(
  network: typing.Any,
  images: dict[typing.Any, tf.Tensor],
  training: bool,
  precision: Precision | str = Precision.FLOAT32,
) -> dict[typing.Any, dict[str, tf.Tensor]]:
  """Passes the images of several roles through a network.

  One pass over the concatenated images; batch normalisation of ours keeps the
  roles apart. A network with Keras's own batch normalisation, which would mix
  them, is called once per role instead: the result is the same, only slower.

  Args:
    network: maps images to {"embedding", "logits"}, or to {"logits"}.
    images: dict from role to float32 [n, ...], all of one size, in the order
      in which moving averages are to be updated.
    training: whether batch statistics are used.
    precision: a `types.Precision`, in which the layers compute.

  Returns:
    Dict from role to what the network returns, float32.
  """
  if len(images) == 1 or _mixes_branches(network):
    return {role: outputs_of(network, x, training, precision) for role, x in images.items()}
  with branches(len(images)):
    outputs = outputs_of(network, tf.concat(list(images.values()), 0), training, precision)
  parts = {name: tf.split(value, len(images)) for name, value in outputs.items()}
  return {role: {name: parts[name][i] for name in parts} for i, role in enumerate(images)}


class LogitsFunction:
  """The function images -> logits that attacks differentiate; see `logits_function`."""

  def __init__(self, network: typing.Any, training: bool, precision: Precision, weights: ReadyWeights | None = None):
    self._network, self._training, self.precision = network, training, precision
    self._is_keras = isinstance(network, keras.Model)
    # Not `_call`: tf.function would take it for the function itself.
    self._forward = without_squashing(network) if self._is_keras else network
    self._weights = weights

  def __call__(self, images: tf.Tensor) -> tf.Tensor:
    """float32 [n, ...] -> float32 [n, classes]."""
    if self.precision is Precision.FLOAT32:
      return self._logits(images)
    with contextlib.ExitStack() as stack:
      stack.enter_context(reporting(self._network))
      stack.enter_context(computing_in(self._network, self.precision))
      if self._weights is not None:
        stack.enter_context(self._weights.reading())
      return tf.cast(self._logits(images), tf.float32)

  def _logits(self, images):
    if not self._is_keras:
      outputs = self._forward(images)
    else:
      with branches(1, update_moving_averages=False):
        outputs = self._forward(images, training=self._training)
    return logits_of(outputs, "the network", ("logits",))

  def ready(self) -> LogitsFunction:
    """The same function, for many calls in the graph that is being recorded: weights are cast once, here.

    They are those of this moment. Of a network in training mode, which may draw
    anew at every call, nothing is kept.
    """
    if self.precision is Precision.FLOAT32 or self._training or self._weights is not None:
      return self
    return LogitsFunction(self._network, self._training, self.precision, ready_weights(self._network))


def logits_function(
  network: typing.Any, training: bool = False, precision: Precision | str = Precision.FLOAT32
) -> LogitsFunction:
  """The function images -> logits that attacks differentiate.

  Args:
    network: a callable that returns logits or a dict with "logits"; a softmax at
      the end of a Keras model is passed over.
    training: look at the network in training mode; the moving averages of
      our batch normalisation do not move.
    precision: a `types.Precision`, in which the layers compute; images, logits and
      gradients are float32.

  Returns:
    A function from float32 [n, ...] to float32 [n, classes].

  Raises:
    InputError: for bfloat16 and a network that cannot compute in it.
  """
  function = LogitsFunction(network, training, Precision(precision))
  shape = getattr(network, "input_shape", None) or getattr(network, "image_shape", None)
  if function.precision is not Precision.FLOAT32 and may_refuse(network) and isinstance(shape, tuple):
    # Said now, not when the first step is traced.
    images = tf.TensorSpec([2, *shape[-3:]], tf.float32)
    tf.function(function, autograph=False).get_concrete_function(images)
  return function


def prepared(forward: typing.Callable[[tf.Tensor], tf.Tensor]) -> typing.Callable[[tf.Tensor], tf.Tensor]:
  """A `LogitsFunction` for many calls in the graph that is being recorded; any other function as it is."""
  return forward.ready() if isinstance(forward, LogitsFunction) else forward


def finalize(network: keras.Model) -> None:
  """Brings a network up to date with variables that were assigned, not loaded by Keras.

  An adapted `Normalization` keeps what it computes from its variables.
  """
  for layer in network._flatten_layers():  # noqa: SLF001
    if isinstance(layer, keras.layers.Normalization):
      layer.finalize_state()


def reseed(network: keras.Model, key: tf.Tensor) -> None:
  """Makes what a network draws (dropout, noise, augmentation) a function of a key.

  Keras's layers draw from seeds that they count up, and that no file holds: a
  training that goes on from a file would draw other numbers.

  Args:
    network: a `keras.Model`.
    key: int32 [2], of the step.
  """
  states = [variable for variable in network.variables if variable.name == "seed_generator_state"]
  for i, state in enumerate(states):
    state.assign(tf.cast(tf.bitwise.bitwise_and(seeds.fold(key, i), 0x7FFFFFFF), state.dtype))


def mixes_rows(network: keras.Model) -> bool:
  """Whether what a network says of an image in training mode hangs on the batch that it is in."""
  layers = network._flatten_layers()  # noqa: SLF001
  kinds = (keras.layers.BatchNormalization, BranchBatchNormalization)
  draws = any(variable.name == "seed_generator_state" for variable in network.variables)
  return draws or any(isinstance(layer, kinds) for layer in layers)


def has_foreign_statistics(network: typing.Any) -> bool:
  """Whether training-mode calls would move statistics that we cannot hold."""
  return isinstance(network, keras.Model) and _mixes_branches(network)
