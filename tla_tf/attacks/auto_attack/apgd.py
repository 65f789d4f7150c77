"""Auto-PGD: gradient steps whose size adapts to the progress made.

Source: Croce and Hein 2020, "Reliable evaluation of adversarial robustness with
an ensemble of diverse parameter-free attacks", Algorithm 1, Sections 3 and 4.
"""

import typing

import tensorflow as tf

from tla_tf import attack_configs
from tla_tf.attacks.attack import missed, runner_up
from tla_tf.attacks.best_point import BestPoint
from tla_tf.attacks.compiled import CompiledAttack
from tla_tf.attacks.gradient_loop import gradient_state, input_gradient
from tla_tf.attacks.result import AttackResult
from tla_tf.ops import objectives, seeds
from tla_tf.ops.examples import choose, per_example
from tla_tf.types import ApgdLoss, Norm

# Share of the new step in the next point; the rest is the step before.
_MOMENTUM = 0.75
# Share of steps that must have increased the loss.
_RHO = 0.75
# p_j: 0.22, then intervals that shrink by 0.03 down to 0.06. In hundredths, so that nothing is rounded.
_CHECKPOINTS = (0, 22, 41, 57, 70, 80, 87, 93, 99)
# Floor on the denominator of the logits ratio.
_TINY = 1e-12


def checkpoints(steps: int | tf.Tensor) -> tf.Tensor:
  """w_j = ceil(p_j steps), after how many steps the step size is looked at.

  Args:
    steps: a whole number or int32 scalar.

  Returns:
    int32 [9]; the first is w_0 = 0, where nothing can be said yet. Equal ones
    are one checkpoint.
  """
  return (tf.constant(_CHECKPOINTS) * steps + 99) // 100


def dlr(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor | None = None) -> tf.Tensor:
  """Difference of logits ratio, which does not depend on the logits' scale.

    -(z_y - max_{i != y} z_i) / (z_1st - z_3rd)
    -(z_y - z_t) / (z_1st - (z_3rd + z_4th) / 2)            towards a target t

  The first needs three classes, the second four: with fewer they are constant
  where a correct image starts.

  Args:
    logits: float32 [n, classes].
    labels: int32 [n].
    targets: int32 [n] for the second form, or None.

  Returns:
    float32 [n].
  """

  def logit(classes):
    return tf.reduce_sum(logits * tf.one_hot(classes, tf.shape(logits)[-1], dtype=logits.dtype), -1)

  lead = objectives.logit_lead(logits, labels) if targets is None else logit(labels) - logit(targets)
  order = tf.math.top_k(logits, 3 if targets is None else 4).indices
  lower = logit(order[:, 2])
  if targets is not None:
    lower = 0.5 * (lower + logit(order[:, -1]))
  return -lead / tf.maximum(logit(order[:, 0]) - lower, _TINY)


class _State(typing.NamedTuple):
  """Of the search; [n] or [n, ...] but for the scalar `checkpoint`."""

  x: tf.Tensor
  previous: tf.Tensor  # the point before x
  previous_value: tf.Tensor  # its loss
  step_size: tf.Tensor
  top: tf.Tensor  # the point of highest loss, x_max
  top_gradient: tf.Tensor
  top_value: tf.Tensor
  rises: tf.Tensor  # steps since the checkpoint that increased the loss
  checkpoint: tf.Tensor  # the last one
  checkpoint_value: tf.Tensor  # the highest loss then
  halved: tf.Tensor  # whether the step size was halved then
  best: BestPoint  # what is returned


class Apgd(CompiledAttack):
  """Auto-PGD on one network, in L-infinity or L2.

  Returns the best point met: misclassified first, then highest loss. Aimed at
  explicit targets, the losses are the cross-entropy of the target, decreased, its
  margin, or the targeted difference of logits ratio. Otherwise the targeted ratio aims
  at the `restart`-th likeliest other class of the clean image, and any
  misclassification is a success.

  Example:
    attack = Apgd(network, ApgdConfig(epsilon=0.3, loss="dlr"))
    result = attack(images, labels, seed=1)

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits".
    config: ApgdConfig.
    jit: "auto", "on", "off" or a bool: whether XLA compiles the attack.

  Raises:
    InputError: when called, for a loss that is constant with so few classes.
  """

  def run(
    self, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor, targets: tf.Tensor | None, restart: int
  ) -> AttackResult:
    if images.shape[0] and self.config.loss in (ApgdLoss.DLR, ApgdLoss.TARGETED_DLR):
      attack_configs.require_classes(self.config, self.num_classes(images), targets is not None)
    return super().run(images, labels, key, targets, restart)

  def search(
    self,
    images: tf.Tensor,
    labels: tf.Tensor,
    targets: tf.Tensor | None,
    keys: tf.Tensor,
    restart: tf.Tensor,
    numbers: dict[str, tf.Tensor],
  ) -> AttackResult:
    epsilon, steps = numbers["epsilon"], numbers["steps"]
    marks = checkpoints(steps)
    objective = self._objective(images, labels, targets, restart)
    goal = labels if targets is None else targets
    count = tf.shape(images)[0]

    def clip(x):
      return tf.clip_by_value(self.ball.project(x, images, epsilon), 0.0, 1.0)

    def body(i, s):
      gradient, values, logits = input_gradient(self.forward, objective, s.x, goal)
      finite, zero = gradient_state(gradient)
      # A non-finite gradient would turn the image into NaN: the example waits, and is counted.
      gradient = choose(finite, gradient, tf.zeros_like(gradient))
      best = s.best.met(s.x, values, missed(logits, labels, targets)).counted(finite, zero)
      rises = s.rises + tf.cast((i > 0) & (values > s.previous_value), tf.int32)
      higher = values > s.top_value
      top, top_gradient = choose(higher, s.x, s.top), choose(higher, gradient, s.top_gradient)
      top_value = tf.where(higher, values, s.top_value)

      due = tf.reduce_any(marks == i)
      too_few = tf.cast(rises, tf.float32) < _RHO * tf.cast(i - s.checkpoint, tf.float32)
      halved = due & (too_few | (~s.halved & (top_value == s.checkpoint_value)))
      step_size = tf.where(halved, 0.5 * s.step_size, s.step_size)
      # Goes on from the best point; `previous` stays, as published.
      x, gradient = choose(halved, top, s.x), choose(halved, top_gradient, gradient)

      # The first step has none before it.
      momentum = tf.where(i == 0, 1.0, _MOMENTUM)
      ahead = clip(x + per_example(step_size, x) * self.ball.steepest_step(gradient))
      moved = clip(x + momentum * (ahead - x) + (1.0 - momentum) * (x - s.previous))
      return i + 1, _State(
        x=choose(finite | halved, moved, x),
        previous=x,
        previous_value=tf.where(halved, top_value, values),
        step_size=step_size,
        top=top,
        top_gradient=top_gradient,
        top_value=top_value,
        rises=tf.where(due, 0, rises),
        checkpoint=tf.where(due, i, s.checkpoint),
        checkpoint_value=tf.where(due, top_value, s.checkpoint_value),
        halved=tf.where(due, halved, s.halved),
        best=best,
      )

    start = clip(images + epsilon * self._direction(images, keys))
    lowest, never = tf.fill([count], tf.float32.min), tf.zeros([count], tf.bool)
    none = tf.zeros([count], tf.int32)
    state = _State(
      x=start,
      previous=start,
      previous_value=lowest,
      step_size=tf.fill([count], 2.0 * epsilon),
      top=start,
      top_gradient=tf.zeros_like(start),
      top_value=lowest,
      rises=none,
      checkpoint=tf.constant(0),
      checkpoint_value=lowest,
      halved=never,
      best=BestPoint.at(start),
    )
    _, state = tf.while_loop(lambda i, _: i < steps, body, (tf.constant(0), state), parallel_iterations=1)
    logits = self.forward(state.x)
    best = state.best.met(state.x, objective(logits, goal), missed(logits, labels, targets))
    return best.result(self.ball.distance(best.adversarial, images))

  def _direction(self, images, keys):
    """Random directions of length 1 in the norm, float32 [n, ...]: the start lies on the ball's surface."""
    if self.config.norm is Norm.L2:
      return self.ball.steepest_step(seeds.normal(tf.shape(images), keys))
    draws = seeds.uniform(tf.shape(images), keys, -1.0, 1.0)
    largest = self.ball.distance(draws, tf.zeros_like(draws))
    return draws / per_example(tf.maximum(largest, _TINY), images)

  def _objective(self, images, labels, targets, restart):
    """What is increased: (logits, labels or explicit targets) -> float32 [n]."""
    if self.config.loss is ApgdLoss.CROSS_ENTROPY:
      return objectives.get("cross_entropy", targeted=targets is not None)
    if self.config.loss is ApgdLoss.MARGIN:
      sign = -1.0 if targets is None else 1.0
      return lambda logits, goal: sign * objectives.logit_lead(logits, goal)
    if targets is None and self.config.loss is ApgdLoss.TARGETED_DLR:
      targets = runner_up(self.forward(images), labels, restart)
    return lambda logits, _: dlr(logits, labels, targets)
