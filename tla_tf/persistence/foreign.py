"""Models that were not trained here: SavedModels and `.keras` files as functions images -> logits."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tla_tf import files
from tla_tf.data.image_data import ImageData
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.networks.foreign import ForeignNetwork, first_line


class ForeignModel(ForeignNetwork):
  """A model from a file as a function from float32 images in [0, 1] to logits.

  Attributes:
    path: where it lies.
    kind: "saved_model" or "keras".
    digest: SHA-256 of its files, as hex.
    loaded: what must live as long as the model, or None.
  """

  remedy = "; give the right `dataset`"

  def __init__(
    self,
    path: pathlib.Path,
    kind: str,
    model: Any,
    image_shape: Sequence[int | None] | None,
    digest: str,
    pixel_range: tuple[float, float] = (0.0, 1.0),
    loaded: Any = None,
  ):
    super().__init__(model, pixel_range, name=str(path))
    self.path, self.kind, self.digest = path, kind, digest
    self.image_shape = None if image_shape is None else tuple(image_shape)
    self.loaded = loaded

  def check_data(self, data: ImageData, count: int = 200) -> None:
    """`check` on the first images of a data set."""
    self.check(data.float_images(slice(count)), data.labels[:count], data.num_classes)


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
    raise InputError(f"{path}: damaged, TensorFlow cannot load it ({first_line(error)}).") from None
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
    raise InputError(f"{path}: has neither an endpoint 'serve' nor a signature 'serving_default'.")
  # The loaded functions are held by the object: it must live as long as they.
  return ForeignModel(path, "saved_model", raw, shape, _digest(path), pixel_range, loaded)


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
    raise InputError(f"{path}: Keras cannot load it ({first_line(error)}).") from None
  shape = getattr(model, "input_shape", None)
  return ForeignModel(path, "keras", model, None if shape is None else list(shape[1:]), _digest(path), pixel_range)


def _digest(path: pathlib.Path) -> str:
  parts = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
  return hashlib.sha256("".join(files.digest(part) for part in parts).encode()).hexdigest()
