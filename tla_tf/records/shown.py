"""How numbers are shown to people."""

from __future__ import annotations

import typing

from tla_tf.config import AttackConfig
from tla_tf.types import Norm

if typing.TYPE_CHECKING:
  from tla_tf.records.evaluation import CrossCheck

_UNITS = {Norm.LINF: "L-inf epsilon ", Norm.L2: "L2 epsilon ", Norm.L0: "L0 share "}


def pixels(value: float) -> str:
  """A length in pixels of [0, 1] as people know it: 8/255 or 0.3."""
  grey_levels = round(value * 255)
  few = 0 < grey_levels <= 32 and value == grey_levels / 255
  return f"{grey_levels}/255" if few else f"{value:.4g}"


def ball_name(norm: Norm, epsilon: float) -> str:
  """A ball as people know it: L-inf epsilon 8/255."""
  return _UNITS[norm] + pixels(epsilon)


def short_of_its_ball(config: AttackConfig) -> str:
  """How far the steps of an attack go, where `attack_configs.falls_short` of them: part of a sentence."""
  steps = "1 step" if config.steps == 1 else f"{config.steps} steps"
  far, radius = pixels(config.steps * config.step_size), pixels(config.epsilon)
  return f"{steps} of {pixels(config.step_size)} go {far} far from the centre of a ball of {radius}"


def seconds(length: float) -> str:
  """A short length of time: 12 ms, 1.3 s."""
  return f"{1000 * length:.3g} ms" if length < 1 else f"{length:.3g} s"


def clock(seconds: float) -> str:
  """A length of time as people read it: 0:07, 1:02:03."""
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def cross_checked(found: CrossCheck) -> str:
  """What other libraries found after ours, as a sentence."""
  return (
    f"Of {found.withstood} images that withstood ours in {ball_name(found.norm, found.epsilon)}, other libraries "
    f"broke {found.broken}: {found.share:.2%} of all images."
  )
