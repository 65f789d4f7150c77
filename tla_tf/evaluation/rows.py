"""From masks of images to the rows of `evaluation.json`: accuracies, intervals, worst cases."""

from __future__ import annotations

import collections.abc

import numpy as np

from tla_tf import attack_configs
from tla_tf.evaluation import statistics
from tla_tf.evaluation.judge import Verdict
from tla_tf.evaluation.suites import NamedAttack
from tla_tf.records.evaluation import AttackRow, CleanShare, Diagnostics, Share, ThreatShare, WorstCase
from tla_tf.types import Target


def union(masks: collections.abc.Iterable[np.ndarray], count: int) -> np.ndarray:
  """Images that are in any mask: bool [count]; none without masks."""
  return np.any([np.zeros(count, bool), *masks], axis=0)


def share(mask: np.ndarray) -> Share:
  """The share of images that a mask holds, with its exact interval."""
  return Share(float(np.mean(mask)), statistics.interval(int(np.sum(mask)), len(mask)))


def clean_share(right: np.ndarray) -> CleanShare:
  """The row of images that nothing attacks, of bool [n]: classified correctly."""
  whole = share(right)
  return CleanShare(accuracy=whole.accuracy, num_examples=len(right), interval=whole.interval)


def attack_row(attack: NamedAttack, runs: list[Verdict], gone: list[np.ndarray], right: np.ndarray) -> AttackRow:
  """An attack's row.

  Args:
    attack: NamedAttack.
    runs: one Verdict a seed.
    gone: bool [n] for each, what had fallen after it, earlier links of its chain
      included.
    right: bool [n], images classified correctly.
  """
  accuracies = [float((right & ~mask).mean()) for mask in gone]
  mean, deviation = statistics.spread(accuracies)
  distances = np.concatenate([run.distance[~np.isnan(run.distance)] for run in runs])
  settings = attack.config.to_dict()
  reached = None
  if attack.target is not Target.NONE:
    reached = float(np.mean([run.reached.sum() / max(1, run.attacked.sum()) for run in runs]))
  return AttackRow(
    name=attack.name,
    suite=attack.suite,
    kind=attack_configs.kind(attack.config),
    norm=attack.config.norm,
    epsilon=attack.config.epsilon,
    steps=settings.get("steps"),
    step_size=settings.get("step_size"),
    restarts=attack.config.restarts,
    settings=settings,
    target=attack.target,
    on_survivors=attack.on_survivors,
    accuracy=mean,
    interval=statistics.interval(round(mean * len(right)), len(right)),
    accuracy_per_seed=accuracies,
    accuracy_std=deviation,
    accuracy_worst_over_seeds=float((right & ~np.any(gone, axis=0)).mean()),
    images_attacked=int(sum(run.attacked.sum() for run in runs)),
    median_distance=float(np.median(distances)) if len(distances) else None,
    seconds=round(sum(run.seconds for run in runs), 3),
    diagnostics=Diagnostics(
      zero_gradient_images=int(sum(run.zero_gradients.sum() for run in runs)),
      nonfinite_gradient_images=int(sum(run.nonfinite_gradients.sum() for run in runs)),
      rejected_by_verifier=int(sum(run.rejected for run in runs)),
    ),
    target_success=reached,
  )


def worst_case(
  attacks: collections.abc.Sequence[NamedAttack], fell: dict[str, np.ndarray], right: np.ndarray
) -> WorstCase:
  """Accuracy where an image must withstand every attack: of all, by suite, and by norm and epsilon."""

  def standing(chosen: collections.abc.Iterable[NamedAttack]) -> Share:
    return share(right & ~union([fell[attack.name] for attack in chosen], len(right)))

  threats: dict[tuple, list[NamedAttack]] = {}
  for attack in attacks:
    threats.setdefault((attack.config.norm, attack.config.epsilon), []).append(attack)
  by_threat = [(norm, epsilon, standing(own)) for (norm, epsilon), own in threats.items()]
  every = standing(attacks)
  return WorstCase(
    accuracy=every.accuracy,
    interval=every.interval,
    by_suite={
      suite: standing(attack for attack in attacks if attack.suite == suite)
      for suite in dict.fromkeys(attack.suite for attack in attacks)
    },
    by_threat=[
      ThreatShare(norm=norm, epsilon=epsilon, accuracy=left.accuracy, interval=left.interval)
      for norm, epsilon, left in by_threat
    ],
  )
