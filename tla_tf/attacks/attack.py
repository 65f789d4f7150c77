"""The contract of all attacks, and the record that they return."""

from __future__ import annotations

import abc
import typing

import numpy as np
import tensorflow as tf

from tla_tf.errors import InputError
from tla_tf.networks import logits_function, resolve_jit
from tla_tf.ops import seeds
from tla_tf.types import Jit


class AttackResult(typing.NamedTuple):
  """What an attack found, one row an example.

  Attributes:
    adversarial: float32 [n, ...] in [0, 1]. Attacks that minimise the distance
      return the nearest adversarial image, however far it is, and the clean
      one where they found none.
    success: bool [n]: the network errs on `adversarial` (targeted: says the
      target), within epsilon.
    loss: float32 [n], the objective on `adversarial`: the larger, the better
      for the attack. Of attacks that minimise the distance, minus the distance.
    distance: float32 [n], from the clean image in the attack's norm.
    zero_gradients: int32 [n], steps at which the whole gradient was 0.
    nonfinite_gradients: int32 [n], steps at which it held NaN or infinity;
      such an example stays where it is for that step.
  """

  adversarial: tf.Tensor | np.ndarray
  success: tf.Tensor | np.ndarray
  loss: tf.Tensor | np.ndarray
  distance: tf.Tensor | np.ndarray
  zero_gradients: tf.Tensor | np.ndarray
  nonfinite_gradients: tf.Tensor | np.ndarray


class Attack(abc.ABC):
  """An attack on one network with fixed settings.

  A call is one start; `attack_survivors` makes `restarts` of them.

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits".
    config: settings with `epsilon`, `norm` and `restarts`.
    jit: "auto", "on", "off" or a bool: whether XLA compiles the attack.
  """

  def __init__(self, network: typing.Any, config: typing.Any, jit: Jit | str | bool = "auto"):
    self.config = config
    self.restarts = config.restarts
    self.forward = logits_function(network)
    self.jit = resolve_jit(jit, network)

  def __call__(
    self,
    images: np.ndarray | tf.Tensor,
    labels: typing.Sequence[int] | np.ndarray | tf.Tensor,
    seed: int | tf.Tensor = 0,
    targets: typing.Sequence[int] | np.ndarray | tf.Tensor | None = None,
    restart: int = 0,
  ) -> AttackResult:
    """Attacks a batch.

    Args:
      images: float32 [n, ...] in [0, 1].
      labels: integer [n], the true classes.
      seed: a whole number, a key int32 [2], or one key an example [n, 2].
      targets: integer [n], the classes that the network shall say; None for
        any other than the true one.
      restart: which start this is. Attacks that aim at one class after another
        aim at the `restart`-th likeliest class besides the true one.

    Returns:
      AttackResult. The same arguments give the same result.

    Raises:
      InputError: if images are not float32 in [0, 1], counts differ, or a
        target is the true class.
    """
    images, labels = checked_batch(images, labels)
    if targets is not None:
      targets = checked_targets(targets, labels)
    key = seeds.key(int(seed), "attack") if isinstance(seed, (int, np.integer)) else tf.convert_to_tensor(seed)
    return self.run(images, labels, key, targets, restart)

  def bound(self, example_ids: np.ndarray) -> Attack:
    """The attack on these examples, integer [n]: itself, unless it replays what is kept by example."""
    del example_ids
    return self

  @abc.abstractmethod
  def run(
    self, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor, targets: tf.Tensor | None, restart: int
  ) -> AttackResult:
    """The attack itself: arguments as in the call, checked; int32 labels and targets, key int32 [2] or [n, 2]."""


def runner_up(logits: tf.Tensor, labels: tf.Tensor, rank: int | tf.Tensor) -> tf.Tensor:
  """The `rank`-th likeliest class besides the true one, modulo the number of other classes.

  Args:
    logits: float32 [n, classes].
    labels: int32 [n].
    rank: a whole number or scalar tensor; 0 for the likeliest.

  Returns:
    int32 [n].
  """
  classes = tf.shape(logits)[1]
  true = tf.one_hot(labels, classes, on_value=True, off_value=False, dtype=tf.bool)
  order = tf.argsort(tf.where(true, logits.dtype.min, logits), axis=1, direction="DESCENDING", stable=True)
  return tf.cast(tf.gather(order, tf.math.floormod(tf.cast(rank, tf.int32), classes - 1), axis=1), tf.int32)


def missed(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor | None = None) -> tf.Tensor:
  """Whether the goal is reached: bool [n], another class than the label's, or the target's."""
  said = tf.argmax(logits, -1, output_type=labels.dtype)
  return said != labels if targets is None else said == targets


def checked_batch(images: typing.Any, labels: typing.Any) -> tuple[tf.Tensor, tf.Tensor]:
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


def checked_targets(targets: typing.Any, labels: tf.Tensor) -> tf.Tensor:
  """Checks the classes that a targeted attack aims at; returns int32 [n].

  Raises:
    InputError: for another number than that of the labels, or a target that is
      the true class.
  """
  targets = tf.cast(tf.convert_to_tensor(targets), tf.int32)
  if targets.shape != labels.shape:
    raise InputError(f"Expected as many targets as labels, {labels.shape}, got {targets.shape}.")
  if bool(tf.reduce_any(targets == labels)):
    raise InputError("A target is the true class itself: a targeted attack aims at another one.")
  return targets
