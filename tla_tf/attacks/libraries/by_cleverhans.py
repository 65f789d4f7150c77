"""Attacks of cleverhans 4 (Papernot et al. 2016). Its C&W and SPSA do not run on Keras 3."""

from __future__ import annotations

import typing

import numpy as np
import tensorflow as tf

from tla_tf.attack_configs import LibraryConfig
from tla_tf.types import Norm


def wrapped(logits: typing.Callable, image_shape: tuple[int, ...], classes: int) -> typing.Callable:
  """The network as it is."""
  del image_shape, classes
  return logits


def attack(
  model: typing.Callable, logits: typing.Callable, images: np.ndarray, labels: np.ndarray, config: LibraryConfig
) -> typing.Any:
  """Adversarial images float32 [n, ...] for images [n, ...] in [0, 1] and labels [n]."""
  from cleverhans.tf2.attacks.momentum_iterative_method import momentum_iterative_method
  from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

  made = {"pgd": projected_gradient_descent, "mim": momentum_iterative_method}[config.facts.name]
  settings = {"rand_init": True} if config.facts.name == "pgd" else {}
  del logits
  return made(
    model,
    tf.constant(images),
    eps=config.epsilon,
    eps_iter=config.step_size,
    nb_iter=config.steps,
    norm=np.inf if config.norm is Norm.LINF else 2,
    clip_min=0.0,
    clip_max=1.0,
    y=tf.constant(labels, tf.int64),
    # Asserts that inputs lie in the range to the last bit.
    sanity_checks=False,
    **settings,
  )
