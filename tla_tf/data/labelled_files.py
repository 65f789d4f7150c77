"""From labelled image files to checked splits, decoded once and cached."""

from __future__ import annotations

import os
import pathlib
import typing
from collections.abc import Callable, Sequence

import numpy as np

from tla_tf.config import ReadingConfig
from tla_tf.data import cache, decoding
from tla_tf.data.image_data import ImageData, Splits, heldout_count, split
from tla_tf.errors import InputError
from tla_tf.files import AnyPath


class LabelledFiles(typing.NamedTuple):
  """Image files of one part of a data set, with their labels."""

  paths: tuple[pathlib.Path, ...]
  labels: tuple[int, ...]


def load(
  folder: AnyPath,
  train: LabelledFiles,
  test: LabelledFiles,
  class_names: Sequence[str],
  reading: ReadingConfig,
  cache_dir: AnyPath | None = None,
  own_heldout: int = 1000,
  progress: Callable[[int, int], object] | None = None,
) -> Splits:
  """Decodes both parts, or maps them from the cache.

  Images are put into an order in which every part of the sequence has all
  classes in proportion: the first training images can be held out, and the
  first test images are a fair sample.

  Args:
    folder: the data set's folder, for messages.
    train: LabelledFiles.
    test: LabelledFiles.
    class_names: names in the order of labels.
    reading: ReadingConfig.
    cache_dir: folder that keeps decoded images; None for the user's own.
    own_heldout: training images held out where `reading` names no number; at
      most a tenth of them.
    progress: called with the number of files done and to do, or None.

  Returns:
    `Splits` whose images are read-only memory maps.

  Raises:
    InputError: for files that cannot be decoded as asked for, and a cache that
      cannot be written.
  """
  size = reading.image_size or decoding.read_image(train.paths[0]).shape[:2]
  train, test = in_proportion(train), in_proportion(test)
  parts = {"train": train, "test": test}
  key = decoding.content_digest(
    [*train.paths, *test.paths], train.labels, test.labels, tuple(size), reading.resize.value, reading.channels
  )

  def make(temporary: pathlib.Path) -> None:
    done = 0
    for name, part in parts.items():
      shape = (len(part.paths), *size, reading.channels)
      path = temporary / f"{name}_images.npy"
      images = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
      with open(path, "r+b") as file:
        # A full disk is an error here, and the end of the process in a map of a file with holes.
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
      decoding.decode(
        part.paths,
        size,
        images,
        reading.resize,
        reading.channels,
        _of_whole(progress, done, len(train.paths) + len(test.paths)),
      )
      images.flush()
      np.save(temporary / f"{name}_labels.npy", np.array(part.labels, np.int32))
      done += len(part.paths)

  arrays = cache.load(cache_dir, key, make)
  data = {
    name: ImageData(arrays[f"{name}_images"], arrays[f"{name}_labels"], tuple(class_names), source=f"{folder} ({name})")
    for name in parts
  }
  return split(data["train"], data["test"], heldout_count(reading.heldout, own_heldout, len(train.paths)))


def _of_whole(
  progress: Callable[[int, int], object] | None, before: int, total: int
) -> Callable[[int, int], object] | None:
  """What a part reports to, so that the whole is told of."""
  return progress and (lambda count, _: progress(before + count, total))


def in_proportion(files: LabelledFiles) -> LabelledFiles:
  """Files in an order that spreads every class evenly over the whole."""
  labels = np.array(files.labels)
  counts = np.bincount(labels)
  order = np.argsort(labels, kind="stable")
  rank = np.empty(len(labels))
  rank[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
  places = np.lexsort((labels, (rank + 0.5) / counts[labels]))
  return LabelledFiles(tuple(files.paths[i] for i in places), tuple(int(labels[i]) for i in places))


def chosen_classes(found: Sequence[str], wanted: Sequence[str], where: AnyPath) -> tuple[str, ...]:
  """The classes to read, in the order of labels.

  Args:
    found: names that the data set has, in its own order.
    wanted: names asked for; empty for all.
    where: the data set, for messages.

  Raises:
    InputError: for a name that the data set has not, and fewer than two.
  """
  unknown = [name for name in wanted if name not in found]
  if unknown:
    raise InputError(
      f"{where}: has no class {unknown[0]!r}; its {len(found)} classes begin with {', '.join(found[:5])}."
    )
  names = tuple(wanted or found)
  if len(names) < 2:
    what = "there is one class" if names else "there are no classes"
    raise InputError(f"{where}: {what} to read, at least two are needed.")
  return names
