"""Black box: adversarial images of another network, replayed (Papernot et al. 2017)."""

import typing

import numpy as np
import tensorflow as tf

from tla_tf import balls
from tla_tf.attack_configs import TransferConfig
from tla_tf.attacks.attack import Attack, missed
from tla_tf.attacks.result import AttackResult
from tla_tf.ops import objectives
from tla_tf.types import Jit

# Float32 rounding of x + epsilon for pixels in [0, 1].
_TOLERANCE = 1e-6


class Transfer(Attack):
  """Shows a network the images that were made on another one.

  Args:
    network: the network under attack, a `keras.Model` or callable, images ->
      logits or a dict with "logits".
    config: TransferConfig.
    adversarial: float32 [n, ...] in [0, 1], one for each example id: an array,
      or a memory map.
    jit: "auto", "on", "off" or a bool: whether XLA compiles the network.
  """

  def __init__(
    self, network: typing.Any, config: TransferConfig, adversarial: np.ndarray, jit: Jit | str | bool = "auto"
  ):
    super().__init__(network, config, jit)
    self._adversarial = adversarial
    self._judge = self.compiler.function(self._measure, "the network", reduce_retracing=True)

  def bound(self, example_ids: np.ndarray) -> Attack:
    return _Replay(self, np.asarray(self._adversarial[example_ids], np.float32))

  def run(
    self, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor, targets: tf.Tensor | None, restart: int
  ) -> AttackResult:
    """All examples at once, which must be as many as the saved images."""
    return self.bound(np.arange(len(self._adversarial))).run(images, labels, key, targets, restart)

  def replay(
    self, adversarial: np.ndarray, images: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor | None
  ) -> AttackResult:
    """AttackResult of showing `adversarial`."""
    goal = labels if targets is None else targets
    success, loss = self._judge(adversarial, goal, tf.constant(targets is not None))
    distance = balls.get(self.config.norm).distance(adversarial, images)
    success &= distance <= self.config.epsilon + _TOLERANCE * max(1.0, self.config.epsilon)
    none = np.zeros(len(images), np.int32)
    return AttackResult(adversarial, success, loss, distance, none, none)

  def _measure(self, adversarial, goal, targeted):
    logits = self.forward(adversarial)
    loss = objectives.cross_entropy(logits, goal)
    return missed(logits, goal) ^ targeted, tf.where(targeted, -loss, loss)


class _Replay(Attack):
  """The saved images of one batch."""

  def __init__(self, transfer, adversarial):
    # Not the base class's: the transfer holds the network.
    self.config, self.restarts, self.forward = transfer.config, transfer.restarts, transfer.forward
    self._transfer, self._adversarial = transfer, adversarial

  def run(
    self, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor, targets: tf.Tensor | None, restart: int
  ) -> AttackResult:
    return self._transfer.replay(self._adversarial, images, labels, targets)
