"""Reading a data set through TensorFlow Datasets."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tla_tf.data.image_data import ImageData
from tla_tf.errors import InputError, first_line
from tla_tf.files import AnyPath


def read(name: str, data_dir: AnyPath | None = None, parts: Sequence[str] = ("train", "test")) -> list[ImageData]:
  """Reads the training and test parts of an image classification data set.

  Args:
    name: its TFDS name.
    data_dir: TFDS's data folder; None for its default. A data set that is
      not prepared there is downloaded.
    parts: TFDS's names of the two parts.

  Returns:
    Two `ImageData`, in the order of `parts`.

  Raises:
    InputError: if it is neither prepared nor can be downloaded.
  """
  import tensorflow_datasets as tfds

  # TFDS lets through whatever its download, JSON and record libraries raise.
  try:
    builder = tfds.builder(name, data_dir=data_dir)
    builder.download_and_prepare()
  except Exception as error:
    raise InputError(
      f"TFDS could not prepare {name!r} ({type(error).__name__}: {first_line(error, 200)}); "
      "check the network, or give `data_dir` with the data set's files."
    ) from error
  names = tuple(builder.info.features["label"].names)
  result = []
  for part in parts:
    try:
      records = (
        builder.as_data_source(split=part) if _random_access(builder) else tfds.as_numpy(builder.as_dataset(split=part))
      )
      images, labels = _collect(records, builder.info.splits[part].num_examples)
    except Exception as error:
      raise InputError(
        f"TFDS could not read {name!r} from {builder.data_dir} ({type(error).__name__}: {first_line(error, 200)}); "
        "remove that folder to have it prepared anew."
      ) from error
    result.append(ImageData(images, labels, names, source=f"{name} ({part}, TFDS)"))
  return result


def _collect(records: Iterable[Any], count: int) -> tuple[np.ndarray, np.ndarray]:
  """Images and labels of all records, each stored once."""
  images, labels, found = None, np.empty(count, np.int64), 0
  for i, record in enumerate(records):
    if images is None:
      images = np.empty((count, *record["image"].shape), np.uint8)
    images[i], labels[i] = record["image"], record["label"]
    found = i + 1
  if images is None or found != count:
    raise ValueError(f"{found} records, expected {count}")
  return images, labels


def prepared(name: str, data_dir: AnyPath) -> bool:
  """Whether TFDS's folder `data_dir` holds the data set."""
  return (pathlib.Path(data_dir) / name).is_dir()


def _random_access(builder: Any) -> bool:
  """Whether the prepared files can be read in their stored order by index."""
  file_format = builder.info.file_format
  return file_format is not None and file_format.value == "array_record"
