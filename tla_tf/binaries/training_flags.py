"""The flags of training, derived from the settings that all methods share and from those of every recipe."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import sys
import typing

from absl import flags

from tla_tf import datasets, published, recipes, types
from tla_tf.binaries import entry, presets, reading_flags
from tla_tf.binaries.entry import define_choice
from tla_tf.config import OPTIMIZERS, AttackConfig, Config, Option, TrainingConfig, options
from tla_tf.datasets import DatasetSpec
from tla_tf.errors import InputError
from tla_tf.persistence.run_folder import RunFolder
from tla_tf.records.shown import pixels
from tla_tf.registry import METHODS

FLAGS = flags.FLAGS

# Settings of a config that is used elsewhere, too, and so has no flags of its own.
_SCALES = (
  "Where --epsilon or the steps are given without it, steps x step size / epsilon stays (no step above epsilon)."
)
_ATTACK = (
  Option("epsilon", "attack.epsilon", float, "Radius of the L-infinity ball, pixels in [0, 1]; 8/255 works.", True),
  Option("attack_steps", "attack.steps", int, "PGD steps of the training attack."),
  Option("attack_step_size", "attack.step_size", float, f"Step size of the training attack. {_SCALES}", True),
  Option("validation_attack_steps", "validation_attack.steps", int, "PGD steps of the attack on held-out images."),
  Option(
    "validation_attack_step_size",
    "validation_attack.step_size",
    float,
    f"Step size of the attack on held-out images. {_SCALES}",
    True,
  ),
)
_ATTACKS = ("attack", "validation_attack")


def shared_options() -> dict[str, Option]:
  """The options that all methods have, by flag."""
  return {option.flag: option for option in (*_ATTACK, *options(TrainingConfig))}


def recipe_options() -> dict[str, Option]:
  """The options of all recipes, by flag; the path begins with "recipe."."""
  found: dict[str, Option] = {}
  for name in recipes.names():
    for flag, option in recipes.get(name).flags().items():
      found.setdefault(flag, option._replace(path=f"recipe.{option.path}"))
  return found


def flag_of_path() -> dict[str, str]:
  """The flag of every setting, by its path in `TrainingConfig`."""
  options_ = {**shared_options(), **recipe_options()}
  return {option.path: flag for flag, option in options_.items()} | {
    path: flag for flag, path in reading_flags.PATHS.items()
  }


def _settings(dataset: str) -> dict[str, TrainingConfig]:
  """The published settings of a data set by method, of the methods that have one."""
  found = {}
  for name in recipes.names():
    try:
      found[name] = published.setting(dataset, name)
    except InputError:
      continue  # `config` says so where it is asked for.
  return found


def define(dataset: str) -> None:
  """Defines the training flags of a data set; unset ones keep its published value."""
  spec, settings = datasets.get(dataset), _settings(dataset)
  flags.DEFINE_string("output_dir", None, "Run folder: new, empty, or of the same run to go on with.")
  _define_reading(spec)
  flags.DEFINE_string(
    "init_from", None, "Run folder whose network to begin with (fine-tuning)." + _fine_tuning_rate(dataset)
  )
  flags.DEFINE_string("init_checkpoint", "best", "Which checkpoint of --init_from: best, last, or a step.")
  methods = "; ".join(f"{name}: {METHODS.get(name).help}" for name in recipes.names())
  flags.DEFINE(_MethodParser(), "method", "tla", f"{methods}.", serializer=flags.ArgumentSerializer())
  for option in {**shared_options(), **recipe_options()}.values():
    _define(option, option.help + _default(option, spec, settings))
  flags.mark_flag_as_required("output_dir")


class _MethodParser(flags.ArgumentParser):
  """Names of methods; an unknown one is told the nearest."""

  syntactic_help = "a method"

  def parse(self, argument):
    try:
      METHODS.get(argument)
    except InputError as error:
      raise ValueError(str(error)) from None
    return argument


def _define(option: Option, help_: str) -> None:
  name, kind = option.flag, option.kind
  if option.pixels:
    entry.define_fraction(name, None, help_)
  elif name == "optimizer":
    flags.DEFINE_enum(name, None, OPTIMIZERS, help_)
  elif name == "schedule":
    flags.DEFINE_multi_string(name, None, help_)
  elif kind is tuple:
    flags.DEFINE_list(name, None, help_)
  elif issubclass(kind, enum.Enum):
    define_choice(name, None, kind, help_)
  else:
    simple: dict[type, typing.Callable] = {
      str: flags.DEFINE_string,
      bool: flags.DEFINE_bool,
      int: flags.DEFINE_integer,
      float: flags.DEFINE_float,
    }
    simple[kind](name, None, help_)


def _default(option: Option, spec: DatasetSpec, settings: dict[str, TrainingConfig]) -> str:
  """What the help of an option says of its default: the data set's setting, and the methods that have another."""
  methods: dict[str, list[str]] = {}
  for method, config in settings.items():
    if not option.path.startswith("recipe.") or option.flag in recipes.get(method).flags():
      methods.setdefault(_shown(_get(config, option.path), option), []).append(method)
  if option.flag in ("cosine_steps", "schedule") or not methods:
    return ""
  # That of the methods that come first stands first.
  first, *others = methods.items()
  ending = "".join(f"; for {', '.join(names)} {value}" for value, names in others)
  origin = f"Published setting of {spec.name}" if spec.published and not option.ours else "Default"
  return f" {origin}: {first[0]}{ending}."


def _shown(value: typing.Any, option: Option) -> str:
  if option.kind is tuple:
    return ",".join(f"{step}:{rate:g}" for step, rate in value) or "none"
  return pixels(value) if option.pixels else str(value)


def _get(config: Config, path: str) -> typing.Any:
  for part in path.split("."):
    config = getattr(config, part)
  return config


def _define_reading(spec: DatasetSpec) -> None:
  """The flags of where images come from and how they are read."""
  reading_flags.define(("heldout_examples", *spec.reading_flags), spec.data_dir_help, spec.heldout_help)


def _fine_tuning_rate(dataset: str) -> str:
  """What the help of --init_from says of the learning rate."""
  tuned = datasets.get(dataset).fine_tuning
  if tuned is None:
    return ""
  drops = ", ".join(f"{rate:g} from {step:,}" for step, rate in tuned[1])
  return f" The learning rate is then {tuned[0]:g}, {drops}, unless given."


def config(dataset: str) -> TrainingConfig:
  """The TrainingConfig of the parsed flags.

  Raises:
    InputError: for a value out of its range, or a method without a setting for
      the data set.
  """
  recipe = recipes.get(FLAGS.method)
  for flag, values in recipe.refused.items():
    if FLAGS[flag].value in values:
      others = " or ".join(v for v in types.values(recipe.flags()[flag].kind) if v not in values)
      raise InputError(
        f"--method={recipe.name} does not go with --{flag}={FLAGS[flag].value}: give --{flag}={others}, or another "
        "--method."
      )
  base = published.setting(dataset, FLAGS.method, FLAGS.network, fine_tuning=FLAGS.init_from is not None)
  own = {option.flag: f"recipe.{option.path}" for option in recipe.flags().values()}
  paths = {**{flag: option.path for flag, option in shared_options().items()}, **reading_flags.PATHS, **own}
  given = {flag: path for flag, path in paths.items() if flag in FLAGS and FLAGS[flag].value is not None}
  changes = {path: FLAGS[flag].value for flag, path in given.items()}
  if FLAGS.epsilon is not None:
    changes["validation_attack.epsilon"] = FLAGS.epsilon
  if FLAGS.learning_rate_drops is not None:
    changes["learning_rate_drops"] = _drops(FLAGS.learning_rate_drops)
  elif changes.get("learning_rate_schedule") == "cosine":
    changes["learning_rate_drops"] = ()
  if FLAGS.profile_steps is not None:
    changes["profile_steps"] = _whole_numbers(FLAGS.profile_steps, "--profile_steps")
  if FLAGS.schedule is not None:
    changes["schedules"] = tuple(_schedule(text) for text in FLAGS.schedule)
  flag_of = {path: flag for flag, path in given.items()}
  plain = _changed(base, changes, flag_of)
  lengths = {path: length for name in _ATTACKS for path, length in _step_size(name, getattr(base, name), changes)}
  return _as_begun(plain, _changed(base, {**changes, **lengths}, flag_of))


def _step_size(name: str, attack: AttackConfig, changes: dict[str, typing.Any]) -> typing.Iterator[tuple[str, float]]:
  """(path, step size) of an attack whose epsilon or steps are changed without it, see `AttackConfig.scaled`.

  A flag file, as a preset is one, is a setting of its own: flags beside it that change its epsilon or steps
  change its step size with them.
  """
  paths = {field: f"{name}.{field}" for field in ("epsilon", "steps", "step_size")}
  flag_of = {path: flag for flag, path in ((option.flag, option.path) for option in _ATTACK)}
  flag_of["validation_attack.epsilon"] = "epsilon"
  if paths["step_size"] in changes:
    beside = presets.flags_beside_files(sys.argv[1:])
    if flag_of[paths["step_size"]] in beside or not beside & {flag_of[paths["epsilon"]], flag_of[paths["steps"]]}:
      return
  in_files = {field: presets.value_in_files(flag_of[path], sys.argv[1:]) for field, path in paths.items()}
  with contextlib.suppress(InputError, ValueError):  # `_changed` says what is wrong.
    own = {
      field: FLAGS[flag_of[paths[field]]].parser.parse(text) for field, text in in_files.items() if text is not None
    }
    if "step_size" not in own:
      own = {}
    yield (
      paths["step_size"],
      attack.replace(**own).scaled(changes.get(paths["epsilon"]), changes.get(paths["steps"])).step_size,
    )


def _as_begun(plain: TrainingConfig, scaled: TrainingConfig) -> TrainingConfig:
  """The settings, with the step sizes that a run began with before they followed epsilon and steps (0.2)."""
  try:
    before, _ = RunFolder.open(FLAGS.output_dir).read_config()
  except InputError:
    return scaled  # A new folder, or one that the training refuses.
  kept = {name: getattr(plain, name) for name in _ATTACKS if getattr(before, name) == getattr(plain, name)}
  return scaled.replace(**kept)


def note_unused_flags(settings: TrainingConfig) -> None:
  """Says which given flags the method has no use for; flag files serve every method."""
  recipe = recipes.get(settings.method)
  unused = [flag for flag in recipe_options() if flag not in recipe.flags()]
  unused += recipe.unused_fields(settings.recipe)
  given = [f"--{flag}" for flag in unused if FLAGS[flag].value is not None]
  if given:
    print(
      f"note: {', '.join(given)} {'has' if len(given) == 1 else 'have'} no effect on --method={settings.method}",
      file=sys.stderr,
    )


def _changed(config_: typing.Any, changes: dict[str, typing.Any], flag_of: dict[str, str]) -> typing.Any:
  """A config with fields changed by their paths; its error names the flag, not the field."""
  inner: dict[str, dict] = {}
  for path, value in changes.items():
    head, _, rest = path.partition(".")
    if rest:
      inner.setdefault(head, {})[rest] = value
  direct = {path: value for path, value in changes.items() if "." not in path}
  for head, values in inner.items():
    names = {path.partition(".")[2]: flag for path, flag in flag_of.items() if path.startswith(f"{head}.")}
    direct[head] = _changed(getattr(config_, head), values, names)
  try:
    return dataclasses.replace(config_, **direct)
  except InputError as error:
    message = str(error)
    for path, flag in flag_of.items():
      if path in direct and f"`{path}`" in message:
        message = message.replace(f"`{path}`", f"--{flag}")
    raise InputError(message) from None


def _drops(texts: list[str]) -> tuple:
  return tuple(_pair(text, ":", "--learning_rate_drops: expected step:rate pairs such as 50000:0.01") for text in texts)


def _whole_numbers(texts: list[str], flag: str) -> tuple:
  try:
    return tuple(int(text) for text in texts)
  except ValueError:
    raise InputError(f"{flag}: expected whole numbers such as 20,30, got {','.join(texts)!r}.") from None


def _schedule(text: str) -> tuple:
  expected = "--schedule: expected NAME:STEP=FACTOR,... such as epsilon:0=0,2000=1"
  name, colon, points = text.partition(":")
  if not (name and colon):
    raise InputError(f"{expected}, got {text!r}.")
  return name, tuple(_pair(point, "=", expected) for point in points.split(","))


def _pair(text: str, between: str, expected: str) -> tuple[int, float]:
  step, found, number = text.partition(between)
  try:
    if not found:
      raise ValueError
    return int(step), float(number)
  except ValueError:
    raise InputError(f"{expected}, got {text!r}.") from None
