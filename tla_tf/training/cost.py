"""What a training costs on the machine at hand: operations of its network, and seconds.

Seconds of a step are measured on the step itself (`measured_step_seconds`), or counted
(`counted_step_seconds`): the operations of its attack, its mining and its training pass, each divided by the rate
that the machine reaches on them,

  seconds = (attack + mining) / rate of the attack + training / rate of the training pass.

What the optimizer does is part of the second. Both rates are measured at the step's own numbers of images: the products
of a small batch wait for the weights, which a larger one reads as often, so that they reach more with it.
docs/scaling.md says how far counting is off.
"""

from __future__ import annotations

import functools
import json
import statistics
import typing

import keras

from tla_tf import datasets, networks, recipes
from tla_tf.config import TrainingConfig
from tla_tf.errors import InputError
from tla_tf.networks.flops import Flops, flops
from tla_tf.training.step_timer import AttackTimer, StepTimer, UpdateTimer, same_step
from tla_tf.types import PassMode, Precision, Role

# Operations that are tried at once before it is known what the machine reaches; seconds of what is then tried.
_FIRST_OPERATIONS, _LONGEST_TRIAL = 5e10, 1.0
# Seconds that a rate is measured for, and steps that the median is taken of, at least.
_MEASURING, _FEWEST = 0.5, 3
# Seconds of a step that is counted rather than measured.
_TOO_LONG = 5.0
# Held-out images are looked at, and models judged, in batches of so many.
_JUDGED_BATCH = 100
# Seconds from the start of a process to its first step: TensorFlow, data, compiling.
STARTING = 15.0


class StepCost(typing.NamedTuple):
  """Floating-point operations of one training step.

  Attributes:
    attack: of its inner attack: a pass and its gradient at every step.
    mining: of finding negatives.
    training: of the pass over all roles and its gradients.
  """

  attack: int
  mining: int
  training: int

  @property
  def total(self) -> int:
    """Of the step."""
    return self.attack + self.mining + self.training

  def seconds(self, rates: Rates) -> float:
    """Of the step, at the machine's rates."""
    return (self.attack + self.mining) / rates.attack + self.training / rates.training + rates.update


class Rates(typing.NamedTuple):
  """Floating-point operations per second that the machine reaches.

  Attributes:
    attack: of attack steps; mining, which has the forward half of them, is taken to reach as much.
    training: of training passes and their gradients.
    update: seconds of a step that are the same whatever its images, of the optimizer's work; 0
      where `training` was measured with it on as many images as the step has.
  """

  attack: float
  training: float
  update: float = 0.0


class _Counted(typing.NamedTuple):
  """What is counted of a network: its operations, and numbers of an embedding."""

  once: Flops
  embedding: int


# --------------------------------------------------------------------------- operations


def step_cost(config: TrainingConfig, network: keras.Model, step: int = 0) -> StepCost:
  """Counts the operations of a training step.

  Left out: the clean pass that TRADES's attack begins with, and what moves memory alone.

  Args:
    config: TrainingConfig.
    network: a network that `networks.flops` can count.
    step: its number, which tells a cheaper inner attack from PGD.
  """
  return _step_cost(config, _counted(network), step)


def run_cost(config: TrainingConfig, network: keras.Model) -> int:
  """Floating-point operations of a whole training, with its looks at held-out images."""
  counted = _counted(network)
  steps = sum(count * _step_cost(config, counted, first).total for count, first in _phases(config))
  return steps + _looks(config, counted)


def _counted(network):
  return _Counted(flops(network), network.output["embedding"].shape[-1] if "embedding" in network.output else 0)


def _step_cost(config, counted, step):
  recipe, batch, once = recipes.get(config.method), config.batch_size, counted.once
  roles, source = recipe.roles(config.recipe), recipe.negatives(config.recipe)
  attack, inner = 0, recipe.inner_attack(config.recipe)
  if Role.ADVERSARIAL in roles and not inner.needs_gradient:  # which takes it from the training pass
    kinds = list(inner.attacks(config.attack).values())
    attack = batch * kinds[0 if step < inner.first_pgd_step else -1].steps * once.attack
  mining = 0
  if source is not None:
    mining = source.mined(batch) * once.forward + 2 * source.compared(batch) * counted.embedding
  return StepCost(attack, mining, batch * len(roles) * once.training)


def _phases(config):
  """(steps, number of the first) of a training's phases: of a cheaper inner attack, then of PGD."""
  cheap = min(config.train_steps, recipes.get(config.method).inner_attack(config.recipe).first_pgd_step)
  return [(count, first) for count, first in ((cheap, 0), (config.train_steps - cheap, cheap)) if count]


def _looks(config, counted):
  """Operations of all looks at held-out images."""
  once, looks = counted.once, -(-config.train_steps // config.checkpoint_every)
  return looks * config.validation_examples * (config.validation_attack.steps * once.attack + 2 * once.forward)


# --------------------------------------------------------------------------- rates


class _Trial(typing.NamedTuple):
  """The rate of an attack, and the images of its batch, which may have been cut."""

  rate: float
  batch: int


def _attack_trial(network, batch_size, mode, precision, jit):
  """The rate of attack steps: the median of three trials. A batch that would take long is cut."""
  once = flops(network)
  batch = _cut(batch_size, once.attack, _FIRST_OPERATIONS)
  timer = AttackTimer(network, batch, mode=mode, precision=precision, jit=jit)
  step = timer.seconds(1)
  if batch < batch_size:
    batch = _cut(batch_size, step / batch, _LONGEST_TRIAL)
    timer = AttackTimer(network, batch, mode=mode, precision=precision, jit=jit)
    step = timer.seconds(1)
  # So many that to start the loop is little beside them.
  steps = max(1, round(_MEASURING / _FEWEST / step))
  return _Trial(batch * once.attack / statistics.median(timer.seconds(steps) for _ in range(_FEWEST)), batch)


def _cut(count, each, most):
  """How many of so many fit, at least one."""
  return max(1, min(count, int(most / each)))


def training_pass(config: TrainingConfig, images: int) -> TrainingConfig:
  """A training whose step is the training pass alone of another, over so many images."""
  parts = config.accumulate_steps if images % config.accumulate_steps == 0 else 1
  return same_step(config.replace(method="um", batch_size=images, accumulate_steps=parts))


def _training_rates(config, image_shape, num_classes, images, counted, attack):
  """The rates of a step whose attack reaches a rate, and whose training pass has so many images."""
  tried = _cut(images, counted.once.training, _LONGEST_TRIAL * attack)
  plain = training_pass(config, tried)
  seconds = _timed(plain, image_shape, num_classes, 0)
  # Of a few images the optimizer's work would be a large share, which it is not of all.
  update = 0.0 if tried == images else min(_update_seconds(plain, image_shape, num_classes), 0.9 * seconds)
  return Rates(attack, tried * counted.once.training / (seconds - update), update)


# --------------------------------------------------------------------------- seconds


def measured_step_seconds(
  config: TrainingConfig,
  image_shape: tuple[int, ...] | None = None,
  num_classes: int | None = None,
  step: int = 0,
  longest: float = _TOO_LONG,
) -> float:
  """Seconds of a training step here: the median of a few, on noise in the shape of the data.

  A step that would take long is counted instead. What was measured is remembered for
  configurations whose step is the same work.

  Args:
    config: TrainingConfig.
    image_shape: (height, width, channels); None for the data set's.
    num_classes: number of classes; None for the data set's.
    step: number of the step: a cheaper inner attack may precede PGD.
    longest: seconds of a step that is still measured.

  Raises:
    InputError: for a data set whose shape follows from its files, where none is given.
  """
  shape, classes = data_shape(config, image_shape, num_classes)
  try:
    large = step_operations(config, shape, classes, step).total > _FIRST_OPERATIONS
  except InputError:  # A network of one's own may hide its products.
    large = False
  counted = counted_step_seconds(config, shape, classes, step) if large else 0.0
  return counted if counted > longest else _timed(config, shape, classes, _first_like(config, step))


def counted_step_seconds(
  config: TrainingConfig, image_shape: tuple[int, ...] | None = None, num_classes: int | None = None, step: int = 0
) -> float:
  """Seconds of a training step by its operations and two measured rates; arguments as in `measured_step_seconds`.

  Rates are remembered: many configurations of one network cost seconds.
  """
  shape, classes = data_shape(config, image_shape, num_classes)
  return step_operations(config, shape, classes, step).seconds(rates(config, shape, classes))


def run_seconds(
  config: TrainingConfig,
  image_shape: tuple[int, ...] | None = None,
  num_classes: int | None = None,
  step_seconds: typing.Callable[..., float] = counted_step_seconds,
) -> float:
  """Seconds of a whole training, with its start and its looks at held-out images.

  Args:
    config: TrainingConfig.
    image_shape: (height, width, channels); None for the data set's.
    num_classes: number of classes; None for the data set's.
    step_seconds: `counted_step_seconds`, or `measured_step_seconds`, which takes longer.
  """
  shape, classes = data_shape(config, image_shape, num_classes)
  steps = sum(count * step_seconds(config, shape, classes, first) for count, first in _phases(config))
  looks = _looks(config, _counts(config.network, shape, classes))
  return STARTING + steps + looks / judging_rate(config, shape, classes)


def rates(config: TrainingConfig, image_shape: tuple[int, ...], num_classes: int) -> Rates:
  """The rates that counting takes for a step of this configuration."""
  config, counted = same_step(config), _counts(config.network, image_shape, num_classes)
  recipe = recipes.get(config.method)
  at_once = config.attack_batch_size or config.batch_size // config.accumulate_steps
  mode = recipe.inner_attack(config.recipe).mode
  attack = _attack_rate(
    config.network, image_shape, num_classes, at_once, mode, Precision(config.attack_precision.value), config.jit
  )
  images = config.batch_size * len(recipe.roles(config.recipe))
  return _training_rates(config, image_shape, num_classes, images, counted, attack)


def judging_rate(config: TrainingConfig, image_shape: tuple[int, ...], num_classes: int) -> float:
  """Operations per second of attacks that judge the network of a configuration."""
  return _attack_rate(
    config.network, image_shape, num_classes, _JUDGED_BATCH, PassMode.INFERENCE, Precision.FLOAT32, config.jit
  )


def step_operations(config: TrainingConfig, image_shape: tuple[int, ...], num_classes: int, step: int = 0) -> StepCost:
  """`step_cost` of the network that a configuration names, counted once."""
  return _step_cost(config, _counts(config.network, image_shape, num_classes), step)


def network_flops(network: str, image_shape: tuple[int, ...], num_classes: int) -> Flops:
  """Operations of a network by its name, counted once."""
  return _counts(network, image_shape, num_classes).once


def embedding_size(network: str, image_shape: tuple[int, ...], num_classes: int) -> int:
  """Numbers of a network's embedding; 0 without one."""
  return _counts(network, image_shape, num_classes).embedding


def data_shape(
  config: TrainingConfig, image_shape: tuple[int, ...] | None = None, num_classes: int | None = None
) -> tuple[tuple[int, ...], int]:
  """(height, width, channels) and number of classes, those of the data set where they are not given.

  Raises:
    InputError: for a data set that has none of its own.
  """
  spec = datasets.get(config.dataset)
  own = len(config.reading.classes) or len(spec.class_names) or spec.num_classes
  shape, classes = image_shape or spec.image_shape, num_classes or own
  if shape is None or not classes:
    raise InputError(
      f"Data set {config.dataset!r} has images of any shape and class: give `image_shape` and `num_classes`."
    )
  return tuple(shape), classes


def _first_like(config, step):
  """The first step of the phase of a training that a step is in."""
  first_pgd_step = recipes.get(config.method).inner_attack(config.recipe).first_pgd_step
  return first_pgd_step if step >= first_pgd_step else 0


def _timed(config, image_shape, num_classes, step):
  """Median seconds of a step, measured once for all configurations whose step is the same work."""
  return _timed_once(_text(config), image_shape, num_classes, step)


def _update_seconds(config, image_shape, num_classes):
  """Median seconds of what a step does whatever its images, measured once."""
  return _updated_once(_text(config), image_shape, num_classes)


def _text(config):
  """What configurations whose step is the same work have in common."""
  return json.dumps(same_step(config).to_dict(), sort_keys=True)


@functools.cache
def _timed_once(text, image_shape, num_classes, step):
  return _median(StepTimer(TrainingConfig.from_dict(json.loads(text)), image_shape, num_classes, step))


@functools.cache
def _updated_once(text, image_shape, num_classes):
  return _median(UpdateTimer(StepTimer(TrainingConfig.from_dict(json.loads(text)), image_shape, num_classes)))


def _median(timer):
  """Median seconds of what a timer runs."""
  timer.seconds()  # compiles
  found = timer.seconds()
  while len(found) < _FEWEST or sum(found) < _MEASURING:
    found += timer.seconds(max(1, min(_FEWEST, round(_MEASURING / found[0]))))
  return statistics.median(found)


# (images asked for, what was measured), by all the rest.
_trials: dict[tuple, list[tuple[int, _Trial]]] = {}


def _attack_rate(network, image_shape, num_classes, batch_size, *how):
  """The rate of an attack on a batch; a batch that would be cut as another was has the other's."""
  known = _trials.setdefault((network, image_shape, num_classes, *how), [])
  found = next((trial for asked, trial in known if asked == batch_size or trial.batch < min(asked, batch_size)), None)
  if found is None:
    found = _attack_trial(networks.build(network, image_shape, num_classes), batch_size, *how)
    known.append((batch_size, found))
  return found.rate


@functools.cache
def _counts(network, image_shape, num_classes):
  return _counted(networks.build(network, image_shape, num_classes))


def forget() -> None:
  """Forgets what was measured in this process: the next questions are answered anew."""
  _trials.clear()
  for known in (_timed_once, _updated_once, _counts):
    known.cache_clear()
