"""Going through a batch slice by slice, so that memory holds the work of one slice at a time."""

from __future__ import annotations

import typing

import tensorflow as tf


def in_slices(
  function: typing.Callable, tensors: typing.Sequence[tf.Tensor], size: typing.Any, dtypes: typing.Any = tf.float32
) -> typing.Any:
  """What a function gives for a batch, computed slice after slice inside the caller's graph.

  Slices are equally long, as XLA needs them: the last is filled up with copies of
  the last row, whose results are dropped.

  Args:
    function: tensors [s, ...] -> tensor, or dict of tensors, [s, ...]; a row must not
      hang on the others.
    tensors: all [n, ...].
    size: rows of a slice at most, a number or scalar tensor; None for all at once.
    dtypes: the types of what `function` returns, in its structure.

  Returns:
    What `function` returns for `tensors`, up to rounding.
  """
  rows = row_count(tensors[0])
  if size is None or (isinstance(size, int) and isinstance(rows, int) and size >= rows):
    return function(*tensors)
  count = -(-rows // size)
  size = -(-rows // count)
  filled = tf.minimum(tf.range(count * size), rows - 1)
  cut = [tf.reshape(tf.gather(values, filled), [count, size, *values.shape[1:]]) for values in tensors]
  found = tf.map_fn(lambda parts: function(*parts), cut, fn_output_signature=dtypes, parallel_iterations=1)
  return tf.nest.map_structure(lambda value: tf.reshape(value, [count * size, *value.shape[2:]])[:rows], found)


def row_count(values: tf.Tensor) -> typing.Any:
  """Rows of a tensor [n, ...]: a number, or a tensor where a graph does not know it."""
  return tf.shape(values)[0] if values.shape[0] is None else values.shape[0]
