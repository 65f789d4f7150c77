"""Arrays of the user's own in one `.npz` file, named as Keras's are: `x_train`, `y_train`, `x_test`, `y_test`."""

from __future__ import annotations

import pathlib

import numpy as np

from tla_tf import files
from tla_tf.config import ReadingConfig
from tla_tf.data.image_data import ImageData, Splits, heldout_count, in_proportion, split
from tla_tf.datasets.images import SPEC as IMAGES
from tla_tf.datasets.spec import DatasetSpec
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.registry import DATASETS

_LAYOUT = (
  "an .npz file with x_train and x_test (images [n, height, width, channels], uint8, or floats in [0, 1]), y_train and "
  "y_test (whole-number labels from 0), perhaps x_val, y_val and class_names"
)
_HELDOUT = 1000
_KNOWN = ("x_train", "y_train", "x_test", "y_test", "x_val", "y_val", "class_names")


def load_npz(data_dir: AnyPath | None, reading: ReadingConfig = ReadingConfig()) -> Splits:
  """Returns `Splits` of a file's arrays; images without channels [n, height, width] get one.

  Images are put into an order in which every part has all classes in proportion: the
  first of them, which are held out or judged, are a fair sample.

  Args:
    data_dir: the file.
    reading: ReadingConfig: `heldout`.

  Raises:
    InputError: if the file is missing or damaged, or its arrays are not as they should
      be.
  """
  if data_dir is None:
    raise InputError(f"Give `data_dir`: {_LAYOUT}.")
  path = pathlib.Path(data_dir)
  arrays = _arrays(path)
  labels = {
    part: _labels(path, part, arrays[f"y_{part}"]) for part in ("train", "test", "val") if f"y_{part}" in arrays
  }
  names = _class_names(path, arrays, labels)
  parts = {part: _part(path, part, arrays[f"x_{part}"], labels[part], names) for part in labels}
  shapes = {part: data.image_shape for part, data in parts.items()}
  if len(set(shapes.values())) > 1:
    raise InputError(f"{path}: images of its parts differ in shape ({shapes}); make them alike.")
  missing = np.setdiff1d(np.arange(len(names)), labels["train"])
  if len(missing):
    raise InputError(
      f"{path}: y_train has no image of class {missing[0]} of {len(names)}; number the classes from 0, and add images."
    )
  if "val" not in parts:
    return split(parts["train"], parts["test"], heldout_count(reading.heldout, _HELDOUT, len(parts["train"])))
  if reading.heldout > len(parts["val"]):
    raise InputError(f"{path}: x_val has {len(parts['val'])} images, fewer than the {reading.heldout} to take of them.")
  return Splits(parts["train"], parts["val"].take(slice(reading.heldout or None)), parts["test"])


def _arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    arrays = files.read_arrays(path, _KNOWN)
  except (FileNotFoundError, IsADirectoryError):
    raise InputError(f"{path}: no such file; `data_dir` is {_LAYOUT}.") from None
  except OSError as error:
    raise InputError(f"{path}: {files.refusal(error)}.") from None
  except ValueError as error:
    raise InputError(f"{path}: cannot be read as .npz without pickle ({error}); write it by numpy.savez.") from None
  for part in ("train", "test", *(("val",) if {"x_val", "y_val"} & set(arrays) else ())):
    absent = next((f"{axis}_{part}" for axis in "xy" if f"{axis}_{part}" not in arrays), None)
    if absent:
      raise InputError(f"{path}: holds no array {absent} among {files.array_names(path)}; it must be {_LAYOUT}.")
  return arrays


def _labels(path: pathlib.Path, part: str, labels: np.ndarray) -> np.ndarray:
  if labels.ndim == 2 and labels.shape[1] == 1:  # As Keras's CIFAR-10 has them.
    labels = labels[:, 0]
  if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
    what = (
      "one-hot labels? numpy.argmax(y, -1) makes whole numbers of them" if labels.ndim == 2 else "give whole numbers"
    )
    raise InputError(
      f"{path}: y_{part} is {labels.dtype} of shape {labels.shape}, expected whole-number labels [n]; {what}."
    )
  return labels


def _class_names(path: pathlib.Path, arrays: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> tuple[str, ...]:
  if "class_names" not in arrays:
    count = max(int(found.max()) for found in labels.values()) + 1
    # More would be labels of something else, as of a regression.
    if count > sum(map(len, labels.values())):
      raise InputError(f"{path}: labels reach to {count - 1}, beyond the number of images; number the classes from 0.")
    return tuple(str(label) for label in range(count))
  names = arrays["class_names"]
  if names.ndim != 1 or names.dtype.kind != "U":
    raise InputError(f"{path}: class_names is {names.dtype} of shape {names.shape}, expected texts [classes].")
  return tuple(names.tolist())


def _part(path: pathlib.Path, part: str, images: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> ImageData:
  data = ImageData(images[..., None] if images.ndim == 3 else images, labels, names, source=f"{path} (x_{part})")
  return data.take(in_proportion(data.labels))


# Ours: the radius of image folders, a small network, and no augmentation, which may not suit.
SPEC = DATASETS.register(
  "npz",
  DatasetSpec(
    name="npz",
    title="arrays of your own (.npz)",
    read=lambda data_dir, data_source, reading, cache_dir, progress: load_npz(data_dir, reading),
    training=IMAGES.training.replace(
      dataset="npz",
      network="convnet",
      augment_pad=0,
      augment_flip=False,
      optimizer="adam",
      learning_rate=1e-3,
      learning_rate_drops=(),
      train_steps=10_000,
    ),
    suite_scale=IMAGES.suite_scale,
    analysis_scale=IMAGES.analysis_scale,
    reading_flags=("data_dir",),
    data_dir_help="The file: x_train, y_train, x_test, y_test, perhaps x_val, y_val, class_names; see docs/data.md.",
    heldout_help="Default: all of x_val where it is there, else 1,000, at most a tenth, of all classes in proportion.",
    rank=5,
  ),
)
