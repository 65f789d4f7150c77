"""`--preset`, and what a command line and its flag files give before flags are parsed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from absl import flags

from tla_tf.settings import presets


def define(dataset: str) -> None:
  """Defines `--preset` for a tool that trains on a data set."""
  known = ", ".join(presets.names(dataset)) or "none for this data set"
  if "preset" not in flags.FLAGS:
    flags.DEFINE_string(
      "preset", None, f"Published setting, a flag file that comes with the package; other flags change it. {known}."
    )


def expand(arguments: Sequence[str], dataset: str) -> list[str]:
  """Arguments with the flag file of their `--preset`, if they have one, before all others, which so win.

  Args:
    arguments: of the command line, without the tool's name.
    dataset: what the tool trains on.

  Raises:
    InputError: for a preset that there is none of, or that is of another data set.
  """
  name = value_of("preset", arguments)
  return list(arguments) if name is None else [f"--flagfile={presets.find(name, dataset)}", *arguments]


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
  preset = [f"--flagfile={path}"] if (path := presets.paths().get(name or "")) else []
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
