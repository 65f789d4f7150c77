"""Gradient attacks as callables: settings bound to one compiled search."""

import functools
import typing

import numpy as np
import tensorflow as tf

from tla_tf import attack_configs, balls
from tla_tf.attacks.attack import Attack, checked_batch
from tla_tf.attacks.gradient_loop import gradient_loop
from tla_tf.attacks.result import AttackResult
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.networks import Compiler, logits_function
from tla_tf.ops import objectives
from tla_tf.types import Jit, MomentumRule, Norm, Objective, Precision


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
    precision: a `types.Precision`, in which the loop searches; what it records is
      judged in float32.
  """

  def __init__(
    self,
    network: typing.Any,
    objective: Objective | str = Objective.CROSS_ENTROPY,
    momentum_rule: MomentumRule | str = MomentumRule.NORMALIZED,
    jit: Jit | str | bool = "auto",
    norm: Norm | str = Norm.LINF,
    precision: Precision | str = Precision.FLOAT32,
  ):
    self.ball = balls.get(norm)
    self.objective = Objective(objective)
    self.momentum_rule = MomentumRule(momentum_rule)
    self.trace_count = 0
    self.precision = Precision(precision)
    self.forward = logits_function(network)
    self._searching = logits_function(network, precision=self.precision)
    self.compiler = Compiler(jit, network, self.precision)
    self._functions: dict = {}
    # Apart from the loop, which also takes a start of the caller's.
    self._random_start = tf.function(self.ball.random_start, reduce_retracing=True, autograph=False)

  def run(
    self,
    images: tf.Tensor,
    labels: tf.Tensor,
    key: tf.Tensor,
    config: AttackConfig,
    label_smoothing: float = 0.0,
    start: tf.Tensor | None = None,
    record: bool = True,
    targets: tf.Tensor | None = None,
  ) -> AttackResult:
    """Runs the loop with the numbers of an `AttackConfig`.

    Args:
      images: float32 [n, ...] in [0, 1].
      labels: int32 [n].
      key: int32 [2] or [n, 2], of the random start.
      config: AttackConfig; its objective, rule and norm must be those of the search.
      label_smoothing: of the cross-entropy.
      start: float32 [n, ...], replaces the configured start.
      record: True returns the best point met with its record, False the last
        point alone, with None in the other fields but the distance.
      targets: int32 [n], the classes that the network shall say; None for any
        other than the true one.

    Returns:
      AttackResult.
    """
    epsilon = tf.constant(config.epsilon, tf.float32)
    if start is None:
      start = self._random_start(images, epsilon, key) if config.random_start else images
    function = self._function(images.shape[1:], record, targets is not None)
    return function(
      images,
      labels if targets is None else targets,
      start,
      epsilon,
      *(
        tf.constant(value, dtype)
        for value, dtype in (
          (config.step_size, tf.float32),
          (config.steps, tf.int32),
          (config.momentum, tf.float32),
          (label_smoothing, tf.float32),
        )
      ),
    )

  def _function(self, image_shape, record, targeted):
    cache_key = (tuple(image_shape), record, targeted)
    if cache_key not in self._functions:
      image = tf.TensorSpec([None, *image_shape], tf.float32)
      number = tf.TensorSpec([], tf.float32)
      signature = [
        image,
        tf.TensorSpec([None], tf.int32),
        image,
        number,
        number,
        tf.TensorSpec([], tf.int32),
        number,
        number,
      ]
      self._functions[cache_key] = self.compiler.function(
        functools.partial(self._search, record=record, targeted=targeted), "the attack", input_signature=signature
      )
    return self._functions[cache_key]

  def _search(self, images, labels, start, epsilon, step_size, steps, momentum, label_smoothing, record, targeted):
    self.trace_count += 1
    measure = objectives.get(self.objective, targeted)
    found = gradient_loop(
      self._searching,
      lambda logits, labels: measure(logits, labels, label_smoothing),
      self.ball,
      images,
      labels,
      start,
      epsilon=epsilon,
      step_size=step_size,
      steps=steps,
      momentum=momentum,
      momentum_rule=self.momentum_rule,
      record=record,
      targeted=targeted,
      judge=None if self.precision is Precision.FLOAT32 else self.forward,
    )
    return found.result(self.ball.distance(found.adversarial, images))


class GradientAttack(Attack):
  """FGSM, BIM, PGD, MIM or C&W-margin PGD on one network.

  Example:
    attack = GradientAttack(network, presets.pgd(epsilon=0.3, step_size=0.01, steps=40))
    result = attack(images, labels, seed=1)

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits"; or a `GradientSearch` to share its compiled loop.
    config: AttackConfig.
    label_smoothing: of the cross-entropy that is increased.
    jit: "auto", "on", "off" or a bool: whether XLA compiles the loop.

  Raises:
    InputError: if a shared search has another objective, momentum rule or norm, or
      for restarts without a random start.
  """

  def __init__(
    self,
    network: typing.Any,
    config: AttackConfig = AttackConfig(),
    label_smoothing: float = 0.0,
    jit: Jit | str | bool = "auto",
  ):
    if isinstance(network, GradientSearch):
      shared = (network.objective, network.momentum_rule, network.ball.norm)
      if shared != (config.objective, config.momentum_rule, config.norm):
        raise InputError("The shared search was compiled for another objective, momentum rule or norm.")
      self.search = network
    else:
      self.search = GradientSearch(network, config.objective, config.momentum_rule, jit, config.norm)
    attack_configs.require_useful_restarts(config)
    # Not the base class's: the search holds the network.
    self.compiler = self.search.compiler
    self.config, self.restarts, self.forward = config, config.restarts, self.search.forward
    self.label_smoothing = label_smoothing

  def __call__(
    self,
    images: np.ndarray | tf.Tensor,
    labels: typing.Sequence[int] | np.ndarray | tf.Tensor,
    seed: int | tf.Tensor = 0,
    targets: typing.Sequence[int] | np.ndarray | tf.Tensor | None = None,
    restart: int | None = None,
    start: np.ndarray | tf.Tensor | None = None,
  ) -> AttackResult:
    """Attacks a batch; `start` float32 [n, ...] replaces the configured start, the rest is as in every attack."""
    if start is None:
      return super().__call__(images, labels, seed, targets, restart)
    if self.restarts > 1:
      raise InputError(f"`restarts={self.restarts}` from one `start` would do the same again: give `restarts=1`.")
    images, labels, targets = checked_batch(images, labels, targets, self.num_classes)
    start = tf.cast(tf.convert_to_tensor(start), tf.float32)
    if start.shape != images.shape:
      raise InputError(f"Expected a `start` of the images' shape {images.shape}, got {start.shape}.")
    return self.search.run(images, labels, None, self.config, self.label_smoothing, start, targets=targets)

  def run(
    self, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor, targets: tf.Tensor | None, restart: int
  ) -> AttackResult:
    return self.search.run(images, labels, key, self.config, self.label_smoothing, targets=targets)
