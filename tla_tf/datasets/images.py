"""A user's own images: `train/<class>/*` and `test/<class>/*`, JPEG or PNG."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from tla_tf.config import ReadingConfig
from tla_tf.data import labelled_files
from tla_tf.data.folders import entries, sub_folder
from tla_tf.data.image_data import Splits
from tla_tf.data.labelled_files import LabelledFiles
from tla_tf.datasets.spec import AnalysisScale, DatasetSpec
from tla_tf.datasets.tiny_imagenet import SPEC as TINY_IMAGENET
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.registry import DATASETS

_LAYOUT = "image folders have train/<class>/* and test/<class>/*"
_HELDOUT = 500


def load_image_folders(
  data_dir: AnyPath | None,
  reading: ReadingConfig = ReadingConfig(),
  cache_dir: AnyPath | None = None,
  progress: Callable[[int, int], object] | None = None,
) -> Splits:
  """Returns `Splits` of images [n, height, width, channels], uint8.

  Classes are the folders of `train`, in the order of their names.

  Args:
    data_dir: the folder that holds `train` and `test`.
    reading: ReadingConfig.
    cache_dir: folder that keeps decoded images; None for the user's own.
    progress: called with the number of files done and to do, or None.

  Raises:
    InputError: for missing folders, files that are no images or, unless they
      are to be resized, of several sizes.
  """
  if data_dir is None:
    raise InputError(f"Give `data_dir`: {_LAYOUT}.")
  root = pathlib.Path(data_dir)
  parts = [sub_folder(root, name, _LAYOUT) for name in ("train", "test")]
  found = [[path.name for path in entries(part, files=False)] for part in parts]
  names = labelled_files.chosen_classes(found[0], reading.classes, parts[0])
  surplus = [name for name in found[1] if name not in found[0]]
  if surplus and not reading.classes:
    raise InputError(f"{parts[1] / surplus[0]}: there is no training folder of this class; {_LAYOUT}.")
  train, test = (
    LabelledFiles(
      *zip(
        *(
          (path, label)
          for label, name in enumerate(names)
          for path in entries(sub_folder(part, name, _LAYOUT), files=True)
        )
      )
    )
    for part in parts
  )
  return labelled_files.load(root, train, test, names, reading, cache_dir, _HELDOUT, progress)


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
    reading_flags=("data_dir", "cache_dir", "classes", "image_size", "resize", "channels"),
    data_dir_help="Folder that holds train/<class>/* and test/<class>/*, JPEG or PNG.",
    heldout_help="Default: 500, at most a tenth, of all classes in proportion.",
    rank=4,
  ),
)
