"""Tables of a comparison: variants with their means over seeds, and the runs behind them."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing

from tla_tf.records import comparison
from tla_tf.records.comparison import ComparedRun, ComparisonRecord, Measure, Over, Quantity, RunState, SeedMean
from tla_tf.records.shown import ball_name, pixels
from tla_tf.reporting.tables import Number, Table
from tla_tf.types import Split

# Of an analysis: what its quantities are called.
_ANALYSED = {"separation": "r", "neighbours": "kNN", "area": "AUC"}


def tables_of_comparison(record: ComparisonRecord) -> list[Table]:
  """All tables: the summary, every suite and analysis on every set of images, and the runs."""
  return [summary_table(record), *measured_tables(record), runs_table(record)]


def summary_table(record: ComparisonRecord) -> Table:
  """A row a variant: how far its runs are, what they cost, and accuracy without and under the strongest attack."""
  strongest = record.strongest
  columns: list[tuple[str, Quantity | str]] = [("training seconds", comparison.TOTAL_SECONDS)]
  if any(_adds_up(variant) for variant in record.variants):
    columns.insert(0, ("own seconds", comparison.SECONDS))
  columns += [("held out, clean", comparison.VALIDATION), ("held out, attacked", comparison.ROBUST_VALIDATION)]
  if strongest:
    columns += [("Clean", clean_of(strongest)), (strongest_name(strongest), strongest)]
  rows = []
  for variant in record.variants:
    cells = []
    for _, quantity in columns:
      split = Split.HELD_OUT if str(quantity).startswith("validation") else Split.TEST
      mean = variant.find(quantity, split) if isinstance(quantity, str) else variant.of(quantity)
      cells.append(_mean(mean, variant.finished))
    count = f"{variant.finished} of {len(variant.seeds)}"
    rows.append((variant.name, variant.method or "-", variant.network or "-", count, *cells))
  header = ("Variant", "method", "network", "runs", *(title for title, _ in columns))
  on = f" on {_images(strongest)}" if strongest else ""
  title = f"Comparison on {record.dataset or 'no data set yet'}: means over seeds{on}"
  return Table(title, header, tuple(rows), _seeds(record))


def _adds_up(variant: comparison.ComparedVariant) -> bool:
  """Whether it took trainings before its own."""
  own, total = variant.find(comparison.SECONDS), variant.find(comparison.TOTAL_SECONDS)
  return own is not None and (total is None or total.mean != own.mean)


def clean_of(quantity: Quantity) -> Quantity:
  """Accuracy without an attack on the same images."""
  return dataclasses.replace(quantity, name=comparison.CLEAN, norm=None, epsilon=None, settings="")


def strongest_name(quantity: Quantity) -> str:
  """What the worst case in a ball is called."""
  ball = ball_name(quantity.norm, quantity.epsilon) if quantity.norm and quantity.epsilon is not None else "all balls"
  return f"worst case, {ball}"


def measured_tables(record: ComparisonRecord) -> list[Table]:
  """A table for every suite, and for analyses, on every set of images: a row a variant."""
  groups: dict[tuple, list[Quantity]] = {}
  for quantity in record.quantities():
    if quantity.suite not in (None, "validation"):
      kind = "" if quantity.suite in _ANALYSED else quantity.suite
      groups.setdefault((kind, quantity.split, quantity.num_examples, quantity.eight_bit), []).append(quantity)
  # Those on test images before those on held-out ones.
  ordered = sorted(groups.items(), key=lambda item: list(Split).index(item[0][1]))
  return [_measured_table(record, suite, quantities) for (suite, *_), quantities in ordered]


def _measured_table(record: ComparisonRecord, suite: str, quantities: list[Quantity]) -> Table:
  images = _images(quantities[0])
  if suite:
    balls = dict.fromkeys(
      ball_name(one.norm, one.epsilon) for one in quantities if one.norm is not None and one.epsilon is not None
    )
    title = f"Accuracy on {images}, suite {suite}, {', '.join(balls)}"
    # The worst case ends a suite's table, also where its attacks came in two goes.
    quantities = [clean_of(quantities[0]), *sorted(quantities, key=_is_worst_case)]
  else:
    title = (
      f"Analysis of {images}: Table 5's r, the vote of nearest neighbours (Table 6), areas under the ROC (Figure 5)"
    )
  rows = [
    (variant.name, *(_mean(variant.of(quantity), variant.finished) for quantity in quantities))
    for variant in record.variants
  ]
  return Table(title, ("Variant", *_labels(quantities)), tuple(rows), _seeds(record))


def _is_worst_case(quantity: Quantity) -> bool:
  return quantity.name.endswith(f"/{comparison.WORST_CASE}")


def _labels(quantities: collections.abc.Sequence[Quantity]) -> list[str]:
  """A heading of its own for every quantity of a table."""
  shown = [_label(one) for one in quantities]
  radii = [
    f"{label} at {pixels(one.epsilon)}" if shown.count(label) > 1 and one.epsilon is not None else label
    for label, one in zip(shown, quantities)
  ]
  return [
    f"{label} ({radii[:i].count(label) + 1})" if radii.count(label) > 1 else label for i, label in enumerate(radii)
  ]


def _label(quantity: Quantity) -> str:
  before, _, after = quantity.name.rpartition("/")
  if before not in _ANALYSED:
    return {comparison.CLEAN: "Clean", comparison.WORST_CASE: "Worst case"}.get(after, after)
  at = f", epsilon {pixels(quantity.epsilon)}" if quantity.epsilon is not None and before != "area" else ""
  return f"{_ANALYSED[before]} {after}{at}"


def _images(quantity: Quantity) -> str:
  rounded = ", adversarial images of 8 bits" if quantity.eight_bit else ""
  return f"{quantity.num_examples or 0:,} {quantity.split.images}{rounded}"


def runs_table(record: ComparisonRecord) -> Table:
  """A row a run: how far it is, and its numbers of the summary."""
  strongest = record.strongest
  header = ["Run", "state", "steps", "checkpoint", "training seconds", "held out, attacked"]
  if strongest:
    header += ["Clean", strongest_name(strongest)]
  rows = []
  for run in record.runs:
    steps = f"{run.steps:,} of {run.train_steps:,}" if run.train_steps else "-"
    cells = [
      _single(run.find(comparison.TOTAL_SECONDS) or run.find(comparison.SECONDS)),
      _single(run.find(comparison.ROBUST_VALIDATION, Split.HELD_OUT)),
    ]
    if strongest:
      by_quantity = {measure.quantity: measure for measure in run.measures}
      cells += [_single(by_quantity.get(quantity)) for quantity in (clean_of(strongest), strongest)]
    checkpoint = "-" if run.checkpoint is None else f"{run.checkpoint:,}"
    rows.append((run_name(run), run.state.value, steps, checkpoint, *cells, ", ".join(run.alarms) or "-"))
  return Table("Runs", (*header, "alarms"), tuple(rows))


def run_name(run: ComparedRun) -> str:
  """What a run is called beside its variant's others."""
  return f"{run.variant}, seed {run.seed}"


def _seeds(record: ComparisonRecord) -> tuple[tuple[str, int], ...]:
  return tuple((variant.name, variant.finished) for variant in record.variants)


def _number(quantity: Quantity, value: float, **more: typing.Any) -> str:
  if quantity.name in (comparison.SECONDS, comparison.TOTAL_SECONDS):
    return Number(value, 0, percent=False, beside=False, **more)
  if quantity.suite in ("separation", "area"):
    return Number(value, 3 if quantity.suite == "separation" else 4, percent=False, **more)
  return Number(value, **more)


def _mean(found: SeedMean | None, runs: int) -> str:
  """A mean with its deviation and interval; and of how many runs, where it is not of all that are trained."""
  if found is None:
    return "-"
  of = f", {len(found.values)} of {runs} runs" if len(found.values) < runs else ""
  return _number(found.quantity, found.mean, interval=found.interval, std=found.std, unit=of, both=True)


def _single(found: Measure | None) -> str:
  return "-" if found is None else _number(found.quantity, found.value, interval=found.interval)


def sentences(record: ComparisonRecord) -> list[str]:
  """How to read the tables, what is not there yet, and the record's own notes."""
  found = ["Mean ± sample standard deviation over the seeds of the training; in brackets a 95% interval of the mean."]
  over = {measure.over for variant in record.variants for measure in variant.measures if measure.over}
  meanings = {
    Over.BOTH: "of several seeds it accounts for other seeds (Student's t) and for other images (the runs' own "
    "intervals), joined as independent",
    Over.SEEDS: "of what has no interval over images, for other seeds alone",
    Over.IMAGES: "of a single seed, for other images alone",
  }
  said = "; ".join(words for kind, words in meanings.items() if kind in over)
  found += [f"Intervals: {said}."] if said else []
  found.append(
    "Training seconds are wall-clock time with the looks at held-out images, and with the trainings that a variant "
    "began with. Accuracies held out are those of the chosen checkpoint, which they chose: a little too good."
  )
  waiting = [f"{run_name(run)} ({_how_far(run)})" for run in record.runs if run.state is not RunState.JUDGED]
  if waiting:
    found.append(f"Not judged on test images: {', '.join(waiting)}.")
  return found + record.notes


def _how_far(run: ComparedRun) -> str:
  if run.state is RunState.TRAINING:
    return f"training, {run.steps:,} of {run.train_steps:,} steps"
  return run.state.value
