"""Suites of attacks as data.

`table1` has the attacks of the paper's Table 1 with its steps; step sizes are
those of the authors' configurations. The black-box column needs a second
model and is not part of it.
"""

import typing

from tla_tf.attacks import presets
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError


class NamedAttack(typing.NamedTuple):
  """An attack and its name in tables."""

  name: str
  config: AttackConfig


def suite(name, dataset, epsilon=None):
  """The attacks of a suite.

  Args:
    name: "quick" or "table1".
    dataset: "mnist" (paper's settings) or "digits" (ours, scaled down).
    epsilon: replaces the data set's epsilon; step sizes scale with it.

  Returns:
    Tuple of NamedAttack.

  Raises:
    InputError: for an unknown suite or data set.
  """
  if name not in _MAKERS:
    raise InputError(f"Unknown suite {name!r}: expected one of {list(_MAKERS)}.")
  if dataset not in _SCALES:
    raise InputError(f"No suite for data set {dataset!r}: expected one of {list(_SCALES)}.")
  attacks = _MAKERS[name](_SCALES[dataset])
  if epsilon is None:
    return attacks
  return tuple(NamedAttack(a.name, a.config.replace(
    epsilon=epsilon, step_size=min(1.0, a.config.step_size * epsilon / a.config.epsilon))) for a in attacks)


class _Scale(typing.NamedTuple):
  """What differs between data sets; steps in the paper's order of columns."""

  epsilon: float
  step_size: float
  few: int  # of BIM, C&W, PGD
  many: int  # of the longer PGD and of 20 x PGD
  momentum: int  # of MIM


# MNIST: the paper's Table 1. Digits: ours, scaled down.
_SCALES = {"digits": _Scale(0.2, 0.025, 20, 50, 100), "mnist": _Scale(0.3, 0.01, 40, 100, 200)}


def _quick(scale):
  fixed = (scale.epsilon, scale.step_size, scale.few)
  return (
    NamedAttack("FGSM", presets.fgsm(scale.epsilon)),
    NamedAttack(f"PGD-{scale.few}", presets.pgd(*fixed)),
    NamedAttack(f"20xPGD-{scale.few}", presets.pgd(*fixed, restarts=20)),
  )


def _table1(scale):
  few, many = (scale.epsilon, scale.step_size, scale.few), (scale.epsilon, scale.step_size, scale.many)
  return (
    NamedAttack("FGSM", presets.fgsm(scale.epsilon)),
    NamedAttack(f"BIM-{scale.few}", presets.bim(*few)),
    NamedAttack(f"C&W-{scale.few}", presets.cw_pgd(*few)),
    NamedAttack(f"PGD-{scale.few}", presets.pgd(*few)),
    NamedAttack(f"PGD-{scale.many}", presets.pgd(*many)),
    NamedAttack(f"20xPGD-{scale.many}", presets.pgd(*many, restarts=20)),
    NamedAttack(f"MIM-{scale.momentum}", presets.mim(scale.epsilon, scale.step_size, scale.momentum)),
  )


_MAKERS = {"quick": _quick, "table1": _table1}
SUITES = tuple(_MAKERS)
