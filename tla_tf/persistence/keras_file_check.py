"""What a `.keras` file holds, looked at before Keras loads it: whose classes, and how large they become.

Keras makes an object of whatever class the file names and refuses only what it knows to be
unsafe. Here it is the other way round: layers and operations of Keras itself, and classes of
this library, are known to be harmless, and all others are refused by name.
"""

from __future__ import annotations

import io
import json
import math
import pathlib
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import keras

from tla_tf import limits, registration
from tla_tf.errors import InputError
from tla_tf.persistence.checkpoint_reader import tensor_bytes

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
# Where Keras keeps what models are made of; the rest of it reads files, downloads, and changes settings.
_PARTS = (
  "activations|constraints|dtype_policies|initializers|layers|losses|metrics|models|ops|optimizers|quantizers|random|"
  "regularizers"
)
_MODULES = re.compile(rf"keras\.(src\.)?({_PARTS})(\.\w+)*")
# What stands in `keras` itself and is saved under that name.
_OF_KERAS = frozenset(("DTypePolicy", "FloatDTypePolicy", "Functional", "Model", "Sequential"))
# Layers that run code of the file's, or read other files.
UNSAFE_LAYERS = frozenset(("FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper", "__lambda__"))
# Values that are no objects of a class.
_VALUES = frozenset(("__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"))
_SHOWN = 8


def check_keras_file(path: pathlib.Path, custom_objects: Mapping[str, Any], trust_model: bool = False) -> None:
  """Looks at a `.keras` file before it is loaded. Runs nothing of it but layers of Keras and of this library.

  Args:
    path: the file.
    custom_objects: what may be in it besides, by name.
    trust_model: whether it may hold any class and function. What it may cost is checked all the
      same, but for weights that it declares and does not hold.

  Raises:
    InputError: if it holds classes or functions that are not known.
    OSError, ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile: if it is
      damaged, or would cost more than is allowed.
  """
  if path.suffix != ".keras":
    if trust_model:
      return
    raise InputError(
      f"{path}: refused, only .keras files can be looked at before they are loaded; save it with "
      "model.save('NAME.keras'), or give `trust_model`, which runs code that it holds with all your rights."
    )
  with limits.open_zip(path) as archive:
    member = archive.getinfo(_CONFIG)
    if member.file_size > limits.JSON_BYTES:
      raise limits.LimitError(path, f"its {_CONFIG} has {limits.said(member.file_size)}")
    text = archive.read(member).decode("utf-8")
    config = json.loads(text)
    if not isinstance(config, dict):
      raise ValueError(f"its {_CONFIG} is no object")
    refused = {} if trust_model else dict.fromkeys(_refused(config, custom_objects))
    if refused:
      listed = list(refused)
      more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
      raise InputError(
        f"{path}: refused, since it holds more than parts of Keras that only compute: {', '.join(listed[:_SHOWN])}"
        f"{more}. Name classes of your own by `custom_objects`; `trust_model` runs whatever the file holds with all "
        "your rights, see SECURITY.md."
      )
    size = path.stat().st_size
    if _WEIGHTS in archive.namelist():
      weights = io.BytesIO(archive.read(_WEIGHTS))
      with h5py.File(weights, "r") as file:
        limits.check_unpacked(path, sum(_arrays(file)), size)
  if not trust_model:
    limits.check_unpacked(path, _model_bytes(config, custom_objects), size)


def _refused(config: Any, custom_objects: Mapping[str, Any]) -> Iterator[str]:
  """Names of the classes and functions in a model's JSON that are not allowed."""
  ours = {f"{registration.PACKAGE}>{name}" for name in registration.CLASSES}
  allowed = ours | set(custom_objects)
  # Code that is registered in this process answers to its name, wherever that stands.
  registered = set(keras.saving.get_custom_objects()) - allowed
  waiting = [config]
  while waiting:
    value = waiting.pop()
    if isinstance(value, list):
      waiting += value
    elif isinstance(value, str) and value in registered:
      yield value
    elif isinstance(value, dict):
      waiting += value.values()
      if "class_name" in value:
        name = _unknown(value, allowed)
        if name is not None:
          yield name
      if isinstance(value.get("vocabulary"), str):
        yield f"the file {value['vocabulary'][:80]!r} of a vocabulary"


def _unknown(value: Mapping[str, Any], allowed: set[str]) -> str | None:
  """The name of an object's class or function, if it is not allowed."""
  name, module, registered = value["class_name"], value.get("module"), value.get("registered_name")
  is_function = name == "function"
  if is_function:
    name = value.get("config")
  if not all(part is None or isinstance(part, str) for part in (name, module, registered)) or not name:
    raise ValueError("an object without a class")
  if name in UNSAFE_LAYERS:
    return name
  if name in allowed or registered in allowed or name in _VALUES:
    return None
  # Keras looks for a registered class first, whatever the module says.
  plain = re.fullmatch(r"\w+", name) and registered in (None, name)
  if module is None or (module == "builtins" and is_function):
    known = True  # Keras then looks among its own parts of a kind, or at what is registered.
  else:
    known = bool(_MODULES.fullmatch(module)) or (module == "keras" and name in _OF_KERAS)
  if plain and known:
    return None
  return (f"{module}.{name}" if module and registered in (None, name) else registered or name)[:80]


def _arrays(file: Any) -> Iterator[int]:
  """Bytes of each array of an HDF5 file, and of the pieces that it is read in.

  Raises:
    ValueError: for arrays that lie elsewhere: outside of the file, or under a link.
  """

  # An error would not come through h5py's own loop: a value ends it.
  link = file.id.links.visit(lambda name, info: None if info.type == h5py.h5l.TYPE_HARD else name, info=True)
  if link is not None:
    raise ValueError(f"its weights are a link ({link.decode('utf-8', 'replace')[:80]!r})")
  found: list[Any] = []
  file.visititems(lambda _, value: found.append(value) if isinstance(value, h5py.Dataset) else None)
  for array in found:
    if array.external or array.is_virtual:
      raise ValueError(f"its weights {array.name[:80]!r} lie in other files")
    yield max(math.prod(array.shape or ()), math.prod(array.chunks or ())) * array.dtype.itemsize


def _model_bytes(config: dict, custom_objects: Mapping[str, Any]) -> int:
  """Bytes of the variables of a model, found without making them.

  Raises:
    Exception: whatever Keras raises for a damaged config.
  """
  found: list[int] = []
  failed: list[BaseException] = []

  def work() -> None:
    try:
      with keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(
          {**config, "compile_config": None}, custom_objects=dict(custom_objects), safe_mode=True
        )
      found.extend(tensor_bytes(variable.shape, variable.dtype) for variable in model.variables)
    except BaseException as error:  # noqa: BLE001  It is raised where it is waited for.
      failed.append(error)

  # What Keras remembers of variables without values it forgets with the thread.
  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  if failed:
    raise failed[0]
  return sum(found)
