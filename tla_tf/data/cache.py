"""Decoded images on disk, by the content that they were made of, memory-mapped."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import numpy as np

from tla_tf import files
from tla_tf.errors import InputError

_FORMAT = 1


def default_folder() -> pathlib.Path:
  """`$XDG_CACHE_HOME/tla_tf`, or `~/.cache/tla_tf`."""
  try:
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "tla_tf"
  except RuntimeError:
    raise InputError("There is no home folder to keep decoded images in: choose a folder by `cache_dir`.") from None


def load(cache_dir: files.AnyPath | None, key: str, make: Callable[[pathlib.Path], object]) -> dict[str, np.ndarray]:
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
  entry = pathlib.Path(cache_dir or default_folder()) / key[:32]
  facts = {"format": _FORMAT, "key": key}
  try:
    return files.kept_arrays(
      entry, facts, make, record="meta.json", digests_key="files", lock=entry.with_suffix(".lock")
    )
  except InputError as error:
    if not str(error).startswith((str(entry), f"{entry.parent}:")):
      raise  # Not about the cache.
    raise InputError(f"{error} (the cache of decoded images; `cache_dir` chooses another place)") from error
