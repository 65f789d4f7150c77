"""Frozen settings, validated when made, JSON in and out. No TensorFlow here.

Pixels are in [0, 1]; so are `epsilon` and `step_size`.
"""

import dataclasses
import enum
import math
import typing

from tla_tf import types
from tla_tf.errors import InputError


def require(condition, name, expected, received):
  """Raises InputError for a setting unless the condition holds."""
  if not condition:
    raise InputError(f"Invalid value for `{name}`: expected {expected}, received {received!r}.")


def require_number(config, *names, low=0.0, above=None, high=math.inf):
  """Requires finite numbers of at least `low`, or above `above`, and at most `high`."""
  for name in names:
    value = getattr(config, name)
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if above is not None:
      require(ok and above < value <= high, name, f"a number above {above:g}", value)
    else:
      limit = f" and at most {high:g}" if math.isfinite(high) else ""
      require(ok and low <= value <= high, name, f"a number of at least {low:g}{limit}", value)


def require_whole(config, *names, low=0):
  """Requires whole numbers of at least `low`."""
  for name in names:
    value = getattr(config, name)
    ok = isinstance(value, int) and not isinstance(value, bool)
    require(ok and value >= low, name, f"a whole number of at least {low}", value)


@dataclasses.dataclass(frozen=True)
class Config:
  """Shared behaviour: enum fields accept their string values; JSON in and out."""

  def __post_init__(self):
    for name, kind in typing.get_type_hints(type(self)).items():
      value = getattr(self, name)
      if isinstance(kind, type) and issubclass(kind, enum.Enum):
        try:
          object.__setattr__(self, name, kind(value))
        except ValueError:
          require(False, name, f"one of {types.values(kind)}", value)
      elif isinstance(kind, type) and issubclass(kind, Config):
        if isinstance(value, dict):
          object.__setattr__(self, name, kind.from_dict(value))
        require(isinstance(getattr(self, name), kind), name, f"a {kind.__name__}", value)
      elif kind is str:
        may_be_empty = getattr(type(self), name) == ""
        require(isinstance(value, str) and (value != "" or may_be_empty), name, "a name", value)
      elif kind is bool:
        require(isinstance(value, bool), name, "True or False", value)
    self.validate()

  def validate(self):
    """Raises InputError for a value out of its range."""

  def to_dict(self):
    """Returns plain JSON values."""

    def plain(value):
      if isinstance(value, Config):
        return value.to_dict()
      if isinstance(value, enum.Enum):
        return value.value
      if isinstance(value, tuple):
        return [plain(v) for v in value]
      return value

    return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

  @classmethod
  def from_dict(cls, values):
    """Rebuilds a config from `to_dict`; raises InputError on unknown names."""
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
      raise InputError(f"Unknown setting `{unknown[0]}` for {cls.__name__}; known: {sorted(known)}.")
    return cls(**values)

  def replace(self, **changes):
    """Returns a copy with some fields changed."""
    return dataclasses.replace(self, **changes)


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

  def validate(self):
    require(self.norm is not types.Norm.L0, "norm", "'linf' or 'l2' for a gradient attack", self.norm.value)
    require_number(self, "epsilon", "step_size", high=1.0 if self.norm is types.Norm.LINF else math.inf)
    require_number(self, "momentum")
    require_whole(self, "steps")
    require_whole(self, "restarts", low=1)
    if self.momentum_rule is types.MomentumRule.AVERAGED:
      # At 1 the average would never leave its first gradient.
      require(self.momentum < 1, "momentum", "a number below 1 for averaged gradients", self.momentum)


@dataclasses.dataclass(frozen=True)
class TripletConfig(Config):
  """The triplet terms (paper, Section 4 and Equation 1).

  Attributes:
    weight: lambda_1.
    margin: alpha of the class-mate term.
    distance: D.
    feature_norm: `mean_square` (code; its weight is multiplied by `weight`
      too) or `l2` (paper; lambda_2 stands alone).
    feature_norm_weight: weight of the feature norm.
    positives: class-mate, the anchor's clean twin, or one term for each.
    twin_margin: alpha of the twin term.
    twin_noise: half-width of the uniform noise on the clean twin, in pixels
      of [0, 1]; the noisy twin is rounded to 8 bits (code).
    negatives: how the negative is picked from the pool.
    switch_anchor: the positive takes the anchor's place (TLA-SA).
  """

  weight: float = 0.5
  margin: float = 0.05
  distance: types.Distance = types.Distance.ANGULAR
  feature_norm: types.FeatureNorm = types.FeatureNorm.MEAN_SQUARE
  feature_norm_weight: float = 1e-4
  positives: types.Positives = types.Positives.CLASSMATE
  twin_margin: float = 0.05
  twin_noise: float = 0.0
  negatives: types.Negatives = types.Negatives.NEAREST
  switch_anchor: bool = False

  def validate(self):
    require_number(self, "weight", "margin", "feature_norm_weight", "twin_margin")
    require_number(self, "twin_noise", high=1.0)


@dataclasses.dataclass(frozen=True)
class ReadingConfig(Config):
  """How images are read, where a data set leaves a choice.

  Attributes:
    heldout: training images held out to choose the best checkpoint; 0 takes
      the data set's own number.
    classes: names of the classes to read, in their order of labels; empty for
      all. Tiny ImageNet and image folders.
    image_size: (height, width); empty for the size of the first image. Image
      folders.
    resize: what is done with images of another size. Image folders.
    channels: 3 for colour, 1 for grey. Image folders.
  """

  heldout: int = 0
  classes: tuple = ()
  image_size: tuple = ()
  resize: types.Resize = types.Resize.REFUSE
  channels: int = 3

  def validate(self):
    require_whole(self, "heldout", "channels")
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

  def validate(self):
    require_whole(self, "checkpoint")


@dataclasses.dataclass(frozen=True)
class TrainingConfig(Config):
  """Everything that determines the bits of a training run.

  `train_steps` and `keep_checkpoints` say how long to run and what to keep,
  `init.run_dir` and `init.checkpoint` where the first weights lie; everything
  else must stay the same when a run is resumed.
  """

  dataset: str = "digits"
  data_source: types.DataSource = types.DataSource.AUTO
  reading: ReadingConfig = ReadingConfig()
  augment_pad: int = 0
  augment_flip: bool = False
  init: InitConfig = InitConfig()
  method: types.Method = types.Method.TLA
  network: str = "mlp"
  attack: AttackConfig = AttackConfig()
  validation_attack: AttackConfig = AttackConfig()
  validation_examples: int = 500
  attack_mode: types.PassMode = types.PassMode.INFERENCE
  triplet: TripletConfig = TripletConfig()
  negative_pool_size: int = 50
  pairing: types.PairingTarget = types.PairingTarget.LOGITS
  pairing_weight: float = 0.0
  clean_weight: float = 0.0
  batch_size: int = 50
  train_steps: int = 1000
  optimizer: str = "adam"
  learning_rate: float = 1e-4
  learning_rate_drops: tuple = ()
  learning_rate_schedule: types.Schedule = types.Schedule.PIECEWISE
  warmup_steps: int = 0
  cosine_steps: int = 0
  weight_decay: float = 2e-4
  label_smoothing: float = 0.0
  seed: int = 221760322
  deterministic: bool = True
  jit: types.Jit = types.Jit.AUTO
  checkpoint_every: int = 500
  keep_checkpoints: int = 2

  # What may differ between a run and its continuation.
  MAY_CHANGE: typing.ClassVar[frozenset] = frozenset(
    {"train_steps", "keep_checkpoints", "init.run_dir", "init.checkpoint"}
  )

  def validate(self):
    self._resolve_method()
    self._validate_drops()
    require(self.optimizer in OPTIMIZERS, "optimizer", f"one of {list(OPTIMIZERS)}", self.optimizer)
    require_whole(
      self, "batch_size", "train_steps", "checkpoint_every", "keep_checkpoints", "validation_examples", low=1
    )
    require_whole(self, "negative_pool_size", low=1)
    require_whole(self, "seed", "augment_pad", "warmup_steps", "cosine_steps")
    require(self.augment_pad <= 256, "augment_pad", "at most 256", self.augment_pad)
    self._resolve_schedule()
    require_number(self, "learning_rate", "weight_decay", "pairing_weight", "clean_weight")
    require_number(self, "label_smoothing", high=1.0)

  def _resolve_method(self):
    """TLA-RN and TLA-SA change one field of TLA's triplet: the config says so."""
    if self.method is types.Method.TLA_SA:
      object.__setattr__(self, "triplet", self.triplet.replace(switch_anchor=True))
    if self.method is types.Method.TLA_RN and self.triplet.negatives is types.Negatives.NEAREST:
      object.__setattr__(self, "triplet", self.triplet.replace(negatives=types.Negatives.RANDOM))

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
    name, given = "learning_rate_drops", self.learning_rate_drops
    expected = "pairs (whole step above 0, rate of at least 0) in increasing order"
    well_formed = isinstance(given, (tuple, list)) and all(
      isinstance(pair, (tuple, list))
      and len(pair) == 2
      and isinstance(pair[0], int)
      and not isinstance(pair[0], bool)
      and isinstance(pair[1], (int, float))
      and not isinstance(pair[1], bool)
      for pair in given
    )
    require(well_formed, name, expected, given)
    drops = tuple((step, float(rate)) for step, rate in given)
    steps = [step for step, _ in drops]
    increasing = steps == sorted(set(steps)) and all(step > 0 for step in steps)
    require(increasing and all(0 <= rate < math.inf for _, rate in drops), name, expected, given)
    object.__setattr__(self, name, drops)

  def first_difference(self, other):
    """The first setting that a continuation may not change, or None.

    Returns:
      `(name, this value, other value)`; nested settings as "triplet.margin".
    """

    def compare(left, right, prefix):
      for name in left:
        if f"{prefix}{name}" in self.MAY_CHANGE:
          continue
        if isinstance(left[name], dict):
          found = compare(left[name], right[name], f"{prefix}{name}.")
          if found:
            return found
        elif left[name] != right[name]:
          return f"{prefix}{name}", left[name], right[name]
      return None

    return compare(self.to_dict(), other.to_dict(), "")


OPTIMIZERS = ("adam", "momentum")
