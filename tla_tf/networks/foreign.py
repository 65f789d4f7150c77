"""Models of other libraries, packages and habits, as functions from images in [0, 1] to logits."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tla_tf.config import require
from tla_tf.errors import InputError, first_line
from tla_tf.ops.predictions import predicted_classes
from tla_tf.types import Channels

# Floor on probabilities before their logarithm, the smallest normal float32.
_TINY = 1.2e-38
# The usual ranges of pixels.
RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
# Of red, green and blue in a grey value, as ITU-R BT.601 and most libraries weigh them.
_LUMINANCE = (0.299, 0.587, 0.114)
# Outputs of a foreign model under these names, the first that is there.
_OUTPUTS = ("logits", "probabilities", "predictions")
SQUASHING = (keras.activations.softmax, keras.activations.sigmoid)


class ForeignNetwork:
  """A model that has its own pixels and outputs, as attacks and evaluations take networks.

  Pixels in [0, 1] are put into the model's order of channels, scaled to its range,
  and standardised:

    x <- low + (high - low) * x,  x <- (x - mean) / std

  Epsilons stay in [0, 1], whatever the model takes. A softmax or sigmoid at the end
  of a Keras model is passed over: its logits are attacked. Of any other model that
  returns probabilities the logarithms serve as logits; `probabilities` says so.

  Example:
    network = ForeignNetwork(model, pixel_range=(0, 255), mean=(103.9, 116.8, 123.7), channels="bgr")
    found = GradientAttack(network, presets.pgd(8 / 255, 2 / 255, 10))(images, labels)

  Args:
    model: a `keras.Model`, a `tf.Module` that can be called, or any function of images
      [n, ...]; returns logits or probabilities [n, classes], alone, in a list of one, or
      in a dict, of which the one called "logits" is taken.
    pixel_range: lowest and highest pixel value that the model takes.
    mean: what the model wants subtracted, in units of `pixel_range`: a number, or one a
      channel in the model's order; None for nothing.
    std: what it wants the rest divided by, likewise.
    channels: a `types.Channels`, the model's: "rgb", "bgr" or "grey"; images of three
      channels are taken for RGB, of one for grey. None passes channels as they are.
    name: what errors call it.

  Attributes:
    model, pixel_range, mean, std, channels, name: as given.
    image_shape: (height, width, channels) that the model says it takes, None where any;
      or None.
    num_classes: number of classes, known after a call.
    doubt: why the pixel range may be wrong, or None; known after `check`.

  Raises:
    InputError: for settings that are none. Calls raise it for images that the model
      does not take, and outputs that cannot be logits.
  """

  # What errors of shapes advise.
  remedy = ""

  def __init__(
    self,
    model: Any,
    pixel_range: tuple[float, float] = (0.0, 1.0),
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    channels: Channels | str | None = None,
    name: str | None = None,
  ):
    if not callable(model):
      raise InputError(f"A {type(model).__name__} cannot be called on images: give the function that can.")
    low, high = (float(end) for end in pixel_range)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
      raise InputError(f"`pixel_range={low:g},{high:g}`: expected a lower and a higher number.")
    self.model, self.pixel_range = model, (low, high)
    self.mean, self.std = _vector("mean", mean), _vector("std", std)
    if self.std is not None:
      require((self.std > 0).all(), "std", "numbers above 0", std)
    if channels is not None:
      require(channels in list(Channels), "channels", f"one of {[str(choice) for choice in Channels]}", channels)
    self.channels = None if channels is None else Channels(channels)
    self.name = name or f"the {getattr(model, 'name', None) or 'model'}"
    shape = getattr(model, "input_shape", None)
    # Of several inputs a list.
    self.image_shape: tuple[int | None, ...] | None = shape[1:] if isinstance(shape, tuple) else None
    self.doubt: str | None = None
    self.num_classes: int | None = None
    self._probabilities: bool | None = None
    # Not `_call`: tf.function would take it for the function itself.
    self._forward = functools.partial(without_squashing(model), training=False) if _is_keras(model) else model

  @property
  def probabilities(self) -> bool:
    """Whether the model returns probabilities, whose logarithms then serve as logits; known after a call."""
    return bool(self._probabilities)

  def __call__(self, images: tf.Tensor) -> tf.Tensor:
    """float32 [n, height, width, channels] in [0, 1] -> logits, float32 [n, classes]."""
    images = tf.convert_to_tensor(images)
    if self._probabilities is None:
      self._look_at_noise(images.shape[1:])
    outputs = tf.ensure_shape(self._outputs(images), [None, self.num_classes])
    return tf.math.log(tf.maximum(outputs, _TINY)) if self._probabilities else outputs

  def preprocess(self, images: tf.Tensor) -> tf.Tensor:
    """What the model is shown: float32 [n, ...] in [0, 1] -> float32 [n, ...] in its range, order and scale."""
    low, high = self.pixel_range
    pixels = low + _in_order(tf.cast(images, tf.float32), self.channels) * (high - low)
    for values, what, change in ((self.mean, "mean", tf.subtract), (self.std, "std", tf.divide)):
      if values is not None:
        require(len(values) in (1, pixels.shape[-1]), what, f"1 number or {pixels.shape[-1]}", len(values))
        pixels = change(pixels, values)
    return pixels

  def check(self, images: np.ndarray, labels: np.ndarray, num_classes: int) -> None:
    """Finds out whether outputs are probabilities and whether the pixel range can be right.

    A network that is fed pixels of another range loses accuracy, or, where its
    units saturate, becomes sure of its errors: the stated range is compared
    with the usual ones in both.

    Args:
      images: float32 [n, ...] in [0, 1], a few hundred.
      labels: integer [n].
      num_classes: how many classes the data have.

    Raises:
      InputError: if the model takes other images or has another number of
        classes, or classifies much better with another pixel range.
    """
    stated = self.pixel_range
    found: dict[tuple[float, float], tuple[float, float]] = {}
    self._look(images, num_classes)
    try:
      for tried in dict.fromkeys((stated, *RANGES)):
        self.pixel_range = tried
        logits = self(tf.constant(images))
        right = predicted_classes(logits).numpy() == labels
        found[tried] = (float(np.mean(right)), _cross_entropy(np.asarray(logits, np.float64), labels))
    finally:
      self.pixel_range = stated
    self._try_gradient(tf.constant(images[:3]))
    highest = max(accuracy for accuracy, _ in found.values())
    best = min((tried for tried in found if found[tried][0] > highest - 0.1), key=lambda tried: found[tried][1])
    (accuracy, entropy), (best_accuracy, best_entropy) = found[stated], found[best]
    words = (
      f"{accuracy:.1%} of {len(images)} images are classified correctly with pixels in "
      f"[{stated[0]:g}, {stated[1]:g}], {best_accuracy:.1%} with [{best[0]:g}, {best[1]:g}]"
    )
    # Three standard errors, 0.15 of 200 images: neither chance nor a model that is bad with any range.
    if best_accuracy > accuracy + max(0.15, 3 * math.sqrt(0.5 / len(images))):
      raise InputError(f"{self.name}: {words}: state its range, perhaps `pixel_range={best[0]:g},{best[1]:g}`.")
    if best != stated and entropy > 1.5 * best_entropy + 0.1:
      self.doubt = f"{words}; the cross-entropy is {entropy:.2f} against {best_entropy:.2f}."

  def _outputs(self, images: tf.Tensor) -> tf.Tensor:
    # Whatever the model computes in.
    return tf.cast(logits_of(self._forward(self.preprocess(images)), self.name), tf.float32)

  def _look_at_noise(self, image_shape: tf.TensorShape) -> None:
    """At the first call: images may be symbols of a graph then, which say nothing of outputs."""
    if not image_shape.is_fully_defined():
      raise InputError(f"{self.name}: call it on images of a known size first, not {image_shape}.")
    with tf.init_scope():
      self._look(np.random.default_rng(0).random((4, *image_shape), np.float32))

  def _look(self, images: np.ndarray, num_classes: int | None = None) -> None:
    """Finds out how many classes there are, and whether outputs are probabilities."""
    shown, wanted = images.shape[1:], self.image_shape
    if wanted is not None:
      shown = tuple(_in_order(tf.constant(images[:1]), self.channels).shape[1:])
      if len(wanted) != len(shown) or any(a not in (None, b) for a, b in zip(wanted, shown)):
        raise InputError(f"{self.name}: takes images of shape {tuple(wanted)}, the data have {shown}{self.remedy}.")
    try:
      outputs = np.asarray(self._outputs(tf.constant(images)), np.float64)
    except (tf.errors.OpError, ValueError, TypeError, LookupError) as error:
      if isinstance(error, InputError):
        raise
      raise InputError(f"{self.name}: cannot be called on images {shown} ({first_line(error)}).") from None
    if outputs.ndim != 2 or outputs.shape != (len(images), num_classes or outputs.shape[1]) or outputs.shape[1] < 2:
      raise InputError(
        f"{self.name}: returns outputs of shape {outputs.shape}, expected {num_classes or 'two or more'} logits "
        f"for each of {len(images)} images{self.remedy}."
      )
    self.num_classes, self._probabilities = outputs.shape[1], are_probabilities(outputs)

  def _try_gradient(self, images: tf.Tensor) -> None:
    try:
      with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(self(images))
      tape.gradient(total, images, unconnected_gradients="zero")
    except (tf.errors.OpError, ValueError, TypeError, LookupError) as error:
      raise InputError(f"{self.name}: no gradient flows through it ({first_line(error)}).") from None


def are_probabilities(outputs: np.ndarray) -> bool:
  """Whether outputs [n, classes] are probabilities: at least 0, and 1 together."""
  return bool(len(outputs) and np.allclose(outputs.sum(1), 1.0, atol=1e-3) and outputs.min() >= -1e-6)


def logits_of(outputs: Any, name: str = "the model", known: Sequence[str] = _OUTPUTS) -> tf.Tensor:
  """The output that holds logits: the only one, or the first of those that are known by name."""
  if not isinstance(outputs, dict):
    return outputs[0] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else outputs
  if len(outputs) == 1:
    return next(iter(outputs.values()))
  for output in known:
    if output in outputs:
      return outputs[output]
  raise InputError(f"{name}: none of its outputs {sorted(outputs)} is called 'logits'.")


def _vector(name: str, values: Any) -> np.ndarray | None:
  if values is None:
    return None
  found = np.atleast_1d(np.asarray(values))
  ok = np.issubdtype(found.dtype, np.number) and found.ndim == 1 and found.size and np.isfinite(found).all()
  require(ok, name, "a finite number, or one a channel", values)
  return found.astype(np.float32)


def _in_order(images: tf.Tensor, channels: Channels | None) -> tf.Tensor:
  """Images with the channels that a model takes."""
  if channels is None:
    return images
  count = images.shape[-1]
  if images.shape.rank != 4 or count not in (1, 3):
    raise InputError(f"`channels={channels}` is for images [n, height, width, 1 or 3], not of shape {images.shape}.")
  if channels is Channels.GREY:
    return images if count == 1 else tf.reduce_sum(images * _LUMINANCE, -1, keepdims=True)
  if count == 1:
    return tf.repeat(images, 3, -1)
  return tf.reverse(images, [-1]) if channels is Channels.BGR else images


def _is_keras(model: Any) -> bool:
  return isinstance(model, keras.Model)


def without_squashing(model: keras.Model) -> Callable[..., Any]:
  """A Keras model (images, training) -> outputs as it is in use, but for a softmax or sigmoid at its end.

  Probabilities of 0 and 1 have no gradient; the logits below them have. The model is
  the user's: it is left as it is.
  """
  last = _last_operation(model)
  if getattr(last, "activation", None) in SQUASHING:
    return functools.partial(_without_activation, model, last)
  if type(last).__name__ in ("Softmax", "Sigmoid") and last is model.outputs[0]._keras_history.operation:  # noqa: SLF001
    return keras.Model(model.inputs[0] if len(model.inputs) == 1 else model.inputs, last.input)
  return model


def _without_activation(model: keras.Model, last: Any, images: tf.Tensor, training: bool) -> Any:
  activation, last.activation = last.activation, keras.activations.linear
  try:
    return model(images, training=training)
  finally:
    last.activation = activation


def _last_operation(model: keras.Model) -> Any:
  """The layer or operation that gives a model's only output, or None."""
  outputs = getattr(model, "outputs", None)
  if not outputs or len(outputs) != 1:
    return None
  last = outputs[0]._keras_history.operation  # noqa: SLF001
  return _last_operation(last) if isinstance(last, keras.Model) and hasattr(last, "outputs") else last


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
  shifted = logits - logits.max(1, keepdims=True)
  return float(np.mean(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]))
