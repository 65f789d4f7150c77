"""Catastrophic overfitting to a cheap inner attack: noticed on held-out images, undone at the last good checkpoint.

Under a one-step attack the robust accuracy of a training can fall to nothing within
a few hundred steps, while that of its own attack rises (Wong et al. 2020, Section
5.3). The training then goes on from its best checkpoint with PGD.

What is decided follows from files: `metrics.jsonl` and the checkpoints show the
collapse, and `fallback.json` is written when the checkpoints that led to it are gone.
Killed before, a training meets the same collapse again; killed after, it goes on as
the file says.
"""

from __future__ import annotations

import math
import typing

import keras

from tla_tf.persistence import CheckpointStore, RunFolder
from tla_tf.records.run import FallbackRecord
from tla_tf.training.metrics_log import MetricsLog

# A fall within so many standard errors is chance.
_ERRORS = 3.0


class CollapseError(Exception):
  """Ends a stretch of training; `args[0]` is the FallbackRecord."""


def find_collapse(rows: list[dict], share: float, examples: int) -> FallbackRecord | None:
  """Whether the last of a training's intervals is a collapse.

  It is one if its robust accuracy on held-out images is below `share` of the best
  before, by more than chance, while the training's own accuracy is no lower than it was
  then: a training that diverges loses both.

  Args:
    rows: the dicts of `metrics.jsonl`, of steps of a cheap inner attack.
    share: from 0 to 1.
    examples: number of held-out images.

  Returns:
    FallbackRecord that goes back to the best of the intervals; None where all is well.
  """
  *before, last = rows
  if not before:
    return None
  best = max(before, key=lambda row: (row["val_robust_accuracy"], row["step"]))
  robust, now = best["val_robust_accuracy"], last["val_robust_accuracy"]
  chance = _ERRORS * math.sqrt(robust * (1.0 - robust) / examples)
  if now >= share * robust or robust - now <= chance or last["accuracy"] < best["accuracy"]:
    return None
  return FallbackRecord(best["step"], robust, last["step"], now, last["accuracy"])


class CollapseGuard(keras.callbacks.Callback):
  """Raises CollapseError at the end of an interval of collapse, before its checkpoint is saved.

  Args:
    metrics: MetricsLog, called before this callback.
    share: see `find_collapse`.
    first_pgd_step: first step that PGD attacks; intervals beyond it are not looked at.
    examples: number of held-out images.
  """

  def __init__(self, metrics: MetricsLog, share: float, first_pgd_step: int, examples: int):
    super().__init__()
    self._metrics, self._share, self._first_pgd_step, self._examples = metrics, share, first_pgd_step, examples

  def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
    rows = self._metrics.rows
    if rows[-1]["step"] <= self._first_pgd_step:
      found = find_collapse(rows, self._share, self._examples)
      if found is not None:
        raise CollapseError(found)


def fall_back(
  found: FallbackRecord, folder: RunFolder, store: CheckpointStore, say: typing.Callable[[str], object]
) -> None:
  """Takes a run back to the checkpoint before its collapse.

  Args:
    found: FallbackRecord.
    folder: the run's.
    store: its checkpoints.
    say: receives a line for people.
  """
  store.drop_after(found.step)
  folder.write_fallback(found)
  say(describe(found))


def describe(found: FallbackRecord) -> str:
  """What happened, as a sentence."""
  return (
    f"catastrophic overfitting: at step {found.collapsed_at} robust accuracy on held-out images had fallen to "
    f"{found.robust_accuracy:.1%} of {found.best_robust_accuracy:.1%}, under an inner attack that "
    f"{found.training_accuracy:.1%} of the training images withstood; back to step {found.step}, and on with PGD."
  )
