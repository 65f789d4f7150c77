"""A model that was not trained here: where it lies, and how it is to be read. Loads no TensorFlow until it is."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import typing

from tla_tf import user_code
from tla_tf.errors import InputError
from tla_tf.files import AnyPath

if typing.TYPE_CHECKING:
  from tla_tf.persistence.foreign import ForeignModel


@dataclasses.dataclass(frozen=True)
class ModelFile:
  """A `.keras` file or a SavedModel, to be judged or analysed as a run is.

  Attributes:
    path: the file, or the folder of a SavedModel.
    kind: "keras", "saved_model", or None for what the path says.
    pixel_range: lowest and highest pixel value that the model takes; it is checked.
    custom_objects: "module:name" of classes and functions that a `.keras` file was
      saved with; they are imported.
    embedding_layer: name of a `.keras` file's layer whose output is the embedding;
      None for the input of its last dense layer.
    trust_model: whether code that it holds may run, and operations that do more than compute:
      see SECURITY.md. Without, it is looked at first, and refused if it holds any.
  """

  path: AnyPath
  kind: str | None = None
  pixel_range: tuple[float, float] = (0.0, 1.0)
  custom_objects: tuple[str, ...] = ()
  embedding_layer: str | None = None
  trust_model: bool = False

  def __post_init__(self) -> None:
    low, high = self.pixel_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
      raise InputError(f"`pixel_range={low:g},{high:g}`: expected a lower and a higher number.")
    if self.kind not in (None, "keras", "saved_model"):
      raise InputError(f"`kind={self.kind}`: expected one of ['keras', 'saved_model'].")

  @property
  def name(self) -> str:
    """What it is called in tables and folders: its file's name without the ending."""
    return pathlib.Path(self.path).absolute().stem

  def load(self) -> ForeignModel:
    """The model as a function to logits.

    Raises:
      InputError: if it is missing, damaged or not safe to load, or a custom object
        cannot be imported.
    """
    from tla_tf.persistence import foreign

    is_keras = self.kind == "keras" or (self.kind is None and not pathlib.Path(self.path).is_dir())
    if is_keras:
      return foreign.load_keras_model(
        self.path, self.pixel_range, self._custom_objects(), self.embedding_layer, self.trust_model
      )
    return foreign.load_saved_model(self.path, self.pixel_range, self.trust_model)

  def _custom_objects(self) -> dict[str, typing.Any]:
    found = {reference: user_code.imported(reference, "custom_objects") for reference in self.custom_objects}
    return {getattr(value, "__name__", reference.rpartition(":")[2]): value for reference, value in found.items()}
