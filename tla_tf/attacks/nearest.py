"""What attacks that look for the nearest adversarial image share."""

from __future__ import annotations

import abc
import typing

import tensorflow as tf

from tla_tf.attacks.compiled import CompiledAttack
from tla_tf.attacks.gradient_loop import Forward
from tla_tf.attacks.result import AttackResult
from tla_tf.ops import objectives
from tla_tf.ops.predictions import silent

# Share of the largest logit by which one must lead to count: two compilers round logits differently.
_ROUNDING = 1e-5


class NearestAttack(CompiledAttack):
  """An attack that looks for the nearest adversarial image, and draws nothing.

  Within the compiled function images are rows, float32 [n, d], so that any
  shape will do.

  Rows do not look at each other, and each stops on its own. The answer for an
  image in a batch of given size is therefore the same whatever else is in the
  batch, bit by bit; between sizes, matrix products may be rounded differently.

  Where nothing is found, `adversarial` is the clean image, `distance` is 0 and
  `loss` the lowest float32.

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits".
    config: settings with `epsilon`, `norm` and `restarts`.
    jit: "auto", "on", "off" or a bool: whether XLA compiles the attack.
  """

  @abc.abstractmethod
  def seek(
    self,
    rows: Rows,
    labels: tf.Tensor,
    goal: tf.Tensor,
    restart: tf.Tensor,
    numbers: dict[str, tf.Tensor],
    targeted: bool,
  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The search itself, in a graph.

    Args:
      rows: `Rows` of the clean images.
      labels: int32 [n].
      goal: int32 [n], the targets of a targeted attack, else the labels.
      restart: int32 scalar, which start this is.
      numbers: dict from name to scalar, the settings' numbers.
      targeted: a Python bool.

    Returns:
      (float32 [n, d] in [0, 1], int32 [n] steps with a zero gradient, int32
      [n] steps with a non-finite gradient).
    """

  def search(
    self,
    images: tf.Tensor,
    labels: tf.Tensor,
    targets: tf.Tensor | None,
    keys: tf.Tensor,
    restart: tf.Tensor,
    numbers: dict[str, tf.Tensor],
  ) -> AttackResult:
    del keys
    targeted = targets is not None
    goal = targets if targeted else labels
    rows = Rows(self.forward, images)
    last, zero, nonfinite = self.seek(rows, labels, goal, restart, numbers, targeted)
    # Measured anew, at half the lead that the search asks for: a call of the network says the same.
    found = lead(rows.logits(last), goal, targeted) > 0.5 * rows.slack
    last = tf.where(found[:, None], last, rows.clean)
    distance = self.ball.distance(last, rows.clean)
    return AttackResult(
      adversarial=tf.reshape(last, tf.shape(images)),
      success=found & (distance <= numbers["epsilon"]),
      loss=tf.where(found, -distance, distance.dtype.min),
      distance=distance,
      zero_gradients=zero,
      nonfinite_gradients=nonfinite,
    )


class Rows:
  """A network that is called on images as rows.

  Args:
    forward: images -> logits [n, classes].
    images: float32 [n, ...], the clean images.

  Attributes:
    clean: float32 [n, d].
    size: d, a Python int.
    clean_logits: float32 [n, classes].
    slack: float32 [n], a lead that is not larger is a matter of rounding.
  """

  def __init__(self, forward: Forward, images: tf.Tensor):
    self._forward = forward
    self._shape = tf.shape(images)
    self.size = images.shape[1:].num_elements()
    self.clean = tf.reshape(images, [-1, self.size])
    self.clean_logits = forward(images)
    largest = tf.reduce_max(tf.abs(self.clean_logits), -1)
    self.slack = _ROUNDING * tf.where(tf.math.is_finite(largest), largest, 0.0)

  def logits(self, x: tf.Tensor) -> tf.Tensor:
    """float32 [n, d] -> logits [n, classes]."""
    return self._forward(tf.reshape(x, self._shape))

  def gradients(
    self, functions: typing.Callable[[tf.Tensor], list[tf.Tensor]], x: tf.Tensor
  ) -> tuple[list[tf.Tensor], list[tf.Tensor], tf.Tensor]:
    """Gradients of several outputs with respect to the rows alone.

    One forward pass and a backward pass for each output. (Tiling the images
    repeats the forward pass; `batch_jacobian` is slow on convolutions.)

    Args:
      functions: function from logits to a list of float32 [n].
      x: float32 [n, d].

    Returns:
      (list of float32 [n, d], list of float32 [n], logits).
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
      tape.watch(x)
      logits = self.logits(x)
      values = functions(logits)
    return [tape.gradient(value, x, unconnected_gradients="zero") for value in values], values, logits


def lead(logits: tf.Tensor, goal: tf.Tensor, targeted: bool) -> tf.Tensor:
  """By how much an image is adversarial: above 0 where the goal is reached.

  Args:
    logits: float32 [n, classes].
    goal: int32 [n], targets of a targeted attack, else true labels.
    targeted: a Python bool.

  Returns:
    float32 [n], z_target - max_other z, or max_other z - z_label; where a logit is NaN, -infinity or infinity: the
    network errs, but does not say a target.
  """
  of_goal = tf.where(silent(logits), -float("inf"), objectives.logit_lead(logits, goal))
  return of_goal if targeted else -of_goal
