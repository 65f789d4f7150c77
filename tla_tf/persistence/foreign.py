"""Models that were not trained here: SavedModels and `.keras` files as functions images -> logits."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tla_tf import files
from tla_tf.data.image_data import ImageData
from tla_tf.errors import InputError
from tla_tf.files import AnyPath

# Floor on probabilities before their logarithm, the smallest normal float32.
_TINY = 1.2e-38
RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))


class ForeignModel:
  """A loaded model as a function from float32 images in [0, 1] to logits.

  Attributes:
    path: where it lies.
    kind: "saved_model" or "keras".
    pixel_range: (low, high) that the model itself takes.
    image_shape: (height, width, channels) that it asks for, None where any.
    probabilities: whether it returns probabilities; their logarithms then
      serve as logits. Known after `check`.
    doubt: why the pixel range may be wrong, or None. Known after `check`.
    digest: SHA-256 of its files, as hex.
    loaded: what must live as long as the model, or None.
  """

  def __init__(
    self,
    path: pathlib.Path,
    kind: str,
    call: Callable[[tf.Tensor], tf.Tensor],
    image_shape: Sequence[int | None] | None,
    digest: str,
    pixel_range: tuple[float, float] = (0.0, 1.0),
    loaded: Any = None,
  ):
    self.path, self.kind, self.digest = path, kind, digest
    self.image_shape, self.pixel_range = image_shape, (pixel_range[0], pixel_range[1])
    self.loaded = loaded
    self.probabilities = False
    self.doubt: str | None = None
    self._call = call
    self._num_classes: int | None = None

  def __call__(self, images: tf.Tensor) -> tf.Tensor:
    """float32 [n, ...] in [0, 1] -> float32 [n, classes]."""
    low, high = self.pixel_range
    # Whatever the model computes in; a SavedModel may not say how many classes it has.
    outputs = tf.cast(self._call(low + images * (high - low)), tf.float32)
    if self._num_classes:
      outputs = tf.ensure_shape(outputs, [None, self._num_classes])
    return tf.math.log(tf.maximum(outputs, _TINY)) if self.probabilities else outputs

  def check(self, data: ImageData, count: int = 200) -> None:
    """Finds out whether outputs are probabilities and whether the pixel range can be right.

    A network that is fed pixels of another range loses accuracy, or, where its
    units saturate, becomes sure of its errors: the stated range is compared
    with the usual ones in both.

    Args:
      data: `ImageData` to try the model on.
      count: how many images, the first.

    Raises:
      InputError: if the model takes other images or has another number of
        classes, or classifies much better with another pixel range.
    """
    images, labels = data.float_images(slice(count)), data.labels[:count]
    wanted = self.image_shape
    if wanted is not None and (len(wanted) != 3 or any(a not in (None, b) for a, b in zip(wanted, data.image_shape))):
      raise InputError(
        f"{self.path}: takes images of shape {tuple(wanted)}, the data have {data.image_shape}; "
        "give the right `dataset`."
      )
    stated = self.pixel_range
    found: dict[tuple[float, float], tuple[float, float]] = {}
    try:
      for tried in dict.fromkeys((stated, *RANGES)):
        self.pixel_range = tried
        outputs = np.asarray(self(tf.constant(images)), np.float64)
        if outputs.ndim != 2 or outputs.shape[1] != data.num_classes:
          raise InputError(
            f"{self.path}: returns outputs of shape {outputs.shape}, expected {data.num_classes} logits "
            f"for each of {len(images)} images; give the right `dataset`."
          )
        if tried == stated and np.allclose(outputs.sum(1), 1.0, atol=1e-3) and outputs.min() >= -1e-6:
          self.probabilities, outputs = True, np.log(np.maximum(outputs, _TINY))
        found[tried] = (float(np.mean(outputs.argmax(1) == labels)), _cross_entropy(outputs, labels))
      self._num_classes = data.num_classes
      self._try_gradient(tf.constant(images[:3]))
    except (tf.errors.OpError, ValueError, TypeError, LookupError) as error:
      raise InputError(f"{self.path}: cannot be called on images {data.image_shape} ({_first_line(error)}).") from None
    finally:
      self.pixel_range = stated
    highest = max(accuracy for accuracy, _ in found.values())
    best = min((tried for tried in found if found[tried][0] > highest - 0.1), key=lambda tried: found[tried][1])
    (accuracy, entropy), (best_accuracy, best_entropy) = found[stated], found[best]
    words = (
      f"{accuracy:.1%} of {len(images)} images are classified correctly with pixels in "
      f"[{stated[0]:g}, {stated[1]:g}], {best_accuracy:.1%} with [{best[0]:g}, {best[1]:g}]"
    )
    # Over three standard errors: neither chance nor a model that is bad with any range.
    if best_accuracy > accuracy + 0.15:
      raise InputError(f"{self.path}: {words}: state its range, perhaps `pixel_range={best[0]:g},{best[1]:g}`.")
    if best != stated and entropy > 1.5 * best_entropy + 0.1:
      self.doubt = f"{words}; the cross-entropy is {entropy:.2f} against {best_entropy:.2f}."

  def _try_gradient(self, images: tf.Tensor) -> None:
    with tf.GradientTape() as tape:
      tape.watch(images)
      total = tf.reduce_sum(self(images))
    tape.gradient(total, images, unconnected_gradients="zero")


def _first_line(error: Exception) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0][:160]


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
  shifted = logits - logits.max(1, keepdims=True)
  return float(np.mean(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]))


def load_saved_model(path: AnyPath, pixel_range: tuple[float, float] = (0.0, 1.0)) -> ForeignModel:
  """A SavedModel: its endpoint `serve`, its signature `serving_default`, or itself as a function.

  Returns:
    ForeignModel.

  Raises:
    InputError: if it cannot be loaded or has no output that could be logits.
  """
  path = pathlib.Path(path)
  if not (path / "saved_model.pb").is_file():
    raise InputError(f"{path}: holds no saved_model.pb; give the folder of a SavedModel.")
  try:
    loaded = tf.saved_model.load(str(path))
  except (OSError, tf.errors.OpError, ValueError, KeyError, RuntimeError) as error:
    raise InputError(f"{path}: damaged, TensorFlow cannot load it ({_first_line(error)}).") from None
  shape = None
  if callable(getattr(loaded, "serve", None)):
    raw = loaded.serve
  elif "serving_default" in getattr(loaded, "signatures", {}):
    signature = loaded.signatures["serving_default"]
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
      raise InputError(f"{path}: its signature takes {len(inputs)} inputs, expected images alone.")
    ((name, spec),) = inputs.items()
    if not spec.dtype.is_floating:
      raise InputError(
        f"{path}: takes {spec.dtype.name} pixels, through which no gradient flows; export it with float32 input."
      )
    if spec.shape.rank and spec.shape[0] is not None:
      raise InputError(f"{path}: takes batches of {spec.shape[0]} images only; export it with any batch size.")
    shape = spec.shape[1:].as_list() if spec.shape.rank is not None else None

    def raw(images: tf.Tensor) -> Any:
      return signature(**{name: tf.cast(images, spec.dtype)})
  elif callable(loaded):
    raw = loaded
  else:
    raise InputError(f"{path}: has neither an endpoint `serve` nor a signature `serving_default`.")
  # The loaded functions are held by the object: it must live as long as they.
  return ForeignModel(
    path, "saved_model", lambda images: _logits(raw(images), path), shape, _digest(path), pixel_range, loaded
  )


def load_keras_model(path: AnyPath, pixel_range: tuple[float, float] = (0.0, 1.0)) -> ForeignModel:
  """A `.keras` file. A softmax at its end is taken off.

  Returns:
    ForeignModel.

  Raises:
    InputError: if it is missing, damaged, or holds code that is not safe to
      load.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"{path}: no such file; give a model saved with model.save('NAME.keras').")
  try:
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
  except Exception as error:  # noqa: BLE001  Keras raises whatever its parts raise.
    raise InputError(f"{path}: Keras cannot load it ({_first_line(error)}).") from None
  # Probabilities of 0 and 1 have no gradient; the logits below a softmax have.
  last: Any = model.layers[-1] if getattr(model, "layers", None) else None
  if getattr(last, "activation", None) is keras.activations.softmax:
    last.activation = keras.activations.linear
  elif isinstance(last, keras.layers.Softmax):
    model = keras.Model(model.inputs, last.input)
  shape = getattr(model, "input_shape", None)
  return ForeignModel(
    path,
    "keras",
    lambda images: _logits(model(images, training=False), path),
    None if shape is None else list(shape[1:]),
    _digest(path),
    pixel_range,
  )


def _logits(outputs: Any, path: pathlib.Path) -> tf.Tensor:
  """The output that holds logits, or probabilities."""
  if not isinstance(outputs, dict):
    return outputs[0] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else outputs
  if len(outputs) == 1:
    return next(iter(outputs.values()))
  for name in ("logits", "probabilities", "predictions"):
    if name in outputs:
      return outputs[name]
  raise InputError(f"{path}: none of its outputs {sorted(outputs)} is called 'logits'.")


def _digest(path: pathlib.Path) -> str:
  parts = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
  return hashlib.sha256("".join(files.digest(part) for part in parts).encode()).hexdigest()
