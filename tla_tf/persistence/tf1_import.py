"""Import of the authors' TF1 checkpoints, and of others with their names."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tla_tf import datasets, files, limits, networks, published
from tla_tf.config import ReadingConfig
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.persistence.checkpoint_reader import OBJECT_GRAPH, open_checkpoint, reading
from tla_tf.persistence.checkpoints import CheckpointStore
from tla_tf.persistence.literal_path import literal_path
from tla_tf.persistence.run_folder import RunFolder
from tla_tf.persistence.tf1_names import last_layer, tf1_names
from tla_tf.persistence.versions import versions
from tla_tf.records.run import DataFacts, Imported

# Ends of names that belong to the optimiser or count steps.
_SLOT = re.compile(r"/(Adam|Adam_1|Momentum|RMSProp|RMSProp_1|Adagrad)$")
_COUNTER = re.compile(r"(^|/)(global_step|beta1_power|beta2_power)(_\d+)?$")
_SHOWN = 12
# Bytes of the file `checkpoint`; TensorFlow writes some hundred a checkpoint that it kept.
_STATE_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Match:
  """How the variables of a checkpoint and of a network go together.

  Attributes:
    scope: what stands before the names in the checkpoint, "main_encoder/" or
      nothing.
    matched: names (without the scope) that both have, of the same shape.
    missing: names of the network that the checkpoint has not.
    surplus: names of the checkpoint that the network has not.
    reshaped: names that both have, in other shapes, each with both shapes.
    skipped: optimizer slots and counters of steps.
  """

  scope: str
  matched: tuple[str, ...]
  missing: tuple[str, ...]
  surplus: tuple[str, ...]
  reshaped: tuple[str, ...]
  skipped: tuple[str, ...]

  @property
  def complete(self) -> bool:
    return not (self.missing or self.surplus or self.reshaped)

  def describe(self) -> str:
    """What matches and what does not, in lines."""
    lines = [
      f"{len(self.matched)} variables match under the scope {self.scope or 'of no name'!r}, "
      f"{len(self.skipped)} of the optimizer are skipped."
    ]
    kinds = {
      "in the network but not in the checkpoint": self.missing,
      "in the checkpoint but not in the network": self.surplus,
      "of other shapes": self.reshaped,
    }
    for what, names in kinds.items():
      if names:
        more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        lines.append(f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{more}.")
    return "\n".join(lines)


class Tf1Checkpoint:
  """A name-based checkpoint of TF1, of either format.

  Args:
    path: its prefix (`checkpoint-70000`), one of its files, or the folder of
      `tf.train.Saver`, whose latest checkpoint is taken.

  Raises:
    InputError: if there is none or it is damaged.
  """

  def __init__(self, path: AnyPath):
    self.prefix = _prefix(path)
    # The reader opens files as it needs them: what it reads through goes when this object does.
    self._place = contextlib.ExitStack()
    remedy = "; give its prefix, such as checkpoint-70000, with the .index and .data files beside it"
    with reading(f"{path}: no TensorFlow checkpoint, or a damaged one", remedy, (TypeError,)):
      self._reader = open_checkpoint(self._place.enter_context(literal_path(self.prefix)), self.prefix)
      self.shapes = {name: tuple(shape) for name, shape in self._reader.get_variable_to_shape_map().items()}
    if OBJECT_GRAPH in self.shapes:
      raise InputError(
        f"{path}: is an object-based checkpoint of TensorFlow 2, not a name-based one of TensorFlow 1; "
        "run folders of this library need no import."
      )

  def read(self, name: str) -> np.ndarray:
    """The value of a variable, float32.

    Raises:
      InputError: if it is damaged, not numbers, or not finite.
    """
    with reading(f"{self.prefix}: variable {name} cannot be read", "; copy the checkpoint again"):
      value = np.asarray(self._reader.get_tensor(name))
    number = np.issubdtype(value.dtype, np.integer) or np.issubdtype(value.dtype, np.floating)
    with np.errstate(over="ignore"):
      value = value.astype(np.float32) if number else np.array(np.nan)
    if not np.all(np.isfinite(value)):
      raise InputError(f"{self.prefix}: variable {name} holds values that are not finite numbers.")
    return value

  def step(self) -> int:
    """The value of `global_step`, or 0."""
    for name, shape in self.shapes.items():
      if name.rpartition("/")[2] == "global_step" and shape == ():
        return max(0, int(self.read(name)))
    return 0

  def find(self, ending: str) -> list[str]:
    """Names that are `ending`, or end with it after a slash."""
    return [name for name in self.shapes if name == ending or name.endswith(f"/{ending}")]

  def match(self, names: Mapping[str, Any]) -> Match:
    """Matches the checkpoint with a network.

    Args:
      names: dict from TF1 name, without the scope `main_encoder/`, to variable.

    Returns:
      Match, under the scope with most matches.
    """
    ends = {name.rpartition("/")[2] for name in names}
    scopes = {""} | {
      found.removesuffix(name)
      for found in self.shapes
      if found.rpartition("/")[2] in ends
      for name in names
      if found.endswith(f"/{name}")
    }
    return max((self._match_under(scope, names) for scope in sorted(scopes)), key=lambda match: len(match.matched))

  def _match_under(self, scope: str, names: Mapping[str, Any]) -> Match:
    matched, reshaped = [], []
    missing = [name for name in names if scope + name not in self.shapes]
    for name, variable in names.items():
      found = self.shapes.get(scope + name)
      if found == tuple(variable.shape):
        matched.append(name)
      elif found is not None:
        reshaped.append(f"{name} ({found}, expected {tuple(variable.shape)})")
    others = sorted(set(self.shapes) - {scope + name for name in names})
    skipped = [name for name in others if self._of_optimizer(name)]
    surplus = [name for name in others if name not in set(skipped)]
    return Match(scope, *(tuple(part) for part in (matched, missing, surplus, reshaped, skipped)))

  def _of_optimizer(self, name: str) -> bool:
    if _COUNTER.search(name):
      return True
    # A slot stands under its variable's name, perhaps behind the scope of the optimizer.
    parts = _SLOT.sub("", name).split("/")
    return bool(_SLOT.search(name)) and any("/".join(parts[i:]) in self.shapes for i in range(len(parts)))


def import_checkpoint(
  path: AnyPath,
  network_name: str,
  output_dir: AnyPath,
  dataset: str,
  *,
  method: str = "tla",
  image_size: Sequence[int] | None = None,
  epsilon: float | None = None,
  data_dir: AnyPath | None = None,
  allow_partial: bool = False,
  say: Callable[[str], object] = print,
) -> RunFolder:
  """Writes a run folder from a TF1 checkpoint.

  Args:
    path: the checkpoint's prefix (`checkpoint-70000`), one of its files, or the
      folder of `tf.train.Saver`, whose latest checkpoint is taken.
    network_name: "mlp", "lenet", "resnet_50" or "wrn_32_10", or another size of
      these, as in "mlp_256".
    output_dir: the run folder to make; must not exist, or be empty.
    dataset: a name of `datasets.names()`, what the network was trained on; its image size
      and published setting go into the folder.
    method: how it was trained, for the records.
    image_size: (height, width) of a data set that has none of its own ("images").
    epsilon: radius in L-infinity that it was trained at, where that is not the
      published one: it is judged and analysed at its own.
    data_dir: folder of the data, for later evaluations.
    allow_partial: import although some variables match nothing; those of the
      network keep fresh weights.
    say: receives lines for people.

  Returns:
    RunFolder.

  Raises:
    InputError: for a bad checkpoint, one of another network, or a folder that
      is in use.
  """
  output = pathlib.Path(output_dir)
  if output.exists() and (not output.is_dir() or any(output.iterdir())):
    raise InputError(f"{output}: exists already and is not empty; choose another `output_dir`.")
  checkpoint = Tf1Checkpoint(path)
  reading, shape = _image_shape(dataset, image_size)
  classes = _num_classes(checkpoint, network_name)
  network = networks.build(network_name, shape, classes)
  names = tf1_names(network)
  match = checkpoint.match(names)
  say(match.describe())
  if not match.matched or not (match.complete or allow_partial):
    raise InputError(
      f"{path}: does not match {network_name} completely (see above); give the right `network`, or "
      "`allow_partial` to import the variables that do."
    )
  for name in match.matched:
    names[name].assign(checkpoint.read(match.scope + name))
  step = checkpoint.step()
  class_names = datasets.get(dataset).class_names
  facts = DataFacts(
    digest=None,
    image_shape=shape,
    num_classes=classes,
    class_names=class_names if len(class_names) == classes else tuple(f"class {i}" for i in range(classes)),
    data_dir=os.path.abspath(data_dir) if data_dir else None,
  )
  config = published.setting(dataset, method, network_name).replace(reading=reading).scaled(epsilon=epsilon)
  with files.new_folder(output) as temporary:
    folder = RunFolder(temporary)
    missing = [name for name in names if name not in match.matched]
    folder.write_config(config, facts, versions(), Imported(str(checkpoint.prefix), step, tuple(missing)))
    CheckpointStore(folder.checkpoints).save(step, {"network": network}, {})
  return RunFolder(output)


def _image_shape(dataset: str, image_size: Sequence[int] | None) -> tuple[ReadingConfig, tuple[int, ...]]:
  """(ReadingConfig, (height, width, channels)) of a data set."""
  own = datasets.get(dataset).image_shape
  if own is not None:
    if image_size and tuple(image_size) != own[:2]:
      raise InputError(f"`image_size`: images of {dataset} are {own[0]}x{own[1]}; give `dataset=images` for others.")
    return ReadingConfig(), own
  if not image_size:
    raise InputError(f"`dataset={dataset}`: give `image_size`, which its images do not have of their own.")
  reading = ReadingConfig(image_size=tuple(image_size))
  return reading, (*reading.image_size, reading.channels)


def _prefix(path: AnyPath) -> str:
  if pathlib.Path(path).is_dir():
    return _latest(pathlib.Path(path))
  return re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", str(path))


def _latest(folder: pathlib.Path) -> str:
  """The prefix that the file `checkpoint` of a folder names, wherever the folder lay when it was written."""
  remedy = f"give the prefix of the files, such as {folder}/checkpoint-70000"
  with reading(f"{folder / 'checkpoint'}: damaged", f"; {remedy}"):
    if (folder / "checkpoint").exists():
      limits.open_regular(folder / "checkpoint", _STATE_BYTES).close()
    state = tf.train.get_checkpoint_state(str(folder))
  if state is None or not state.model_checkpoint_path:
    raise InputError(f"{folder}: holds no file 'checkpoint' that names the latest one; {remedy}.")
  prefix = folder / pathlib.Path(state.model_checkpoint_path).name
  if not (prefix.exists() or prefix.with_name(f"{prefix.name}.index").exists()):
    raise InputError(f"{folder}: its file 'checkpoint' names {prefix.name}, which is not there; {remedy}.")
  return str(prefix)


def _num_classes(checkpoint: Tf1Checkpoint, network_name: str) -> int:
  """The number of classes by the biases or the kernel of the last layer."""
  names = last_layer(network_name)
  shapes = [checkpoint.shapes[found] for name in names for found in checkpoint.find(name)]
  found = {shape[-1] for shape in shapes if shape}
  if len(found) != 1 or min(found) < 2:
    raise InputError(
      f"{checkpoint.prefix}: does not tell the number of classes by {' or '.join(names)}, the last "
      f"layer of {network_name}; give the right `network`."
    )
  return found.pop()
