"""Which settings a training has, by flag, and where each is in its `TrainingConfig`."""

from __future__ import annotations

from tla_tf import recipes, types
from tla_tf.config import Option, TrainingConfig, options

# Settings of a config that is used elsewhere, too, and so has no flags of its own.
_SCALES = (
  "Where --epsilon or the steps are given without it, steps x step size / epsilon stays (no step above epsilon)."
)
ATTACK = (
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
# Their help is the tools' own, as it differs between those that train and those that judge.
_READING = (
  ("data_source", "data_source", types.DataSource),
  ("heldout_examples", "reading.heldout", int),
  ("classes", "reading.classes", tuple),
  ("image_size", "reading.image_size", tuple),
  ("resize", "reading.resize", types.Resize),
  ("channels", "reading.channels", int),
  ("use_val", "reading.use_val", bool),
  ("test_fraction", "reading.test_fraction", float),
  ("split_seed", "reading.split_seed", int),
  ("skip_bad", "reading.skip_bad", bool),
)


def shared_options() -> dict[str, Option]:
  """The options that all methods have, by flag."""
  return {option.flag: option for option in (*ATTACK, *options(TrainingConfig))}


def recipe_options() -> dict[str, Option]:
  """The options of all recipes, by flag; the path begins with "recipe."."""
  found: dict[str, Option] = {}
  for name in recipes.names():
    for flag, option in recipes.get(name).flags().items():
      found.setdefault(flag, option._replace(path=f"recipe.{option.path}"))
  return found


def reading_options() -> dict[str, Option]:
  """The options of how images are read, by flag; which of them a data set has, its record says."""
  return {flag: Option(flag, path, kind, "", flag == "test_fraction") for flag, path, kind in _READING}


def flag_of_path() -> dict[str, str]:
  """The flag of every setting, by its path in `TrainingConfig`."""
  every = {**shared_options(), **recipe_options(), **reading_options()}
  return {option.path: flag for flag, option in every.items()}
