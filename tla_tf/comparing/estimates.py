"""What a comparison takes on this machine, before it is run."""

from __future__ import annotations

import collections.abc
import contextlib
import typing

from tla_tf.comparing import work
from tla_tf.comparing.plan import PlannedRun, words_of
from tla_tf.comparing.runner import Comparison
from tla_tf.config import TrainingConfig
from tla_tf.errors import InputError
from tla_tf.records import training_epsilon
from tla_tf.reporting import Number, Table
from tla_tf.settings.texts import fraction
from tla_tf.visible import shell_command

# Where a plan does not say how many images.
_TEST_IMAGES, _TRAINING_IMAGES = 10_000, 50_000


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


def judgings(
  comparison: Comparison, title: str, seconds: collections.abc.Callable[[work.Judged], float] | None = None
) -> tuple[Table, float]:
  """The evaluations and analyses that are left, alike ones in a row, with their hours, and the sum of these.

  Hours that cannot be known are left open and not in the sum.

  Args:
    comparison: Comparison.
    title: of the table.
    seconds: of an evaluation or analysis; by default as `training.judging_cost` counts them.
  """
  alike: dict[str, list[work.Judged]] = {}
  for one in [*comparison.judgings(True), *comparison.judgings(False)]:
    if not comparison.is_done(one):
      tool = "tla-analyze" if one.analysis else "tla-evaluate"
      alike.setdefault(shell_command([tool, *words_of(one.judging.flags)]), []).append(one)
  rows: list[tuple] = []
  total = 0.0
  for what, several in alike.items():
    with contextlib.suppress(InputError):
      hours = sum(map(seconds or _judging_seconds, several)) / 3600
      total += hours
      rows.append((what, str(len(several)), _hours(hours / len(several), True), _hours(hours, True)))
      continue
    rows.append((what, str(len(several)), _hours(None, True), _hours(None, True)))
  rows.append(("in all", "", "", _hours(total, True)))
  return Table(title, ("Judging", "runs left", "hours a run", "hours"), tuple(rows)), total


def _judging_seconds(one: work.Judged) -> float:
  """Of an evaluation or analysis; where it is of all images, of 10,000 test images and 50,000 of training."""
  from tla_tf.evaluation import analysis_planning, planning
  from tla_tf.training import judging_cost

  config, flags = one.run.config, {flag: texts[-1] for flag, texts in one.judging.flags.items()}
  epsilon, count = training_epsilon(config.to_dict()), int(flags.get("num_examples", _TEST_IMAGES))

  def radii(name: str) -> typing.Any:
    found = [fraction(text) for text in flags[name].split(",")] if name in flags else [None]
    return found[0] if len(found) == 1 else tuple(found)

  if one.analysis:
    names = ("weak_epsilon", "strong_epsilon")
    asked = analysis_planning.AnalysisOptions(**{name: radii(name) for name in names})
    attacks = analysis_planning.planned_attacks(asked, config.dataset, epsilon)
    return judging_cost.analysis_seconds(
      config,
      attacks.weak,
      attacks.strong,
      num_examples=count,
      num_train_examples=int(flags.get("num_train_examples", _TRAINING_IMAGES)),
      fit_examples=int(flags.get("fit_examples", asked.fit_examples)),
    )
  options = planning.EvaluationOptions(
    suites=tuple(flags["suite"].split(",")) if "suite" in flags else (),
    suite_file=flags.get("suite_file"),
    **{name: radii(name) for name in ("epsilon", "l2_epsilon", "l0_epsilon")},
  )
  plans = [
    planning.planned_attacks(each, config.dataset, one.source is not None, epsilon)
    for each in planning.one_by_one(options, config.dataset)
  ]
  found = [attack for plan in plans for attack in plan.attacks]
  return judging_cost.judging_seconds(config, found, count, num_seeds=int(flags.get("num_seeds", 1)))


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
