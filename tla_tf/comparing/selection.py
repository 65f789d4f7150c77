"""Which variant of a group goes to the test images: the best on held-out images, mean over the seeds."""

from __future__ import annotations

import collections.abc
import pathlib
import statistics

from tla_tf.comparing.plan import ComparisonPlan, PlannedRun
from tla_tf.comparing.records import Choice, SelectionRecord
from tla_tf.errors import InputError
from tla_tf.persistence.checkpoints import CheckpointStore
from tla_tf.persistence.run_folder import RunFolder

_FILE = "selection.json"
_METRIC = "val_robust_accuracy"


def chosen(plan: ComparisonPlan, runs: collections.abc.Sequence[PlannedRun], folder: pathlib.Path) -> list[str]:
  """Names of the variants that are judged, in the order of the plan; why is written to `selection.json`.

  Args:
    plan: ComparisonPlan.
    runs: all its runs, trained.
    folder: of the comparison.

  Raises:
    InputError: if a run does not know how robust it is on held-out images.
  """
  groups = {group: _choice(names, runs) for group, names in plan.select.items()}
  if groups:
    SelectionRecord(groups).write(folder / _FILE)
  left = {name for names in plan.select.values() for name in names} - {choice.variant for choice in groups.values()}
  return [variant.name for variant in plan.variants if variant.name not in left]


def read(folder: pathlib.Path) -> dict[str, Choice]:
  """What was chosen last, by group; nothing where nothing was."""
  path = folder / _FILE
  return SelectionRecord.read(path).groups if path.is_file() else {}


def _choice(names: collections.abc.Sequence[str], runs: collections.abc.Sequence[PlannedRun]) -> Choice:
  found = {name: {str(run.seed): _held_out(run) for run in runs if run.variant == name} for name in names}
  means = {name: statistics.fmean(of_seeds.values()) for name, of_seeds in found.items()}
  # Of equally good ones the first of the plan.
  return Choice(max(names, key=means.__getitem__), found, means)


def _held_out(run: PlannedRun) -> float:
  """Robust accuracy on held-out images of the checkpoint that is judged."""
  index = CheckpointStore(RunFolder(run.folder).checkpoints)
  metrics = index.opened("best", index.metrics)
  if _METRIC not in metrics:
    raise InputError(f"{run.folder}: its checkpoint does not say {_METRIC}, which the choice is made by.")
  return metrics[_METRIC]
