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

from tla_tf.balls.linf import per_example
from tla_tf.types import MomentumRule

# Floor on a gradient's mean absolute value before dividing by it.
_TINY = 1e-30
# Steps depend on each other; letting TensorFlow look for parallel ones costs convolutions 12% on a CPU.
_SEQUENTIAL = {"parallel_iterations": 1}


class LoopResult(typing.NamedTuple):
  """See `attack.AttackResult`; without the distance."""

  adversarial: tf.Tensor
  success: tf.Tensor
  loss: tf.Tensor
  zero_gradients: tf.Tensor
  nonfinite_gradients: tf.Tensor


def input_gradient(forward, objective, images, labels):
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


def gradient_loop(
  forward,
  objective,
  ball,
  images,
  labels,
  start,
  *,
  epsilon,
  step_size,
  steps,
  momentum=0.0,
  momentum_rule=MomentumRule.NORMALIZED,
  record=True,
  targeted=False,
):
  """Searches the ball around each image for a point of high objective.

  Args:
    forward: float32 [n, ...] -> logits [n, classes].
    objective: (logits, labels) -> float32 [n], what is increased.
    ball: a ball of `tla_tf.balls`.
    images: float32 [n, ...] in [0, 1], the centres.
    labels: integer [n]; of a targeted search, the targets.
    start: float32 [n, ...]; is projected into the ball and the pixel range.
    epsilon, step_size, steps, momentum: numbers or scalar tensors.
    momentum_rule: a `types.MomentumRule`.
    record: True returns the best point met on the way (misclassified first,
      then highest objective) with its record; False returns the last point
      alone, as training uses it, with None in the other fields.
    targeted: success is to be classified as `labels` instead of as anything
      else. The objective must fit.

  Returns:
    LoopResult.
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

  momentum_rule = MomentumRule(momentum_rule)
  steps = tf.cast(steps, tf.int32)
  momentum = tf.cast(momentum, images.dtype)
  start = clip(start)
  velocity = tf.zeros_like(images)
  if not record:

    def plain_body(i, x, velocity):
      gradient, _, _ = input_gradient(forward, objective, x, labels)
      return (i + 1, *advance(i, x, velocity, gradient))

    _, last, _ = tf.while_loop(lambda i, *_: i < steps, plain_body, (0, start, velocity), **_SEQUENTIAL)
    return LoopResult(last, None, None, None, None)

  count = tf.shape(images)[0]
  best = LoopResult(
    start,
    tf.zeros([count], tf.bool),
    tf.fill([count], images.dtype.min),
    tf.zeros([count], tf.int32),
    tf.zeros([count], tf.int32),
  )

  def keep_better(best, x, values, logits):
    said = tf.argmax(logits, -1, output_type=labels.dtype)
    wrong = said == labels if targeted else said != labels
    better = (wrong & ~best.success) | ((wrong == best.success) & (values > best.loss))
    return best._replace(
      adversarial=tf.where(per_example(better, images), x, best.adversarial),
      success=best.success | wrong,
      loss=tf.where(better, values, best.loss),
    )

  def body(i, x, velocity, best):
    gradient, values, logits = input_gradient(forward, objective, x, labels)
    best = keep_better(best, x, values, logits)
    flat = tf.reshape(gradient, [count, -1])
    finite = tf.reduce_all(tf.math.is_finite(flat), -1)
    zero = tf.reduce_all(flat == 0.0, -1)
    best = best._replace(
      zero_gradients=best.zero_gradients + tf.cast(zero, tf.int32),
      nonfinite_gradients=best.nonfinite_gradients + tf.cast(~finite, tf.int32),
    )
    # A non-finite gradient would turn the image into NaN: the example waits, and is counted.
    usable = tf.where(per_example(finite, images), gradient, 0.0)
    moved, velocity = advance(i, x, velocity, usable)
    return i + 1, tf.where(per_example(finite, images), moved, x), velocity, best

  _, last, _, best = tf.while_loop(lambda i, *_: i < steps, body, (0, start, velocity, best), **_SEQUENTIAL)
  logits = forward(last)
  return keep_better(best, last, objective(logits, labels), logits)
