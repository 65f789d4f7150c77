"""Random crops and flips: pure functions of a key."""

from __future__ import annotations

import tensorflow as tf

from tla_tf.ops import seeds


def crop_and_flip(
  images: tf.Tensor, key: tf.Tensor, pad: int = 0, flip: bool = False, places: tf.Tensor | None = None, total: int = 0
) -> tf.Tensor:
  """Pads by zeros, crops back at random, and flips left to right at random.

  Every image has its own draws. Source: the authors' input pipeline (CIFAR-10
  pads by 2, Tiny ImageNet by 4).

  Args:
    images: [n, height, width, channels] of any type.
    key: int32 [2], made by `ops.seeds.key` or `fold`.
    pad: zeros on every side before the crop; 0 leaves the place as it is.
    flip: whether every second image, on average, is mirrored.
    places: int64 [n], which of a larger batch's images these are; None for all.
    total: images of that batch.

  Returns:
    Images of the same shape and type.
  """
  if not pad and not flip:
    return images

  def own(draws, axis):
    return draws if places is None else tf.gather(draws, places, axis=axis)

  count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
  drawn = count if places is None else total
  rows = tf.tile(tf.range(height)[None], [count, 1])
  columns = tf.tile(tf.range(width)[None], [count, 1])
  if flip:
    mirrored = own(seeds.uniform([drawn, 1], seeds.fold(key, 0)), 0) < 0.5
    columns = tf.where(mirrored, width - 1 - columns, columns)
  if pad:
    images = tf.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    # 2 pad + 1 places in either direction, equally likely.
    shifts = own(seeds.uniform([2, drawn, 1], seeds.fold(key, 1)), 1)
    shifts = tf.minimum(tf.cast(shifts * (2.0 * pad + 1.0), tf.int32), 2 * pad)
    rows, columns = rows + shifts[0], columns + shifts[1]
  images = tf.gather(images, rows, axis=1, batch_dims=1)
  return tf.gather(images, columns, axis=2, batch_dims=1)
