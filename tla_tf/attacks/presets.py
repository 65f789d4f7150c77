"""The field's attacks by name, as settings of the one loop."""

from tla_tf.config import AttackConfig
from tla_tf.types import MomentumRule, Norm, Objective


def fgsm(epsilon):
  """Fast gradient sign method: one step of length epsilon (Goodfellow et al. 2015)."""
  return AttackConfig(epsilon=epsilon, step_size=epsilon, steps=1, random_start=False)


def bim(epsilon, step_size, steps):
  """Basic iterative method: PGD from the image itself (Kurakin et al. 2017)."""
  return AttackConfig(epsilon=epsilon, step_size=step_size, steps=steps, random_start=False)


def pgd(epsilon, step_size, steps, restarts=1, norm=Norm.LINF):
  """Projected gradient descent from random starts (Madry et al. 2018)."""
  return AttackConfig(epsilon=epsilon, step_size=step_size, steps=steps, restarts=restarts, norm=norm)


def cw_pgd(epsilon, step_size, steps, restarts=1, norm=Norm.LINF):
  """PGD on the margin of Carlini and Wagner 2017, confidence 50."""
  return AttackConfig(
    epsilon=epsilon, step_size=step_size, steps=steps, restarts=restarts, norm=norm, objective=Objective.MARGIN
  )


def noise(epsilon, tries, norm=Norm.LINF):
  """Random points of the ball: PGD without a step, the baseline of every attack (Carlini et al. 2019)."""
  return AttackConfig(epsilon=epsilon, step_size=0.0, steps=0, restarts=tries, norm=norm)


def mim(epsilon, step_size, steps, momentum=None, momentum_rule=MomentumRule.NORMALIZED):
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
    momentum_rule=momentum_rule,
  )
