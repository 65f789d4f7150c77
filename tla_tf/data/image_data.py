"""Checked arrays of images and labels, and their splits."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any, NamedTuple

import numpy as np

from tla_tf.errors import InputError
from tla_tf.lazy import lazy
from tla_tf.types import Split

inputs = lazy("tla_tf.ops.inputs")  # so that tools that check arrays of the user's start without TensorFlow


@dataclasses.dataclass(frozen=True)
class ImageData:
  """Images with labels.

  Attributes:
    images: uint8 [n, height, width, channels] in 0..255, or float32 in
      [0, 1].
    labels: int32 [n] in [0, num_classes).
    class_names: names of the classes.
    source: what the images are called in messages, for instance a path.
  """

  images: np.ndarray
  labels: np.ndarray
  class_names: tuple[str, ...]
  source: str = "the images"

  def __post_init__(self):
    images, labels = self.images, self.labels
    if images.ndim != 4:
      raise InputError(f"{self.source}: expected images [n, height, width, channels], got shape {images.shape}.")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
      raise InputError(f"{self.source}: expected whole-number labels [n], got {labels.dtype} of shape {labels.shape}.")
    if len(images) != len(labels):
      raise InputError(
        f"{self.source}: {len(images)} images but {len(labels)} labels; the files do not belong together."
      )
    if not images.size:
      raise InputError(f"{self.source}: no images, or images without pixels (shape {images.shape}).")
    if images.dtype != np.uint8:
      if not np.issubdtype(images.dtype, np.floating):
        raise InputError(f"{self.source}: expected uint8 or float32 images, got {images.dtype}.")
      fault = inputs.images_fault(images)
      if fault is not None:
        raise InputError(f"{self.source}: images must lie in [0, 1], but {fault}.")
      object.__setattr__(self, "images", images.astype(np.float32, copy=False))
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= self.num_classes:
      wrong = low if low < 0 else high
      raise InputError(
        f"{self.source}: label {wrong} is outside 0..{self.num_classes - 1}; "
        "the label file is damaged or of another data set."
      )
    object.__setattr__(self, "labels", labels.astype(np.int32))

  @property
  def num_classes(self) -> int:
    return len(self.class_names)

  @property
  def image_shape(self) -> tuple[int, ...]:
    return self.images.shape[1:]

  def __len__(self) -> int:
    return len(self.images)

  def take(self, selection: Any) -> ImageData:
    """The part that a slice or an index array selects."""
    return dataclasses.replace(self, images=self.images[selection], labels=self.labels[selection])

  def float_images(self, selection: Any = slice(None)) -> np.ndarray:
    """float32 images in [0, 1] of a selection."""
    images = self.images[selection]
    return images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images

  def digest(self) -> str:
    """SHA-256 over shape, images and labels, as hex."""
    result = hashlib.sha256(repr((self.images.shape, str(self.images.dtype))).encode())
    result.update(np.ascontiguousarray(self.images).data)
    result.update(np.ascontiguousarray(self.labels).data)
    return result.hexdigest()


class LeftOut(NamedTuple):
  """A file of a data set that is not read.

  Attributes:
    path: the file.
    reason: why.
  """

  path: str
  reason: str


@dataclasses.dataclass(frozen=True)
class Splits:
  """Training, held-out and test images of one data set.

  The held-out images are never trained on: they choose the best checkpoint. The
  test images are for the final figures. `left_out` are files that could not be
  read, where it was asked for to leave them out.
  """

  train: ImageData
  heldout: ImageData
  test: ImageData
  left_out: tuple[LeftOut, ...] = ()

  def judged(self, split: Split) -> ImageData:
    """The images that a network is judged on."""
    return self.heldout if split is Split.HELD_OUT else self.test

  def digest(self) -> str:
    """SHA-256 over the three parts, as hex."""
    parts = (self.train.digest(), self.heldout.digest(), self.test.digest())
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def split(train: ImageData, test: ImageData, heldout: int) -> Splits:
  """Holds out the first `heldout` training images (as the authors do).

  Raises:
    InputError: if fewer than `heldout` + 1 training images are there.
  """
  if len(train) <= heldout:
    raise InputError(f"{train.source}: {len(train)} training images are too few to hold out {heldout} of them.")
  return Splits(train=train.take(slice(heldout, None)), heldout=train.take(slice(heldout)), test=test)


def in_proportion(labels: np.ndarray) -> np.ndarray:
  """The order, int [n], that spreads every class evenly over the whole and keeps the order within it."""
  counts = np.bincount(labels)
  order = np.argsort(labels, kind="stable")
  rank = np.empty(len(labels))
  rank[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
  return np.lexsort((labels, (rank + 0.5) / counts[labels]))


def heldout_count(wanted: int, own: int, available: int) -> int:
  """How many training images to hold out.

  Args:
    wanted: the number asked for; 0 for none asked for.
    own: the data set's own number.
    available: number of training images.

  Returns:
    `wanted`, or else `own`, but no more than a tenth of the images.
  """
  return wanted or max(1, min(own, available // 10))
