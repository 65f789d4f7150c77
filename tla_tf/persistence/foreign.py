"""Models that were not trained here: SavedModels and `.keras` files as functions images -> logits."""

from __future__ import annotations

import functools
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tla_tf import files, networks
from tla_tf.data.image_data import ImageData
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.networks.foreign import RANGES, ForeignNetwork, without_squashing
from tla_tf.persistence.checkpoint_reader import reading
from tla_tf.persistence.keras_file_check import check_keras_file
from tla_tf.persistence.literal_path import literal_path
from tla_tf.persistence.saved_model_check import check_saved_model

# Of a damaged model TensorFlow and Keras raise whatever their many parts raise.
_ANY = (Exception,)


class ForeignModel(ForeignNetwork):
  """A model from a file as a function from float32 images in [0, 1] to logits.

  Attributes:
    path: where it lies.
    kind: "saved_model" or "keras".
    digest: SHA-256 of its files and of a pixel range other than (0, 1), as hex.
    embedding_layer: the layer that was asked for as the embedding, or None.
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
    find_embedding: Callable[[], Callable[[tf.Tensor], tf.Tensor]] | None = None,
    embedding_layer: str | None = None,
  ):
    super().__init__(model, pixel_range, name=str(path))
    self.path, self.kind, self.embedding_layer = path, kind, embedding_layer
    # Fed other pixels, the same weights are another function.
    other = f"{digest} {self.pixel_range}".encode()
    self.digest = digest if self.pixel_range == RANGES[0] else hashlib.sha256(other).hexdigest()
    self._find_embedding = find_embedding
    self.image_shape = None if image_shape is None else tuple(image_shape)
    self.loaded = loaded

  def with_embedding(self) -> Callable[..., dict[str, tf.Tensor]]:
    """The model with its embedding, to be analysed.

    Returns:
      A function (images, training=False) as `__call__`'s, to {"embedding": float32
      [n, d], "logits": float32 [n, classes]}.

    Raises:
      InputError: if it has no embedding that is a vector per image.
    """
    try:
      if self._find_embedding is None:
        raise InputError("says nothing of an embedding; give a .keras file or a SavedModel.")
      embed = self._find_embedding()
    except InputError as error:
      raise InputError(f"{self.path}: {error}") from None

    def outputs(images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
      embedding = embed(self.preprocess(tf.convert_to_tensor(images)))
      if embedding.shape.rank != 2:
        raise InputError(
          f"{self.path}: its embedding has shape {embedding.shape}, expected a vector an image; choose another layer."
        )
      return {"embedding": embedding, "logits": self(images)}

    return outputs

  def check_data(self, data: ImageData, count: int = 200) -> None:
    """`check` on the first images of a data set."""
    with reading(f"{self.path}: cannot be run", others=_ANY):
      self.check(data.float_images(slice(count)), data.labels[:count], data.num_classes)


def load_saved_model(
  path: AnyPath, pixel_range: tuple[float, float] = (0.0, 1.0), trust_model: bool = False
) -> ForeignModel:
  """A SavedModel: its endpoint `serve`, its signature `serving_default`, or itself as a function.

  Args:
    path: its folder.
    pixel_range: (low, high) of the pixels that it takes.
    trust_model: whether it may hold operations that do more than compute: see SECURITY.md.

  Returns:
    ForeignModel.

  Raises:
    InputError: if it cannot be loaded, has no output that could be logits, or holds operations
      that are not known only to compute.
  """
  path = pathlib.Path(path)
  if not (path / "saved_model.pb").is_file():
    raise InputError(f"{path}: holds no saved_model.pb; give the folder of a SavedModel.")
  with reading(f"{path}: damaged, TensorFlow cannot load it", others=_ANY), literal_path(path) as place:
    check_saved_model(path, trust_model)
    loaded = tf.saved_model.load(place)
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
  return ForeignModel(
    path, "saved_model", raw, shape, _digest(path), pixel_range, loaded, lambda: _saved_embedding(loaded, raw, path)
  )


def _saved_embedding(
  loaded: Any, raw: Callable[[tf.Tensor], Any], path: pathlib.Path
) -> Callable[[tf.Tensor], tf.Tensor]:
  """What a SavedModel gives as embedding: an output of this name, or its endpoint or signature `embed`."""
  signature: Any = getattr(loaded, "signatures", {}).get("embed")

  def by_signature(images: tf.Tensor) -> Any:
    ((name, spec),) = signature.structured_input_signature[1].items()
    return signature(**{name: tf.cast(images, spec.dtype)})

  endpoint = by_signature if signature is not None else getattr(loaded, "embed", None)

  def embed(images: tf.Tensor) -> tf.Tensor:
    outputs = raw(images) if endpoint is None else endpoint(images)
    if isinstance(outputs, dict) and ("embedding" in outputs or (endpoint is not None and len(outputs) == 1)):
      outputs = outputs.get("embedding", next(iter(outputs.values())))
    elif endpoint is None or isinstance(outputs, (dict, list, tuple)):
      raise InputError(
        f"{path}: has no output called 'embedding' and no endpoint 'embed': export it with one, or give the .keras "
        "file and its `embedding_layer`."
      )
    return tf.cast(outputs, tf.float32)

  return embed


def load_keras_model(
  path: AnyPath,
  pixel_range: tuple[float, float] = (0.0, 1.0),
  custom_objects: Mapping[str, Any] | None = None,
  embedding_layer: str | None = None,
  trust_model: bool = False,
) -> ForeignModel:
  """A `.keras` file. A softmax at its end is taken off.

  Args:
    path: the file.
    pixel_range: (low, high) of the pixels that it takes.
    custom_objects: dict from name to class or function that it was saved with.
    embedding_layer: name of the layer whose output is the embedding; None for what
      `networks.from_keras` takes.
    trust_model: whether code in the file may run, and any class be made: see SECURITY.md.

  Returns:
    ForeignModel.

  Raises:
    InputError: if it is missing, damaged, or holds code, or classes and functions that are
      neither Keras's own nor among `custom_objects`.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"{path}: no such file; give a model saved with model.save('NAME.keras').")
  known = dict(custom_objects or {})
  with reading(f"{path}: Keras cannot load it", others=_ANY):
    check_keras_file(path, known, trust_model)
    model = keras.saving.load_model(path, custom_objects=known, compile=False, safe_mode=not trust_model)
  shape = getattr(model, "input_shape", None)
  return ForeignModel(
    path,
    "keras",
    model,
    None if shape is None else list(shape[1:]),
    _digest(path),
    pixel_range,
    find_embedding=lambda: _keras_embedding(model, embedding_layer),
    embedding_layer=embedding_layer,
  )


def _keras_embedding(model: keras.Model, embedding_layer: str | None) -> Callable[[tf.Tensor], tf.Tensor]:
  """The embedding that `from_keras` gives a model, whatever squashes its logits.

  Args:
    model: a Keras model, which is left as it is.
    embedding_layer: as for `from_keras`.

  Returns:
    A function from what the model takes to float32 [n, d].

  Raises:
    InputError: as `from_keras`, and if the model does not say what its embedding is.
  """
  plain = without_squashing(model)
  last = plain.args[1] if isinstance(plain, functools.partial) else None
  activation = getattr(last, "activation", None)
  try:
    if last is not None:
      last.activation = keras.activations.linear
    network = networks.from_keras(model if last is not None else plain, embedding_layer)
  finally:
    if last is not None:
      last.activation = activation
  if "embedding" not in network.output:
    raise InputError("does not end in a dense layer, whose input its embedding could be: give `embedding_layer`.")
  return lambda images: tf.cast(network(images, training=False)["embedding"], tf.float32)


def _digest(path: pathlib.Path) -> str:
  parts = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
  return hashlib.sha256("".join(files.digest(part) for part in parts).encode()).hexdigest()
