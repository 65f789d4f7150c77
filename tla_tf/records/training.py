"""What a record says of the training behind it."""

from __future__ import annotations

import typing

import numpy as np

from tla_tf.types import Norm


def training_epsilon(settings: typing.Any) -> float | None:
  """The radius in L-infinity that a run was trained at, with a schedule at its end.

  Args:
    settings: those of its training as JSON values, or of a foreign model, which has
      none.

  Returns:
    The radius; None without an attack in such a ball of a radius above 0.
  """
  attack = settings.get("attack") if isinstance(settings, dict) else None
  if not isinstance(attack, dict) or attack.get("norm") != Norm.LINF.value:
    return None
  epsilon = attack.get("epsilon")
  if not isinstance(epsilon, (int, float)) or isinstance(epsilon, bool) or not 0 < epsilon <= 1:
    return None
  return float(epsilon) * _last_factor(settings)


def _last_factor(settings: dict) -> float:
  """The factor that a schedule of epsilon ends the training with."""
  schedules = settings.get("schedules") or []
  points = next((points for name, points in schedules if name == "epsilon"), None)
  if points is None:
    return 1.0
  return float(np.interp(settings["train_steps"] - 1, [step for step, _ in points], [factor for _, factor in points]))
