"""Tiny ImageNet in its official layout, or through TFDS.

`wnids.txt` (order of the classes), `train/<wnid>/images/*`, `val/images/*`
with `val/val_annotations.txt`. The validation images are the test images: the
official test images have no labels.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

from tla_tf.config import AttackConfig, ReadingConfig
from tla_tf.data import labelled_files, source, tfds_reader, tiny_imagenet_files
from tla_tf.data.image_data import Splits, heldout_count, split
from tla_tf.datasets.cifar10 import SPEC as CIFAR10
from tla_tf.datasets.spec import AnalysisScale, DatasetSpec
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.registry import DATASETS
from tla_tf.types import DataSource

_OFFICIAL = "tiny-imagenet-200"
HELDOUT = 1000


def load_tiny_imagenet(
  data_dir: AnyPath | None = None,
  data_source: DataSource = DataSource.AUTO,
  reading: ReadingConfig = ReadingConfig(),
  cache_dir: AnyPath | None = None,
  progress: Callable[[int, int], object] | None = None,
) -> Splits:
  """Returns `Splits` of images [n, 64, 64, 3], uint8; grey files become colour.

  Args:
    data_dir: the folder with `wnids.txt`, or the one above it; for TFDS, its
      data folder or None for its default.
    data_source: `files`, `tfds`, or `auto`: files or TFDS's prepared data,
      whichever `data_dir` holds; TFDS where no folder is given.
    reading: ReadingConfig: `heldout`, `classes`.
    cache_dir: folder that keeps decoded images; None for the user's own.
    progress: called with the number of files done and to do, or None.

  Raises:
    InputError: for missing, damaged or surplus files.
  """
  folder = _find(data_dir)
  chosen = source.resolve("Tiny ImageNet", "tiny_imagenet", data_dir, data_source, folder is not None)
  if chosen is DataSource.TFDS:
    return _through_tfds(data_dir, reading)
  if folder is None:
    raise InputError(f"{data_dir}: holds no wnids.txt; give the folder {_OFFICIAL} as `data_dir`.")
  names, train, test = tiny_imagenet_files.list_files(folder, reading.classes)
  return labelled_files.load(
    folder, train, test, names, reading.replace(image_size=(64, 64)), cache_dir, HELDOUT, progress
  )


def _find(data_dir: AnyPath | None) -> pathlib.Path | None:
  for folder in [pathlib.Path(data_dir), pathlib.Path(data_dir) / _OFFICIAL] if data_dir else []:
    if (folder / "wnids.txt").is_file():
      return folder
  return None


def _through_tfds(data_dir: AnyPath | None, reading: ReadingConfig) -> Splits:
  import tla_tf.data.tiny_imagenet_tfds  # noqa: F401  (registers the data set)

  if reading.classes:
    raise InputError(
      "`classes`: of Tiny ImageNet through TFDS all classes are read; give `data_source=files` to choose some."
    )
  train, test = tfds_reader.read("tiny_imagenet", data_dir, parts=("train", "validation"))
  return split(train, test, heldout_count(reading.heldout, HELDOUT, len(train)))


# Mao et al. 2019: the authors' Tiny ImageNet configuration, and the paper's Tables 1 and 5 and Figure 5. It is not in
# Table 3: CIFAR-10's radii.
SPEC = DATASETS.register(
  "tiny_imagenet",
  DatasetSpec(
    name="tiny_imagenet",
    title="Tiny ImageNet",
    read=load_tiny_imagenet,
    training=CIFAR10.training.replace(
      dataset="tiny_imagenet",
      network="resnet_50",
      augment_pad=4,
      validation_attack=AttackConfig(epsilon=8 / 255, step_size=2 / 255, steps=10),
      batch_size=20,
      seed=221760322,
    ),
    published=True,
    fine_tuning=(1e-4, ((60_000, 1e-5),)),
    suite_scale=dataclasses.replace(
      CIFAR10.suite_scale, bim_steps=10, margin_steps=10, pgd_steps=10, long_step_size=2 / 255, black_box_steps=10
    ),
    analysis_scale=AnalysisScale(8 / 255, 7, 25 / 255, 30, "weak"),
    image_shape=(64, 64, 3),
    num_classes=200,
    tf1_networks=("resnet",),
    reading_flags=("data_dir", "data_source", "cache_dir", "classes"),
    heldout_help=(
      "Default: 1,000, at most a tenth; of files, of all classes alike. The authors choose on test images."
    ),
    rank=3,
  ),
)
