"""The field's attacks by name, as settings of the one loop."""

from tla_tf.config import AttackConfig
from tla_tf.types import MomentumRule, Norm, Objective


def fgsm(epsilon: float) -> AttackConfig:
  """Fast gradient sign method: one step of length epsilon (Goodfellow et al. 2015)."""
  return AttackConfig(epsilon=epsilon, step_size=epsilon, steps=1, random_start=False)


def bim(epsilon: float, step_size: float, steps: int) -> AttackConfig:
  """Basic iterative method: PGD from the image itself (Kurakin et al. 2017)."""
  return AttackConfig(epsilon=epsilon, step_size=step_size, steps=steps, random_start=False)


def pgd(epsilon: float, step_size: float, steps: int, restarts: int = 1, norm: Norm | str = Norm.LINF) -> AttackConfig:
  """Projected gradient descent from random starts (Madry et al. 2018)."""
  return AttackConfig(epsilon=epsilon, step_size=step_size, steps=steps, restarts=restarts, norm=Norm(norm))


def cw_pgd(
  epsilon: float, step_size: float, steps: int, restarts: int = 1, norm: Norm | str = Norm.LINF
) -> AttackConfig:
  """PGD on the margin of Carlini and Wagner 2017, confidence 50."""
  return AttackConfig(
    epsilon=epsilon, step_size=step_size, steps=steps, restarts=restarts, norm=Norm(norm), objective=Objective.MARGIN
  )


def noise(epsilon: float, tries: int, norm: Norm | str = Norm.LINF) -> AttackConfig:
  """Random points of the ball: PGD without a step, the baseline of every attack (Carlini et al. 2019)."""
  return AttackConfig(epsilon=epsilon, step_size=0.0, steps=0, restarts=tries, norm=Norm(norm))


def mim(
  epsilon: float,
  step_size: float,
  steps: int,
  momentum: float | None = None,
  momentum_rule: MomentumRule | str = MomentumRule.NORMALIZED,
) -> AttackConfig:
  """Momentum iterative method (Dong et al. 2018); `averaged` is the authors' code.

  Unless given, the momentum is 1 for Dong's rule and 0.9 for the average.
  """
  if momentum is None:
    momentum = 0.9 if MomentumRule(momentum_rule) is MomentumRule.AVERAGED else 1.0
  return AttackConfig(
    epsilon=epsilon,
    step_size=step_size,
    steps=steps,
    random_start=False,
    momentum=momentum,
    momentum_rule=MomentumRule(momentum_rule),
  )
