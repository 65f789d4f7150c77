"""Running a configured training, from the first step or from a checkpoint."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import typing
import warnings

import keras
import numpy as np
import tensorflow as tf

from tla_tf import data, datasets, models, networks, recipes
from tla_tf.attack_configs import falls_short
from tla_tf.config import AttackConfig, TrainingConfig
from tla_tf.data.stream import to_float
from tla_tf.errors import AttackWarning, InputError
from tla_tf.models import RobustModel
from tla_tf.models.factory import needs
from tla_tf.persistence import CheckpointStore, RunFolder
from tla_tf.persistence.versions import versions
from tla_tf.records.run import DataFacts
from tla_tf.records.shown import short_of_its_ball
from tla_tf.training import collapse, event_files, hparams, strategies
from tla_tf.training.checkpointing import Checkpointing
from tla_tf.training.determinism import make_deterministic
from tla_tf.training.guard import NonFiniteGuard
from tla_tf.training.initialisation import initialise
from tla_tf.training.loop import TrainingLoop
from tla_tf.training.metrics_log import MetricsLog
from tla_tf.training.optimizers import make_optimizer
from tla_tf.training.pictures import Pictures
from tla_tf.training.precision_choice import chosen_precision
from tla_tf.training.profiling import Profile
from tla_tf.training.progress import Progress
from tla_tf.training.workers import InStep, digest
from tla_tf.types import PrecisionChoice, Role

_VALIDATION_BATCH = 100


def train(
  config: TrainingConfig,
  output_dir: str | pathlib.Path,
  data_dir: str | pathlib.Path | None = None,
  cache_dir: str | pathlib.Path | None = None,
  say: typing.Callable[[str], object] = print,
  reading_progress: typing.Callable[[int, int], None] | None = None,
  owns_process: bool = False,
) -> RunFolder:
  """Trains, or goes on training, in a run folder.

  Killed at any moment and called again with the same arguments, it ends in
  the same bits as a run that was never stopped (of a network that XLA does not
  compile, certainly so under TensorFlow's op determinism alone).

  Args:
    config: TrainingConfig.
    output_dir: the run folder; new, empty, or of the same run.
    data_dir: folder of the data set's files.
    cache_dir: folder that keeps decoded images; None for the user's own.
    say: receives lines for people.
    reading_progress: called with the number of image files decoded and to
      decode, or None.
    owns_process: whether switches that act on the whole process may be turned
      on, for the same bits in every run; otherwise `say` hears of them.

  Returns:
    RunFolder.

  Raises:
    InputError: for bad data, a folder of something else, or a run with other
      settings or data.
    DivergedError: if the loss or the weights are no longer finite.
  """
  remedy = f"the same command on every worker goes on from the last checkpoint in {output_dir}"
  workers = strategies.meet(config)
  with workers.watched(remedy):
    return _train(workers, config, output_dir, data_dir, cache_dir, say, reading_progress, owns_process)


def _train(workers, config, output_dir, data_dir, cache_dir, say, reading_progress, owns_process):
  """What one of the workers does; where there is one process, it is the chief."""
  say_own = say
  if not workers.is_chief:
    say(f"{workers.described()}: in step with the first, which says how far they are.")
    say = _ignored
  config = config.replace(replicas=workers.strategy.num_replicas_in_sync)
  # The chief alone reads and writes the folder, which need not be there for others.
  folder, resumed = RunFolder.create(output_dir) if workers.is_chief else (RunFolder(output_dir), False)
  if resumed:
    config = _read_as_before(folder, config)
  config = _as_the_chief(workers, config)
  splits = datasets.load(config.dataset, data_dir, config.data_source, config.reading, cache_dir, reading_progress)
  facts = _data_facts(splits, data_dir)
  for path, reason in facts.left_out:
    say(f"left out     {path}: {reason}")
  if workers.is_chief:
    config = chosen_precision(config, splits.train.image_shape, lambda tried: _one_step(tried, splits), say, cache_dir)
  config = _of_chief(workers, config)
  if resumed:
    _require_same_run(folder, config, facts)
  _require_data_of_the_chief(workers, facts)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", AttackWarning)  # `cautions` says the same.
    strategies.require_even(config, needs(config)[1])
    with workers.strategy.scope():
      model, network = build_model(config, splits.train.image_shape, splits.train.num_classes)
    strategies.require_splittable(model, config.replicas)
  failure = workers.from_chief((folder.record().xla_failure or "") if resumed else "") or None
  if failure and model.compiler.trying:
    model.compiler.give_up(failure)
  if config.deterministic:
    # Of several replicas XLA compiles the attack alone.
    make_deterministic(model.xla and config.replicas == 1, owns_process, say)
  store = CheckpointStore(folder.checkpoints, config.keep_checkpoints, recipes.get(config.method).best_by)
  start = _begin(workers, config, folder, store, model, network)
  if start >= config.train_steps:
    say(f"{output_dir}: already trained for {start} steps.")
    return folder
  for sentence in cautions(config):
    say(f"note: {sentence}")
  with folder.lock() if workers.is_chief else contextlib.nullcontext():
    if workers.is_chief:
      folder.write_config(config, facts, versions(), xla_failure=failure)

    def on_failure(sentence):
      say(f"note: {sentence}" + (" The bits are other than XLA's from here." if start else ""))
      # The continuation of the run has the same compiler.
      if workers.is_chief:
        folder.write_config(config, facts, versions(), xla_failure=model.compiler.failure)
      if config.deterministic:
        make_deterministic(model.xla, owns_process, say)

    model.compiler.on_failure = on_failure
    try:
      _run(workers, config, folder, splits, model, network, store, start, say)
    except collapse.CollapseError as error:
      # Once: what PGD attacks is not looked at.
      collapse.fall_back(error.args[0], folder, store, say)
      start = error.args[0].step
      model.inner_attack.switch_at(start)
      store.restore(start, model.state())
      _run(workers, config, folder, splits, model, network, store, start, say)
    if workers.together:
      say_own(f"{workers.described()}: weights {digest(model.state())[:12]} after step {config.train_steps}.")
      workers.meet()  # The chief's last files are written.
  return folder


def _ignored(*_: typing.Any) -> None:
  pass


def _as_the_chief(workers, config):
  """The chief's settings, if this worker was given the same."""
  chief = _of_chief(workers, config)
  # Of earlier runs the chief alone knows.
  own = config.replace(init=chief.init, reading=config.reading.replace(use_val=chief.reading.use_val))
  difference = chief.first_difference(own)
  if difference:
    name, theirs, ours = difference
    raise InputError(f"was given `{name}={ours}`, {workers.name(0)} {theirs}; give every worker the same command.")
  return chief


def _of_chief(workers, config):
  if not workers.together:
    return config
  return TrainingConfig.from_dict(json.loads(workers.from_chief(json.dumps(config.to_dict()))))


def _require_data_of_the_chief(workers, facts):
  known = workers.from_chief(facts.digest)
  if known != facts.digest:
    raise InputError(
      f"has other data (digest {facts.digest[:12]}) than {workers.name(0)} ({known[:12]}); give every worker the same."
    )


def _begin(workers, config, folder, store, model, network):
  """Gives the model the weights to begin with, on every worker those of the chief; returns the step."""
  start = fallback = 0
  if workers.is_chief:
    start = store.last() or 0
    fell_back = folder.read_fallback() if folder.is_run else None
    fallback = fell_back.step if fell_back is not None else -1
    if start:
      store.restore(start, model.state())
      store.prune()
    elif config.init.run_dir:
      initialise(network, config.init)
      model.start_average()
  start, fallback = json.loads(workers.from_chief(json.dumps([start, fallback])))
  if fallback >= 0:
    model.inner_attack.switch_at(fallback)
  share, first_pgd_step = model.inner_attack.collapse_share, model.inner_attack.first_pgd_step
  if workers.together and share and first_pgd_step > start:
    raise InputError(
      f"`collapse_share={share:g}`: several workers cannot go back to an earlier checkpoint when a cheap attack "
      "collapses; give `collapse_share=0` to go without this guard, or train in one process until PGD takes over."
    )
  parts = model.state().values()
  workers.share([variable for part in parts for variable in part.variables])
  for part in parts:
    if isinstance(part, keras.Model) and not workers.is_chief:
      networks.finalize(part)
  return start


def cautions(config: TrainingConfig) -> list[str]:
  """Sentences on attacks of a training that cannot reach the edge of their ball, at any step of their schedules."""
  attacks, recipe = {}, recipes.get(config.method)
  if Role.ADVERSARIAL in recipe.roles(config.recipe):
    attacks["training attack", "attack_steps", "attack_step_size"] = _shortest_attack(config)
    for name, attack in recipe.inner_attack(config.recipe).attacks(config.attack).items():
      if name != "attack":  # Its steps are in radii, whatever the schedule of epsilon.
        attacks[f"{name} training attack", "inner_attack_step", "short_pgd_steps"] = attack
  words = ("attack on held-out images", "validation_attack_steps", "validation_attack_step_size")
  attacks[words] = config.validation_attack
  return [
    f"the {what} cannot reach the edge of its ball: {short_of_its_ball(attack)}; give `{steps}` or `{length}`."
    for (what, steps, length), attack in attacks.items()
    if falls_short(attack)
  ]


def _shortest_attack(config: TrainingConfig) -> AttackConfig:
  """The training attack where its schedules give it the shortest reach: at one of their points."""
  schedules = {"epsilon": ((0, 1.0),), **dict(config.schedules)}
  schedules = {"step_size": schedules["epsilon"], **schedules}

  def factor(name: str, step: int) -> float:
    points = schedules[name]
    return float(np.interp(step, [at for at, _ in points], [value for _, value in points]))

  steps = {at for name in ("epsilon", "step_size") for at, _ in schedules[name] if at < config.train_steps} or {0}
  attacks = [
    config.attack.replace(
      epsilon=min(1.0, config.attack.epsilon * factor("epsilon", step)),
      step_size=min(1.0, config.attack.step_size * factor("step_size", step)),
    )
    for step in sorted(steps)
  ]
  return min(attacks, key=lambda attack: attack.reach)


def stream_of(
  config: TrainingConfig, images: data.ImageData, model: RobustModel, kind: type[data.BatchStream] = data.BatchStream
) -> data.BatchStream:
  """The batches that a model trains on.

  Args:
    config: TrainingConfig.
    images: training images.
    model: what they are for, of the same configuration.
    kind: class of the stream.
  """
  classmates, pool = needs(config)
  return kind(
    images,
    config.batch_size,
    config.seed,
    classmates=classmates,
    pool_size=pool,
    augment_pad=config.augment_pad,
    augment_flip=config.augment_flip,
    replays=model.inner_attack.replays,
    replays_until=model.inner_attack.first_pgd_step,
  )


def _run(workers, config, folder, splits, model, network, store, start, say):
  """Trains from step `start` to the end."""
  say(
    f"{config.method} on {config.dataset}: {config.network}, {network.count_params():,} parameters, "
    f"{len(splits.train):,} training images; "
    + (f"going on at step {start}" if start else "starting")
    + "; the first step is compiled."
  )

  stream = stream_of(config, splits.train, model)
  writing: typing.Any = (
    _writing(config, folder, splits, model, stream, store, start, say)
    if workers.is_chief
    else contextlib.nullcontext([])
  )
  strategy = workers.strategy
  watching = [InStep(workers)] if workers.together else []
  with writing as callbacks:
    loop = TrainingLoop(model, strategy, config.steps_per_execution, config.log_every)
    loop.run(
      strategies.deal(strategy, functools.partial(stream.dataset, start, config.train_steps)),
      strategies.deal(strategy, functools.partial(_validation_batches, splits.heldout, config.validation_examples)),
      start,
      config.train_steps,
      config.checkpoint_every,
      [*watching, *callbacks],
    )


@contextlib.contextmanager
def _writing(config, folder, splits, model, stream, store, start, say):
  """The callbacks that watch a training and write its folder: those of the chief."""
  event_files.drop_after(folder.tensorboard, start)
  with hparams.session(folder, config), contextlib.ExitStack() as stack:
    # Closed on Ctrl-C and divergence, too: the bar gives the cursor back, the logs are complete.
    metrics, pictures, progress = (
      stack.enter_context(contextlib.closing(callback))
      for callback in (
        MetricsLog(folder, start, config.log_every),
        Pictures(folder, stream),
        Progress(start, config.train_steps, say),
      )
    )
    guards = []
    share, first_pgd_step = model.inner_attack.collapse_share, model.inner_attack.first_pgd_step
    if share and first_pgd_step > start:
      examples = min(config.validation_examples, len(splits.heldout))
      guards.append(collapse.CollapseGuard(metrics, share, first_pgd_step, examples))
    if config.profile_steps:
      first, last = config.profile_steps
      profile = Profile(folder, first, last, start, say, config.steps_per_execution)
      guards.append(stack.enter_context(contextlib.closing(profile)))
    yield [NonFiniteGuard(store), metrics, *guards, pictures, Checkpointing(store, metrics), progress]


def build_model(
  config: TrainingConfig, image_shape: tuple[int, ...], num_classes: int
) -> tuple[models.RobustModel, keras.Model]:
  """The compiled model of a configuration, and its network, with fresh weights."""
  network = networks.build(config.network, image_shape, num_classes, seed=config.seed)
  model = models.make_model(config, network)
  optimizer = make_optimizer(config)
  model.compile(optimizer, jit_compile=config.jit.value)
  return model, network


def _data_facts(splits, data_dir):
  return DataFacts(
    digest=splits.digest(),
    image_shape=tuple(splits.train.image_shape),
    num_classes=splits.train.num_classes,
    class_names=tuple(splits.train.class_names),
    data_dir=os.path.abspath(data_dir) if data_dir else None,
    left_out=tuple((path, reason) for path, reason in splits.left_out),
  )


def _read_as_before(folder, config):
  """A run goes on with the precision that it measured, and without `val/` if it began before that was looked for."""
  before, _ = folder.read_config()
  if config.attack_precision is PrecisionChoice.AUTO:
    config = config.replace(attack_precision=before.attack_precision)
  return config if before.reading.use_val else config.replace(reading=config.reading.replace(use_val=False))


def _one_step(config, splits):
  """A function that runs one training step of a config to its end, on a model of its own."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", AttackWarning)
    model, _ = build_model(config, splits.train.image_shape, splits.train.num_classes)
  classmates, pool = needs(config)
  batch = data.BatchStream(splits.train, config.batch_size, config.seed, classmates=classmates, pool_size=pool).batch(
    tf.constant(0)
  )
  return lambda: float(model.train_on_batch(batch, return_dict=True)["loss"])


def _require_same_run(folder, config, facts):
  before, facts_before = folder.read_config()
  difference = before.first_difference(config)
  if difference:
    name, was, now = difference
    if name.startswith("init."):
      raise InputError(
        f"{folder.path}: began with other weights; give the same `init_from`, or another `output_dir` to start anew."
      )
    if name == "replicas":
      raise InputError(
        f"{folder.path}: was trained on {was} replicas, not {now}, which sum in another order; give as many devices to "
        "go on, or another `output_dir` to start anew."
      )
    if name == "cosine_steps":
      raise InputError(
        f"{folder.path}: its learning rate is a cosine over {was} steps, not {now}; give "
        f"`cosine_steps={was}` to go on, or another `output_dir` to start anew."
      )
    raise InputError(
      f"{folder.path}: was trained with `{name}={was}`, not {now}; give the same settings to go on, "
      "or another `output_dir` to start anew."
    )
  if facts_before.digest != facts.digest:
    raise InputError(
      f"{folder.path}: was trained on other data (digest {facts_before.digest[:12]}, now "
      f"{facts.digest[:12]}); give the same data, or another `output_dir`."
    )


def _validation_batches(heldout, count, first, local, replicas):
  """Batches of held-out images; of several replicas, parts of them with their places, replica by replica."""
  heldout = heldout.take(slice(min(count, len(heldout))))
  batches = tf.data.Dataset.from_tensor_slices((heldout.images, heldout.labels)).batch(_VALIDATION_BATCH)

  def parts(images, labels):
    total = tf.shape(labels)[0]
    return tf.data.Dataset.range(first, first + local).map(lambda replica: part(images, labels, total, replica))

  def part(images, labels, total, replica):
    begin, end = ((tf.cast(replica, tf.int32) + k) * total // replicas for k in (0, 1))
    return {"image": to_float(images[begin:end]), "label": labels[begin:end], "part": tf.stack([begin, total])}

  if replicas == 1:
    return batches.map(lambda images, labels: {"image": to_float(images), "label": labels}).cache()
  return batches.flat_map(parts).cache()
