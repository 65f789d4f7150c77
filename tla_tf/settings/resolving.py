"""From settings by the names of their flags to the `TrainingConfig`."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import typing

from tla_tf import published, recipes, types
from tla_tf.config import AttackConfig, TrainingConfig
from tla_tf.errors import InputError
from tla_tf.settings.options import ATTACK, reading_options, shared_options

# Fields of TrainingConfig whose step size follows what is said of the rest of the attack.
_ATTACKS = ("attack", "validation_attack")
_Values = collections.abc.Mapping[str, typing.Any]


def resolve(
  dataset: str,
  given: _Values,
  *,
  in_files: _Values | None = None,
  beside: collections.abc.Collection[str] | None = None,
  fine_tuning: bool = False,
  before: TrainingConfig | None = None,
) -> TrainingConfig:
  """The settings of a training: the published ones, with those that are given in their places.

  Args:
    dataset: its data set.
    given: dict from flag to value, "method" (tla by default) and "network" among them; those that the method
      has no use for are left out.
    in_files: what a preset or flag file gives, as it gives it. A file is a setting of its own: flags beside it that
      change an attack's epsilon or steps change its step size with them.
    beside: the flags that are given beside files; None for those that no file gives.
    fine_tuning: whether it starts from a trained network.
    before: settings that the run has begun with, if it has: step sizes that did not follow epsilon and steps (0.2)
      stay.

  Raises:
    InputError: for a value out of its range, or a method without a setting for the data set.
  """
  method, in_files = given.get("method", "tla"), in_files or {}
  beside = set(given) - set(in_files) if beside is None else set(beside)
  recipe = recipes.get(method)
  for flag, values in recipe.refused.items():
    if given.get(flag) in values:
      value = getattr(given[flag], "value", given[flag])
      others = " or ".join(v for v in types.values(recipe.flags()[flag].kind) if v not in values)
      raise InputError(
        f"`method={recipe.name}` does not go with `{flag}={value}`: give `{flag}={others}`, or another `method`."
      )
  base = published.setting(dataset, method, given.get("network"), fine_tuning=fine_tuning)
  own = {option.flag: f"recipe.{option.path}" for option in recipe.flags().values()}
  known = {option.flag: option.path for option in (*shared_options().values(), *reading_options().values())} | own
  paths = {flag: path for flag, path in known.items() if flag in given}
  changes = {path: given[flag] for flag, path in paths.items()}
  if "epsilon" in given:
    changes["validation_attack.epsilon"] = given["epsilon"]
  if "learning_rate_drops" in given:
    changes["learning_rate_drops"] = _drops(given["learning_rate_drops"])
  elif changes.get("learning_rate_schedule") == types.Schedule.COSINE.value:
    changes["learning_rate_drops"] = ()
  if "profile_steps" in given:
    changes["profile_steps"] = _whole_numbers(given["profile_steps"], "profile_steps")
  if "schedule" in given:
    changes["schedules"] = tuple(_schedule(text) for text in given["schedule"])
  flag_of = {path: flag for flag, path in paths.items()}
  plain = _changed(base, changes, flag_of)
  lengths = {
    path: length
    for name in _ATTACKS
    for path, length in _step_size(name, getattr(base, name), changes, in_files, beside)
  }
  scaled = _changed(base, {**changes, **lengths}, flag_of)
  if before is None:
    return scaled
  return scaled.replace(
    **{name: getattr(plain, name) for name in _ATTACKS if getattr(before, name) == getattr(plain, name)}
  )


def _step_size(
  name: str, attack: AttackConfig, changes: dict[str, typing.Any], in_files: _Values, beside: set[str]
) -> typing.Iterator[tuple[str, float]]:
  """(path, step size) of an attack whose epsilon or steps are changed without it, see `AttackConfig.scaled`."""
  paths = {field: f"{name}.{field}" for field in ("epsilon", "steps", "step_size")}
  flag_of = {path: flag for flag, path in ((option.flag, option.path) for option in ATTACK)}
  flag_of["validation_attack.epsilon"] = "epsilon"
  flags = {field: flag_of[path] for field, path in paths.items()}
  if paths["step_size"] in changes and (
    flags["step_size"] in beside or not beside & {flags["epsilon"], flags["steps"]}
  ):
    return
  own = {field: in_files[flag] for field, flag in flags.items() if flag in in_files}
  with contextlib.suppress(InputError):  # `_changed` says what is wrong.
    own = own if "step_size" in own else {}
    yield (
      paths["step_size"],
      attack.replace(**own).scaled(changes.get(paths["epsilon"]), changes.get(paths["steps"])).step_size,
    )


def _changed(config: typing.Any, changes: dict[str, typing.Any], flag_of: dict[str, str]) -> typing.Any:
  """A config with fields changed by their paths; its error names the flag, not the field."""
  inner: dict[str, dict] = {}
  for path, value in changes.items():
    head, _, rest = path.partition(".")
    if rest:
      inner.setdefault(head, {})[rest] = value
  direct = {path: value for path, value in changes.items() if "." not in path}
  for head, values in inner.items():
    names = {path.partition(".")[2]: flag for path, flag in flag_of.items() if path.startswith(f"{head}.")}
    direct[head] = _changed(getattr(config, head), values, names)
  try:
    return dataclasses.replace(config, **direct)
  except InputError as error:
    message = str(error)
    for path, flag in flag_of.items():
      if path in direct:
        message = message.replace(f"`{path}`", f"`{flag}`")
    raise InputError(message) from None


def _drops(texts: list[str]) -> tuple:
  return tuple(_pair(text, ":", "`learning_rate_drops`: expected step:rate pairs such as 50000:0.01") for text in texts)


def _whole_numbers(texts: list[str], flag: str) -> tuple:
  try:
    return tuple(int(text) for text in texts)
  except ValueError:
    raise InputError(f"`{flag}`: expected whole numbers such as 20,30, got {','.join(texts)!r}.") from None


def _schedule(text: str) -> tuple:
  expected = "`schedule`: expected NAME:STEP=FACTOR,... such as epsilon:0=0,2000=1"
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
