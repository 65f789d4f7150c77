"""DeepFool: the nearest boundary of the linearised network, again and again."""

import functools

import tensorflow as tf

from tla_tf.attacks.attack import runner_up
from tla_tf.attacks.nearest import NearestAttack, Rows, lead

# Floor on a number before dividing by it.
_TINY = 1e-30


class DeepFool(NearestAttack):
  """DeepFool in L2 (Moosavi-Dezfooli et al. 2016, Algorithm 2).

  Every step takes the network for linear around the point, moves to the
  nearest boundary between the true class and a candidate, and looks again:

    r <- r + |f_k| / ||w_k||^2 * w_k,  x <- x_0 + (1 + overshoot) * r

  where f_k = z_k - z_label, w_k is its gradient and k the candidate with the
  smallest |f_k| / ||w_k||. An image stops at the first point that is
  adversarial. Where the paper says less:

  - the class to leave is the label; a clean image that is misclassified is
    its own answer;
  - the candidates are the likeliest other classes of the clean image, for all
    steps, as in the authors' code;
  - steps aim beyond the boundary by a hair, as that code does: without
    overshoot they would end on it;
  - pixels stay in [0, 1], which the paper does not ask for: r is clipped after
    each step, so that it is always the change that was made, and the next
    step makes up for what was cut off. (Leaving such pixels out of w_k gives
    longer first steps, and on a trained network 7% longer changes.)
  - targeted, there is one boundary, of the target and the likeliest other
    class.

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits".
    config: DeepFoolConfig.
    jit: "auto", "on", "off" or a bool: whether XLA compiles the attack.
  """

  real_numbers = ("epsilon", "overshoot")

  def seek(
    self,
    rows: Rows,
    labels: tf.Tensor,
    goal: tf.Tensor,
    restart: tf.Tensor,
    numbers: dict[str, tf.Tensor],
    targeted: bool,
  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    del restart
    clean = rows.clean
    # Columns of the candidates, not a number of the graph: the loop has a backward pass for each.
    count = 1 if targeted else min(self.config.candidates, rows.clean_logits.shape[-1] - 1)
    candidates = [runner_up(rows.clean_logits, labels, rank) for rank in range(count)]

    def boundaries(logits):
      if targeted:
        return [lead(logits, goal, targeted)]
      return [tf.gather(logits, k, batch_dims=1) - tf.gather(logits, labels, batch_dims=1) for k in candidates]

    def body(i, x, change, active, zero, nonfinite):
      gradients, values, logits = rows.gradients(boundaries, x)
      active = tf.where(lead(logits, goal, targeted) > rows.slack, False, active)
      finite = functools.reduce(
        tf.logical_and,
        (tf.reduce_all(tf.math.is_finite(g), -1) & tf.math.is_finite(f) for g, f in zip(gradients, values)),
      )
      flat = functools.reduce(tf.logical_and, (tf.reduce_all(g == 0.0, -1) for g in gradients))
      zero += tf.cast(active & flat, tf.int32)
      nonfinite += tf.cast(active & ~finite, tf.int32)
      step = _nearest_boundary(gradients, [tf.nn.relu(-f) + 2.0 * rows.slack for f in values])
      moves = (active & finite)[:, None]
      change = tf.where(moves, tf.clip_by_value(clean + change + step, 0.0, 1.0) - clean, change)
      moved = tf.clip_by_value(clean + (1.0 + numbers["overshoot"]) * change, 0.0, 1.0)
      return i + 1, tf.where(moves, moved, x), change, active, zero, nonfinite

    none = tf.zeros_like(labels)
    _, x, _, _, zero, nonfinite = tf.while_loop(
      lambda i, x, change, active, *_: (i < numbers["steps"]) & tf.reduce_any(active),
      body,
      (0, clean, tf.zeros_like(clean), tf.ones_like(labels, tf.bool), none, none),
      parallel_iterations=1,
    )
    return x, zero, nonfinite


def _nearest_boundary(gradients, gaps):
  """The step to the nearest of several linear boundaries; 0 where all gradients are 0.

  Args:
    gradients: list of float32 [n, d]; directions of the steps.
    gaps: list of float32 [n], what each step must add to its value.

  Returns:
    float32 [n, d].
  """
  nearest, step = tf.fill(tf.shape(gaps[0]), float("inf")), tf.zeros_like(gradients[0])
  for gradient, gap in zip(gradients, gaps):
    # Divided by the largest entry first: squares of small gradients vanish in float32.
    largest = tf.reduce_max(tf.abs(gradient), -1)
    scaled = gradient / tf.maximum(largest, _TINY)[:, None]
    length = tf.norm(scaled, axis=-1)
    distance = tf.where(largest > _TINY, gap / tf.maximum(largest * length, _TINY), float("inf"))
    nearer = distance < nearest
    step = tf.where(nearer[:, None], scaled * (distance / tf.maximum(length, _TINY))[:, None], step)
    nearest = tf.where(nearer, distance, nearest)
  return step
