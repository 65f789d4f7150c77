"""The L2 attack of Carlini and Wagner (2017)."""

import typing

import tensorflow as tf

from tla_tf.attacks.nearest import NearestAttack, Rows, lead

# Adam's numbers, as the authors leave them.
_BETA_1, _BETA_2, _ADAM_EPSILON = 0.9, 0.999, 1e-8
# Keeps arctanh finite at pixels of exactly 0 and 1. The authors' 0.999999 starts where tanh is so flat that such
# pixels hardly move within hundreds of steps; this finds nearer images, and starts 0.003 away in L2 at 3,072 pixels.
_INSIDE = 0.9999
# The authors' bound on the constant, their growth of it, and the least gain that counts as progress.
_LARGEST_CONSTANT, _GROWTH, _PROGRESS = 1e10, 10.0, 0.9999
# Fewest steps after which progress is checked: Adam swings for a dozen steps.
_WINDOW = 20


class _State(typing.NamedTuple):
  """Where the search of each image is: [n] or [n, d].

  Attributes:
    rounds: int32, constants done.
    step: int32, Adam steps done with the present constant.
    w, mean, square: float32 [n, d], variable and moments of Adam.
    constant, lower, upper: float32, the constant and its bounds.
    reached: bool, the present constant has given an adversarial image.
    lowest: float32, lowest loss with the present constant.
    checked: float32, what it was when progress was last checked.
    nearest: float32 [n, d], the nearest adversarial image of all constants.
    distance: float32, its squared distance; infinite where there is none.
    zero, nonfinite: int32, steps at which the whole gradient was 0, and at which
      it held NaN or infinity.
  """

  rounds: tf.Tensor
  step: tf.Tensor
  w: tf.Tensor
  mean: tf.Tensor
  square: tf.Tensor
  constant: tf.Tensor
  lower: tf.Tensor
  upper: tf.Tensor
  reached: tf.Tensor
  lowest: tf.Tensor
  checked: tf.Tensor
  nearest: tf.Tensor
  distance: tf.Tensor
  zero: tf.Tensor
  nonfinite: tf.Tensor


class CarliniWagner(NearestAttack):
  """C&W in L2 (Carlini and Wagner 2017, Section VI-A).

  Adam minimises, for one constant c after another,

    ||x - x_0||^2 + c * max(-lead(x), -confidence),  x = (tanh(w) + 1) / 2

  where the lead is by how much the target's logit, or untargeted any wrong
  one, exceeds the others. c grows tenfold until it gives an adversarial image;
  from then on it is halfway between the largest that failed and the smallest
  that did not. The answer is the nearest adversarial image met at any step
  with any constant, the clean image included.

  Every image has its own Adam, step count and constant: one that is done with
  a constant starts with the next at once, whatever the others do. An image is
  done with a constant after `steps` steps, or when the lowest loss has not
  fallen by 0.01% within a tenth of them, at least 20. The authors compare the
  sum over the batch at the two ends of that tenth; this rule looks at one
  image, and is not misled by a loss that swings.

  Distances are from the clean image itself, not from its image under arctanh
  and tanh.

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits".
    config: CarliniWagnerConfig.
    jit: "auto", "on", "off" or a bool: whether XLA compiles the attack.
  """

  real_numbers = ("epsilon", "step_size", "initial_constant", "confidence")
  whole_numbers = ("steps", "binary_search_steps")

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
    start = tf.math.atanh((2.0 * clean - 1.0) * _INSIDE)
    window = tf.maximum((numbers["steps"] + 9) // 10, _WINDOW)
    infinite = tf.fill(tf.shape(labels), float("inf"))
    none, zeros = tf.zeros_like(labels), tf.zeros_like(clean)

    needed = numbers["confidence"] + rows.slack

    def body(*fields):
      state = _State(*fields)
      active = state.rounds < numbers["binary_search_steps"]
      squashed = tf.tanh(state.w)
      x = 0.5 * (squashed + 1.0)
      (gradient,), (ahead,), _ = rows.gradients(lambda logits: [lead(logits, goal, targeted)], x)
      finite = tf.reduce_all(tf.math.is_finite(gradient), -1)
      distance = tf.reduce_sum(tf.square(x - clean), -1)
      short = numbers["confidence"] - ahead
      loss = distance + state.constant * tf.nn.relu(short)
      reaches = active & (ahead > needed)
      nearer = reaches & (distance < state.distance)

      # The chain rule by hand: the gradient of the lead is needed anyhow, to count where it vanishes.
      slope = 2.0 * (x - clean) - tf.where(short > 0.0, state.constant, 0.0)[:, None] * gradient
      slope = 0.5 * slope * (1.0 - tf.square(squashed))
      step = state.step + 1
      mean = _BETA_1 * state.mean + (1.0 - _BETA_1) * slope
      square = _BETA_2 * state.square + (1.0 - _BETA_2) * tf.square(slope)
      time = tf.cast(step, tf.float32)
      rate = numbers["step_size"] * tf.sqrt(1.0 - _BETA_2**time) / (1.0 - _BETA_1**time)
      w = state.w - rate[:, None] * mean / (tf.sqrt(square) + _ADAM_EPSILON)

      lowest = tf.minimum(state.lowest, tf.where(tf.math.is_finite(loss), loss, float("inf")))
      checks = (state.step % window == 0) & active
      stalls = checks & (lowest > _PROGRESS * state.checked)
      ends = active & (stalls | (step >= numbers["steps"]))
      reached = state.reached | reaches
      upper = tf.where(ends & reached, tf.minimum(state.upper, state.constant), state.upper)
      lower = tf.where(ends & ~reached, tf.maximum(state.lower, state.constant), state.lower)
      following = tf.where(
        upper < float("inf"), 0.5 * (lower + upper), tf.minimum(_GROWTH * state.constant, _LARGEST_CONSTANT)
      )
      anew, moves = ends[:, None], finite[:, None]
      return _State(
        rounds=state.rounds + tf.cast(ends, tf.int32),
        step=tf.where(ends, 0, step),
        w=tf.where(anew, start, tf.where(moves, w, state.w)),
        mean=tf.where(anew, 0.0, tf.where(moves, mean, state.mean)),
        square=tf.where(anew, 0.0, tf.where(moves, square, state.square)),
        constant=tf.where(ends, following, state.constant),
        lower=lower,
        upper=upper,
        reached=reached & ~ends,
        lowest=tf.where(ends, float("inf"), lowest),
        checked=tf.where(ends, float("inf"), tf.where(checks, lowest, state.checked)),
        nearest=tf.where(nearer[:, None], x, state.nearest),
        distance=tf.where(nearer, distance, state.distance),
        zero=state.zero + tf.cast(active & tf.reduce_all(gradient == 0.0, -1), tf.int32),
        nonfinite=state.nonfinite + tf.cast(active & ~finite, tf.int32),
      )

    already = lead(rows.clean_logits, goal, targeted) > needed
    state = _State(
      rounds=tf.where(already, numbers["binary_search_steps"], 0),
      step=none,
      w=start,
      mean=zeros,
      square=zeros,
      constant=tf.zeros_like(infinite) + numbers["initial_constant"],
      lower=tf.zeros_like(infinite),
      upper=infinite,
      reached=tf.zeros_like(already),
      lowest=infinite,
      checked=infinite,
      nearest=clean,
      distance=tf.where(already, 0.0, infinite),
      zero=none,
      nonfinite=none,
    )
    state = _State(
      *tf.while_loop(
        lambda rounds, *_: tf.reduce_any(rounds < numbers["binary_search_steps"]), body, state, parallel_iterations=1
      )
    )
    return state.nearest, state.zero, state.nonfinite
