"""Decoded images on disk, by the content that they were made of, memory-mapped."""

import contextlib
import fcntl
import json
import os
import pathlib

import numpy as np

from tla_tf import files
from tla_tf.errors import InputError

_FORMAT = 1


def default_folder():
  """`$XDG_CACHE_HOME/tla_tf`, or `~/.cache/tla_tf`."""
  try:
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "tla_tf"
  except RuntimeError:
    raise InputError("There is no home folder to keep decoded images in: choose a folder by --cache_dir.") from None


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
    with _lock(folder):
      # Another process may have made it while this one waited.
      arrays = _open(folder)
      if arrays is None:
        _make(folder, key, make)
        arrays = _open(folder)
  return arrays


@contextlib.contextmanager
def _lock(folder):
  """One process at a time makes an entry; a killed one gives the lock back."""
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = open(folder.with_name(f"{folder.name}.lock"), "w")  # noqa: SIM115  (closed below)
  except OSError as error:
    raise InputError(
      f"{folder.parent}: decoded images cannot be kept there ({error.strerror or error}); "
      "choose another folder by --cache_dir."
    ) from error
  with file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def _make(folder, key, make):
  files.remove_leftovers(folder.parent, folder.name)
  try:
    _remove(folder)
    with files.new_folder(folder) as temporary:
      make(temporary)
      digests = {path.stem: files.digest(path) for path in sorted(temporary.glob("*.npy"))}
      meta = {"format": _FORMAT, "key": key, "files": digests}
      (temporary / "meta.json").write_text(json.dumps(meta, indent=1))
  except InputError as error:
    if str(folder) not in str(error):
      raise  # Not about the cache.
    raise InputError(f"{error} (the cache of decoded images; --cache_dir chooses another place)") from error


def _remove(folder):
  try:
    if folder.is_dir() and not folder.is_symlink():
      files.remove_folder(folder)
    else:
      folder.unlink(missing_ok=True)
  except OSError as error:
    raise InputError(f"{folder}: cannot be replaced ({error.strerror or error}).") from error


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
