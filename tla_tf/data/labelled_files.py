"""From labelled image files to checked splits, decoded once and cached."""

from __future__ import annotations

import hashlib
import os
import pathlib
import typing
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tla_tf.config import ReadingConfig
from tla_tf.data import cache, decoding, image_data
from tla_tf.data.image_data import ImageData, LeftOut, Splits, heldout_count, split
from tla_tf.errors import InputError
from tla_tf.files import AnyPath, new_array


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
  heldout: LabelledFiles | None = None,
) -> Splits:
  """Decodes all parts, or maps them from the cache.

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
    heldout: LabelledFiles of the held-out images; None takes training images.

  Returns:
    `Splits` whose images are read-only memory maps.

  Raises:
    InputError: for files that cannot be decoded as asked for, and a cache that
      cannot be written.
  """
  size = reading.image_size or decoding.read_image(train.paths[0]).shape[:2]
  given = {"train": train, "test": test} | ({} if heldout is None else {"heldout": heldout})
  parts = {name: in_proportion(part) for name, part in given.items()}
  paths = [path for part in parts.values() for path in part.paths]
  # Whatever the arrays do not depend on is left out: other ways to the same files find the same entry.
  labels = [part.labels for part in parts.values()]
  key = decoding.content_digest(paths, *labels, tuple(size), reading.resize.value, reading.channels)

  def make(temporary: pathlib.Path) -> None:
    done = 0
    for name, part in parts.items():
      shape = (len(part.paths), *size, reading.channels)
      images = new_array(temporary / f"{name}_images.npy", np.uint8, shape)
      decoding.decode(part.paths, size, images, reading.resize, reading.channels, _of_whole(progress, done, len(paths)))
      images.flush()
      np.save(temporary / f"{name}_labels.npy", np.array(part.labels, np.int32))
      done += len(part.paths)

  arrays = cache.load(cache_dir, key, make)
  data = {
    name: ImageData(arrays[f"{name}_images"], arrays[f"{name}_labels"], tuple(class_names), source=f"{folder} ({name})")
    for name in parts
  }
  if "heldout" not in data:
    return split(data["train"], data["test"], heldout_count(reading.heldout, own_heldout, len(data["train"])))
  if reading.heldout > len(data["heldout"]):
    raise InputError(
      f"{folder}: there are {len(data['heldout'])} held-out images, fewer than the {reading.heldout} to take of them."
    )
  return Splits(data["train"], data["heldout"].take(slice(reading.heldout or None)), data["test"])


def _of_whole(
  progress: Callable[[int, int], object] | None, before: int, total: int
) -> Callable[[int, int], object] | None:
  """What a part reports to, so that the whole is told of."""
  return progress and (lambda count, _: progress(before + count, total))


def in_proportion(files: LabelledFiles) -> LabelledFiles:
  """Files in an order that spreads every class evenly over the whole."""
  return _chosen(files, image_data.in_proportion(np.array(files.labels)))


def split_off(files: LabelledFiles, fraction: float, seed: int) -> tuple[LabelledFiles, LabelledFiles]:
  """Divides files at random, every class in the same proportion.

  Which files go is a function of seed and names (of the file and its folder)
  alone: a copy elsewhere is divided alike, and a further file moves few others.

  Args:
    files: LabelledFiles.
    fraction: share of every class that goes into the second part, at least one
      file and not all.
    seed: chooses which.

  Returns:
    (LabelledFiles that stay, LabelledFiles that go), both in the order given.

  Raises:
    InputError: if a class has a single file.
  """

  def rank(i: int) -> bytes:
    path = files.paths[i]
    return hashlib.sha256(b"%d/%s" % (seed, os.fsencode(os.path.join(path.parent.name, path.name)))).digest()

  goes = set()
  for label in sorted(set(files.labels)):
    own = [i for i, other in enumerate(files.labels) if other == label]
    if len(own) < 2:
      raise InputError(
        f"{files.paths[own[0]].parent}: holds one image, of which `test_fraction={fraction:g}` makes no two parts; "
        "add images."
      )
    goes |= set(sorted(own, key=rank)[: min(max(1, round(fraction * len(own))), len(own) - 1)])
  order = range(len(files.paths))
  stays, gone = [i for i in order if i not in goes], [i for i in order if i in goes]
  return _chosen(files, stays), _chosen(files, gone)


def without_unreadable(
  files: LabelledFiles, cache_dir: AnyPath | None = None, progress: Callable[[int, int], object] | None = None
) -> tuple[LabelledFiles, tuple[LeftOut, ...]]:
  """Leaves out files that cannot be read; which, is kept in the cache by their content.

  Args:
    files: LabelledFiles.
    cache_dir: as for `load`.
    progress: called with the number of files done and to do, or None.

  Returns:
    (the others, what was left out).
  """
  key = decoding.content_digest(files.paths, "unreadable files", unreadable=True)

  def make(temporary: pathlib.Path) -> None:
    found = decoding.unreadable_files(files.paths, progress)
    np.save(temporary / "positions.npy", np.array(list(found), np.int64))
    np.save(temporary / "reasons.npy", np.array(list(found.values()), str))

  found = cache.load(cache_dir, key, make)
  bad = dict(zip(found["positions"].tolist(), found["reasons"].tolist()))
  left_out = tuple(LeftOut(str(files.paths[i]), reason) for i, reason in bad.items())
  return _chosen(files, [i for i in range(len(files.paths)) if i not in bad]), left_out


def _chosen(files: LabelledFiles, positions: Iterable[int]) -> LabelledFiles:
  return LabelledFiles(tuple(files.paths[i] for i in positions), tuple(files.labels[i] for i in positions))


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
