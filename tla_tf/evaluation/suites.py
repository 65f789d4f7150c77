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
    dataset: "mnist", "cifar10", "tiny_imagenet" (paper's settings), "images" or
      "digits" (ours).
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
  bim: int
  margin: int  # of C&W
  few: int  # of PGD
  many: int  # of the longer PGD and of 20 x PGD
  momentum: int  # of MIM
  long_step_size: float  # of C&W, the longer PGD and MIM


# The paper's Table 1, with the step sizes that the authors train with and, for longer attacks,
# watch training with. Digits and image folders: ours.
_SCALES = {
  "digits": _Scale(0.2, 0.025, 20, 20, 20, 50, 100, 0.025),
  "mnist": _Scale(0.3, 0.01, 40, 40, 40, 100, 200, 0.01),
  "cifar10": _Scale(8 / 255, 2 / 255, 7, 30, 7, 20, 40, 1 / 255),
  "tiny_imagenet": _Scale(8 / 255, 2 / 255, 10, 10, 10, 20, 40, 2 / 255),
  "images": _Scale(8 / 255, 2 / 255, 10, 10, 10, 20, 40, 2 / 255),
}


def _quick(scale):
  fixed = (scale.epsilon, scale.step_size, scale.few)
  return (
    NamedAttack("FGSM", presets.fgsm(scale.epsilon)),
    NamedAttack(f"PGD-{scale.few}", presets.pgd(*fixed)),
    NamedAttack(f"20xPGD-{scale.few}", presets.pgd(*fixed, restarts=20)),
  )


def _table1(scale):
  short, long = (scale.epsilon, scale.step_size), (scale.epsilon, scale.long_step_size)
  return (
    NamedAttack("FGSM", presets.fgsm(scale.epsilon)),
    NamedAttack(f"BIM-{scale.bim}", presets.bim(*short, scale.bim)),
    NamedAttack(f"C&W-{scale.margin}", presets.cw_pgd(*long, scale.margin)),
    NamedAttack(f"PGD-{scale.few}", presets.pgd(*short, scale.few)),
    NamedAttack(f"PGD-{scale.many}", presets.pgd(*long, scale.many)),
    NamedAttack(f"20xPGD-{scale.many}", presets.pgd(*long, scale.many, restarts=20)),
    NamedAttack(f"MIM-{scale.momentum}", presets.mim(*long, scale.momentum)),
  )


_MAKERS = {"quick": _quick, "table1": _table1}
SUITES = tuple(_MAKERS)
