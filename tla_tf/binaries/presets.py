"""The flag files that come with the package, by name: `--preset=mnist_mlp`."""

from __future__ import annotations

import difflib
import pathlib
import re
from collections.abc import Sequence

from absl import flags

import tla_tf
from tla_tf.errors import InputError

_PACKAGE = pathlib.Path(tla_tf.__file__).parent
# Within an installed package, and beside the package in a checkout.
_FOLDERS = (_PACKAGE / "flags", _PACKAGE.parent / "flags")


def define(dataset: str) -> None:
  """Defines `--preset` for a tool that trains on a data set."""
  known = ", ".join(names(dataset)) or "none for this data set"
  if "preset" not in flags.FLAGS:
    flags.DEFINE_string(
      "preset", None, f"Published setting, a flag file that comes with the package; other flags change it. {known}."
    )


def names(dataset: str) -> list[str]:
  """Names of the presets of a data set, sorted."""
  return [name for name in _files() if f"{name}_".startswith(f"{dataset}_")]


def find(name: str, dataset: str) -> pathlib.Path:
  """The flag file of a preset.

  Raises:
    InputError: if there is none of this name, or it is of another data set.
  """
  files, own = _files(), names(dataset)
  if name in own:
    return files[name]
  near = difflib.get_close_matches(name, own, n=3)
  there_are = f"there are {', '.join(own)}" if own else f"there are none of the data set {dataset}"
  remedy = f"did you mean {' or '.join(near)}?" if near else f"{there_are}."
  if name in files:
    raise InputError(f"--preset={name}: is a setting of another data set than {dataset}; {remedy}")
  raise InputError(f"--preset={name}: no such preset; {remedy}")


def expand(arguments: Sequence[str], dataset: str) -> list[str]:
  """Arguments with the flag file of their `--preset`, if they have one, before all others, which so win.

  Args:
    arguments: of the command line, without the tool's name.
    dataset: what the tool trains on.

  Raises:
    InputError: for a preset that there is none of, or that is of another data set.
  """
  name = value_of("preset", arguments)
  return list(arguments) if name is None else [f"--flagfile={find(name, dataset)}", *arguments]


def _files() -> dict[str, pathlib.Path]:
  folder = next((folder for folder in _FOLDERS if folder.is_dir()), None)
  return {path.stem: path for path in sorted(folder.glob("*.flags"))} if folder else {}


def value_of(flag: str, arguments: Sequence[str]) -> str | None:
  """The last value of a flag on an unparsed command line, also within flag files; None where it is not given.

  Args:
    flag: its name.
    arguments: of the command line, without the tool's name.
  """
  try:
    words = flags.FLAGS.read_flags_from_files(list(arguments))
  except flags.Error:
    return None  # absl says what is wrong with them.
  return _values(words).get(flag)


def flags_beside_files(arguments: Sequence[str]) -> set[str]:
  """The flags that the command line itself gives, not a preset or flag file of it."""
  return set(_values(arguments))


def value_in_files(flag: str, arguments: Sequence[str]) -> str | None:
  """The last value of a flag in the preset and the flag files of a command line; None where they do not give it."""
  given = _values(arguments)
  files = [f"--flagfile={given['flagfile']}"] if given.get("flagfile") else []
  name = given.get("preset")
  preset = [f"--flagfile={path}"] if (path := _files().get(name or "")) else []
  return value_of(flag, [*preset, *files])


def _values(words: Sequence[str]) -> dict[str, str | None]:
  """The last value of every flag among words of a command line; None of one that stands alone at their end."""
  found: dict[str, str | None] = {}
  for word, following in zip(words, [*words[1:], None]):
    if word == "--":
      break
    match = re.fullmatch(r"--?([a-z_0-9]+)(?:=(.*))?", word, re.DOTALL)
    if match:
      found[match[1]] = following if match[2] is None else match[2]
  return found
