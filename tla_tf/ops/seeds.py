"""Randomness as a pure function of (seed, path).

A *key* is an int32 tensor of shape [2] as stateless operations take it. Keys
are folded, never advanced, so that a resumed run draws what an uninterrupted
one would. The generator is always Philox: the same draw with and without XLA.
"""

import contextlib
import hashlib
import math
import threading
import typing

import tensorflow as tf

_ALGORITHM = "philox"


class _Part(threading.local):
  offset: typing.Any = None
  total: typing.Any = None


_PART = _Part()


@contextlib.contextmanager
def part_of_batch(offset: int | tf.Tensor, total: int | tf.Tensor) -> typing.Iterator[None]:
  """Draws inside the scope are those of some rows of a larger batch.

  A draw of shape [n, ...] from *one* key is made for `total` rows and gives the rows
  offset, ..., offset + n - 1: what a replica, a slice of an attack or a micro-batch
  draws is what the whole batch would have drawn there. Draws with a key an example
  ([n, 2]) depend on no batch and stay as they are. Scopes do not add up: offset and
  total of the innermost one count. The scope is the thread's, and what is traced
  inside it keeps it.

  Args:
    offset: the first row, a whole number or scalar int32 tensor.
    total: rows of the whole batch; at least offset + n.
  """
  before = _PART.offset, _PART.total
  _PART.offset, _PART.total = offset, total
  try:
    yield
  finally:
    _PART.offset, _PART.total = before


def place_of(offset: int | tf.Tensor, rows: int | tf.Tensor) -> tuple:
  """Where a part of a batch lies in the whole one, (offset, total) for `part_of_batch`, if the batch is a part itself.

  Args:
    offset: the part's first row in the batch at hand, a micro-batch's in a replica's for instance.
    rows: of the batch at hand.
  """
  return (offset, rows) if _PART.total is None else (_PART.offset + offset, _PART.total)


def derive(seed: int, *path: str | int) -> int:
  """Derives an independent seed from a seed and a path of names and numbers.

  Args:
    seed: a whole number.
    *path: strings or whole numbers.

  Returns:
    A Python int in [0, 2**31).
  """
  text = "/".join(str(part) for part in (seed, *path))
  return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def key(seed: int, *path: str | int) -> tf.Tensor:
  """The key of a seed and a path: int32 tensor of shape [2]."""
  return tf.constant([derive(seed, *path), derive(seed, *path, "second")], tf.int32)


def fold(key_: tf.Tensor, value: int | tf.Tensor) -> tf.Tensor:
  """A new key from a key and a whole number (a step, a replica id)."""
  value = tf.cast(value, tf.int32)
  return tf.random.experimental.stateless_fold_in(key_, value, alg=_ALGORITHM)


@tf.function(input_signature=[tf.TensorSpec([2], tf.int32), tf.TensorSpec([None], tf.int32)], autograph=False)
def example_keys(key_: tf.Tensor, example_ids: tf.Tensor) -> tf.Tensor:
  """One key an example, whatever batch the example is in.

  Args:
    key_: int32 [2].
    example_ids: int32 [n], for instance positions in the test set.

  Returns:
    int32 [n, 2].
  """
  return tf.map_fn(lambda i: fold(key_, i), example_ids, fn_output_signature=tf.TensorSpec([2], tf.int32))


def uniform(
  shape: typing.Sequence[int] | tf.Tensor, key_: tf.Tensor, low: float | tf.Tensor = 0.0, high: float | tf.Tensor = 1.0
) -> tf.Tensor:
  """Uniform float32 draws in [low, high).

  Within `part_of_batch`, rows of the draws of a larger batch.

  Args:
    shape: [n, ...].
    key_: int32 [2], one key for the batch, or [n, 2], one an example.
    low: lower end, a number or scalar tensor.
    high: upper end.

  Returns:
    float32 of the given shape.
  """
  key_ = tf.convert_to_tensor(key_)
  bits = _rows(shape, key_) if key_.shape.rank == 1 else _bits(shape, key_)
  unit = tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24
  return low + unit * (high - low)


def _rows(shape, key_):
  """uint32 of `shape` from one key; within `part_of_batch`, rows of a larger draw."""
  whole = shape
  if _PART.total is not None:
    shape = tf.cast(tf.convert_to_tensor(shape), tf.int32)
    whole = tf.concat([[tf.cast(_PART.total, tf.int32)], shape[1:]], 0)
  # From whole numbers: TensorFlow's own floats differ between XLA and the other kernels.
  bits = tf.random.stateless_uniform(whole, key_, None, None, tf.uint32, alg=_ALGORITHM)
  if _PART.total is None:
    return bits
  # A slice beyond the end would be cut short, or moved, without a word: XLA cannot check.
  begin = tf.concat([[tf.cast(_PART.offset, tf.int32)], tf.zeros_like(shape[1:])], 0)
  return tf.slice(bits, begin, shape)


def _bits(shape, keys):
  """uint32 of `shape`: row i depends on key i alone; all rows are drawn at once, under XLA too."""
  shape = tf.convert_to_tensor(shape)
  size = tf.reduce_prod(shape[1:])
  words = tf.bitcast(keys, tf.uint32)
  # Two words a block: the first half of a row is the blocks' first words.
  half = (size + 1) // 2
  blocks = tf.cast(tf.range(half), tf.uint32)[None]
  first, second = threefry2x32((words[:, :1], words[:, 1:]), (blocks, tf.zeros_like(blocks)))
  return tf.reshape(tf.concat([first, second], 1)[:, :size], shape)


_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry2x32(
  key_: tuple[tf.Tensor, tf.Tensor], counter: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
  """Threefry-2x32 with 20 rounds (Salmon et al. 2011): a counter-based generator.

  Args:
    key_: two uint32 tensors.
    counter: two uint32 tensors; all four broadcast against each other.

  Returns:
    Two uint32 tensors of random bits.
  """
  schedule = (*key_, key_[0] ^ key_[1] ^ tf.constant(0x1BD11BDA, tf.uint32))
  left, right = counter[0] + schedule[0], counter[1] + schedule[1]
  for block in range(5):
    for turn in _ROTATIONS[block % 2]:
      left = left + right
      right = tf.bitwise.left_shift(right, tf.constant(turn, tf.uint32)) | tf.bitwise.right_shift(
        right, tf.constant(32 - turn, tf.uint32)
      )
      right = right ^ left
    left = left + schedule[(block + 1) % 3]
    right = right + schedule[(block + 2) % 3] + tf.constant(block + 1, tf.uint32)
  return left, right


def fold_each(keys: tf.Tensor, value: int | tf.Tensor) -> tf.Tensor:
  """A new key an example from keys int32 [n, 2] and a whole number (an iteration)."""
  words = tf.bitcast(keys, tf.uint32)
  # The second word tells these counters from those of the draws, which have 0 there.
  parts = threefry2x32((words[:, 0], words[:, 1]), (tf.cast(value, tf.uint32), tf.constant(1, tf.uint32)))
  return tf.bitcast(tf.stack(parts, 1), tf.int32)


def normal(shape: typing.Sequence[int] | tf.Tensor, key_: tf.Tensor) -> tf.Tensor:
  """Standard normal float32 draws; shape and key as in `uniform`.

  By Box and Muller's rule from uniform draws, of which 0 becomes 1.
  """
  pairs = uniform(tf.concat([shape, [2]], 0), key_)
  radius = tf.sqrt(-2.0 * tf.math.log(1.0 - pairs[..., 0]))
  return radius * tf.cos(2.0 * math.pi * pairs[..., 1])


def permuted(positions: tf.Tensor, key_: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
  """Entries of a seeded endless sequence of permutations of range(size).

  Position p belongs to pass p // size; each pass is its own permutation, made
  without storing it. Has no XLA kernel: for `tf.data` and eager code.

  Args:
    positions: int64 [n], at least 0.
    key_: int32 [2].
    size: number of entries of one permutation.

  Returns:
    int64 [n] in [0, size).
  """
  positions = tf.cast(positions, tf.int64)
  size = tf.cast(size, tf.int64)
  passes = tf.cast(positions // size, tf.int32)
  count = tf.size(positions)
  seed = tf.concat([tf.tile(key_[None], [count, 1]), passes[:, None]], axis=1)
  return tf.raw_ops.RandomIndexShuffle(
    index=positions % size, seed=seed, max_index=tf.fill([count], size - 1), rounds=4
  )
