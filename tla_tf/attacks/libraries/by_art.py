"""Attacks of the Adversarial Robustness Toolbox (Nicolae et al. 2018)."""

from __future__ import annotations

import typing

import keras
import numpy as np

from tla_tf.attack_configs import LibraryConfig
from tla_tf.attacks.libraries.library_attack import starting_points
from tla_tf.types import Norm

_LOSSES = {"apgd_ce": "cross_entropy", "apgd_dlr": "difference_logits_ratio"}


def wrapped(logits: typing.Callable, image_shape: tuple[int, ...], classes: int) -> typing.Any:
  """The network as ART takes it."""
  from art.estimators.classification import TensorFlowV2Classifier

  return TensorFlowV2Classifier(
    # ART says whether it trains.
    lambda x, training=False: logits(x),
    nb_classes=classes,
    input_shape=image_shape,
    clip_values=(0.0, 1.0),
    loss_object=keras.losses.CategoricalCrossentropy(from_logits=True),
  )


def attack(
  classifier: typing.Any, logits: typing.Callable, images: np.ndarray, labels: np.ndarray, config: LibraryConfig
) -> typing.Any:
  """Adversarial images float32 [n, ...] for images [n, ...] in [0, 1] and labels [n]."""
  from art.attacks import evasion

  one_hot, norm = keras.utils.to_categorical(labels, classifier.nb_classes), np.inf if config.norm is Norm.LINF else 2
  quiet: dict[str, typing.Any] = {"batch_size": len(images), "verbose": False}
  name, steps = config.facts.name, config.steps
  if name in ("boundary", "hop_skip_jump"):
    starts, there = starting_points(logits, images, labels)
    found = images.copy()
    if there.any():
      if name == "boundary":
        made = evasion.BoundaryAttack(classifier, targeted=False, max_iter=steps, **quiet)
      else:
        made = evasion.HopSkipJump(classifier, norm=norm, max_iter=steps, max_eval=1000, init_eval=100, **quiet)
      found[there] = made.generate(images[there], one_hot[there], x_adv_init=starts[there])
    return found
  common = {"norm": norm, "eps": config.epsilon, **quiet}
  if name == "square":
    made = evasion.SquareAttack(classifier, max_iter=steps, p_init=0.8, **common)
  else:
    made = evasion.AutoProjectedGradientDescent(
      classifier, eps_step=2 * config.epsilon, max_iter=steps, nb_random_init=1, loss_type=_LOSSES[name], **common
    )
  return made.generate(images, one_hot)
