"""Suites of attacks as data.

`table1` has the attacks of the paper's Table 1 with its steps; step sizes are
those of the authors' configurations. The black-box column needs a second
model and is not part of it.
"""

import typing

from tla_tf.attacks import presets
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError

SUITES = ("quick", "table1")


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
  if name not in SUITES:
    raise InputError(f"Unknown suite {name!r}: expected one of {list(SUITES)}.")
  if dataset not in _MAKERS:
    raise InputError(f"No suite for data set {dataset!r}: expected one of {list(_MAKERS)}.")
  attacks = _MAKERS[dataset](name)
  if epsilon is None:
    return attacks
  return tuple(NamedAttack(a.name, a.config.replace(
    epsilon=epsilon, step_size=min(1.0, a.config.step_size * epsilon / a.config.epsilon))) for a in attacks)


def _mnist(name):
  epsilon, step = 0.3, 0.01
  if name == "quick":
    return _quick(epsilon, step, 40)
  return (
    NamedAttack("FGSM", presets.fgsm(epsilon)),
    NamedAttack("BIM-40", presets.bim(epsilon, step, 40)),
    NamedAttack("C&W-40", presets.cw_pgd(epsilon, step, 40)),
    NamedAttack("PGD-40", presets.pgd(epsilon, step, 40)),
    NamedAttack("PGD-100", presets.pgd(epsilon, step, 100)),
    NamedAttack("20xPGD-100", presets.pgd(epsilon, step, 100, restarts=20)),
    NamedAttack("MIM-200", presets.mim(epsilon, step, 200)),
  )


def _digits(name):
  epsilon, step = 0.2, 0.025
  if name == "quick":
    return _quick(epsilon, step, 20)
  return (
    NamedAttack("FGSM", presets.fgsm(epsilon)),
    NamedAttack("BIM-20", presets.bim(epsilon, step, 20)),
    NamedAttack("C&W-20", presets.cw_pgd(epsilon, step, 20)),
    NamedAttack("PGD-20", presets.pgd(epsilon, step, 20)),
    NamedAttack("PGD-50", presets.pgd(epsilon, step, 50)),
    NamedAttack("20xPGD-50", presets.pgd(epsilon, step, 50, restarts=20)),
    NamedAttack("MIM-100", presets.mim(epsilon, step, 100)),
  )


def _quick(epsilon, step, steps):
  return (
    NamedAttack("FGSM", presets.fgsm(epsilon)),
    NamedAttack(f"PGD-{steps}", presets.pgd(epsilon, step, steps)),
    NamedAttack(f"20xPGD-{steps}", presets.pgd(epsilon, step, steps, restarts=20)),
  )


_MAKERS = {"digits": _digits, "mnist": _mnist}
