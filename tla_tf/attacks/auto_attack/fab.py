"""FAB-T: the nearest adversarial image, by projections on linearised boundaries.

Source: Croce and Hein 2020, "Minimally distorted adversarial examples with a
fast adaptive boundary attack", Algorithm 1; the targeted form is that of
AutoAttack (Croce and Hein 2020, "Reliable evaluation ...").
"""

import typing

import tensorflow as tf

from tla_tf.attacks.attack import missed, runner_up
from tla_tf.attacks.compiled import CompiledAttack
from tla_tf.attacks.gradient_loop import gradient_state, input_gradient
from tla_tf.attacks.nearest import lead
from tla_tf.attacks.result import AttackResult
from tla_tf.ops import objectives
from tla_tf.ops.examples import choose, per_example
from tla_tf.types import Norm

# Steps of the final search between the clean and the adversarial image.
_FINAL_STEPS = 3
# Floor on what is divided by.
_TINY = 1e-30


def hyperplane_step(points: tf.Tensor, normal: tf.Tensor, gap: tf.Tensor, norm: Norm) -> tf.Tensor:
  """The shortest step from points of the box [0, 1]^d onto a hyperplane, exactly.

    min |step|_p  subject to  <normal, step> = gap,  0 <= point + step <= 1

  Where the hyperplane misses the box, the step goes to the point of the box
  that is nearest to satisfying the equation, as published.

  Within radius t, pixel i contributes |w_i| min(t speed_i, room_i), with speed
  1 in L-infinity and |w_i| in L2. The sum is concave and piecewise linear in
  t, so Newton's method from t = 0 never overshoots and ends exactly, after a
  few passes and without sorting.

  Args:
    points: float32 [n, d] in [0, 1].
    normal: float32 [n, d]; a row of zeros gives the step 0.
    gap: float32 [n].
    norm: L-infinity or L2.

  Returns:
    float32 [n, d].
  """
  size = tf.abs(normal)
  direction = tf.sign(normal) * tf.sign(gap)[:, None]
  room = tf.where(direction > 0.0, 1.0 - points, points)
  speed = size if norm is Norm.L2 else tf.ones_like(size)
  arrival = room / tf.maximum(speed, _TINY)
  full, rate, needed = size * room, size * speed, tf.abs(gap)

  def body(radius, _):
    arrived = arrival <= radius[:, None]
    rest = needed - tf.reduce_sum(tf.where(arrived, full, 0.0), -1)
    slope = tf.reduce_sum(tf.where(arrived, 0.0, rate), -1)
    # The next radius depends on the set of arrived pixels alone: a row that is done stays, bit by bit.
    following = tf.maximum(radius, tf.where(slope > 0.0, rest / tf.maximum(slope, _TINY), radius))
    return following, tf.reduce_any(following > radius)

  radius, _ = tf.while_loop(lambda _, going: going, body, (tf.zeros_like(gap), tf.constant(True)))
  return direction * tf.minimum(radius[:, None] * speed, room)


class _State(typing.NamedTuple):
  x: tf.Tensor
  nearest: tf.Tensor  # the nearest adversarial image
  distance: tf.Tensor  # its distance; infinite where there is none
  zero_gradients: tf.Tensor
  nonfinite_gradients: tf.Tensor


class Fab(CompiledAttack):
  """FAB-T on one network, in L-infinity or L2.

  Aims at the `restart`-th likeliest other class of the clean image; any
  misclassification counts. Aimed at explicit targets, the boundary is that of
  the target against its strongest rival, and only the target counts. Starts
  at the clean image, as the standard version does, and so draws nothing. The
  loss is minus the distance, -infinity where nothing was found.

  Example:
    attack = Fab(network, FabConfig(epsilon=0.3))
    result = attack(images, labels, restart=0)

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits".
    config: FabConfig.
    jit: "auto", "on", "off" or a bool: whether XLA compiles the attack.
  """

  real_numbers = ("epsilon", "alpha_max", "eta", "beta")

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
    clean_logits = self.forward(images)
    boundary = self._boundary(clean_logits, labels, targets, restart)
    count = tf.shape(images)[0]

    def body(i, s):
      gradient, values, _ = input_gradient(self.forward, boundary, s.x, labels)
      finite, zero = gradient_state(gradient)
      # A non-finite gradient would turn the image into NaN: the example waits, and is counted.
      gradient = choose(finite, gradient, tf.zeros_like(gradient))
      moved = self._step(s.x, images, gradient, values, numbers)
      wrong = missed(self.forward(moved), labels, targets) & finite
      distance = self.ball.distance(moved, images)
      better = wrong & (distance < s.distance)
      back = images + numbers["beta"] * (moved - images)
      return i + 1, _State(
        x=choose(finite, choose(wrong, back, moved), s.x),
        nearest=choose(better, moved, s.nearest),
        distance=tf.where(better, distance, s.distance),
        zero_gradients=s.zero_gradients + tf.cast(zero, tf.int32),
        nonfinite_gradients=s.nonfinite_gradients + tf.cast(~finite, tf.int32),
      )

    none = tf.zeros([count], tf.int32)
    already = missed(clean_logits, labels, targets)
    state = _State(images, images, tf.where(already, 0.0, float("inf")), none, none)
    _, state = tf.while_loop(lambda i, _: i < numbers["steps"], body, (tf.constant(0), state), parallel_iterations=1)
    nearest = self._final_search(state.nearest, images, clean_logits, labels, targets)
    distance = self.ball.distance(nearest, images)
    found = tf.math.is_finite(state.distance)
    return AttackResult(
      nearest,
      found & (distance <= numbers["epsilon"]),
      tf.where(found, -distance, -float("inf")),
      distance,
      state.zero_gradients,
      state.nonfinite_gradients,
    )

  def _boundary(self, clean_logits, labels, targets, restart):
    """(logits, labels) -> float32 [n]: 0 on the boundary, above 0 beyond it."""
    if targets is not None:
      return lambda logits, _: objectives.logit_lead(logits, targets)
    aims = runner_up(clean_logits, labels, restart)
    classes = tf.shape(clean_logits)[-1]
    weights = tf.one_hot(aims, classes) - tf.one_hot(labels, classes)
    return lambda logits, _: tf.reduce_sum(weights * logits, -1)

  def _step(self, x, images, gradient, values, numbers):
    """Beyond the boundary as it looks from x, drawn to where it is near the clean image."""
    shape, count = tf.shape(images), tf.shape(images)[0]
    point, clean, normal = (tf.reshape(part, [count, -1]) for part in (x, images, gradient))
    # Only directions matter, and squares of small gradients vanish in float32.
    largest = tf.reduce_max(tf.abs(normal), -1)
    usable = (largest > 0.0) & tf.math.is_finite(values)
    scale = tf.where(usable, 1.0 / tf.maximum(largest, _TINY), 0.0)
    normal, gap = normal * scale[:, None], tf.where(usable, -values, 0.0) * scale
    clean_gap = gap + tf.reduce_sum(normal * (point - clean), -1)
    both = hyperplane_step(
      tf.concat([point, clean], 0), tf.concat([normal, normal], 0), tf.concat([gap, clean_gap], 0), self.config.norm
    )
    lengths = self.ball.distance(both, tf.zeros_like(both))
    step, clean_step = both[:count], both[count:]
    alpha = tf.minimum(lengths[:count] / tf.maximum(lengths[:count] + lengths[count:], _TINY), numbers["alpha_max"])
    beyond, clean_beyond = point + numbers["eta"] * step, clean + numbers["eta"] * clean_step
    # As a sum, so that an example with alpha 0 and no step stays where it is.
    moved = beyond + alpha[:, None] * (clean_beyond - beyond)
    return tf.reshape(tf.clip_by_value(moved, 0.0, 1.0), shape)

  def _final_search(self, nearest, images, clean_logits, labels, targets):
    """Towards the boundary on the segment from the clean image, by the rule of false position."""

    def short(logits):
      """Above 0 where the attack has not succeeded."""
      return -lead(logits, labels, False) if targets is None else -lead(logits, targets, True)

    def body(i, near, near_lead, far, far_lead):
      gap = near_lead - far_lead
      # Where the network says NaN at an end, the middle.
      share = tf.where(tf.math.is_finite(gap), tf.math.divide_no_nan(near_lead, gap), 0.5)
      share = tf.clip_by_value(share, 0.0, 1.0)
      middle = near + per_example(share, near) * (far - near)
      logits = self.forward(middle)
      wrong, middle_lead = missed(logits, labels, targets), short(logits)
      return (
        i + 1,
        choose(wrong, near, middle),
        tf.where(wrong, near_lead, middle_lead),
        choose(wrong, middle, far),
        tf.where(wrong, middle_lead, far_lead),
      )

    state = (tf.constant(0), images, short(clean_logits), nearest, short(self.forward(nearest)))
    return tf.while_loop(lambda i, *_: i < _FINAL_STEPS, body, state, parallel_iterations=1)[3]
