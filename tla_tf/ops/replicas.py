"""What the replicas of a distribution strategy tell each other within a step.

On one device, and outside of `tf.distribute.Strategy.run`, there is one replica and
nothing is sent. Every replica must come by the same calls in the same order, with
tensors of the same shapes; not within a `tf.while_loop` or what XLA compiles.
"""

import contextlib
import typing

import tensorflow as tf

from tla_tf.ops import seeds


def count() -> int:
  """How many replicas take part in the step that is being made."""
  return tf.distribute.get_strategy().num_replicas_in_sync if tf.distribute.get_replica_context() else 1


def index() -> int | tf.Tensor:
  """Which of them this is, from 0."""
  context = tf.distribute.get_replica_context()
  return context.replica_id_in_sync_group if context and count() > 1 else 0


def all_sum(values: tf.Tensor) -> tf.Tensor:
  """The sum of the replicas' tensors, the same on all of them; gradients are summed alike."""
  context = tf.distribute.get_replica_context()
  if context is None or count() == 1:
    return values
  return context.all_reduce(tf.distribute.ReduceOp.SUM, values)


def all_rows(values: tf.Tensor) -> tf.Tensor:
  """The rows of all replicas in their order: [n, ...] -> [replicas x n, ...].

  Gradients find their way back: a replica's rows get the sum of what reaches them on
  all replicas.
  """
  replicas = count()
  if replicas == 1:
    return values
  shape = tf.shape(values)
  places = tf.reshape(tf.range(replicas) == index(), [-1] + [1] * values.shape.rank)
  # Every replica fills its own place; where others are, it adds 0, which changes nothing.
  everyone = all_sum(tf.where(places, values[None], tf.zeros([], values.dtype)))
  rows = tf.reshape(everyone, tf.concat([[replicas * shape[0]], shape[1:]], 0))
  known = values.shape[0]
  return tf.ensure_shape(rows, [None if known is None else replicas * known, *values.shape[1:]])


def apply_gradients(optimizer: typing.Any, gradients: list, variables: list) -> None:
  """A step of a Keras optimiser, which sums the gradients of all replicas.

  Of one replica there is nothing to sum, and none is asked to: TensorFlow would keep the
  graph of the step, with all that it holds, in its registry of gradients for ever.
  """
  context = tf.distribute.get_replica_context()
  if context is None or tf.distribute.has_strategy():
    optimizer.apply(gradients, variables)
  else:
    context.merge_call(lambda _: optimizer.apply(gradients, variables))


@contextlib.contextmanager
def part_of_the_batch(batch: dict) -> typing.Iterator[None]:
  """Draws inside the scope are those of the whole batch, of which a replica has a part.

  Args:
    batch: dict with "image" [n, ...]; "part" int32 [2], the first row and the rows of
      the whole batch, where replicas may have different numbers of images.
  """
  if count() == 1:
    yield
    return
  rows = tf.shape(batch["image"])[0]
  # Strategies forget the shape of "part".
  offset, total = (batch["part"][0], batch["part"][1]) if "part" in batch else (index() * rows, count() * rows)
  with seeds.part_of_batch(offset, total):
    yield
