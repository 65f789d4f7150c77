"""Which models differ in the seed of their training only, and what a number is over them."""

from __future__ import annotations

import collections.abc
import json
import os
import re
import typing

from tla_tf.summaries import statistics


class SeedGroup(typing.NamedTuple):
  """Models that were trained alike, from different seeds.

  Attributes:
    name: what they are called together: "tla_* (3 seeds)".
    members: their names, one a seed.
  """

  name: str
  members: tuple[str, ...]


def seed_groups(settings: collections.abc.Mapping[str, collections.abc.Mapping[str, typing.Any]]) -> list[SeedGroup]:
  """The groups of two or more models whose settings are alike but for the seed.

  Args:
    settings: dict from model name to the settings of its training as JSON values, or to
      those of a foreign model, which have no "seed".

  Returns:
    List of SeedGroup, in order of their first members; of models with the same seed, too,
    the first.
  """
  groups: dict[str, dict[int, str]] = {}
  for name, of_one in settings.items():
    if "seed" in of_one:
      alike = json.dumps({key: value for key, value in of_one.items() if key != "seed"}, sort_keys=True)
      groups.setdefault(alike, {}).setdefault(of_one["seed"], name)
  return [SeedGroup(_name(list(group.values())), tuple(group.values())) for group in groups.values() if len(group) > 1]


def over_seeds(values: collections.abc.Sequence[float]) -> tuple[float, float]:
  """Mean and sample standard deviation of two or more models' numbers."""
  mean, deviation = statistics.spread(values)
  return mean, typing.cast(float, deviation)


def _name(names: list[str]) -> str:
  """What names have in common, with a star for what differs."""
  begin = os.path.commonprefix(names)
  end = os.path.commonprefix([name[len(begin) :][::-1] for name in names])[::-1]
  # seed_10 and seed_12 differ in the whole number.
  begin, end = re.sub(r"\d+$", "", begin), re.sub(r"^\d+", "", end)
  shared = f"{begin}*{end}" if re.search(r"\w", begin + end) else ", ".join(names)
  return f"{shared} ({len(names)} seeds)"
