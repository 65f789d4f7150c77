"""Arrays of a run that are dear to compute, kept beside it by the facts that determine them."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tla_tf import files


def kept_arrays(
  folder: pathlib.Path, facts: Mapping[str, Any], make: Callable[[pathlib.Path], object], prefix: str = ""
) -> dict[str, np.ndarray]:
  """Arrays that are dear to make: made once, kept in a folder of their facts, checked when read.

  Args:
    folder: where such folders lie, each named by a digest of its facts.
    facts: dict of JSON values that determine the arrays.
    make: function that writes `NAME.npy` files into an empty folder.
    prefix: what the folder's name begins with.

  Returns:
    Dict from name to read-only memory map.

  Raises:
    InputError: if the folder cannot be written, or not be read.
  """
  key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
  files.remove_leftovers(folder)
  return files.kept_arrays(folder / f"{prefix}{key}", facts, make, lock=folder / ".kept.lock")
