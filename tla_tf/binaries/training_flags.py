"""The flags of training, derived from the settings that all methods share and from those of every recipe."""

from __future__ import annotations

import contextlib
import enum
import sys
import typing

from absl import flags

from tla_tf import datasets, published, recipes, settings
from tla_tf.binaries import entry, presets, reading_flags
from tla_tf.binaries.entry import define_choice
from tla_tf.binaries.terminal import say
from tla_tf.config import OPTIMIZERS, Config, Option, TrainingConfig
from tla_tf.datasets import DatasetSpec
from tla_tf.errors import InputError
from tla_tf.persistence.run_folder import RunFolder
from tla_tf.records.shown import pixels
from tla_tf.registry import METHODS
from tla_tf.settings import reading_options, recipe_options, shared_options
from tla_tf.settings.options import ATTACK

FLAGS = flags.FLAGS


def _published(dataset: str) -> dict[str, TrainingConfig]:
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
  spec, defaults = datasets.get(dataset), _published(dataset)
  flags.DEFINE_string("output_dir", None, "Run folder: new, empty, or of the same run to go on with.")
  _define_reading(spec)
  flags.DEFINE_string(
    "init_from", None, "Run folder whose network to begin with (fine-tuning)." + _fine_tuning_rate(dataset)
  )
  flags.DEFINE_string("init_checkpoint", "best", "Which checkpoint of --init_from: best, last, or a step.")
  methods = "; ".join(f"{name}: {METHODS.get(name).help}" for name in recipes.names())
  flags.DEFINE(_MethodParser(), "method", "tla", f"{methods}.", serializer=flags.ArgumentSerializer())
  for option in {**shared_options(), **recipe_options()}.values():
    _define(option, option.help + _default(option, spec, defaults))
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


def _default(option: Option, spec: DatasetSpec, defaults: dict[str, TrainingConfig]) -> str:
  """What the help of an option says of its default: the data set's setting, and the methods that have another."""
  methods: dict[str, list[str]] = {}
  for method, config in defaults.items():
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
  names = ["method", *shared_options(), *recipe_options(), *reading_options()]
  return settings.resolve(
    dataset,
    {flag: FLAGS[flag].value for flag in names if flag in FLAGS and FLAGS[flag].value is not None},
    in_files=_in_files([option.flag for option in ATTACK]),
    beside=presets.flags_beside_files(sys.argv[1:]),
    fine_tuning=FLAGS.init_from is not None,
    before=_begun_with(),
  )


def _in_files(names: list[str]) -> dict[str, typing.Any]:
  """The values that the preset and the flag files of the command line give to flags."""
  texts = {flag: presets.value_in_files(flag, sys.argv[1:]) for flag in names}
  with contextlib.suppress(ValueError):  # Where a value in a file is wrong and another one counts.
    return {flag: FLAGS[flag].parser.parse(text) for flag, text in texts.items() if text is not None}
  return {}


def _begun_with() -> TrainingConfig | None:
  """The settings of the run in the output folder; None for a new folder, or one that the training refuses."""
  with contextlib.suppress(InputError):
    return RunFolder.open(FLAGS.output_dir).read_config()[0]
  return None


def note_unused_flags(config_: TrainingConfig) -> None:
  """Says which given flags the method has no use for; flag files serve every method."""
  recipe = recipes.get(config_.method)
  unused = [flag for flag in recipe_options() if flag not in recipe.flags()]
  unused += recipe.unused_fields(config_.recipe)
  given = [f"--{flag}" for flag in unused if FLAGS[flag].value is not None]
  if given:
    having = "has" if len(given) == 1 else "have"
    say(f"note: {', '.join(given)} {having} no effect on --method={config_.method}", error=True)
