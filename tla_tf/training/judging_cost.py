"""What it takes to judge and to analyse a trained network here, before there is one: estimated in seconds.

Counted are the passes that every attack makes at most, at the rate that attacks of the network reach
(`cost.judging_rate`). How many images an attack still sees hangs on the network: a share of them is taken to stand
after the first start. docs/scaling.md says how far this is off.
"""

from __future__ import annotations

import collections.abc
import functools
import math
import typing

from tla_tf import attack_configs
from tla_tf.attack_configs import (
  ApgdConfig,
  CarliniWagnerConfig,
  DeepFoolConfig,
  FabConfig,
  JsmaConfig,
  LibraryConfig,
  SquareConfig,
  TransferConfig,
)
from tla_tf.config import AttackConfig, Config, TrainingConfig
from tla_tf.training import cost

# Share of the images that withstand an attack's first start.
STANDING = 0.5
# Seconds to compile an attack, and for what an analysis does without the network: Gaussians, t-SNE, figures.
_COMPILING, _ANALYSING = 2.0, 60.0


class NamedAttack(typing.Protocol):
  """What is needed of an attack of a suite, as `evaluation.planning.planned_attacks` gives them."""

  @property
  def config(self) -> typing.Any: ...

  @property
  def on_survivors(self) -> bool: ...

  @property
  def suite(self) -> str: ...


def forward_passes(config: Config, image_shape: tuple[int, ...], num_classes: int) -> float:
  """Passes of an attack for one image and one start, at most; a backward pass counts as a forward one.

  Args:
    config: settings of the attack.
    image_shape: (height, width, channels).
    num_classes: number of classes.

  Returns:
    Their number; 1 of an attack of the user's own.
  """
  if isinstance(config, TransferConfig):
    return 1.0
  if isinstance(config, SquareConfig):
    return float(config.steps)
  if isinstance(config, (AttackConfig, ApgdConfig, FabConfig, LibraryConfig)):
    return 2.0 * config.steps + 1.0
  if isinstance(config, CarliniWagnerConfig):
    return 2.0 * config.steps * config.binary_search_steps
  if isinstance(config, DeepFoolConfig):
    return config.steps * (1.0 + min(config.candidates, num_classes - 1))
  if isinstance(config, JsmaConfig):
    # A pair of pixels a step.
    return 2.0 * math.ceil(config.epsilon * math.prod(image_shape) / 2.0)
  return 1.0


def judging_seconds(
  config: TrainingConfig,
  attacks: collections.abc.Iterable[NamedAttack],
  num_examples: int,
  *,
  num_seeds: int = 1,
  standing: float = STANDING,
  image_shape: tuple[int, ...] | None = None,
  num_classes: int | None = None,
) -> float:
  """Seconds to judge the network of a training, with the start of the process.

  Args:
    config: TrainingConfig.
    attacks: those of `evaluation.planning.planned_attacks(...).attacks`.
    num_examples: test images.
    num_seeds: under which attacks that draw are run.
    standing: share of the images that is taken to withstand an attack's first start.
    image_shape: (height, width, channels); None for the data set's.
    num_classes: number of classes; None for the data set's.
  """
  shape, classes = cost.data_shape(config, image_shape, num_classes)
  passes, compiling, earlier = 1.0, 0.0, list[NamedAttack]()
  for attack in attacks:
    left = any(
      (attack.on_survivors and other.suite == attack.suite) or attack_configs.contains(attack.config, other.config)
      for other in earlier
    )
    seen = standing if left else 1.0
    further = attack_configs.starts(attack.config, classes) - 1
    seeds = num_seeds if attack_configs.draws(attack.config) else 1
    passes += seeds * (seen + further * standing) * forward_passes(attack.config, shape, classes)
    compiling += _COMPILING
    earlier.append(attack)
  return cost.STARTING + compiling + num_examples * passes * _pass_seconds(config, shape, classes)


def analysis_seconds(
  config: TrainingConfig,
  weak: AttackConfig,
  strong: AttackConfig,
  *,
  num_examples: int,
  num_train_examples: int,
  fit_examples: int = 10_000,
  image_shape: tuple[int, ...] | None = None,
  num_classes: int | None = None,
) -> float:
  """Seconds to analyse the network of a training, with the start of the process.

  Args:
    config: TrainingConfig.
    weak: attack that detectors are fitted at, `evaluation.analysis_planning.planned_attacks(...).weak`.
    strong: attack that they are tested at.
    num_examples: test images.
    num_train_examples: natural training images that neighbours are sought among.
    fit_examples: training images that detectors are fitted to.
    image_shape: (height, width, channels); None for the data set's.
    num_classes: number of classes; None for the data set's.
  """
  shape, classes = cost.data_shape(config, image_shape, num_classes)
  of = functools.partial(forward_passes, image_shape=shape, num_classes=classes)
  passes = num_examples * (of(weak) + of(strong) + 1) + fit_examples * (of(weak) + 1) + num_train_examples
  pairs = 3 * num_examples * num_train_examples  # natural, weak and strong ones
  comparing = 2 * pairs * cost.embedding_size(config.network, shape, classes)
  rest = comparing / cost.judging_rate(config, shape, classes)
  return cost.STARTING + _ANALYSING + passes * _pass_seconds(config, shape, classes) + rest


def _pass_seconds(config, image_shape, num_classes):
  """Seconds of a forward pass of one image."""
  once = cost.network_flops(config.network, image_shape, num_classes)
  return once.forward / cost.judging_rate(config, image_shape, num_classes)
