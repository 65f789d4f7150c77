"""A user's own images in folders of classes: JPEG, PNG, GIF, WebP or BMP files.

`train/<class>/*` and `test/<class>/*`, perhaps with `val/<class>/*`; or one folder
`<class>/*` that is divided by `test_fraction`.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

from tla_tf.config import ReadingConfig
from tla_tf.data import labelled_files
from tla_tf.data.decoding import UnreadableImageError
from tla_tf.data.folders import entries, sub_folder
from tla_tf.data.image_data import LeftOut, Splits
from tla_tf.data.labelled_files import LabelledFiles
from tla_tf.datasets.spec import AnalysisScale, DatasetSpec
from tla_tf.datasets.tiny_imagenet import SPEC as TINY_IMAGENET
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.registry import DATASETS

_LAYOUT = (
  "image folders have train/<class>/* and test/<class>/*, perhaps val/<class>/*; one folder <class>/* is divided by "
  "`test_fraction=0.2`"
)
_HELDOUT = 500


def load_image_folders(
  data_dir: AnyPath | None,
  reading: ReadingConfig = ReadingConfig(),
  cache_dir: AnyPath | None = None,
  progress: Callable[[int, int], object] | None = None,
) -> Splits:
  """Returns `Splits` of images [n, height, width, channels], uint8.

  Classes are the folders of `train`, in the order of their names. Held-out images
  are those of `val` where it is there (and `reading.use_val`), else training images.
  With `reading.test_fraction` there is no `test`: every class of `train`, or of the
  folder itself where it holds no `train`, is divided.

  Args:
    data_dir: the folder that holds `train` and `test`, or all classes.
    reading: ReadingConfig.
    cache_dir: folder that keeps decoded images; None for the user's own.
    progress: called with the number of files done and to do, or None; with
      `reading.skip_bad` for another pass before, the first time.

  Raises:
    InputError: for missing folders, files that are no images unless they are to be
      left out, and files of several sizes unless they are to be resized.
  """
  if data_dir is None:
    raise InputError(f"Give `data_dir`: {_LAYOUT}.")
  root = pathlib.Path(data_dir)
  folders = _folders(root, reading)
  found = {part: [path.name for path in entries(folder, files=False)] for part, folder in folders.items()}
  names = labelled_files.chosen_classes(found["train"], reading.classes, folders["train"])
  for part, folder in folders.items():
    surplus = [name for name in found[part] if name not in found["train"]]
    if surplus and not reading.classes:
      raise InputError(f"{folder / surplus[0]}: there is no training folder of this class; {_LAYOUT}.")
  parts: dict[str, LabelledFiles] = {}
  left_out: tuple[LeftOut, ...] = ()
  for part, folder in folders.items():
    parts[part], bad = _listed(folder, names, reading, cache_dir, progress)
    left_out += bad
  if reading.test_fraction:
    parts["train"], parts["test"] = labelled_files.split_off(parts["train"], reading.test_fraction, reading.split_seed)
  try:
    splits = labelled_files.load(
      root, parts["train"], parts["test"], names, reading, cache_dir, _HELDOUT, progress, parts.get("val")
    )
  except UnreadableImageError as error:
    raise InputError(f"{str(error).removesuffix('.')}, or leave out such files by `skip_bad`.") from None
  return dataclasses.replace(splits, left_out=left_out)


def _folders(root: pathlib.Path, reading: ReadingConfig) -> dict[str, pathlib.Path]:
  """The folders of classes, by what their images are for: train, perhaps test and val."""
  named = {part: root / part for part in ("train", "test", "val") if (root / part).is_dir()}
  if not reading.test_fraction:
    found = {part: sub_folder(root, part, _LAYOUT) for part in ("train", "test")}
  elif "test" in named:
    raise InputError(f"{named['test']}: holds test images already; leave out `test_fraction`, or move them elsewhere.")
  elif not root.is_dir():
    raise InputError(f"{root}: no such folder; {_LAYOUT}.")
  else:
    found = {"train": sub_folder(root, "train", _LAYOUT) if named else root}
  if reading.use_val and "val" in named:
    found["val"] = named["val"]
  return found


def _listed(
  folder: pathlib.Path,
  names: Sequence[str],
  reading: ReadingConfig,
  cache_dir: AnyPath | None,
  progress: Callable[[int, int], object] | None,
) -> tuple[LabelledFiles, tuple[LeftOut, ...]]:
  """The labelled files of a folder of classes, and what was left out of them."""
  listed = [
    (path, label) for label, name in enumerate(names) for path in entries(sub_folder(folder, name, _LAYOUT), files=True)
  ]
  files = LabelledFiles(*zip(*listed))
  if not reading.skip_bad:
    return files, ()
  files, left_out = labelled_files.without_unreadable(files, cache_dir, progress)
  for label, name in enumerate(names):
    if label not in files.labels:
      raise InputError(f"{folder / name}: holds no image that can be read ({left_out[0].reason}); add images.")
  return files, left_out


# Ours: Tiny ImageNet's setting with a larger batch.
SPEC = DATASETS.register(
  "images",
  DatasetSpec(
    name="images",
    title="image folders",
    read=lambda data_dir, data_source, reading, cache_dir, progress: load_image_folders(
      data_dir, reading, cache_dir, progress
    ),
    training=TINY_IMAGENET.training.replace(dataset="images", batch_size=50),
    fine_tuning=TINY_IMAGENET.fine_tuning,
    suite_scale=TINY_IMAGENET.suite_scale,
    analysis_scale=AnalysisScale(8 / 255, 7, 25 / 255, 20, "weak"),
    reading_flags=(
      "data_dir",
      "cache_dir",
      "classes",
      "image_size",
      "resize",
      "channels",
      "use_val",
      "test_fraction",
      "split_seed",
      "skip_bad",
    ),
    data_dir_help=(
      "Folder that holds train/<class>/* and test/<class>/*, perhaps val/<class>/*; or, with --test_fraction, "
      "<class>/*. JPEG, PNG, GIF, WebP or BMP."
    ),
    heldout_help="Default: all of val/ where it is there, else 500, at most a tenth, of all classes in proportion.",
    rank=4,
  ),
)
