"""Small experiments beside a suite: what its alarms and curves are made from.

Carlini et al. 2019, "On Evaluating Adversarial Robustness", Section 3: random
noise, accuracy against the radius and against the number of steps.
"""

from __future__ import annotations

import collections.abc
import math

import numpy as np

from tla_tf.attacks import presets
from tla_tf.config import AttackConfig
from tla_tf.evaluation.judge import Judge
from tla_tf.evaluation.suites import NamedAttack
from tla_tf.records.evaluation import EpsilonPoint, NoiseProbe, Probes, StepsPoint
from tla_tf.types import Norm, Objective

# Of the threat's radius; the largest ball, in which all images lie, follows.
_RADII = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
_STEPS = (1, 2, 5, 10, 20, 50, 100)
_CURVE_STEPS = 40
_NOISE_TRIES = 20


def probe(judge: Judge, norm: Norm, epsilon: float, count: int = 100, seed: int = 0) -> Probes:
  """Runs the probes on the first images.

  Args:
    judge: `Judge`.
    norm: `Norm.LINF` or `Norm.L2`.
    epsilon: radius of the suite's attacks.
    count: number of images, the first; those classified wrongly count as fallen.
    seed: of random starts.

  Returns:
    Probes.
  """
  count = min(count, len(judge.data))
  among = judge.right & (np.arange(len(judge.data)) < count)

  def fell(label: str, config: AttackConfig, spare: np.ndarray | None = None) -> np.ndarray:
    return judge.run(NamedAttack(label, config), seed, among, spare, f"probe: {label}").fell

  def accuracy(fallen: np.ndarray) -> float:
    return float((among & ~fallen).sum() / count)

  noise = fell("random noise", presets.noise(epsilon, _NOISE_TRIES, norm))
  steps = [StepsPoint(steps=n, accuracy=accuracy(fell(f"{n} steps", _pgd(epsilon, n, norm)))) for n in _STEPS]
  fallen, clean = np.zeros(len(judge.data), bool), accuracy(np.zeros_like(among))
  curve = [EpsilonPoint(epsilon=0.0, accuracy=clean)]
  largest = 1.0 if norm is Norm.LINF else math.sqrt(np.prod(judge.data.image_shape))
  radii = sorted({min(largest, epsilon * share) for share in _RADII} | {largest} if epsilon else {largest})
  for radius in radii:
    # A larger ball holds the smaller ones, and what was found there.
    config = _pgd(radius, _CURVE_STEPS, norm)
    fallen = fallen | fell(f"epsilon {radius!r}", config, fallen)
    if radius == largest:
      fallen = fallen | fell(f"margin, epsilon {radius!r}", config.replace(objective=Objective.MARGIN), fallen)
    curve.append(EpsilonPoint(epsilon=radius, accuracy=accuracy(fallen)))
  again = judge.logits(judge.data.float_images, count)
  return Probes(
    num_examples=count,
    norm=norm,
    epsilon=epsilon,
    clean_accuracy=clean,
    noise=NoiseProbe(tries=_NOISE_TRIES, accuracy=accuracy(noise)),
    epsilons=curve,
    steps=steps,
    same_outputs=bool(np.allclose(again, judge.clean_logits[:count], rtol=1e-4, atol=1e-4, equal_nan=True)),
  )


def probe_attacks(
  judge: Judge, attacks: collections.abc.Iterable[NamedAttack], epsilon: float | None, count: int, seed: int
) -> Probes | None:
  """The probes in the ball of the first attack in L-infinity or L2.

  Args:
    judge: `Judge`.
    attacks: what is judged with.
    epsilon: radius in L-infinity where no attack has such a ball; None for no probes then.
    count: number of images; 0 for no probes.
    seed: of random starts.
  """
  balls = [(each.config.norm, each.config.epsilon) for each in attacks if each.config.norm is not Norm.L0]
  if epsilon is not None:
    balls.append((Norm.LINF, epsilon))
  return probe(judge, *balls[0], count, seed) if count and balls else None


def _pgd(epsilon: float, steps: int, norm: Norm) -> AttackConfig:
  step_size = min(epsilon, 2.5 * epsilon / steps)
  return AttackConfig(epsilon=epsilon, step_size=step_size, steps=steps, norm=norm)
