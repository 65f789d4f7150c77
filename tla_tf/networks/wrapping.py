"""Turning a user's Keras model of any kind into a network of ours.

A functional or sequential model is a graph, whose tensors can be outputs. Any
other model (a subclass of `keras.Model` with a `call`) becomes one layer of a
graph: what it returns is all that is known of it.
"""

from __future__ import annotations

import typing

import keras
import numpy as np
import tensorflow as tf

from tla_tf.errors import InputError, first_line
from tla_tf.networks.foreign import SQUASHING, are_probabilities
from tla_tf.networks.forward import finalize

# Images that a model is tried on.
_TRIED = 8


def from_keras(
  model: keras.Model,
  embedding_layer: str | None = None,
  *,
  image_shape: typing.Sequence[int] | None = None,
  logits_output: str = "logits",
  embedding_output: str = "embedding",
) -> keras.Model:
  """Gives a Keras classifier the outputs {"logits"} or {"embedding", "logits"}.

  The wrapped network shares the model's layers and weights. Images must be in
  [0, 1]; the model must do its own scaling from there. A network without an
  embedding serves the methods that need none; see `recipes.Recipe.needs_embedding`.

  Args:
    model: a `keras.Model`: functional, sequential or subclassed, built or not,
      from images to logits [n, classes], or to a dict of outputs.
    embedding_layer: name of the layer whose output is the embedding [n, d], of
      a functional or sequential model, or of one nested in it ("base/pool", or
      "pool" where only one is called so). None takes the output
      `embedding_output` of a model that returns a dict, else the input of the
      dense layer that the model ends in, else no embedding.
    image_shape: (height, width, channels), of a model that is not built yet.
    logits_output: which output of a dict holds the logits.
    embedding_output: which output of a dict holds the embedding.

  Returns:
    A functional `keras.Model` from float32 images [n, ...] to {"logits": [n, classes]},
    with "embedding": [n, d] where there is one; the model itself if it is one already.

  Raises:
    InputError: if the model is not built and has no `image_shape`, cannot be
      called, returns no logits, or has no such layer or output.
  """
  if not isinstance(model, keras.Model):
    raise InputError(f"Expected a keras.Model, received a {type(model).__name__}.")
  if _is_graph(model) or isinstance(model, keras.Sequential):
    inputs, outputs, tapped = _of_graph(model, embedding_layer, image_shape)
  else:
    if embedding_layer is not None:
      raise InputError(
        f"`embedding_layer`: the layers of a subclassed model ({type(model).__name__}) have no outputs of their own; "
        "let its call return {'logits': ..., 'embedding': ...}."
      )
    (inputs, outputs), tapped = _of_call(model, image_shape), None
  logits, embedding = _picked(outputs, logits_output, embedding_output)
  if tapped is not None:
    embedding = tapped
  elif embedding is None and not isinstance(outputs, dict):
    embedding = _before_last_dense(logits)
  if embedding is not None and len(embedding.shape) != 2:
    raise InputError(f"The embedding must be a vector per image, but has shape {embedding.shape}.")
  _refuse_squashed(logits)
  found = {"logits": logits} if embedding is None else {"embedding": embedding, "logits": logits}
  if outputs is not found and isinstance(outputs, dict) and outputs == found and _is_graph(model):
    return model
  network = keras.Model(inputs, found, name=model.name)
  if not isinstance(_last_operation(logits), keras.layers.Dense):
    _try(network)
  return network


# --------------------------------------------------------------------------- a graph


def _is_graph(model: typing.Any) -> bool:
  """Whether a model is functional, or sequential and built."""
  try:
    return bool(model.inputs) and bool(model.outputs)
  except (AttributeError, ValueError):
    return False


def _of_graph(model, embedding_layer, image_shape):
  """(input, outputs, output of the embedding layer or None) of a functional or sequential model."""
  if not _is_graph(model):
    _call(lambda: model.build((None, *_shape(model, image_shape))), image_shape)
  if len(model.inputs) != 1:
    raise InputError(f"The model takes {len(model.inputs)} inputs, expected images alone.")
  if not keras.backend.is_float_dtype(model.inputs[0].dtype):
    raise InputError(
      f"The model takes {model.inputs[0].dtype} pixels, through which no gradient flows: give it a float32 keras.Input."
    )
  if embedding_layer is None:
    return model.inputs[0], _outputs(model), None
  tapped = _tapped(model, _path(model, embedding_layer))
  return tapped.inputs[0], tapped.output["outputs"], tapped.output["tap"]


def _outputs(model):
  """What a graph returns, in its structure; Keras does not say it of a sequential model."""
  return model.outputs[0] if isinstance(model, keras.Sequential) and len(model.outputs) == 1 else model.output


def _inputs(model):
  return model.inputs[0] if len(model.inputs) == 1 else model.inputs


def _paths(model: keras.Model, before: tuple = ()) -> typing.Iterator[tuple[str, ...]]:
  """Names of all layers of a graph, with those of the graphs around them."""
  for layer in model.layers:
    yield (*before, layer.name)
    if _is_graph(layer):
      yield from _paths(layer, (*before, layer.name))


def _path(model, name):
  """The path of the layer that is meant by a name, or by a path with slashes."""
  wanted, paths = tuple(name.split("/")), list(_paths(model))
  # A layer of the model itself comes before nested ones of its name.
  found = [path for path in paths if path == wanted] or [path for path in paths if path[-len(wanted) :] == wanted]
  if len(found) == 1:
    return found[0]
  known = ["/".join(path) for path in found or paths]
  raise InputError(
    f"Several layers are called {name!r}: name one of {known}."
    if found
    else f"No layer {name!r} in the model; its layers are {known}."
  )


def _tapped(model, path):
  """The graph of a model with the outputs {"outputs": its own, "tap": that of a layer}, on the same layers."""
  target, found = model.get_layer(path[0]), []
  inner = _tapped(target, path[1:]) if len(path) > 1 else None

  def call(layer, *args, **kwargs):
    if layer is not target:
      return layer(*args, **kwargs)
    both = {"outputs": (same := layer(*args, **kwargs)), "tap": same} if inner is None else inner(*args, **kwargs)
    found.append(both["tap"])
    return both["outputs"]

  graph = keras.Model(_inputs(model), _outputs(model))
  again = keras.models.clone_model(graph, clone_function=lambda layer: layer, call_function=call)
  if len(found) != 1:
    raise InputError(f"Layer {'/'.join(path)!r} is called {len(found)} times: name another as the embedding.")
  return keras.Model(_inputs(again), {"outputs": again.output, "tap": found[0]}, name=model.name)


def _last_operation(tensor: typing.Any) -> typing.Any:
  """What computed a tensor of a graph: a layer, or one of keras.ops."""
  return tensor._keras_history.operation  # noqa: SLF001


def _before_last_dense(logits):
  history = logits._keras_history  # noqa: SLF001
  if not isinstance(history.operation, keras.layers.Dense):
    return None
  # Not `input` of the layer, which is that of its first call, perhaps in another model.
  return history.operation._inbound_nodes[history.node_index].input_tensors[0]  # noqa: SLF001


# --------------------------------------------------------------------------- a model with a call


def _of_call(model, image_shape):
  """(input, outputs) of a model that becomes one layer of a graph."""
  inputs = keras.Input(_shape(model, image_shape), name="images")
  outputs = _call(lambda: model(inputs), image_shape)
  # What layers computed when they were built in there is a tensor of that graph.
  finalize(model)
  return inputs, outputs


def _shape(model: keras.Model, image_shape: typing.Sequence[int] | None) -> tuple:
  """The shape of an image: the given one, or that which the model was built with."""
  if image_shape is not None:
    return tuple(image_shape)
  built = (model.get_build_config() or {}).get("input_shape")
  if not isinstance(built, (tuple, list)) or not all(size is None or isinstance(size, int) for size in built):
    raise InputError(
      "The model is not built yet: say what images it takes, networks.from_keras(model, image_shape=(height, width, "
      "channels)), or call it on some first."
    )
  return tuple(built[1:])


def _call(function, image_shape):
  """What a function of the user's code returns; its errors become a sentence."""
  try:
    return function()
  except InputError:
    raise
  except Exception as error:  # noqa: BLE001  The user's code raises whatever it raises.
    raise InputError(f"The model cannot be called on images of shape {image_shape}: {first_line(error)}") from error


# --------------------------------------------------------------------------- outputs


def _picked(outputs, logits_output, embedding_output):
  """(logits, embedding or None) of what a model returns."""
  embedding = None
  if isinstance(outputs, dict):
    if logits_output not in outputs:
      raise InputError(f"The model returns {sorted(outputs)}: say which holds the logits, `logits_output=...`.")
    if embedding_output not in outputs and embedding_output != "embedding":
      raise InputError(f"The model returns {sorted(outputs)}, and no `embedding_output` {embedding_output!r}.")
    embedding, outputs = outputs.get(embedding_output), outputs[logits_output]
  elif isinstance(outputs, (list, tuple)) and len(outputs) == 1:
    outputs = outputs[0]
  if isinstance(outputs, (list, tuple)) or len(outputs.shape) != 2 or not outputs.shape[-1]:
    raise InputError(
      "The model must have one output of logits, [n, classes], or return a dict, {'logits': ..., 'embedding': ...}."
    )
  return outputs, embedding


_PROBABILITIES = "outputs probabilities: remove its activation so that it outputs logits."


def _refuse_squashed(logits):
  """Raises InputError if the last operation of a graph is a softmax or sigmoid."""
  last = _last_operation(logits)
  activation = getattr(last, "activation", None)
  squashed = type(last).__name__ in ("Softmax", "Sigmoid")
  if squashed or activation in SQUASHING:
    raise InputError(f"Layer {last.name!r} {_PROBABILITIES}")


def _try(network: keras.Model) -> None:
  """Raises InputError for a network whose values are probabilities, or through which no gradient flows."""
  shape = network.inputs[0].shape[1:]
  if None in shape:
    return  # Which sizes it takes is not known.
  images = tf.constant(np.random.default_rng(0).random((_TRIED, *shape)), tf.float32)
  with tf.GradientTape() as tape:
    tape.watch(images)
    logits = _call(lambda: network(images, training=False), tuple(shape))["logits"]
  if are_probabilities(np.asarray(logits, np.float64)):
    raise InputError(f"The model {_PROBABILITIES}")
  if tape.gradient(logits, images) is None:
    raise InputError("No gradient flows from the model's logits to its images: it cannot be attacked.")
