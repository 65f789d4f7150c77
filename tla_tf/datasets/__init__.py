"""Data sets, one a file: the reader and the record of all that other rooms need to know (`spec.DatasetSpec`).

A new data set is a new file here that ends with `DATASETS.register(name, DatasetSpec(...))`.
"""

from __future__ import annotations

import pathlib
import typing

from tla_tf.config import ReadingConfig
from tla_tf.data.image_data import Splits
from tla_tf.datasets.spec import AnalysisScale, DatasetSpec, SuiteScale
from tla_tf.registry import DATASETS
from tla_tf.types import DataSource

__all__ = ["AnalysisScale", "DatasetSpec", "SuiteScale", "get", "load", "names", "register"]


def get(name: str) -> DatasetSpec:
  """The record of a data set.

  Raises:
    InputError: for an unknown name; the message lists the known ones.
  """
  return DATASETS.get(name)


def names() -> list[str]:
  """The names of all data sets."""
  return DATASETS.names()


def register(spec: DatasetSpec) -> DatasetSpec:
  """Makes a data set known under its name; returns it."""
  return DATASETS.register(spec.name, spec)


def load(
  name: str,
  data_dir: str | pathlib.Path | None = None,
  data_source: DataSource | str = DataSource.AUTO,
  reading: ReadingConfig = ReadingConfig(),
  cache_dir: str | pathlib.Path | None = None,
  progress: typing.Callable[[int, int], None] | None = None,
) -> Splits:
  """Loads a data set by name.

  Args:
    name: one of `names()`.
    data_dir: folder of the files, where the data set has files.
    data_source: a `types.DataSource`; image folders are always files.
    reading: ReadingConfig.
    cache_dir: folder that keeps decoded images; None for the user's own.
    progress: called with the number of image files decoded and to decode.

  Returns:
    `data.Splits`.

  Raises:
    InputError: for an unknown name, and what the reader raises.
  """
  return get(name).read(data_dir, data_source, reading, cache_dir, progress)
