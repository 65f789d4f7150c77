"""Calling a network: several roles in one pass, or logits alone."""

import typing

import keras
import tensorflow as tf

from tla_tf.networks.batch_norm import BranchBatchNormalization, branches
from tla_tf.networks.foreign import logits_of, without_squashing
from tla_tf.ops import seeds


def _mixes_branches(network):
  """Whether a layer of another library pools statistics over the whole batch."""
  return any(isinstance(layer, keras.layers.BatchNormalization) for layer in network._flatten_layers())  # noqa: SLF001


def forward_branches(
  network: typing.Any, images: dict[typing.Any, tf.Tensor], training: bool
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

  Returns:
    Dict from role to what the network returns.
  """
  if len(images) == 1 or _mixes_branches(network):
    return {role: network(x, training=training) for role, x in images.items()}
  with branches(len(images)):
    outputs = network(tf.concat(list(images.values()), 0), training=training)
  parts = {name: tf.split(value, len(images)) for name, value in outputs.items()}
  return {role: {name: parts[name][i] for name in parts} for i, role in enumerate(images)}


def logits_function(network: typing.Any, training: bool = False) -> typing.Callable[[tf.Tensor], tf.Tensor]:
  """The function images -> logits that attacks differentiate.

  Args:
    network: a callable that returns logits or a dict with "logits"; a softmax at
      the end of a Keras model is passed over.
    training: look at the network in training mode; the moving averages of
      our batch normalisation do not move.

  Returns:
    A function from float32 [n, ...] to float32 [n, classes].
  """

  is_keras = isinstance(network, keras.Model)
  call = without_squashing(network) if is_keras else network

  def logits(images):
    if not is_keras:
      outputs = call(images)
    else:
      with branches(1, update_moving_averages=False):
        outputs = call(images, training=training)
    return logits_of(outputs, "the network", ("logits",))

  return logits


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
