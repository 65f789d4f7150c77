"""The Jacobian-based saliency map attack of Papernot et al. (2016)."""

import math
import typing

import tensorflow as tf

from tla_tf.attack_configs import JsmaConfig
from tla_tf.attacks.attack import runner_up
from tla_tf.attacks.nearest import NearestAttack, Rows, lead
from tla_tf.types import Jit

# Floor on a number before dividing by it.
_TINY = 1e-30
# Products such as 0.29 * 100 fall short of the whole number that is meant.
_DECIMALS = 1e-9


class Jsma(NearestAttack):
  """JSMA over pairs of pixel values (Papernot et al. 2016, Algorithms 2 and 3).

  Every step takes, of all pairs (p, q) in the search domain, the one with the
  largest -alpha * beta where

    alpha = dF_t/dx_p + dF_t/dx_q > 0,  beta = sum_{j != t} dF_j/dx_p + dF_j/dx_q < 0

  and changes both values by `theta`, within [0, 1]; for theta < 0 both signs
  are turned round. Values that cannot move further leave the domain. An image
  stops when its goal is reached, when no pair qualifies, or when another pair
  would change more than floor(epsilon * d) of its d values; before that it may
  go on with the values that it has changed already, as the budget counts
  values, not steps. Pairs being changed, one value of an odd budget is left
  over if no pair holds an old one.

  Untargeted, t is the `restart`-th likeliest class besides the true one, and
  any misclassification counts.

  F are the probabilities, as the paper defines it. They sum to 1, so beta is
  -alpha, and their derivatives are those of log F_t times F_t, which does not
  change the order: the derivatives of log F_t are used, which do not vanish
  where the softmax is saturated. The authors' experiments took the logits
  instead ("JSMA-Z" in Carlini and Wagner 2017); `logits=True` does. On a
  trained network that breaks fewer images: the sum over all other classes
  counts those, too, that have no chance anyway.

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits".
    config: JsmaConfig.
    jit: "auto", "on", "off" or a bool: whether XLA compiles the attack.
    logits: F are the logits instead of the probabilities.
  """

  # The budget, which follows from epsilon, is part of the trace all the same.
  real_numbers = ("epsilon", "theta")
  whole_numbers = ()

  def __init__(self, network: typing.Any, config: JsmaConfig, jit: Jit | str | bool = "auto", logits: bool = False):
    super().__init__(network, config, jit)
    self._by_logits = logits

  def seek(
    self,
    rows: Rows,
    labels: tf.Tensor,
    goal: tf.Tensor,
    restart: tf.Tensor,
    numbers: dict[str, tf.Tensor],
    targeted: bool,
  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    clean, theta = rows.clean, numbers["theta"]
    budget = math.floor(self.config.epsilon * rows.size + _DECIMALS)
    aim = goal if targeted else runner_up(rows.clean_logits, labels, restart)

    def of_aim(values):
      return tf.gather(values, aim, batch_dims=1)

    def outputs(logits):
      if self._by_logits:
        return [of_aim(logits), tf.reduce_sum(logits, -1) - of_aim(logits)]
      return [of_aim(tf.nn.log_softmax(logits))]

    def body(x, active, zero, nonfinite):
      gradients, _, logits = rows.gradients(outputs, x)
      towards = tf.sign(theta) * gradients[0]
      against = -tf.sign(theta) * gradients[1] if self._by_logits else towards
      active = tf.where(lead(logits, goal, targeted) > rows.slack, False, active)
      finite = tf.reduce_all(tf.math.is_finite(towards) & tf.math.is_finite(against), -1)
      zero += tf.cast(active & tf.reduce_all((towards == 0.0) & (against == 0.0), -1), tf.int32)
      nonfinite += tf.cast(active & ~finite, tf.int32)
      moved = tf.clip_by_value(x + theta, 0.0, 1.0)
      changed = x != clean
      spent = tf.math.count_nonzero(changed, -1, keepdims=True, dtype=tf.int32) > budget - 2
      # Not to move is to have no more steps: the next gradient would be the same.
      active &= finite
      first, second, active = best_pair(towards, against, (moved != x) & (changed | ~spent) & active[:, None])
      places = tf.range(rows.size)[None]
      chosen = ((places == first[:, None]) | (places == second[:, None])) & active[:, None]
      return tf.where(chosen, moved, x), active, zero, nonfinite

    none = tf.zeros_like(labels)
    x, _, zero, nonfinite = tf.while_loop(
      lambda x, active, *_: tf.reduce_any(active),
      body,
      (clean, tf.ones_like(labels, tf.bool), none, none),
      parallel_iterations=1,
    )
    return x, zero, nonfinite


def best_pair(gains: tf.Tensor, falls: tf.Tensor, allowed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """The pair of values with the largest (u_p + u_q)(v_p + v_q), both sums above 0.

  Exact without trying all pairs. If r has both a u and a v not below those of
  p, it can stand in for p in any pair but (p, r). So some best pair has a
  member that no other value exceeds in this sense, and only these, about
  log(d) of d values, are paired with all others. They are met in order of
  falling u, each with a larger v than all before.

  Args:
    gains: float32 [n, d], u: dF_t/dx.
    falls: float32 [n, d], v: -sum of the others' derivatives.
    allowed: bool [n, d], the search domain.

  Returns:
    (int32 [n], int32 [n], bool [n]: whether any pair qualifies).
  """

  def scaled(values):
    # Products of small derivatives vanish in float32.
    values = tf.where(allowed, values, 0.0)
    return values / tf.maximum(tf.reduce_max(tf.abs(values), -1, keepdims=True), _TINY)

  u, v = scaled(gains), scaled(falls)
  places = tf.range(tf.shape(u)[1])[None]
  lowest = u.dtype.min

  def body(left, best, first, second):
    going = tf.reduce_any(left, -1)
    p = tf.argmax(tf.where(left, u, lowest), -1, output_type=tf.int32)
    u_p, v_p = (tf.gather(values, p, batch_dims=1)[:, None] for values in (u, v))
    gain, fall = u + u_p, v + v_p
    qualifies = allowed & going[:, None] & (places != p[:, None]) & (gain > 0.0) & (fall > 0.0)
    scores = tf.where(qualifies, gain * fall, -1.0)
    score = tf.reduce_max(scores, -1)
    better = score > best
    q = tf.argmax(scores, -1, output_type=tf.int32)
    return (left & (v > v_p), tf.where(better, score, best), tf.where(better, p, first), tf.where(better, q, second))

  none = tf.zeros_like(u[:, 0])
  first = tf.zeros_like(none, tf.int32)
  _, best, first, second = tf.while_loop(
    lambda left, *_: tf.reduce_any(left), body, (allowed, none - 1.0, first, first), parallel_iterations=1
  )
  return first, second, best >= 0.0
