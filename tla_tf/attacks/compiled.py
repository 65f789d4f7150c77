"""What all attacks but the gradient loop share: a search that is traced once per image shape."""

import abc
import dataclasses
import functools

import tensorflow as tf

from tla_tf import balls
from tla_tf.attacks.attack import Attack
from tla_tf.ops import seeds


class CompiledAttack(Attack):
  """An attack whose whole search is one compiled function.

  Numbers of the config enter as tensors: the function is traced once for an
  image shape, with and without explicit targets, whatever the number of images.

  Args: see `Attack`.
  """

  def __init__(self, network, config, jit="auto"):
    super().__init__(network, config, jit)
    self.ball = balls.get(config.norm)
    self.trace_count = 0
    self._functions = {}

  @property
  def numbers(self):
    """Dict of the config's numbers: whole ones and floats."""
    kinds = {int: int, float: float}
    return {
      field.name: kinds[field.type](getattr(self.config, field.name))
      for field in dataclasses.fields(self.config)
      if field.type in kinds
    }

  @abc.abstractmethod
  def search(self, images, labels, targets, keys, restart, numbers):
    """The attack, as a graph.

    Args:
      images: float32 [n, ...] in [0, 1].
      labels: int32 [n].
      targets: int32 [n], the explicit targets, or None.
      keys: int32 [n, 2].
      restart: int32 scalar.
      numbers: dict of scalar tensors, see `numbers`.

    Returns:
      AttackResult.
    """

  def run(self, images, labels, key, targets, restart):
    count = tf.shape(images)[0]
    # One key an example, so that an example's draws do not depend on how many there are.
    keys = key if key.shape.rank == 2 else seeds.fold_each(tf.tile(key[None], [count, 1]), tf.range(count))
    numbers = {name: tf.constant(value, _dtype(value)) for name, value in self.numbers.items()}
    function = self._function(images.shape[1:], targets is not None)
    return function(images, labels, labels if targets is None else targets, keys, tf.constant(restart), numbers)

  def _function(self, image_shape, targeted):
    cache_key = (tuple(image_shape), targeted)
    if cache_key not in self._functions:
      labels = tf.TensorSpec([None], tf.int32)
      signature = [
        tf.TensorSpec([None, *image_shape], tf.float32),
        labels,
        labels,
        tf.TensorSpec([None, 2], tf.int32),
        tf.TensorSpec([], tf.int32),
        {name: tf.TensorSpec([], _dtype(value)) for name, value in self.numbers.items()},
      ]
      self._functions[cache_key] = tf.function(
        functools.partial(self._traced, targeted=targeted),
        input_signature=signature,
        jit_compile=self.jit,
        autograph=False,
      )
    return self._functions[cache_key]

  def _traced(self, images, labels, targets, keys, restart, numbers, targeted):
    self.trace_count += 1
    return self.search(images, labels, targets if targeted else None, keys, restart, numbers)


def _dtype(value):
  return tf.int32 if isinstance(value, int) else tf.float32


def choose(condition, chosen, other):
  """`tf.where` with one condition an example: bool [n] against [n, ...] x 2."""
  shape = tf.concat([tf.shape(condition), tf.ones([tf.rank(chosen) - 1], tf.int32)], 0)
  return tf.where(tf.reshape(condition, shape), chosen, other)


def gradient_state(gradient):
  """Whether each example's gradient [n, ...] is finite, and whether it is all 0: bool [n] x 2."""
  flat = tf.reshape(gradient, [tf.shape(gradient)[0], -1])
  return tf.reduce_all(tf.math.is_finite(flat), -1), tf.reduce_all(flat == 0.0, -1)
