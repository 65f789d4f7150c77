"""Whether bfloat16 pays here: a few steps of both forms, timed in turn, and remembered."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import statistics
import time
import typing
import warnings

from tla_tf import files, recipes
from tla_tf.config import TrainingConfig
from tla_tf.data.cache import default_folder
from tla_tf.errors import InputError, RecordWarning
from tla_tf.persistence.versions import versions
from tla_tf.records import read_object, seals
from tla_tf.training import machine
from tla_tf.types import Precision, PrecisionChoice, Role

# Of the time of a float32 step, at most: less gain is within the noise of a busy machine.
_AT_MOST = 0.9
_ROUNDS = 3

Step = typing.Callable[[], object]


def chosen_precision(
  config: TrainingConfig,
  image_shape: tuple[int, ...],
  make_step: typing.Callable[[TrainingConfig], Step],
  say: typing.Callable[[str], object],
  cache_dir: files.AnyPath | None = None,
  timer: typing.Callable[[], float] = time.perf_counter,
) -> TrainingConfig:
  """The config with a measured `attack_precision` in the place of "auto"; another as it is.

  Args:
    config: TrainingConfig.
    image_shape: (height, width, channels).
    make_step: function from a config to a function that runs one training step to its end.
    say: receives the choice, in one line.
    cache_dir: folder of the cache; None for the user's own.
    timer: seconds.
  """
  if config.attack_precision is not PrecisionChoice.AUTO:
    return config
  if Role.ADVERSARIAL not in recipes.get(config.method).roles(config.recipe):
    return config.replace(attack_precision="float32")
  place = _place(config, image_shape, cache_dir)
  seconds, refused = _read(place), ""
  if seconds is None:
    try:
      steps = {name: make_step(config.replace(attack_precision=name)) for name in ("float32", "bfloat16")}
      seconds = _measured(steps, timer)
      _write(place, seconds)
    except InputError as error:
      if "bfloat16" not in str(error):
        raise
      refused = str(error)
  if seconds is None:
    say(f"precision    float32 for the attack: {refused}")
    return config.replace(attack_precision="float32")
  share = seconds["bfloat16"] / seconds["float32"]
  found = Precision.BFLOAT16 if share <= _AT_MOST else Precision.FLOAT32
  say(
    f"precision    {found} for the attack: a step takes {1000 * seconds['float32']:.0f} ms in float32 and "
    f"{1000 * seconds['bfloat16']:.0f} ms in bfloat16 here."
  )
  return config.replace(attack_precision=found.value)


def _measured(steps: dict[str, Step], timer: typing.Callable[[], float]) -> dict[str, float]:
  """Median seconds of each step, in turn; the first call of each traces it."""
  for step in steps.values():
    step()
  taken: dict[str, list[float]] = {name: [] for name in steps}
  for _ in range(_ROUNDS):
    for name, step in steps.items():
      began = timer()
      step()
      taken[name].append(timer() - began)
  return {name: statistics.median(values) for name, values in taken.items()}


def _place(config: TrainingConfig, image_shape: tuple[int, ...], cache_dir: files.AnyPath | None) -> pathlib.Path:
  """The file that remembers what was measured of the same step on the same machine."""
  facts = {
    "step": [config.method, config.recipe.to_dict(), config.network, list(image_shape), config.batch_size],
    "attack": config.attack.to_dict(),
    "jit": config.jit.value,
    "mixed_precision": config.mixed_precision.value,
    "processor": [machine.processor(), os.cpu_count()],
    "devices": machine.devices(),
    "versions": versions(),
  }
  key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
  return pathlib.Path(cache_dir or default_folder()) / f"precision-{key}.json"


def _read(place: pathlib.Path) -> dict[str, float] | None:
  if not place.exists():
    return None
  with contextlib.suppress(InputError, ValueError, KeyError, TypeError):
    seconds = read_object(place)
    found = {name: float(seconds[name]) for name in ("float32", "bfloat16")}
    if seals.fits(seconds) and min(found.values()) > 0:
      return found
  warnings.warn(f"{place}: damaged; the steps are measured again.", RecordWarning, stacklevel=2)
  return None


def _write(place: pathlib.Path, seconds: dict[str, float]) -> None:
  try:
    files.make_folder(place.parent)
    files.write_text(place, json.dumps(seals.sealed(seconds)) + "\n")
  except InputError:
    pass  # Measured again next time.
