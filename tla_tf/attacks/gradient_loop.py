"""The one loop behind FGSM, BIM, PGD, MIM and C&W-margin PGD.

  x <- start
  repeat: g <- momentum(gradient of the objective at x)
          x <- clip_pixels(project(x + step_size * steepest_step(g)))

Gradients are those of the *sum* of per-example objectives with respect to the
images alone; nothing is differentiated with respect to weights. All numbers
are tensors, so one traced graph serves every setting.

Sources: Goodfellow et al. 2015 (FGSM), Kurakin et al. 2017 (BIM), Madry et al.
2018 (PGD), Dong et al. 2018 (MIM), Carlini and Wagner 2017 (margin).
"""

import typing

import tensorflow as tf

from tla_tf import balls, networks
from tla_tf.attacks.attack import missed
from tla_tf.attacks.best_point import BestPoint
from tla_tf.ops.examples import choose
from tla_tf.types import MomentumRule

# float32 [n, ...] -> logits [n, classes], and (logits, labels) -> float32 [n].
Forward = typing.Callable[[tf.Tensor], tf.Tensor]
Objective = typing.Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

# Floor on a gradient's mean absolute value before dividing by it.
_TINY = 1e-30
# Steps depend on each other; letting TensorFlow look for parallel ones costs convolutions 12% on a CPU.
_SEQUENTIAL = {"parallel_iterations": 1}


def input_gradient(
  forward: Forward, objective: Objective, images: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Gradient of the sum of per-example objectives with respect to images.

  Args:
    forward: images -> logits.
    objective: (logits, labels) -> float32 [n].
    images: float32 [n, ...].
    labels: integer [n].

  Returns:
    (gradient, objective values, logits).
  """
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    tape.watch(images)
    logits = forward(images)
    values = objective(logits, labels)
  # A network that ignores its input has the gradient 0, not none.
  return tape.gradient(values, images, unconnected_gradients="zero"), values, logits


def gradient_state(gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Whether each example's gradient [n, ...] is finite, and whether it is all 0: bool [n] x 2."""
  flat = tf.reshape(gradient, [tf.shape(gradient)[0], -1])
  return tf.reduce_all(tf.math.is_finite(flat), -1), tf.reduce_all(flat == 0.0, -1)


def gradient_loop(
  forward: Forward,
  objective: Objective,
  ball: balls.LinfBall | balls.L2Ball,
  images: tf.Tensor,
  labels: tf.Tensor,
  start: tf.Tensor,
  *,
  epsilon: float | tf.Tensor,
  step_size: float | tf.Tensor,
  steps: int | tf.Tensor,
  momentum: float | tf.Tensor = 0.0,
  momentum_rule: MomentumRule | str = MomentumRule.NORMALIZED,
  record: bool = True,
  targeted: bool = False,
  patience: int | tf.Tensor | None = None,
  judge: Forward | None = None,
) -> BestPoint:
  """Searches the ball around each image for a point of high objective.

  Args:
    forward: float32 [n, ...] -> logits [n, classes].
    objective: (logits, labels) -> float32 [n], what is increased; any
      function of theirs, one that remembers other tensors too.
    ball: a ball of `tla_tf.balls`.
    images: float32 [n, ...] in [0, 1], the centres.
    labels: integer [n]; of a targeted search, the targets.
    start: float32 [n, ...]; is projected into the ball and the pixel range.
    epsilon: number, or scalar tensor, whose value may change without a new trace; so may
      those of the next three.
    step_size: of a step.
    steps: how many.
    momentum: share of the last velocity that is kept.
    momentum_rule: a `types.MomentumRule`.
    record: True returns the best point met on the way (misclassified first,
      then highest objective) with its record; False returns the last point
      alone, as training uses it, with None in the other fields.
    targeted: success is to be classified as `labels` instead of as anything
      else. The objective must fit.
    patience: without a record, steps that an image is still moved while it is
      misclassified; then it stays where it is, and the loop ends when no image is left
      (Zhang et al. 2020, Algorithm 1, where it is tau). None never stops early.
    judge: images -> logits in float32, where `forward` computes in less: what is
      recorded of the best point met and of the last one is what it says.

  Returns:
    BestPoint.
  """

  def clip(x):
    return tf.clip_by_value(ball.project(x, images, epsilon), 0.0, 1.0)

  def advance(i, x, velocity, gradient):
    if momentum_rule is MomentumRule.AVERAGED:
      # The authors' average begins with the first gradient, not with 0.
      kept = tf.where(i == 0, 0.0, momentum)
      velocity = kept * velocity + (1.0 - kept) * gradient
    else:
      axes = list(range(1, images.shape.rank))
      size = tf.reduce_mean(tf.abs(gradient), axes, keepdims=True)
      velocity = momentum * velocity + gradient / tf.maximum(size, _TINY)
    return clip(x + step_size * ball.steepest_step(velocity)), velocity

  forward = networks.prepared(forward)
  momentum_rule = MomentumRule(momentum_rule)
  steps = tf.cast(steps, tf.int32)
  momentum = tf.cast(momentum, images.dtype)
  start = clip(start)
  velocity = tf.zeros_like(images)

  def reached(logits):
    return missed(logits, labels, labels if targeted else None)

  if patience is not None and not record:

    def patient_body(i, x, velocity, left):
      gradient, _, logits = input_gradient(forward, objective, x, labels)
      left -= tf.cast(reached(logits), tf.int32)
      moved, velocity = advance(i, x, velocity, gradient)
      return i + 1, choose(left >= 0, moved, x), velocity, left

    def any_left(i, x, velocity, left):
      return (i < steps) & tf.reduce_any(left >= 0)

    left = tf.fill(tf.shape(labels), tf.cast(patience, tf.int32))
    _, last, _, _ = tf.while_loop(any_left, patient_body, (0, start, velocity, left), **_SEQUENTIAL)
    return BestPoint(last, None, None, None, None)

  if not record:

    def plain_body(i, x, velocity):
      gradient, _, _ = input_gradient(forward, objective, x, labels)
      return (i + 1, *advance(i, x, velocity, gradient))

    _, last, _ = tf.while_loop(lambda i, *_: i < steps, plain_body, (0, start, velocity), **_SEQUENTIAL)
    return BestPoint(last, None, None, None, None)

  def body(i, x, velocity, best):
    gradient, values, logits = input_gradient(forward, objective, x, labels)
    finite, zero = gradient_state(gradient)
    best = best.met(x, values, reached(logits)).counted(finite, zero)
    # A non-finite gradient would turn the image into NaN: the example waits, and is counted.
    usable = choose(finite, gradient, tf.zeros_like(gradient))
    moved, velocity = advance(i, x, velocity, usable)
    return i + 1, choose(finite, moved, x), velocity, best

  state = (0, start, velocity, BestPoint.at(start))
  _, last, _, best = tf.while_loop(lambda i, *_: i < steps, body, state, **_SEQUENTIAL)
  if judge is None:
    logits = forward(last)
    return best.met(last, objective(logits, labels), reached(logits))
  judged = best._replace(success=tf.zeros_like(best.success), loss=tf.fill([tf.shape(images)[0]], images.dtype.min))
  for x in (best.adversarial, last):
    logits = judge(x)
    judged = judged.met(x, objective(logits, labels), reached(logits))
  return judged
