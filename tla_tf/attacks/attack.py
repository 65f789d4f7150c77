"""The contract of all attacks."""

from __future__ import annotations

import abc
import typing

import numpy as np
import tensorflow as tf

from tla_tf import attack_configs
from tla_tf.attacks.result import AttackResult
from tla_tf.attacks.survivors import best_of_starts
from tla_tf.errors import InputError
from tla_tf.networks import Compiler, logits_function
from tla_tf.ops import inputs, seeds
from tla_tf.ops.predictions import predicted_classes
from tla_tf.types import Jit


class Attack(abc.ABC):
  """An attack on one network with fixed settings.

  A call does what the settings say, `restarts` included, on one batch;
  `attack_survivors` goes through a whole array of images, batch by batch.

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits".
    config: settings with `epsilon`, `norm` and `restarts`.
    jit: "auto", "on", "off" or a bool: whether XLA compiles the attack.

  Raises:
    InputError: for restarts that would do the same again.
  """

  _num_classes: int | None = None

  def __init__(self, network: typing.Any, config: typing.Any, jit: Jit | str | bool = "auto"):
    attack_configs.require_useful_restarts(config)
    self.config = config
    self.restarts = config.restarts
    self.forward = logits_function(network)
    self.compiler = Compiler(jit, network)

  def __call__(
    self,
    images: np.ndarray | tf.Tensor,
    labels: typing.Sequence[int] | np.ndarray | tf.Tensor,
    seed: int | tf.Tensor = 0,
    targets: typing.Sequence[int] | np.ndarray | tf.Tensor | None = None,
    restart: int | None = None,
  ) -> AttackResult:
    """Attacks a batch, restarting on the images that still stand.

    Args:
      images: float32 [n, ...] in [0, 1].
      labels: integer [n], the true classes.
      seed: a whole number, a key int32 [2], or one key an example [n, 2].
      targets: integer [n], the classes that the network shall say; None for
        any other than the true one.
      restart: makes this start alone, of which the caller says which it is;
        None makes all that the settings ask for. Attacks that aim at one class
        after another aim at the `restart`-th likeliest class besides the true one.

    Returns:
      AttackResult: for each image the best point of all starts, successful ones
      first, then by `loss`; gradient counts are summed. The same arguments give
      the same result.

    Raises:
      InputError: if images are not float32 in [0, 1], counts differ, or a
        target is the true class.
    """
    images, labels, targets = checked_batch(images, labels, targets, self.num_classes)
    key = seeds.key(int(seed), "attack") if isinstance(seed, (int, np.integer)) else tf.convert_to_tensor(seed)
    starts = self.starts(images, targets) if restart is None else 1
    if starts == 1:
      return self.run(images, labels, key, targets, restart or 0)
    return best_of_starts(self, images, labels, key, targets, starts)

  @property
  def jit(self) -> bool:
    """Whether XLA compiles the attack."""
    return self.compiler.xla

  def starts(self, images: typing.Any, targets: typing.Any) -> int:
    """How many starts of the settings differ, on images [n, ...] and with targets or None."""
    classes = None
    if targets is None and self.restarts > 1 and attack_configs.aims(self.config):
      classes = self.num_classes(tf.convert_to_tensor(images))
    return attack_configs.starts(self.config, classes, targets is not None)

  def num_classes(self, images: tf.Tensor) -> int:
    """How many classes the network tells apart: it is asked once, for the first of float32 images [n, ...]."""
    if self._num_classes is None:
      self._num_classes = int(self.forward(images[:1]).shape[-1])
    return self._num_classes

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
  """Whether the goal is reached: bool [n], another class than the label's, or the target's.

  Where a logit is NaN the network errs, and says no target.
  """
  said = predicted_classes(logits, labels.dtype)
  return said != labels if targets is None else said == targets


def checked_batch(
  images: typing.Any, labels: typing.Any, targets: typing.Any, num_classes: typing.Callable[[tf.Tensor], int]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
  """Checks a batch from outside and makes tensors of it.

  Args:
    images: [n, ...].
    labels: [n].
    targets: [n], or None.
    num_classes: function from images to the number of classes of the network.

  Returns:
    (images float32 [n, ...], labels int32 [n], targets int32 [n] or None).

  Raises:
    InputError: for non-floating images, pixels outside [0, 1] or NaN, labels or
      targets that are no classes of the network or another number, or a target
      that is the true class.
  """
  inputs.require_images(images)
  images = tf.cast(tf.convert_to_tensor(images), tf.float32)
  count, classes = len(images), num_classes(images) if len(images) else None
  labels = tf.constant(inputs.require_labels(labels, count, classes))
  if targets is None:
    return images, labels, None
  targets = tf.constant(inputs.require_labels(targets, count, classes, "targets"))
  if bool(tf.reduce_any(targets == labels)):
    raise InputError("A target is the true class itself: a targeted attack aims at another one.")
  return images, labels, targets
