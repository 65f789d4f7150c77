"""The best point that an attack has met so far, example by example."""

from __future__ import annotations

import typing

import tensorflow as tf

from tla_tf.attacks.result import AttackResult
from tla_tf.ops.examples import choose


class BestPoint(typing.NamedTuple):
  """The best point met, misclassified first, then of highest objective; one row an example.

  Attributes:
    adversarial: float32 [n, ...] in [0, 1].
    success: bool [n]: the goal is reached there.
    loss: float32 [n], the objective there.
    zero_gradients: int32 [n], steps at which the whole gradient was 0.
    nonfinite_gradients: int32 [n], steps at which it held NaN or infinity.
  """

  adversarial: tf.Tensor
  success: typing.Any
  loss: typing.Any
  zero_gradients: typing.Any
  nonfinite_gradients: typing.Any

  @classmethod
  def at(cls, start: tf.Tensor) -> BestPoint:
    """Before any point was judged: any one is better than `start`, float32 [n, ...]."""
    count = tf.shape(start)[0]
    none = tf.zeros([count], tf.int32)
    return cls(start, tf.zeros([count], tf.bool), tf.fill([count], start.dtype.min), none, none)

  def met(self, x: tf.Tensor, values: tf.Tensor, reached: tf.Tensor) -> BestPoint:
    """After the points `x` with objective `values`, float32 [n], where the goal is `reached`, bool [n]."""
    better = (reached & ~self.success) | ((reached == self.success) & (values > self.loss))
    return self._replace(
      adversarial=choose(better, x, self.adversarial),
      success=self.success | reached,
      loss=tf.where(better, values, self.loss),
    )

  def counted(self, finite: tf.Tensor, zero: tf.Tensor) -> BestPoint:
    """After a gradient that is `finite` and all `zero`, bool [n] each."""
    return self._replace(
      zero_gradients=self.zero_gradients + tf.cast(zero, tf.int32),
      nonfinite_gradients=self.nonfinite_gradients + tf.cast(~finite, tf.int32),
    )

  def result(self, distance: tf.Tensor) -> AttackResult:
    """The record of an attack, with the distance float32 [n] of the point."""
    return AttackResult(
      self.adversarial, self.success, self.loss, distance, self.zero_gradients, self.nonfinite_gradients
    )
