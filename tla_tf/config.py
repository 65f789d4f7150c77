"""Frozen settings, validated when made, JSON in and out. No TensorFlow here.

Pixels are in [0, 1]; so are `epsilon` and `step_size`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import typing

from tla_tf import types
from tla_tf.errors import InputError
from tla_tf.registry import METHODS, expected


def require(condition: typing.Any, name: str, expected: str, received: typing.Any) -> None:
  """Raises InputError for a setting unless the condition holds."""
  if not condition:
    raise InputError(f"Invalid value for `{name}`: expected {expected}, received {received!r}.")


_Choice = typing.TypeVar("_Choice", bound=enum.Enum)


def choice(kind: type[_Choice], name: str, value: typing.Any) -> _Choice:
  """The member of a choice of `types` with a value; raises InputError for a setting that is none."""
  try:
    return kind(value)
  except ValueError:
    reason = types.REFUSED.get((kind, value)) if isinstance(value, str) else None
    require(False, name, f"one of {types.values(kind)}" + (f" ({reason})" if reason else ""), value)
    raise


def require_number(
  config: typing.Any, *names: str, low: float = 0.0, above: float | None = None, high: float = math.inf
) -> None:
  """Requires finite numbers of at least `low`, or above `above`, and at most `high`."""
  for name in names:
    value = getattr(config, name)
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if above is not None:
      require(ok and above < value <= high, name, f"a number above {above:g}", value)
    else:
      limit = f" and at most {high:g}" if math.isfinite(high) else ""
      require(ok and low <= value <= high, name, f"a number of at least {low:g}{limit}", value)


def require_whole(config: typing.Any, *names: str, low: int = 0) -> None:
  """Requires whole numbers of at least `low`."""
  for name in names:
    value = getattr(config, name)
    ok = isinstance(value, int) and not isinstance(value, bool)
    require(ok and value >= low, name, f"a whole number of at least {low}", value)


def _tuples(value):
  return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value


@functools.cache
def _kinds(config_class: type) -> dict[str, typing.Any]:
  """The types of a config's fields by name; working them out takes longer than all else of making a config."""
  return typing.get_type_hints(config_class)


Self = typing.TypeVar("Self", bound="Config")


@dataclasses.dataclass(frozen=True)
class Config:
  """Shared behaviour: enum fields accept their string values; JSON in and out."""

  def __post_init__(self):
    own: type = type(self)
    for name, kind in _kinds(own).items():
      value = getattr(self, name)
      if isinstance(kind, type) and issubclass(kind, enum.Enum):
        object.__setattr__(self, name, choice(kind, name, value))
      elif isinstance(kind, type) and issubclass(kind, Config):
        if isinstance(value, dict):
          object.__setattr__(self, name, kind.from_dict(value))
        require(isinstance(getattr(self, name), kind), name, f"a {kind.__name__}", value)
      elif kind is str:
        may_be_empty = getattr(type(self), name) == ""
        require(isinstance(value, str) and (value != "" or may_be_empty), name, "a name", value)
      elif kind is bool:
        require(isinstance(value, bool), name, "True or False", value)
      elif kind is tuple:
        # JSON has lists.
        object.__setattr__(self, name, _tuples(value))
    self.validate()

  def validate(self) -> None:
    """Raises InputError for a value out of its range."""

  def to_dict(self) -> dict:
    """Returns plain JSON values."""

    def plain(value):
      if isinstance(value, Config):
        return value.to_dict()
      if isinstance(value, enum.Enum):
        return value.value
      if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
      return value

    return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

  @classmethod
  def from_dict(cls: type[Self], values: dict) -> Self:
    """Rebuilds a config from `to_dict`; raises InputError on unknown names."""
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
      raise InputError(f"Unknown setting `{unknown[0]}` for {cls.__name__}; known: {sorted(known)}.")
    return cls(**values)

  def replace(self: Self, **changes: typing.Any) -> Self:
    """Returns a copy with some fields changed."""
    return dataclasses.replace(self, **changes)


class Option(typing.NamedTuple):
  """A setting that is a flag, too.

  Attributes:
    flag: the flag's name.
    path: where the setting is in its config: "triplet.weight".
    kind: its type: float, int, bool, str, tuple or a choice of `types`.
    help: what it does.
    pixels: whether it is a length in pixels of [0, 1].
    ours: whether nobody has published a value.
  """

  flag: str
  path: str
  kind: type
  help: str
  pixels: bool = False
  ours: bool = False


def option(
  default: typing.Any, help_: str, flag: str | None = None, pixels: bool = False, ours: bool = False
) -> typing.Any:
  """A field of a config that is a flag, too: flag and help are derived from it.

  Args:
    default: its default.
    help_: what the flag's help says.
    flag: the flag's name; the field's name by default.
    pixels: whether it is a length in pixels of [0, 1], given as 8/255, too.
    ours: whether nobody has published a value: the help then says "default".
  """
  about = {"help": help_, "flag": flag, "pixels": pixels, "ours": ours}
  return dataclasses.field(default=default, metadata=about)


def other_default(config_class: typing.Any, name: str, default: typing.Any) -> typing.Any:
  """The `option` of a class that is derived from, with another default."""
  return dataclasses.field(default=default, metadata=config_class.__dataclass_fields__[name].metadata)


def options(config_class: type, prefix: str = "") -> typing.Iterator[Option]:
  """Yields the `Option` of every field that is one, in a config class and the configs within it."""
  kinds = _kinds(config_class)
  for field in dataclasses.fields(config_class):
    kind, path = kinds[field.name], f"{prefix}{field.name}"
    if isinstance(kind, type) and issubclass(kind, Config):
      yield from options(kind, f"{path}.")
    elif "help" in field.metadata:
      about = field.metadata
      yield Option(about["flag"] or field.name, path, kind, about["help"], about["pixels"], about["ours"])


@dataclasses.dataclass(frozen=True)
class AttackConfig(Config):
  """A gradient attack in a ball: FGSM, BIM, PGD, MIM and C&W-margin PGD.

  Attributes:
    epsilon: radius of the ball, in pixels of [0, 1]; at most 1 in L-infinity.
    step_size: length of a step in the same norm.
    steps: number of gradient steps.
    random_start: start uniformly in the ball (PGD) or at the image (BIM).
    objective: what is increased.
    momentum: decay of the accumulated gradient; 0 switches it off.
    momentum_rule: see `types.MomentumRule`.
    restarts: number of independent starts; an image counts as robust only
      if none of them breaks it.
    norm: in which norm the ball is one.
  """

  epsilon: float = 0.3
  step_size: float = 0.01
  steps: int = 40
  random_start: bool = True
  objective: types.Objective = types.Objective.CROSS_ENTROPY
  momentum: float = 0.0
  momentum_rule: types.MomentumRule = types.MomentumRule.NORMALIZED
  restarts: int = 1
  norm: types.Norm = types.Norm.LINF

  def validate(self) -> None:
    require(self.norm is not types.Norm.L0, "norm", "'linf' or 'l2' for a gradient attack", self.norm.value)
    require_number(self, "epsilon", "step_size", high=1.0 if self.norm is types.Norm.LINF else math.inf)
    require_number(self, "momentum")
    require_whole(self, "steps")
    require_whole(self, "restarts", low=1)
    if self.momentum_rule is types.MomentumRule.AVERAGED:
      # At 1 the average would never leave its first gradient.
      require(self.momentum < 1, "momentum", "a number below 1 for averaged gradients", self.momentum)

  @property
  def reach(self) -> float:
    """How far the steps can go from the ball's centre, in radii: steps x step_size / epsilon; infinite without a ball.

    Below 1 the ball's edge is out of reach from its centre, below 2 the other edge from one. Momentum changes the
    direction of a step and not its length, in either norm; restarts do not go further.
    """
    return self.steps * self.step_size / self.epsilon if self.epsilon else math.inf

  def scaled(self, epsilon: float | None = None, steps: int | None = None) -> AttackConfig:
    """The same attack in another ball, or with other steps: `reach` stays, where `replace` would let it shrink.

    The step size is multiplied by epsilon's change and divided by that of steps; a single one is no longer than
    epsilon, in L-infinity no longer than 1.

    Args:
      epsilon: the radius; None for its own.
      steps: number of steps; None for its own.
    """
    radius = self.epsilon if epsilon is None else epsilon
    length = self.step_size
    # What stays keeps its bits.
    if radius != self.epsilon and self.epsilon:
      length = length * radius / self.epsilon
    if steps and steps != self.steps:
      longest = max(length, radius)
      length = min(length * (self.steps / steps), longest)
    if self.norm is types.Norm.LINF:
      length = min(length, 1.0)
    return self.replace(epsilon=radius, step_size=length, steps=self.steps if steps is None else steps)


@dataclasses.dataclass(frozen=True)
class ReadingConfig(Config):
  """How images are read, where a data set leaves a choice.

  Attributes:
    heldout: images held out to choose the best checkpoint, of training or of
      `val/`; 0 takes the data set's own number.
    classes: names of the classes to read, in their order of labels; empty for
      all. Tiny ImageNet and image folders.
    image_size: (height, width); empty for the size of the first image. Image
      folders.
    resize: what is done with images of another size. Image folders.
    channels: 3 for colour, 1 for grey. Image folders.
    use_val: whether the images of `val/` are the held-out ones, where there is
      such a folder. Image folders.
    test_fraction: share of every class's images that becomes the test images,
      where no folder holds them; 0 for none. Image folders.
    split_seed: chooses those. Image folders.
    skip_bad: whether files that cannot be read are left out. Image folders.
  """

  heldout: int = 0
  classes: tuple = ()
  image_size: tuple = ()
  resize: types.Resize = types.Resize.REFUSE
  channels: int = 3
  use_val: bool = True
  test_fraction: float = 0.0
  split_seed: int = 0
  skip_bad: bool = False

  def validate(self) -> None:
    require_whole(self, "heldout", "channels", "split_seed")
    require_number(self, "test_fraction")
    require(self.test_fraction < 1, "test_fraction", "a number of at least 0 and below 1", self.test_fraction)
    require(self.channels in (1, 3), "channels", "1 or 3", self.channels)
    for name, kind in (("classes", str), ("image_size", int)):
      value = getattr(self, name)
      require(
        isinstance(value, (tuple, list)) and all(type(v) is kind for v in value),
        name,
        f"a tuple of {kind.__name__}",
        value,
      )
      object.__setattr__(self, name, tuple(value))
    twice = [name for name in self.classes if self.classes.count(name) > 1]
    require(not twice, "classes", "every class once", ",".join(self.classes))
    size = self.image_size
    require(
      size == () or (len(size) == 2 and all(0 < n <= 4096 for n in size)),
      "image_size",
      "(height, width) of at most 4096",
      size,
    )


@dataclasses.dataclass(frozen=True)
class InitConfig(Config):
  """The checkpoint that a run starts from instead of fresh weights.

  Attributes:
    run_dir: the run folder; empty for none.
    checkpoint: the step of its checkpoint.
    digest: SHA-256 of its weights, as hex.
  """

  run_dir: str = ""
  checkpoint: int = 0
  digest: str = ""

  def validate(self) -> None:
    require_whole(self, "checkpoint")


@dataclasses.dataclass(frozen=True)
class RecipeConfig(Config):
  """What a method sets beyond the settings that all methods share; see `recipes.Recipe`.

  Fields made with `option` are flags, too.
  """


@dataclasses.dataclass(frozen=True)
class TrainingConfig(Config):
  """Everything that determines the bits of a training run.

  `train_steps`, `keep_checkpoints`, `log_every` and `profile_steps` say how long to run, what to
  keep, how often to log and what to profile, `steps_per_execution` how many steps are run at once,
  `worker_timeout` how long to wait for other workers, `init.run_dir` and `init.checkpoint` where the
  first weights lie; everything else must stay the same when a run is resumed.

  Attributes:
    method: a name of `recipes.names()`.
    recipe: the method's own settings, its `config_class`; None takes the
      defaults of that class.
    attack: the training attack; its objective and start are the method's.
    validation_attack: PGD on held-out images.
    schedules: ((name, ((step, factor), ...)), ...): factors on "epsilon" and
      "step_size" of the training attack and on the weights of the loss's terms
      by their logged names, linear between the steps. Without a schedule of its
      own the step size follows epsilon.
    weight_average: decay of an exponential average of the weights, which is
      then what is judged; 0 keeps none.
    weight_average_start: step at which the average starts.
    replicas: parts that the batch is divided into, one a device; training sets it.
    accumulate_steps: equal micro-batches of a step.
    attack_batch_size: images that the training attack takes at once; 0 for all.
  """

  dataset: str = "digits"
  data_source: types.DataSource = types.DataSource.AUTO
  reading: ReadingConfig = ReadingConfig()
  augment_pad: int = option(0, "Zeros around each training image before it is cropped back at random.")
  augment_flip: bool = option(False, "Mirror training images left to right at random.")
  init: InitConfig = InitConfig()
  method: str = "tla"
  recipe: typing.Any = None
  network: str = option(
    "mlp",
    "mlp, lenet, convnet, resnet_50, perhaps with a width (mlp_256, resnet_50_16), or wrn_DEPTH_WIDTH; or "
    "module:function of your own, which is imported and called with (image_shape, num_classes, seed), see "
    "docs/own_networks.md.",
  )
  attack: AttackConfig = AttackConfig()
  validation_attack: AttackConfig = AttackConfig()
  validation_examples: int = option(500, "Held-out images that are attacked at every checkpoint.", ours=True)
  schedules: tuple = option(
    (),
    "NAME:STEP=FACTOR,STEP=FACTOR,... makes epsilon, step_size or the weight of a term (triplet, ...) follow the step: "
    "its value times a factor that is linear between the steps. The step size follows epsilon unless it has its own. "
    "May be given several times.",
    flag="schedule",
  )
  weight_average: float = option(
    0.0,
    "Decay of an exponential average of the weights, 0.995 for instance, which is then judged in their place; 0: none.",
    ours=True,
  )
  weight_average_start: int = option(0, "Step at which the average of the weights starts.", ours=True)
  batch_size: int = option(50, "Anchors a step.")
  accumulate_steps: int = option(
    1,
    "Equal micro-batches that a step's batch is cut into, one after another, where it does not fit into memory; their "
    "gradients are averaged.",
    ours=True,
  )
  attack_batch_size: int = option(
    0, "Images that the training attack takes at once; 0: all of a step, or of a micro-batch.", ours=True
  )
  train_steps: int = option(
    1000, "Steps in all; may grow when a run goes on (under a cosine schedule with --cosine_steps as it was)."
  )
  optimizer: str = option("adam", "adam, or momentum SGD (0.9).")
  learning_rate: float = option(1e-4, "Learning rate of the first step.")
  learning_rate_drops: tuple = option(
    (), "step:rate pairs, e.g. 50000:0.01,60000:0.001; a rate holds from the step after its boundary."
  )
  learning_rate_schedule: types.Schedule = option(
    types.Schedule.PIECEWISE,
    "piecewise: constant between the drops; cosine: from the first rate to 0 within --cosine_steps, without drops.",
  )
  warmup_steps: int = option(0, "Steps within which the rate rises linearly from 0 to the schedule's.")
  cosine_steps: int = option(0, "Length of the cosine schedule; --train_steps by default.")
  weight_decay: float = option(2e-4, "Of kernels: half the squared L2 norm.")
  label_smoothing: float = option(
    0.0, "Share of the label that every cross-entropy of the training step spreads over all classes."
  )
  seed: int = option(221760322, "Seed of weights, batches and attacks.")
  deterministic: bool = option(True, "Same bits in every run on one machine.", ours=True)
  attack_precision: types.PrecisionChoice = option(
    types.PrecisionChoice.FLOAT32,
    "Type in which the training attack passes images through the network: bfloat16 is faster on processors that have "
    "it; weights, logits, pixels and the rest of the step stay float32. auto: measured at the start and remembered, "
    "bfloat16 where a step takes at most 0.9 of its time.",
    ours=True,
  )
  mixed_precision: types.MixedPrecision = option(
    types.MixedPrecision.OFF,
    "Type in which the training pass itself computes, apart from the attack: with bfloat16 the layers do; variables, "
    "logits, losses, batch statistics and the optimiser stay float32.",
    ours=True,
  )
  jit: types.Jit = option(types.Jit.AUTO, "XLA for the training step; auto: where it pays.", ours=True)
  distribution_strategy: types.DistributionStrategy = option(
    types.DistributionStrategy.ONE_DEVICE,
    "one_device; mirrored: every GPU of the machine has a part of the batch; multi_worker_mirrored: those of the "
    "machines of TF_CONFIG, see docs/scaling.md. parameter_server and tpu are refused.",
    ours=True,
  )
  sync_batch_norm: bool = option(
    True, "With several devices: batch statistics of all their images, as one device has them.", ours=True
  )
  negatives_across_replicas: bool = option(
    True, "With several devices: negatives from all their pools, as one device picks them.", ours=True
  )
  replicas: int = 1
  steps_per_execution: int = option(
    1,
    "Training steps that one call into TensorFlow runs; more save small networks time between steps, to the same bits.",
    ours=True,
  )
  worker_timeout: int = option(
    60,
    "Seconds without a sign of life after which another worker is lost, and all end; ten times as long they wait for "
    "each other at the start and within a step.",
    ours=True,
  )
  checkpoint_every: int = option(500, "Steps between checkpoints, lines of metrics.jsonl and held-out accuracy.")
  log_every: int = option(100, "Steps between TensorBoard's scalars of the training, means of these steps.", ours=True)
  profile_steps: tuple = option(
    (), "A,B writes a profile of the steps A to B, counted from 1, for TensorBoard; the bits stay the same.", ours=True
  )
  keep_checkpoints: int = option(2, "Last checkpoints to keep, besides the best.", ours=True)

  # What may differ between a run and its continuation.
  MAY_CHANGE: typing.ClassVar[frozenset] = frozenset(
    {
      "train_steps",
      "keep_checkpoints",
      "log_every",
      "profile_steps",
      "steps_per_execution",
      "worker_timeout",
      "init.run_dir",
      "init.checkpoint",
    }
  )

  def validate(self) -> None:
    self._resolve_recipe()
    self._validate_drops()
    object.__setattr__(self, "schedules", checked_schedules(self.schedules, METHODS.get(self.method), self.recipe))
    require(self.optimizer in OPTIMIZERS, "optimizer", f"one of {list(OPTIMIZERS)}", self.optimizer)
    require_whole(
      self, "batch_size", "train_steps", "checkpoint_every", "keep_checkpoints", "validation_examples", low=1
    )
    require_whole(self, "log_every", "accumulate_steps", "steps_per_execution", "worker_timeout", low=1)
    require_whole(self, "attack_batch_size")
    require(
      self.batch_size % self.accumulate_steps == 0,
      "accumulate_steps",
      f"a divisor of the batch size {self.batch_size}",
      self.accumulate_steps,
    )
    METHODS.get(self.method).require_micro_batches(self.recipe, self.accumulate_steps)
    require(
      self.profile_steps == () or _is_stretch(self.profile_steps, self.train_steps),
      "profile_steps",
      f"a first and a last of the {self.train_steps} steps, such as 20,30",
      self.profile_steps,
    )
    require_whole(self, "seed", "augment_pad", "warmup_steps", "cosine_steps", "weight_average_start")
    require(self.augment_pad <= 256, "augment_pad", "at most 256", self.augment_pad)
    self._resolve_schedule()
    require_number(self, "learning_rate", "weight_decay")
    require_number(self, "label_smoothing", high=1.0)
    require_number(self, "weight_average")
    require(self.weight_average < 1, "weight_average", "a number of at least 0 and below 1", self.weight_average)

  def replace(self, **changes: typing.Any) -> TrainingConfig:
    """Returns a copy with some fields changed; fields of the recipe may be named, too.

    With another method, the recipe starts from its defaults.
    """
    method = METHODS.get(changes.get("method", self.method))
    own = {name: changes.pop(name) for name in list(changes) if name in method.fields() and name not in _SHARED}
    if own or method.name != self.method:
      recipe = changes.get("recipe", self.recipe)
      if isinstance(recipe, dict):
        recipe = method.config_class.from_dict(recipe)
      same = isinstance(recipe, method.config_class) and ("recipe" in changes or method.name == self.method)
      changes["recipe"] = dataclasses.replace(recipe if same else method.config_class(), **own)
    return dataclasses.replace(self, **changes)

  def scaled(
    self, epsilon: float | None = None, attack_steps: int | None = None, validation_attack_steps: int | None = None
  ) -> TrainingConfig:
    """The same training in another ball, or with other steps, of both its attacks; see `AttackConfig.scaled`.

    Example:
      published.setting("mnist", "at").scaled(epsilon=0.2, validation_attack_steps=20)
    """
    return self.replace(
      attack=self.attack.scaled(epsilon, attack_steps),
      validation_attack=self.validation_attack.scaled(epsilon, validation_attack_steps),
    )

  def _resolve_recipe(self):
    method = METHODS.get(self.method)
    recipe = method.config_class() if self.recipe is None else self.recipe
    if isinstance(recipe, dict):
      recipe = method.config_class.from_dict(recipe)
    require(type(recipe) is method.config_class, "recipe", f"a {method.config_class.__name__}", self.recipe)
    object.__setattr__(self, "recipe", method.resolved(recipe))

  def _resolve_schedule(self):
    """A cosine ends with the run, unless a length is given."""
    if self.learning_rate_schedule is types.Schedule.PIECEWISE:
      require(self.cosine_steps == 0, "cosine_steps", "0 for a piecewise constant rate", self.cosine_steps)
      return
    require(
      not self.learning_rate_drops,
      "learning_rate_drops",
      "none with a cosine schedule (an empty list clears those of a flag file)",
      self.learning_rate_drops,
    )
    if not self.cosine_steps:
      object.__setattr__(self, "cosine_steps", self.train_steps)
    require(
      self.warmup_steps < self.cosine_steps,
      "warmup_steps",
      f"fewer than the {self.cosine_steps} steps of the cosine schedule",
      self.warmup_steps,
    )

  def _validate_drops(self):
    form = "pairs (whole step above 0, rate of at least 0) in increasing order"
    drops = _steps_and_numbers("learning_rate_drops", self.learning_rate_drops, form)
    require(all(step > 0 for step, _ in drops), "learning_rate_drops", form, self.learning_rate_drops)
    object.__setattr__(self, "learning_rate_drops", drops)

  def first_difference(self, other: TrainingConfig) -> tuple[str, typing.Any, typing.Any] | None:
    """The first setting that a continuation may not change, or None.

    Returns:
      `(name, this value, other value)`; nested settings as "recipe.triplet.margin".
    """

    def compare(left, right, prefix):
      for name in left:
        if f"{prefix}{name}" in self.MAY_CHANGE:
          continue
        if isinstance(left[name], dict) and isinstance(right[name], dict):
          found = compare(left[name], right[name], f"{prefix}{name}.")
          if found:
            return found
        elif left[name] != right[name]:
          return f"{prefix}{name}", left[name], right[name]
      return None

    return compare(self.to_dict(), other.to_dict(), "")


OPTIMIZERS = ("adam", "momentum")
_SHARED = frozenset(field.name for field in dataclasses.fields(TrainingConfig))


def _is_stretch(pair, stop):
  """Whether these are two whole numbers 1 <= first <= last <= stop."""
  whole = isinstance(pair, tuple) and len(pair) == 2 and all(type(step) is int for step in pair)
  return whole and 1 <= pair[0] <= pair[1] <= stop


def _steps_and_numbers(name, given, form):
  """((step, number), ...) in increasing order of steps, checked."""

  def is_pair(pair):
    return (
      isinstance(pair, (tuple, list))
      and len(pair) == 2
      and isinstance(pair[0], int)
      and not isinstance(pair[0], bool)
      and isinstance(pair[1], (int, float))
      and not isinstance(pair[1], bool)
    )

  require(isinstance(given, (tuple, list)) and all(is_pair(pair) for pair in given), name, form, given)
  pairs = tuple((step, float(number)) for step, number in given)
  steps = [step for step, _ in pairs]
  right = steps == sorted(set(steps)) and all(step >= 0 and 0 <= number < math.inf for step, number in pairs)
  require(right, name, form, given)
  return pairs


def checked_schedules(given: typing.Any, method: typing.Any, recipe: RecipeConfig) -> tuple:
  """`TrainingConfig.schedules` as tuples.

  Args:
    given: a dict from name to ((step, factor), ...), or pairs of these.
    method: the `recipes.Recipe` whose numbers follow them.
    recipe: its config.

  Raises:
    InputError: for anything else, no steps, a name twice, or one that has no
      schedule.
  """
  form = "names, each with its (whole step, factor of at least 0) in increasing order of steps"
  entries = list(given.items()) if isinstance(given, dict) else given
  well_formed = isinstance(entries, (tuple, list)) and all(
    isinstance(entry, (tuple, list)) and len(entry) == 2 and isinstance(entry[0], str) and entry[1] for entry in entries
  )
  require(well_formed, "schedules", form, given)
  names = [name for name, _ in entries]
  require(len(set(names)) == len(names), "schedules", "every name once", given)
  known = ["epsilon", "step_size", *(term.name for term in method.terms(recipe)), "weight_decay"]
  unknown = next((name for name in names if name not in known), None)
  if unknown is not None:
    raise InputError(f"Invalid value for `schedules`: {unknown!r} has no schedule; {expected(unknown, known)}.")
  return tuple((name, _steps_and_numbers("schedules", points, form)) for name, points in entries)
