"""Random keys of a step by what they are for."""

from __future__ import annotations

import typing

from tla_tf.lazy import lazy

seeds = lazy("tla_tf.ops.seeds")

# Runs that exist drew with these numbers; what is new gets one from its name.
_NUMBERS = {"attack": 0, "negatives": 1, "twin_noise": 2, "classmates": 3}


def draw(key: typing.Any, purpose: str) -> typing.Any:
  """The key of one purpose, int32 [2], from that of a step: independent of all others."""
  number = _NUMBERS.get(purpose)
  return seeds.fold(key, seeds.derive(0, "draw", purpose) if number is None else number)
