"""Which run folders a user means, and what they are called in tables."""

from __future__ import annotations

import collections.abc
import glob
import os
import pathlib
import re

from tla_tf.errors import InputError
from tla_tf.types import Split

_MARK = "config.json"
# What lies in the folder of a comparison.
_COMPARISON = "comparison.json"
# What lies in a folder with results of a model from elsewhere.
_RESULTS = ("evaluation.json", "analysis.json")


def find_run_folders(
  given: collections.abc.Iterable[str | os.PathLike[str]], judged_too: bool = False
) -> list[pathlib.Path]:
  """The run folders that paths, shell patterns and parent folders name.

  Args:
    given: each a run folder; or a folder that run folders lie in, that of a comparison
      among them, for all of them; or, if nothing is called so, a pattern such as `runs/tla_*`.
    judged_too: whether folders with results of models from elsewhere are meant, too.

  Returns:
    Paths as given, those that one pattern or parent stands for sorted as people do
    (`seed_2` before `seed_10`); a folder that is named twice is there once. A path that
    is no folder stays, so that opening it says what is wrong.

  Raises:
    InputError: if a pattern matches no run folder, or a folder neither is nor holds one.
  """
  found: dict[str, pathlib.Path] = {}
  for one in given:
    for path in _meant(os.fspath(one), (_MARK, *(_RESULTS if judged_too else ()))):
      found.setdefault(os.path.realpath(path), path)
  return list(found.values())


def _meant(given: str, marks: tuple[str, ...]) -> list[pathlib.Path]:
  def is_one(path: pathlib.Path) -> bool:
    return any((path / mark).is_file() for mark in marks)

  path = pathlib.Path(given)
  # A name that is there is meant literally, whatever brackets it has.
  if not path.exists() and glob.has_magic(given):
    runs = _sorted(path for path in map(pathlib.Path, glob.glob(given)) if is_one(path))
    if not runs:
      raise InputError(f"{given}: matches no run folder (none with a {_MARK}).")
    return runs
  if not path.is_dir() or is_one(path):
    return [path]
  inside = path.glob("runs/*/*") if comparison_folder(path) == pathlib.Path(os.path.abspath(path)) else path.iterdir()
  runs = _sorted(child for child in inside if is_one(child))
  if not runs:
    raise InputError(
      f"{given}: not a run folder (no {_MARK}), and none lies in it; give the `output_dir` of a training run."
    )
  return runs


def _sorted(paths: collections.abc.Iterable[pathlib.Path]) -> list[pathlib.Path]:
  def key(path: pathlib.Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path)) if part]

  return sorted(paths, key=key)


def comparison_folder(given: str | os.PathLike[str]) -> pathlib.Path | None:
  """A path itself where it is the folder of a comparison, or the one that it lies in as a run; None of another."""
  path = pathlib.Path(os.path.abspath(given))
  # FOLDER/runs/VARIANT/SEED
  places = (path, *path.parents[2:3])
  return next((place for place in places if (place / _COMPARISON).is_file()), None)


def of_split(folder: str | os.PathLike[str], split: Split) -> pathlib.Path:
  """Where results go that belong into a folder: of held-out images into one of their own within it."""
  return pathlib.Path(folder) if split is Split.TEST else pathlib.Path(folder, split.value)


def short_names(paths: collections.abc.Sequence[str | os.PathLike[str]]) -> list[str]:
  """For each path the shortest end of it that no other path ends in.

  Args:
    paths: different ones.

  Returns:
    Names with "/" between folders: ["um", "first/at", "second/at"].
  """
  parts = [pathlib.Path(os.path.abspath(path)).parts for path in paths]

  def name(own: tuple[str, ...]) -> str:
    alone = (n for n in range(1, len(own)) if sum(other[-n:] == own[-n:] for other in parts) == 1)
    return os.path.join(*own[-next(alone, len(own)) :]).lstrip(os.sep)

  return [name(own) for own in parts]
