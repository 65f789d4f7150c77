"""Tiny ImageNet in its official layout, or through TFDS.

`wnids.txt` (order of the classes), `train/<wnid>/images/*`, `val/images/*`
with `val/val_annotations.txt`. The validation images are the test images: the
official test images have no labels.
"""

import collections
import dataclasses
import pathlib

from tla_tf.config import AttackConfig, ReadingConfig
from tla_tf.data import labelled_files, source, tfds_reader
from tla_tf.data.folders import entries, sub_folder
from tla_tf.data.image_data import heldout_count, split
from tla_tf.data.labelled_files import LabelledFiles
from tla_tf.datasets.cifar10 import SPEC as CIFAR10
from tla_tf.datasets.spec import AnalysisScale, DatasetSpec
from tla_tf.errors import InputError
from tla_tf.registry import DATASETS
from tla_tf.types import DataSource

_OFFICIAL = "tiny-imagenet-200"
HELDOUT = 1000
_LAYOUT = "Tiny ImageNet has wnids.txt, train/<wnid>/images/*, val/images/* and val/val_annotations.txt"


def load_tiny_imagenet(
  data_dir=None, data_source=DataSource.AUTO, reading=ReadingConfig(), cache_dir=None, progress=None
):
  """Returns `Splits` of images [n, 64, 64, 3], uint8; grey files become colour.

  Args:
    data_dir: the folder with `wnids.txt`, or the one above it; for TFDS, its
      data folder or None for its default.
    data_source: `files`, `tfds`, or `auto`, see `data.source.resolve`.
    reading: ReadingConfig: `heldout`, `classes`.
    cache_dir: folder of decoded images, see `data.cache`.
    progress: called with the number of files done and to do, or None.

  Raises:
    InputError: for missing, damaged or surplus files.
  """
  folder = _find(data_dir)
  chosen = source.resolve("Tiny ImageNet", "tiny_imagenet", data_dir, data_source, folder is not None)
  if chosen is DataSource.TFDS:
    return _through_tfds(data_dir, reading)
  if folder is None:
    raise InputError(f"{data_dir}: holds no wnids.txt; give the folder {_OFFICIAL} as --data_dir.")
  names, train, test = list_files(folder, reading.classes)
  return labelled_files.load(
    folder, train, test, names, reading.replace(image_size=(64, 64)), cache_dir, HELDOUT, progress
  )


def list_files(folder, classes=()):
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


def _find(data_dir):
  for folder in [pathlib.Path(data_dir), pathlib.Path(data_dir) / _OFFICIAL] if data_dir else []:
    if (folder / "wnids.txt").is_file():
      return folder
  return None


def _through_tfds(data_dir, reading):
  import tla_tf.data.tiny_imagenet_tfds  # noqa: F401  (registers the data set)

  if reading.classes:
    raise InputError(
      "--classes: of Tiny ImageNet through TFDS all classes are read; give --data_source=files to choose some."
    )
  train, test = tfds_reader.read("tiny_imagenet", data_dir, parts=("train", "validation"))
  return split(train, test, heldout_count(reading.heldout, HELDOUT, len(train)))


def _lines(path):
  """The words of a text file, one a line."""
  try:
    lines = path.read_text(encoding="utf-8").splitlines()
  except FileNotFoundError:
    raise InputError(f"{path}: no such file; unpack the data set again.") from None
  except OSError as error:
    raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None
  except UnicodeDecodeError:
    raise InputError(f"{path}: damaged, no text file; unpack the data set again.") from None
  lines = [line.strip() for line in lines if line.strip()]
  twice = [line for line, count in collections.Counter(lines).items() if count > 1]
  if twice or not lines:
    raise InputError(f"{path}: {'names ' + min(twice) + ' twice' if twice else 'is empty'}; unpack the data set again.")
  return lines


def _compare_classes(train_folder, names, chosen):
  """Raises InputError if folders and wnids.txt differ, unless classes were chosen."""
  folders = {path.name for path in entries(train_folder, files=False)}
  for name in chosen or names:
    if name not in folders:
      raise InputError(
        f"{train_folder / name}: no such folder, but wnids.txt names it; unpack the data set again, or "
        "choose --classes."
      )
  surplus = sorted(folders - set(names))
  if surplus and not chosen:
    raise InputError(f"{train_folder / surplus[0]}: is not named in wnids.txt; correct that file, or choose --classes.")


def _annotations(folder, names):
  """File name -> wnid of the validation images."""
  path = folder / "val" / "val_annotations.txt"
  labels = {}
  for number, line in enumerate(_lines(path), start=1):
    fields = line.split("\t")
    if len(fields) < 2 or "/" in fields[0]:
      raise InputError(f"{path}: line {number} is not 'file, class, box' between tabs; unpack the data set again.")
    if fields[1] not in names:
      raise InputError(
        f"{path}: line {number} has class {fields[1][:40]!r}, which wnids.txt does not name; unpack the data set again."
      )
    if fields[0] in labels:
      raise InputError(f"{path}: names {fields[0][:80]} twice; unpack the data set again.")
    labels[fields[0]] = fields[1]
  return labels


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
    tf1_networks=("resnet",),
    reading_flags=("data_dir", "data_source", "cache_dir", "classes"),
    heldout_help=(
      "Default: 1,000, at most a tenth; of files, of all classes alike. The authors choose on test images."
    ),
    rank=3,
  ),
)
