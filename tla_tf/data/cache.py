"""Decoded images on disk, by the content that they were made of, memory-mapped."""

import json
import os
import pathlib

import numpy as np

from tla_tf import files
from tla_tf.errors import InputError

_FORMAT = 1


def default_folder():
  """`$XDG_CACHE_HOME/tla_tf`, or `~/.cache/tla_tf`."""
  return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "tla_tf"


def load(cache_dir, key, make):
  """Arrays of a cache entry, made where they are missing or damaged.

  Args:
    cache_dir: folder of the cache; None for `default_folder`.
    key: hexadecimal digest of what the arrays are made of.
    make: function of a folder that writes arrays as `NAME.npy` into it.

  Returns:
    Dict from name to a read-only memory map.

  Raises:
    InputError: if the cache cannot be written, and what `make` raises.
  """
  folder = pathlib.Path(cache_dir or default_folder()) / key[:32]
  arrays = _open(folder)
  if arrays is None:
    try:
      _remove(folder)
      with files.new_folder(folder) as temporary:
        make(temporary)
        digests = {path.stem: files.digest(path) for path in sorted(temporary.glob("*.npy"))}
        (temporary / "meta.json").write_text(json.dumps({"format": _FORMAT, "key": key, "files": digests}, indent=1))
    except InputError as error:
      # Another process may have made the same entry in the meantime.
      if _open(folder) is None:
        raise InputError(f"{error} (the cache of decoded images; --cache_dir chooses another place)"
                         if str(folder) in str(error) else str(error)) from error
    arrays = _open(folder)
  return arrays


def _remove(folder):
  try:
    if folder.is_dir():
      files.remove_folder(folder)
    else:
      folder.unlink(missing_ok=True)
  except NotADirectoryError:
    pass  # What stands in the way above is for `new_folder` to name.
  except OSError as error:
    raise InputError(f"{folder}: cannot be replaced ({error.strerror or error}).") from None


def _open(folder):
  """The arrays of a whole entry, else None."""
  try:
    meta = json.loads((folder / "meta.json").read_text())
    if meta["format"] != _FORMAT or folder.name != meta["key"][:32]:
      return None
    arrays = {}
    for name, digest in meta["files"].items():
      if files.digest(folder / f"{name}.npy") != digest:
        return None
      arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return arrays
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return None

