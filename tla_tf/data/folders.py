"""Listing folders of images in a fixed order."""

from __future__ import annotations

import pathlib

from tla_tf.errors import InputError
from tla_tf.files import AnyPath, refusal

# What file managers leave behind.
_IGNORED = {"Thumbs.db", "desktop.ini"}


def entries(folder: pathlib.Path, files: bool) -> list[pathlib.Path]:
  """The files, or the folders, of a folder in the order of their names.

  Hidden entries are left out.

  Args:
    folder: pathlib.Path.
    files: True for a folder that must hold files only and at least one;
      False for one that must hold folders only.

  Returns:
    List of paths.

  Raises:
    InputError: if the folder cannot be read, holds no files where files are
      expected, or holds entries of the other kind.
  """
  try:
    found = sorted(path for path in folder.iterdir() if path.name[0] != "." and path.name not in _IGNORED)
  except OSError as error:
    raise InputError(f"{folder}: {refusal(error)}.") from None
  folders = [path for path in found if path.is_dir()]
  if not files:
    stray = [path for path in found if path not in folders]
    if stray:
      raise InputError(f"{stray[0]}: is a file among the folders of classes; move it into one of them, or elsewhere.")
    return folders
  if folders:
    raise InputError(f"{folders[0]}: is a folder among image files; move its images one level up, or elsewhere.")
  if not found:
    raise InputError(f"{folder}: holds no images.")
  return found


def sub_folder(folder: AnyPath, name: str, layout: str) -> pathlib.Path:
  """A folder that must be there.

  Raises:
    InputError: if it is not, naming the layout that was expected.
  """
  path = pathlib.Path(folder) / name
  if not path.is_dir():
    raise InputError(f"{path}: no such folder; {layout}.")
  return path
