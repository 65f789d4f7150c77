"""The flag files that come with the package, by name: `--preset=mnist_mlp`."""

from __future__ import annotations

import difflib
import pathlib
import re

import tla_tf
from tla_tf.errors import InputError

_PACKAGE = pathlib.Path(tla_tf.__file__).parent
# Within an installed package, and beside the package in a checkout.
_FOLDERS = (_PACKAGE / "flags", _PACKAGE.parent / "flags")


def paths() -> dict[str, pathlib.Path]:
  """The flag files of all presets by name."""
  folder = next((folder for folder in _FOLDERS if folder.is_dir()), None)
  return {path.stem: path for path in sorted(folder.glob("*.flags"))} if folder else {}


def names(dataset: str) -> list[str]:
  """Names of the presets of a data set, sorted."""
  return [name for name in paths() if f"{name}_".startswith(f"{dataset}_")]


def find(name: str, dataset: str) -> pathlib.Path:
  """The flag file of a preset.

  Raises:
    InputError: if there is none of this name, or it is of another data set.
  """
  files, own = paths(), names(dataset)
  if name in own:
    return files[name]
  near = difflib.get_close_matches(name, own, n=3)
  there_are = f"there are {', '.join(own)}" if own else f"there are none of the data set {dataset}"
  remedy = f"did you mean {' or '.join(near)}?" if near else f"{there_are}."
  if name in files:
    raise InputError(f"`preset={name}`: is a setting of another data set than {dataset}; {remedy}")
  raise InputError(f"`preset={name}`: no such preset; {remedy}")


def texts(name: str, dataset: str) -> dict[str, tuple[str, ...]]:
  """What a preset gives: dict from flag to its texts, several of one that is given several times.

  Raises:
    InputError: as `find`.
  """
  found: dict[str, tuple[str, ...]] = {}
  for line in find(name, dataset).read_text(encoding="utf-8").splitlines():
    match = re.fullmatch(r"--([a-z_0-9]+)=(.*)", line.strip())
    if match:
      found[match[1]] = (*found.get(match[1], ()), match[2])
  return found
