"""What a comparison takes on this machine, before it is run."""

from __future__ import annotations

import collections.abc
import contextlib

from tla_tf.comparing import work
from tla_tf.comparing.plan import PlannedRun
from tla_tf.comparing.runner import Comparison
from tla_tf.config import TrainingConfig
from tla_tf.errors import InputError
from tla_tf.reporting import Number, Table


def trainings(
  comparison: Comparison, title: str, run_seconds: collections.abc.Callable[[TrainingConfig], float] | None = None
) -> tuple[Table, float]:
  """The trainings that are left, with their hours one after the other, and the sum of these.

  Where equal seconds make the lengths, an unmeasured training takes those. Hours that cannot be known, as those of
  images whose shape follows from the files, are left open and not in the sum.

  Args:
    comparison: Comparison.
    title: of the table.
    run_seconds: of a whole training; `training.cost.run_seconds`, which measures rates on this machine, by default.
  """
  rows: list[tuple] = []
  total = 0.0
  by_variant: dict[str, list[PlannedRun]] = {}
  for run in comparison.runs():
    if run.variant in comparison.wanted:
      by_variant.setdefault(run.variant, []).append(run)
  for variant, runs in by_variant.items():
    config, known = runs[0].config, comparison.has_length(variant)
    left = [max(0.0, 1 - work.steps_done(run) / config.train_steps) if known else 1.0 for run in runs]
    each = None
    if any(left):
      each = _seconds(config, run_seconds or _measured) if known else comparison.plan.seconds
    hours = None if each is None else each * sum(left) / 3600
    total += hours or 0.0
    begun = comparison.plan.variant(variant).init_from
    rows.append(
      (
        variant,
        config.method,
        config.network,
        begun or "fresh weights",
        f"{config.train_steps:,}" if known else "to be measured",
        f"{sum(share > 0 for share in left)} of {len(left)}",
        _hours(None if each is None else each / 3600, any(left)),
        _hours(hours, any(left)),
      )
    )
  rows.append(("in all", "", "", "", "", "", "", _hours(total, True)))
  header = ("Variant", "method", "network", "begins with", "steps", "runs left", "hours a run", "hours")
  return Table(title, header, tuple(rows)), total


def _seconds(config: TrainingConfig, run_seconds: collections.abc.Callable[[TrainingConfig], float]) -> float | None:
  with contextlib.suppress(InputError):
    return run_seconds(config)
  return None


def _measured(config: TrainingConfig) -> float:
  from tla_tf.training import cost

  return cost.run_seconds(config)


def _hours(value: float | None, left: bool) -> Number | str:
  if value is None:
    return "unknown" if left else "-"
  return Number(value, 1 if value >= 10 else 2, percent=False)
