"""The seeded batch stream: batch t is a pure function of (seed, t).

Anchors and pool run through their own endless sequences of permutations;
class-mates are drawn per anchor. Nothing is shuffled in a buffer and no
iterator has a state: to resume at step t is to start at step t.
"""

from __future__ import annotations

import typing
import weakref

import numpy as np
import tensorflow as tf

from tla_tf.data.augmentation import crop_and_flip
from tla_tf.data.image_data import ImageData
from tla_tf.ops import seeds


def to_float(images: tf.Tensor) -> tf.Tensor:
  """uint8 0..255 to float32 in [0, 1]; float32 stays."""
  return tf.cast(images, tf.float32) / 255.0 if images.dtype == tf.uint8 else images


class BatchStream:
  """Makes training batches.

  Args:
    data: `ImageData` to train on.
    batch_size: number of anchors.
    seed: the run's seed.
    classmates: whether each anchor gets another image of its class.
    pool_size: number of further images to pick negatives from; 0 for none.
    augment_pad: zeros around an image before it is cropped back at random.
    augment_flip: whether images are mirrored at random.
    replays: how many steps in a row have the same batch.
    replays_until: first step that has a batch of its own again; None for none.
  """

  def __init__(
    self,
    data: ImageData,
    batch_size: int,
    seed: int,
    classmates: bool = True,
    pool_size: int = 0,
    augment_pad: int = 0,
    augment_flip: bool = False,
    replays: int = 1,
    replays_until: int | None = None,
  ):
    self._images = data.images
    self._labels = tf.constant(data.labels)
    self._size = len(data)
    self._batch_size = batch_size
    self._pool_size = pool_size
    self._classmates = classmates
    self._anchor_key = seeds.key(seed, "stream", "anchors")
    self._pool_key = seeds.key(seed, "stream", "pool")
    self._classmate_key = seeds.key(seed, "stream", "classmates")
    self._augment_key = seeds.key(seed, "stream", "augmentation")
    self._pad, self._flip = augment_pad, augment_flip
    self._replays, self._replays_until = replays, replays_until
    # Members of a class stand next to each other in `order`.
    order = np.argsort(data.labels, kind="stable")
    counts = np.bincount(data.labels, minlength=data.num_classes)
    starts = np.cumsum(counts) - counts
    rank = np.empty(self._size, np.int64)
    rank[order] = np.arange(self._size) - np.repeat(starts, counts)
    self._order, self._rank = tf.constant(order, tf.int64), tf.constant(rank)
    self._starts, self._counts = tf.constant(starts, tf.int64), tf.constant(counts, tf.int64)

  def indices(self, step: tf.Tensor) -> dict[str, tf.Tensor]:
    """Which images batch `step` holds.

    Args:
      step: an integer tensor.

    Returns:
      Dict of int64 [n]: "anchor", and where asked for "positive" and "pool".
    """
    step = tf.cast(step, tf.int64)
    anchor = self._sequence(step, self._batch_size, self._anchor_key)
    result = {"anchor": anchor}
    if self._classmates:
      result["positive"] = self._classmate(anchor, seeds.fold(self._classmate_key, step))
    if self._pool_size:
      result["pool"] = self._sequence(step, self._pool_size, self._pool_key)
    return result

  def batch(self, step: tf.Tensor, replica: int | tf.Tensor = 0, replicas: int = 1) -> dict[str, tf.Tensor]:
    """Batch `step`, or a replica's part of it: no other images are read.

    Args:
      step: an integer tensor.
      replica: which part, from 0.
      replicas: number of parts, a divisor of the batch and of the pool.

    Returns:
      Dict: "image" float32 [n, ...] in [0, 1] and "label" int32 [n]; where
      asked for "positive" float32 [n, ...], "pool" float32 [m, ...] and
      "pool_label" int32 [m].
    """
    step = self._number(step)
    indices = self.indices(step)
    # One gather for all: what is read stays where it is, in memory or on disk.
    sizes = self._sizes()
    total, places = sum(sizes.values()), None
    if replicas > 1:
      replica = tf.cast(replica, tf.int64)
      before, parts_ = 0, []
      for name, values in indices.items():
        whole, sizes[name] = sizes[name], sizes[name] // replicas
        own = replica * sizes[name] + tf.range(sizes[name], dtype=tf.int64)
        indices[name] = tf.gather(values, own)
        parts_.append(before + own)
        before += whole
      places = tf.concat(parts_, 0)
    images = self._augmented(self._gather(tf.concat(list(indices.values()), 0)), step, places, total)
    return self._parted(images, self._labels, indices, sizes)

  def dataset(self, start: int, stop: int, first: int = 0, local: int = 1, replicas: int = 1) -> tf.data.Dataset:
    """A `tf.data.Dataset` of the batches start, ..., stop - 1.

    Args:
      start: first step.
      stop: step after the last.
      first: of the parts of each batch, the first one that is made.
      local: how many are, one after the other.
      replicas: parts of a batch.
    """

    def batch(number):
      return self.batch(number // local, first + number % local, replicas)

    # Nothing in it is for AutoGraph, which would take a second to find that out.
    batch = tf.autograph.experimental.do_not_convert(batch if replicas > 1 else self.batch)
    numbers = tf.data.Dataset.range(start * local, stop * local)
    return numbers.map(batch, num_parallel_calls=2, deterministic=True).prefetch(2 * local)

  def _sizes(self):
    """Images in each part of a batch, in their order."""
    positives = {"positive": self._batch_size} if self._classmates else {}
    return {"anchor": self._batch_size, **positives, **({"pool": self._pool_size} if self._pool_size else {})}

  def _parted(self, images, labels, indices, sizes):
    """The batch of images that stand one after the other, each part as long as `sizes` says."""
    parts = dict(zip(sizes, tf.split(images, list(sizes.values()))))
    result = {"image": parts["anchor"], "label": tf.gather(labels, indices["anchor"])}
    if "positive" in parts:
      result["positive"] = parts["positive"]
    if "pool" in parts:
      result["pool"] = parts["pool"]
      result["pool_label"] = tf.gather(labels, indices["pool"])
    return result

  def _number(self, step):
    """Which batch a step has: each counts for `replays` steps, while there are such."""
    step = tf.cast(step, tf.int64)
    if self._replays == 1:
      return step
    if self._replays_until is None:
      return step // self._replays
    replayed = -(-self._replays_until // self._replays)
    return tf.where(step < self._replays_until, step // self._replays, replayed + step - self._replays_until)

  def _sequence(self, step, count, key):
    return seeds.permuted(step * count + tf.range(count, dtype=tf.int64), key, self._size)

  def _classmate(self, anchor, key):
    label = tf.gather(self._labels, anchor)
    others = tf.gather(self._counts, label) - 1
    unit = seeds.uniform([self._batch_size], key)
    shift = 1 + tf.minimum(tf.cast(unit * tf.cast(others, tf.float32), tf.int64), others - 1)
    rank = (tf.gather(self._rank, anchor) + tf.maximum(shift, 0)) % (others + 1)
    return tf.gather(self._order, tf.gather(self._starts, label) + rank)

  def _gather(self, indices):
    """The images as they are stored, from an array that may be a map of a file."""
    # TensorFlow keeps the function for ever; what the images are in lives as long as whoever takes batches of them.
    read: typing.Any = weakref.WeakMethod(self._read)
    images = tf.numpy_function(lambda places: read()(places), [indices], self._images.dtype, stateful=False)
    return tf.ensure_shape(images, [None, *self._images.shape[1:]])

  def _read(self, places):
    return self._images[places]

  def _augmented(self, images, step, places, total):
    key = seeds.fold(self._augment_key, step)
    return to_float(crop_and_flip(images, key, self._pad, self._flip, places, total))
