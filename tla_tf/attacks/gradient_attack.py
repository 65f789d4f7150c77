"""Gradient attacks as callables: settings bound to one compiled search."""

import numpy as np
import tensorflow as tf

from tla_tf import balls
from tla_tf.attacks.attack import Attack, AttackResult
from tla_tf.attacks.gradient_loop import gradient_loop
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.networks import logits_function, resolve_jit
from tla_tf.ops import objectives, seeds
from tla_tf.types import MomentumRule, Norm, Objective


class GradientSearch:
  """The compiled loop for one network, objective, momentum rule and norm.

  Traced once per image shape, whatever epsilon, steps, momentum or smoothing.

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits".
    objective: a `types.Objective`.
    momentum_rule: a `types.MomentumRule`.
    jit: "auto", "on", "off" or a bool: whether XLA compiles the loop.
    norm: a `types.Norm`.
  """

  def __init__(self, network, objective=Objective.CROSS_ENTROPY, momentum_rule=MomentumRule.NORMALIZED, jit="auto",
               norm=Norm.LINF):
    self.ball = balls.get(norm)
    self.objective = Objective(objective)
    self.momentum_rule = MomentumRule(momentum_rule)
    self.trace_count = 0
    self._forward = logits_function(network)
    self._jit = resolve_jit(jit, network)
    self._functions = {}
    # Apart from the loop: drawing by example is a loop over examples, which XLA would crawl through.
    self._random_start = tf.function(self.ball.random_start, reduce_retracing=True, autograph=False)

  def run(self, images, labels, key, config, label_smoothing=0.0, start=None, record=True):
    """Runs the loop with the numbers of an `AttackConfig`.

    Args:
      images: float32 [n, ...] in [0, 1].
      labels: int32 [n].
      key: int32 [2] or [n, 2], of the random start.
      config: AttackConfig; its objective, rule and norm must be those of the search.
      label_smoothing: of the cross-entropy.
      start: float32 [n, ...], replaces the configured start.
      record: as in `gradient_loop`.

    Returns:
      AttackResult.
    """
    epsilon = tf.constant(config.epsilon, tf.float32)
    if start is None:
      start = self._random_start(images, epsilon, key) if config.random_start else images
    function = self._function(images.shape[1:], record)
    return function(images, labels, start, epsilon, *(
      tf.constant(value, dtype) for value, dtype in (
        (config.step_size, tf.float32), (config.steps, tf.int32), (config.momentum, tf.float32),
        (label_smoothing, tf.float32))))

  def _function(self, image_shape, record):
    cache_key = (tuple(image_shape), record)
    if cache_key not in self._functions:
      image = tf.TensorSpec([None, *image_shape], tf.float32)
      number = tf.TensorSpec([], tf.float32)
      signature = [image, tf.TensorSpec([None], tf.int32), image, number, number, tf.TensorSpec([], tf.int32),
                   number, number]
      self._functions[cache_key] = tf.function(
        lambda *args: self._search(*args, record=record), input_signature=signature, jit_compile=self._jit,
        autograph=False)
    return self._functions[cache_key]

  def _search(self, images, labels, start, epsilon, step_size, steps, momentum, label_smoothing, record):
    self.trace_count += 1
    measure = objectives.get(self.objective)
    found = gradient_loop(
      self._forward, lambda logits, labels: measure(logits, labels, label_smoothing), self.ball, images, labels, start,
      epsilon=epsilon, step_size=step_size, steps=steps, momentum=momentum, momentum_rule=self.momentum_rule,
      record=record)
    return AttackResult(found.adversarial, found.success, found.loss, self.ball.distance(found.adversarial, images),
                        found.zero_gradients, found.nonfinite_gradients)


class GradientAttack(Attack):
  """FGSM, BIM, PGD, MIM or C&W-margin PGD on one network.

  Example:
    attack = GradientAttack(network, presets.pgd(epsilon=0.3, step_size=0.01, steps=40))
    result = attack(images, labels, seed=1)

  One call is one start; `attack_survivors` runs `config.restarts` of them.

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits"; or a `GradientSearch` to share its compiled loop.
    config: AttackConfig.
    label_smoothing: of the cross-entropy that is increased.
    jit: see `GradientSearch`.

  Raises:
    InputError: if a shared search has another objective, momentum rule or norm.
  """

  def __init__(self, network, config=AttackConfig(), label_smoothing=0.0, jit="auto"):
    if not isinstance(network, GradientSearch):
      network = GradientSearch(network, config.objective, config.momentum_rule, jit, config.norm)
    shared = (network.objective, network.momentum_rule, network.ball.norm)
    if shared != (config.objective, config.momentum_rule, config.norm):
      raise InputError("The shared search was compiled for another objective, momentum rule or norm.")
    self.search = network
    self.config = config
    self.restarts = config.restarts
    self.label_smoothing = label_smoothing

  def __call__(self, images, labels, seed=0, start=None):
    """See `Attack`; `start` float32 [n, ...] replaces the configured start.

    Raises:
      InputError: if images are not float32 in [0, 1], or counts differ.
    """
    images, labels = checked_batch(images, labels)
    key = seeds.key(seed, "attack") if isinstance(seed, (int, np.integer)) else tf.convert_to_tensor(seed)
    return self.search.run(images, labels, key, self.config, self.label_smoothing, start)


def checked_batch(images, labels):
  """Checks a batch from outside and makes tensors of it.

  Raises:
    InputError: for non-floating images, pixels outside [0, 1] or NaN, or
      another number of labels.
  """
  images, labels = tf.convert_to_tensor(images), tf.convert_to_tensor(labels)
  if not images.dtype.is_floating:
    raise InputError(f"Images must be float32 in [0, 1], not {images.dtype.name}: divide by 255.")
  if images.shape.rank is None or images.shape.rank < 2 or labels.shape.rank != 1 or images.shape[0] != labels.shape[0]:
    raise InputError(f"Expected images [n, ...] and labels [n], got shapes {images.shape} and {labels.shape}.")
  if images.shape[0]:
    low, high = float(tf.reduce_min(images)), float(tf.reduce_max(images))
    if not (low >= 0.0 and high <= 1.0):
      raise InputError(f"Images must lie in [0, 1], but reach from {low:g} to {high:g}: scale them (divide by 255?).")
  return tf.cast(images, tf.float32), tf.cast(labels, tf.int32)
