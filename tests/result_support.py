"""Result records made by hand."""

import numpy as np

from tla_tf.config import AttackConfig
from tla_tf.records.evaluation import AttackRow, Diagnostics, EvaluationImages, EvaluationRecord
from tla_tf.summaries import Measured, shares
from tla_tf.types import Norm, Target


def attack_row(name, suite="own", norm=Norm.LINF, epsilon=0.3, steps=1, accuracies=(0.5,), **changes):
  """The row of a gradient attack."""
  # Steps that cross the ball.
  settings = {"epsilon": epsilon, "norm": norm.value, "steps": steps, "step_size": epsilon}
  row = {
    "name": name,
    "suite": suite,
    "kind": "gradient",
    "norm": norm,
    "epsilon": epsilon,
    "steps": steps,
    "step_size": epsilon,
    "restarts": 1,
    "settings": AttackConfig.from_dict(settings).to_dict(),
    "target": Target.NONE,
    "on_survivors": False,
    "accuracy": float(np.mean(accuracies)),
    "interval": (0.0, 1.0),
    "accuracy_per_seed": list(accuracies),
    "accuracy_std": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
    "accuracy_worst_over_seeds": min(accuracies),
    "images_attacked": 9,
    "median_distance": None,
    "seconds": 1.0,
    "diagnostics": Diagnostics(zero_gradient_images=0, nonfinite_gradient_images=0, rejected_by_verifier=0),
  }
  return AttackRow(**(row | changes))


def measured(rows, broken, count=10, wrong=(), **changes):
  """An evaluation of a suite.

  Args:
    rows: of its attacks.
    broken: for each, the positions of the images that fell to it.
    count: number of images.
    wrong: positions of images that are misclassified without an attack.
    **changes: fields of the EvaluationRecord.
  """
  masks = [np.isin(np.arange(count), positions) for positions in broken]
  right = ~np.isin(np.arange(count), wrong)
  fell = {row.name: mask for row, mask in zip(rows, masks, strict=True)}
  labels = np.zeros(count, int)
  fields = {
    "clean": shares.clean_share(right),
    "attacks": list(rows),
    "worst_case": shares.worst_case(rows, fell, right),
    "alarms": [],
    "probes": None,
    "suite": rows[0].suite,
    "seed": 0,
    "num_seeds": max(len(row.accuracy_per_seed) for row in rows),
    "eight_bit": False,
    "source": None,
    "seconds": 1.0,
    "training_epsilon": None,
    "notes": [],
    "checkpoint": 30,
    "checkpoint_digest": "a" * 64,
    "config": {"dataset": "digits"},
    "data_digest": "d",
    "versions": {},
  }
  images = EvaluationImages(labels, np.where(right, 0, 1), right, np.array(list(fell)), np.stack(masks, 1))
  return Measured(EvaluationRecord(**(fields | changes)), images)
