"""What a record says of the training behind it."""

from __future__ import annotations

import typing

from tla_tf.types import Norm


def training_epsilon(settings: typing.Any) -> float | None:
  """The radius in L-infinity that a run was trained at.

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
  return float(epsilon)
