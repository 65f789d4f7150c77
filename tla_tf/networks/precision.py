"""Computing the layers of a network in bfloat16, while all that it owns stays float32.

There is no second network. Inside `computing_in(network, "bfloat16")` the layers
take bfloat16 inputs and cast their variables; what is recorded there as a graph
stays so. Float32 are always: variables, statistics of batch normalisation,
layers that scale pixels, and the dense layer that gives the logits.

An attack asks the same weights again and again. `ready_weights(network)` casts them once,
before its loop, and folds batch normalisation in inference mode into the layer
before it: its scale goes into the kernel, its shift into the bias, computed in
float32 and rounded once.
"""

from __future__ import annotations

import contextlib
import threading
import typing

import keras
import tensorflow as tf

from tla_tf.errors import InputError, first_line
from tla_tf.networks import batch_norm
from tla_tf.networks.batch_norm import BranchBatchNormalization
from tla_tf.networks.foreign import ForeignNetwork
from tla_tf.networks.standardisation import PerImageStandardisation
from tla_tf.types import Precision

# What scales pixels: rounded before, a step of an attack could vanish in them.
_OF_PIXELS = (PerImageStandardisation, keras.layers.Normalization, keras.layers.Rescaling)
_FOLDABLE = (keras.layers.Dense, keras.layers.Conv2D)
# Packages whose layers keep to their dtype policy.
_KNOWN = ("keras", "tla_tf")


class _Local(threading.local):
  reduced = False


_LOCAL = _Local()
_LOCK = threading.Lock()
# Networks in use, by id: (number of scopes, [(layer, its policy)]).
_HELD: dict[int, tuple[int, list]] = {}


class _ScopedPolicy(keras.dtype_policies.DTypePolicy):
  """A layer's own policy, but bfloat16 computations in the threads that are within the scope."""

  @property
  def compute_dtype(self) -> str:
    return "bfloat16" if _LOCAL.reduced else super().compute_dtype


@contextlib.contextmanager
def computing_in(network: typing.Any, precision: Precision | str) -> typing.Iterator[None]:
  """Lets the layers of a network compute in a type, in this thread, inside the scope.

  Args:
    network: a `keras.Model`, or a `ForeignNetwork` around one.
    precision: a `types.Precision`; float32 changes nothing.
  """
  if Precision(precision) is Precision.FLOAT32:
    yield
    return
  model = keras_model(network)
  _hold(model)
  before, _LOCAL.reduced = _LOCAL.reduced, True
  try:
    yield
  finally:
    _LOCAL.reduced = before
    _release(model)


def _hold(model):
  """Puts policies that know of scopes into the layers; replicas are traced by threads that take turns."""
  with _LOCK:
    count, layers = _HELD.get(id(model), (0, []))
    if not count:
      layers = [(layer, layer.dtype_policy) for layer in _reducible(model)]
      for layer, policy in layers:
        layer.dtype_policy = _ScopedPolicy(policy.name)
    _HELD[id(model)] = (count + 1, layers)


def _release(model):
  with _LOCK:
    count, layers = _HELD.pop(id(model))
    if count > 1:
      _HELD[id(model)] = (count - 1, layers)
      return
    for layer, policy in layers:
      layer.dtype_policy = policy


def _reducible(model):
  """The layers of a model that may compute in less than float32."""
  last = {tensor._keras_history.operation for tensor in _logits_tensors(model)}  # noqa: SLF001
  return [
    layer
    for layer in model._flatten_layers()  # noqa: SLF001
    if type(layer.dtype_policy) is keras.dtype_policies.DTypePolicy
    and layer.dtype_policy.name == "float32"
    and not isinstance(layer, _OF_PIXELS)
    and not (isinstance(layer, keras.layers.Dense) and layer in last)
  ]


def _logits_tensors(model):
  """Outputs of a graph but its embedding; none of a model that is no graph."""
  outputs = getattr(model, "output", None) if getattr(model, "outputs", None) else None
  if isinstance(outputs, dict):
    return [tensor for name, tensor in outputs.items() if name != "embedding"]
  return keras.tree.flatten(outputs) if outputs is not None else []


def keras_model(network: typing.Any) -> keras.Model:
  """The Keras model whose layers can compute in bfloat16.

  Raises:
    InputError: if there is none.
  """
  model = network.model if isinstance(network, ForeignNetwork) else network
  if not isinstance(model, keras.Model):
    raise InputError(
      f"bfloat16 is for Keras models, whose layers can be told to compute in it: a {type(model).__name__} computes in "
      "float32 alone."
    )
  return model


def may_refuse(network: typing.Any) -> bool:
  """Whether a network has layers of others, which may insist on float32."""
  kinds = {type(layer) for layer in keras_model(network)._flatten_layers()}  # noqa: SLF001
  return any(kind.__module__.partition(".")[0] not in _KNOWN for kind in kinds)


@contextlib.contextmanager
def reporting(network: typing.Any) -> typing.Iterator[None]:
  """Makes one sentence of the errors of layers that do not compute in bfloat16."""
  try:
    yield
  except (TypeError, ValueError, tf.errors.OpError) as error:
    if isinstance(error, InputError):
      raise
    name = getattr(network, "name", None) or "the network"
    raise InputError(
      f"{name}: cannot compute in bfloat16 ({first_line(error)}): leave the precision at float32, or let its layers "
      "take the type of their inputs."
    ) from error


# --------------------------------------------------------------------------- weights of an attack


class ReadyWeights(typing.NamedTuple):
  """The weights of a network as a bfloat16 attack in inference mode reads them.

  Attributes:
    values: (variable, bfloat16 tensor) of all that layers read.
    normalisations: dict from the id of a batch normalisation to what is left of it:
      (scale or None, shift or None), bfloat16 [channels].
  """

  values: list
  normalisations: dict

  @contextlib.contextmanager
  def reading(self) -> typing.Iterator[None]:
    """Lets layers read these values."""
    scope = keras.StatelessScope(initialize_variables=False)
    for value in self.values:
      scope.add_update(value)
    with scope, batch_norm.prepared(self.normalisations):
      yield


def ready_weights(network: typing.Any) -> ReadyWeights:
  """Casts the weights of a network, in the graph that is being recorded; they are constants of what reads them."""
  model = keras_model(network)
  values: dict = {}
  normalisations: dict = {}
  layers = _reducible(model)
  for layer in layers:
    if isinstance(layer, BranchBatchNormalization):
      scale, shift = layer.affine()
      before = _layer_before(layer, model)
      if before is not None and before in layers and isinstance(before.kernel, keras.Variable):
        # Once into the kernel, whose last axis are the channels.
        values[id(before.kernel)] = before.kernel, tf.convert_to_tensor(before.kernel) * scale
        if before.bias is not None:
          values[id(before.bias)] = before.bias, tf.convert_to_tensor(before.bias) * scale + shift
        scale, shift = None, None if before.bias is not None else shift
      normalisations[id(layer)] = tuple(None if part is None else _reduced(part) for part in (scale, shift))
  for layer in layers:
    for variable in (*layer._trainable_variables, *layer._non_trainable_variables):  # noqa: SLF001
      if variable._autocast and variable.dtype == "float32":  # noqa: SLF001
        values.setdefault(id(variable), (variable, tf.convert_to_tensor(variable)))
  return ReadyWeights([(variable, _reduced(value)) for variable, value in values.values()], normalisations)


def _reduced(value):
  return tf.stop_gradient(tf.cast(value, tf.bfloat16))


def _layer_before(layer, model):
  """The linear layer that a normalisation can be folded into, or None: nothing else may see what it gives."""
  tensors = [tensor for node in layer._inbound_nodes for tensor in node.input_tensors]  # noqa: SLF001
  sources = {tensor._keras_history.operation for tensor in tensors}  # noqa: SLF001
  before: typing.Any = sources.pop() if len(sources) == 1 else None
  linear = type(before) in _FOLDABLE and before.activation is keras.activations.linear
  if not linear or {node.operation for node in before._outbound_nodes} != {layer}:  # noqa: SLF001
    return None
  seen = {tensor._keras_history.operation for tensor in keras.tree.flatten(model.outputs)}  # noqa: SLF001
  return None if before in seen else before
