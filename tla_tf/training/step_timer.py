"""Training steps and attacks on noise, timed: what they take does not depend on what the images show."""

from __future__ import annotations

import math
import time
import typing
import warnings

import keras
import numpy as np
import tensorflow as tf

from tla_tf import balls, data, networks, recipes
from tla_tf.attacks.gradient_loop import gradient_loop
from tla_tf.config import AttackConfig, InitConfig, ReadingConfig, TrainingConfig
from tla_tf.errors import AttackWarning
from tla_tf.losses.weight_decay import weight_decay
from tla_tf.networks.compilation import unwarned
from tla_tf.ops import objectives, replicas
from tla_tf.training.loop import TrainingLoop
from tla_tf.training.trainer import build_model, stream_of
from tla_tf.types import Jit, Norm, PassMode, Precision, PrecisionChoice, Role, Schedule

# Of noise; a pool runs through them again and again. Large ones are fewer.
_IMAGES, _MOST_BYTES = 2000, 2**28
# Steps that are never reached.
_ENDLESS = 10**9


def same_step(config: TrainingConfig) -> TrainingConfig:
  """The configuration with usual values for all that the time of a step does not depend on.

  Two configurations whose step is the same work become one; a rate of 0 keeps weights finite
  however long they are trained on noise. PGD goes on with images that are misclassified: on
  noise almost all are.

  Args:
    config: TrainingConfig.
  """
  usual, recipe, precision, attack = TrainingConfig(), config.recipe, config.attack_precision, AttackConfig()
  if Role.ADVERSARIAL in recipes.get(config.method).roles(recipe):
    attack = config.attack.replace(epsilon=0.1, step_size=0.1)
  if hasattr(recipe, "inner_attack"):
    recipe = recipe.replace(inner_attack=recipe.inner_attack.replace(friendly_tau=-1))
  return config.replace(
    recipe=recipe,
    dataset=usual.dataset,
    data_source=usual.data_source,
    reading=ReadingConfig(),
    init=InitConfig(),
    attack=attack,
    validation_attack=AttackConfig(),
    validation_examples=1,
    schedules=(),
    weight_average=0.5 if config.weight_average else 0.0,
    weight_average_start=0,
    train_steps=1,
    profile_steps=(),
    learning_rate=0.0,
    learning_rate_drops=(),
    learning_rate_schedule=Schedule.PIECEWISE,
    warmup_steps=0,
    cosine_steps=0,
    weight_decay=usual.weight_decay if config.weight_decay else 0.0,
    seed=0,
    # What "auto" takes at most.
    attack_precision=Precision.FLOAT32.value if precision is PrecisionChoice.AUTO else precision,
    distribution_strategy=usual.distribution_strategy,
    replicas=1,
    worker_timeout=usual.worker_timeout,
    checkpoint_every=1,
    keep_checkpoints=1,
    log_every=config.log_every if config.steps_per_execution > 1 else 1,
  )


class StepTimer:
  """Trains a configuration on noise and times its steps, as the training tools run them.

  Args:
    config: TrainingConfig.
    image_shape: (height, width, channels).
    num_classes: number of classes.
    step: number of the first step that is run.
    timer: seconds.

  Attributes:
    model: the RobustModel that is trained.
    batch: a batch of its stream.
  """

  def __init__(
    self,
    config: TrainingConfig,
    image_shape: tuple[int, ...],
    num_classes: int,
    step: int = 0,
    timer: typing.Callable[[], float] = time.perf_counter,
  ):
    self._timer, self._done = timer, step
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", AttackWarning)
      self.model, _ = build_model(config, image_shape, num_classes)
    self.model.optimizer.iterations.assign(step)
    stream = stream_of(config, noise(image_shape, num_classes), self.model)
    # A batch of the stream, for what is timed of a step by itself.
    self.batch = stream.batch(tf.constant(step))
    # One iterator for all: batches are made ahead, as in a training.
    self._batches = iter(stream.dataset(step, _ENDLESS))
    self._longest = config.steps_per_execution
    self._loop = TrainingLoop(self.model, None, self._longest, config.log_every)

  def seconds(self, executions: int = 1) -> list[float]:
    """Seconds of a step, in each of some executions; the very first of all compiles."""
    watch = _Watch(self._timer)
    stop = self._done + executions * self._longest
    self._loop.run(self._batches, None, self._done, stop, stop, [watch])
    self._done = stop
    return watch.seconds


class MiningTimer:
  """Times how a training step finds its negatives, by itself: their images' pass and the search among them.

  Args:
    step: StepTimer of a method whose negatives come from a pool of images.
    timer: seconds.
  """

  def __init__(self, step: StepTimer, timer: typing.Callable[[], float] = time.perf_counter):
    self._timer, model, self._batch = timer, step.model, step.batch
    seed = model.step_seed(0)

    def mine(batch):
      return model.negative_images(batch, batch["image"], seed)

    self._mine = tf.function(mine, jit_compile=model.xla, autograph=False)

  def seconds(self, executions: int = 1) -> list[float]:
    """Seconds of each of some executions; the very first of all compiles."""
    return [_taken(self._timer, lambda: np.asarray(self._mine(self._batch)[0])) for _ in range(executions)]


class UpdateTimer:
  """Times what a training step does whatever the number of its images: weight decay and the optimizer's work.

  Args:
    step: StepTimer.
    timer: seconds.
  """

  def __init__(self, step: StepTimer, timer: typing.Callable[[], float] = time.perf_counter):
    self._timer, model = timer, step.model

    def update():
      variables = model.trained_variables
      with tf.GradientTape() as tape:
        loss = weight_decay(variables)
      gradients = tape.gradient(loss, variables)
      zeros = (tf.zeros(variable.shape, variable.dtype) for variable in variables)
      given = [zero if g is None else g for g, zero in zip(gradients, zeros)]
      replicas.apply_gradients(model.optimizer, given, variables)
      return loss

    self._update = tf.function(update, jit_compile=model.xla, autograph=False)

  def seconds(self, executions: int = 1) -> list[float]:
    """Seconds of each of some executions; the very first of all compiles."""
    return [_taken(self._timer, lambda: np.asarray(self._update())) for _ in range(executions)]


def _taken(timer, work):
  """Seconds of a function without arguments."""
  began = timer()
  work()
  return timer() - began


class AttackTimer:
  """Times the steps of a training attack by themselves, on noise.

  Args:
    network: a `keras.Model`.
    batch_size: images that it takes at once.
    mode: a `types.PassMode`, in which it sees the network.
    precision: a `types.Precision`, of its passes.
    jit: a `types.Jit`.
    timer: seconds.
  """

  def __init__(
    self,
    network: keras.Model,
    batch_size: int,
    *,
    mode: PassMode | str = PassMode.INFERENCE,
    precision: Precision | str = Precision.FLOAT32,
    jit: Jit | str = Jit.AUTO,
    timer: typing.Callable[[], float] = time.perf_counter,
  ):
    self._timer = timer
    forward = networks.logits_function(network, PassMode(mode) is PassMode.TRAINING, precision)

    def search(images, labels, steps):
      return gradient_loop(
        forward.ready(),
        objectives.cross_entropy,
        balls.get(Norm.LINF),
        images,
        labels,
        images,
        epsilon=0.1,
        step_size=0.1,
        steps=steps,
        record=False,
      ).adversarial

    self._search = networks.Compiler(jit, network, precision).function(search, "the attack")
    images = np.random.default_rng(0).random((batch_size, *network.input_shape[1:]))
    self._given = tf.constant(images, tf.float32), tf.zeros([batch_size], tf.int32)
    with unwarned():
      self.seconds(1)  # compiles

  def seconds(self, steps: int) -> float:
    """Seconds of a step, of so many in a row."""
    return _taken(self._timer, lambda: np.asarray(self._search(*self._given, tf.constant(steps)))) / steps


class _Watch(keras.callbacks.Callback):
  """Seconds of a step, of each execution."""

  def __init__(self, timer: typing.Callable[[], float]):
    super().__init__()
    self.seconds: list[float] = []
    self._timer, self._steps, self._began = timer, 0, 0.0

  def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
    self._began = self._timer()

  def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
    taken, steps = self._timer() - self._began, batch + 1 - self._steps
    self.seconds.append(taken / steps)
    self._steps = batch + 1


def noise(image_shape: tuple[int, ...], num_classes: int) -> data.ImageData:
  """uint8 images of noise, every class at least twice unless they are large."""
  rng = np.random.default_rng(0)
  count = max(2, min(max(_IMAGES, 2 * num_classes), _MOST_BYTES // math.prod(image_shape)))
  images = rng.integers(0, 256, (count, *image_shape), dtype=np.uint8)
  return data.ImageData(images, np.arange(count) % num_classes, tuple(map(str, range(num_classes))), "noise")
