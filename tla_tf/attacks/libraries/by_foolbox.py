"""Attacks of Foolbox 3 (Rauber et al. 2017, 2020)."""

from __future__ import annotations

import typing

import numpy as np
import tensorflow as tf

from tla_tf.attack_configs import LibraryConfig
from tla_tf.attacks.libraries.library_attack import starting_points
from tla_tf.types import Norm


def wrapped(logits: typing.Callable, image_shape: tuple[int, ...], classes: int) -> typing.Any:
  """The network as Foolbox takes it."""
  import foolbox

  del image_shape, classes
  device = "/GPU:0" if tf.config.list_logical_devices("GPU") else "/CPU:0"
  return foolbox.TensorFlowModel(logits, bounds=(0, 1), device=device)


def attack(
  model: typing.Any, logits: typing.Callable, images: np.ndarray, labels: np.ndarray, config: LibraryConfig
) -> typing.Any:
  """Adversarial images float32 [n, ...] for images [n, ...] in [0, 1] and labels [n]."""
  from foolbox import attacks, criteria

  linf, steps = config.norm is Norm.LINF, config.steps
  name = config.facts.name
  made: typing.Any
  if name in ("boundary", "hop_skip_jump"):
    starts, there = starting_points(logits, images, labels)
    found = images.copy()
    if there.any():
      made = (
        attacks.BoundaryAttack(steps=steps)
        if name == "boundary"
        else attacks.HopSkipJumpAttack(steps=steps, constraint="linf" if linf else "l2")
      )
      criterion = criteria.Misclassification(tf.constant(labels[there], tf.int64))
      shown, begun = tf.constant(images[there]), tf.constant(starts[there])
      found[there] = made.run(model, shown, criterion, starting_points=begun).numpy()
    return found
  if name == "pgd":
    made = (attacks.LinfPGD if linf else attacks.L2PGD)(abs_stepsize=config.step_size, steps=steps, random_start=True)
  elif name == "carlini_wagner":
    made = attacks.L2CarliniWagnerAttack(binary_search_steps=6, steps=steps, stepsize=0.05, initial_const=0.1)
  else:
    made = attacks.DDNAttack(steps=steps)
  return made(model, tf.constant(images), tf.constant(labels, tf.int64), epsilons=config.epsilon)[1]
