"""What all attacks but the gradient loop share: a search that is traced once per image shape."""

import abc
import functools
import typing

import tensorflow as tf

from tla_tf import balls
from tla_tf.attacks.attack import Attack
from tla_tf.attacks.result import AttackResult
from tla_tf.ops import seeds
from tla_tf.types import Jit


class CompiledAttack(Attack):
  """An attack whose whole search is one compiled function.

  The config's numbers that a subclass names enter as tensors: the function is
  traced once for an image shape, with and without explicit targets, whatever
  their values and the number of images. Whatever else of the config a search
  reads is part of its trace.

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits".
    config: settings with `epsilon`, `norm` and `restarts`.
    jit: "auto", "on", "off" or a bool: whether XLA compiles the attack.

  Attributes:
    real_numbers: names of the settings that enter as float32 scalars.
    whole_numbers: names of those that enter as int32 scalars.
    trace_count: how often the search was traced.
  """

  real_numbers: tuple[str, ...] = ("epsilon",)
  whole_numbers: tuple[str, ...] = ("steps",)

  def __init__(self, network: typing.Any, config: typing.Any, jit: Jit | str | bool = "auto"):
    super().__init__(network, config, jit)
    self.ball = balls.get(config.norm)
    self.trace_count = 0
    self._functions: dict = {}

  @abc.abstractmethod
  def search(
    self,
    images: tf.Tensor,
    labels: tf.Tensor,
    targets: tf.Tensor | None,
    keys: tf.Tensor,
    restart: tf.Tensor,
    numbers: dict[str, tf.Tensor],
  ) -> AttackResult:
    """The attack, as a graph.

    Args:
      images: float32 [n, ...] in [0, 1].
      labels: int32 [n].
      targets: int32 [n], the explicit targets, or None.
      keys: int32 [n, 2].
      restart: int32 scalar.
      numbers: dict from the name of a setting to its scalar tensor.

    Returns:
      AttackResult.
    """

  def run(
    self, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor, targets: tf.Tensor | None, restart: int
  ) -> AttackResult:
    count = tf.shape(images)[0]
    # One key an example, so that an example's draws do not depend on how many there are.
    keys = key if key.shape.rank == 2 else seeds.fold_each(tf.tile(key[None], [count, 1]), tf.range(count))
    numbers = {name: tf.constant(getattr(self.config, name), dtype) for name, dtype in self._dtypes().items()}
    function = self._function(images.shape[1:], targets is not None)
    return function(images, labels, labels if targets is None else targets, keys, tf.constant(restart), numbers)

  def _dtypes(self):
    return dict.fromkeys(self.real_numbers, tf.float32) | dict.fromkeys(self.whole_numbers, tf.int32)

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
        {name: tf.TensorSpec([], dtype) for name, dtype in self._dtypes().items()},
      ]
      self._functions[cache_key] = self.compiler.function(
        functools.partial(self._traced, targeted=targeted), "the attack", input_signature=signature
      )
    return self._functions[cache_key]

  def _traced(self, images, labels, targets, keys, restart, numbers, targeted):
    self.trace_count += 1
    return self.search(images, labels, targets if targeted else None, keys, restart, numbers)
