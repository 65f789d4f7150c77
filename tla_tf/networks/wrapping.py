"""Turning a user's Keras model into a network of ours."""

import keras

from tla_tf.errors import InputError


def from_keras(model: keras.Model, embedding_layer: str | None = None) -> keras.Model:
  """Gives a Keras classifier the outputs {"embedding", "logits"}.

  The wrapped network shares the model's layers and weights. Images must be in
  [0, 1]; the model must do its own scaling from there.

  Args:
    model: a functional or sequential `keras.Model` whose output is logits
      [n, classes].
    embedding_layer: name of the layer whose output is the embedding [n, d];
      None takes the input of the last dense layer.

  Returns:
    A functional `keras.Model` from the same images to {"embedding": [n, d],
    "logits": [n, classes]}.

  Raises:
    InputError: if the output is not logits, or the layer is missing or not a
      vector per image.
  """
  if not model.built:
    raise InputError("The model is not built yet: give it an input shape first, for instance keras.Input.")
  if len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
    raise InputError("The model must have one output of logits, [n, classes].")
  # The last operation may be a layer or one of keras.ops.
  last = model.outputs[0]._keras_history.operation  # noqa: SLF001
  activation = getattr(last, "activation", None)
  squashed = type(last).__name__ in ("Softmax", "Sigmoid")
  if squashed or activation in (keras.activations.softmax, keras.activations.sigmoid):
    raise InputError(f"Layer {last.name!r} outputs probabilities: remove its activation so that it outputs logits.")
  if embedding_layer is None:
    if not isinstance(last, keras.layers.Dense):
      raise InputError("Name the embedding layer: the model does not end in a dense layer.")
    embedding = last.input
  else:
    try:
      embedding = model.get_layer(embedding_layer).output
    except ValueError:
      names = [layer.name for layer in model.layers]
      raise InputError(f"No layer {embedding_layer!r} in the model; its layers are {names}.") from None
  if len(embedding.shape) != 2:
    raise InputError(f"The embedding must be a vector per image, but has shape {embedding.shape}.")
  inputs = model.inputs[0] if len(model.inputs) == 1 else model.inputs
  return keras.Model(inputs, {"embedding": embedding, "logits": model.outputs[0]}, name=model.name)
