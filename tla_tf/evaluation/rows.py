"""From verdicts to the rows of `evaluation.json`."""

from __future__ import annotations

import numpy as np

from tla_tf import attack_configs
from tla_tf.evaluation.judge import Verdict
from tla_tf.evaluation.suites import NamedAttack
from tla_tf.records.evaluation import AttackRow, Diagnostics
from tla_tf.summaries import statistics
from tla_tf.types import Target


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
