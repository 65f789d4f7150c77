"""The labelled files of an unpacked Tiny ImageNet, for the reader and for the TFDS builder."""

from __future__ import annotations

import collections
import pathlib
import re
from collections.abc import Sequence

from tla_tf import files, limits
from tla_tf.data import labelled_files
from tla_tf.data.folders import entries, sub_folder
from tla_tf.data.labelled_files import LabelledFiles
from tla_tf.errors import InputError

_NAME = re.compile(r"\w[\w.-]{0,99}")
_LAYOUT = "Tiny ImageNet has wnids.txt, train/<wnid>/images/*, val/images/* and val/val_annotations.txt"


def list_files(
  folder: pathlib.Path, classes: Sequence[str] = ()
) -> tuple[tuple[str, ...], LabelledFiles, LabelledFiles]:
  """The labelled files of an unpacked Tiny ImageNet.

  Args:
    folder: the folder with `wnids.txt`.
    classes: wnids to read, in the order of labels; empty for all.

  Returns:
    (wnids in the order of labels, training LabelledFiles, validation
    LabelledFiles).

  Raises:
    InputError: for missing, surplus or contradictory files.
  """
  known = _lines(folder / "wnids.txt")
  odd = next((name for name in known if not _NAME.fullmatch(name)), None)
  if odd is not None:
    raise InputError(f"{folder / 'wnids.txt'}: names {odd[:40]!r}, which is no class; unpack the data set again.")
  names = labelled_files.chosen_classes(known, classes, folder)
  train_folder = sub_folder(folder, "train", _LAYOUT)
  _compare_classes(train_folder, known, classes)
  train = [
    (path, label)
    for label, name in enumerate(names)
    for path in entries(sub_folder(train_folder / name, "images", _LAYOUT), files=True)
  ]
  annotated = _annotations(folder, known)
  images = sub_folder(folder / "val", "images", _LAYOUT)
  position = {name: label for label, name in enumerate(names)}
  test = []
  for path in entries(images, files=True):
    if path.name not in annotated:
      raise InputError(f"{path}: is not named in val_annotations.txt; move it elsewhere, or copy that file again.")
    name = annotated.pop(path.name)
    if name in position:
      test.append((path, position[name]))
  if annotated:
    raise InputError(
      f"{images / next(iter(annotated))}: no such file, but val_annotations.txt names it; unpack the data set again."
    )
  missing = sorted(set(position.values()) - {label for _, label in test})
  if missing:
    raise InputError(f"{images}: holds no image of class {names[missing[0]]}; unpack the data set again.")
  return names, LabelledFiles(*zip(*train)), LabelledFiles(*zip(*test))


def _lines(path: pathlib.Path) -> list[str]:
  """The words of a text file, one a line."""
  try:
    lines = limits.read_text(path).splitlines()
  except FileNotFoundError:
    raise InputError(f"{path}: no such file; unpack the data set again.") from None
  except OSError as error:
    raise InputError(f"{path}: {files.refusal(error)}.") from None
  except UnicodeDecodeError:
    raise InputError(f"{path}: damaged, no text file; unpack the data set again.") from None
  lines = [line.strip() for line in lines if line.strip()]
  twice = [line for line, count in collections.Counter(lines).items() if count > 1]
  if twice or not lines:
    what = f"names {min(twice)[:80]} twice" if twice else "is empty"
    raise InputError(f"{path}: {what}; unpack the data set again.")
  return lines


def _compare_classes(train_folder: pathlib.Path, names: Sequence[str], chosen: Sequence[str]) -> None:
  """Raises InputError if folders and wnids.txt differ, unless classes were chosen."""
  folders = {path.name for path in entries(train_folder, files=False)}
  for name in chosen or names:
    if name not in folders:
      raise InputError(
        f"{train_folder / name}: no such folder, but wnids.txt names it; unpack the data set again, or "
        "choose `classes`."
      )
  surplus = sorted(folders - set(names))
  if surplus and not chosen:
    raise InputError(f"{train_folder / surplus[0]}: is not named in wnids.txt; correct that file, or choose `classes`.")


def _annotations(folder: pathlib.Path, names: Sequence[str]) -> dict[str, str]:
  """File name -> wnid of the validation images."""
  path = folder / "val" / "val_annotations.txt"
  labels: dict[str, str] = {}
  for number, line in enumerate(_lines(path), start=1):
    fields = line.split("\t")
    if len(fields) < 2 or "/" in fields[0] or len(fields[0]) > 255:
      raise InputError(f"{path}: line {number} is not 'file, class, box' between tabs; unpack the data set again.")
    if fields[1] not in names:
      raise InputError(
        f"{path}: line {number} has class {fields[1][:40]!r}, which wnids.txt does not name; unpack the data set again."
      )
    if fields[0] in labels:
      raise InputError(f"{path}: names {fields[0][:80]} twice; unpack the data set again.")
    labels[fields[0]] = fields[1]
  return labels
