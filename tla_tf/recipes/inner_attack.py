"""How a training step makes its adversarial images."""

from __future__ import annotations

import typing

from tla_tf.config import AttackConfig
from tla_tf.lazy import lazy
from tla_tf.types import PassMode

objectives = lazy("tla_tf.ops.objectives")


class InnerAttack:
  """Gradient steps that increase the objective of the `AttackConfig`, as AT has them.

  Subclasses choose another start or another objective.

  Args:
    mode: whether the attack sees the network in inference or in training mode.
  """

  def __init__(self, mode: PassMode = PassMode.INFERENCE):
    self.mode = mode

  def start(
    self, images: typing.Any, ball: typing.Any, attack: AttackConfig, epsilon: typing.Any, key: typing.Any
  ) -> typing.Any:
    """Where the search starts.

    Args:
      images: float32 [n, ...] in [0, 1].
      ball: a ball of `tla_tf.balls`.
      attack: AttackConfig of the training attack.
      epsilon: radius at this step, a number or scalar tensor.
      key: int32 [2].

    Returns:
      float32 [n, ...]; the loop projects it into the ball and the pixel range.
    """
    return ball.random_start(images, epsilon, key) if attack.random_start else images

  def objective(
    self, forward: typing.Callable, images: typing.Any, attack: AttackConfig, label_smoothing: float
  ) -> typing.Callable:
    """What the search increases.

    Args:
      forward: float32 [n, ...] -> logits [n, classes].
      images: float32 [n, ...] in [0, 1], the clean ones.
      attack: AttackConfig of the training attack.
      label_smoothing: of the training step's cross-entropies.

    Returns:
      Function (logits [n, classes], labels int32 [n]) -> float32 [n].
    """
    del forward, images
    measure = objectives.get(attack.objective)
    return lambda logits, labels: measure(logits, labels, label_smoothing)
