"""The figure of a comparison: accuracy under the strongest attack against the time of training."""

from __future__ import annotations

import math
import typing

import numpy as np

from tla_tf.records import comparison
from tla_tf.records.comparison import ComparedVariant, ComparisonRecord, SeedMean
from tla_tf.reporting.comparison_tables import strongest_name
from tla_tf.reporting.drawing import (
  Place,
  color,
  limited,
  marker,
  paired_panels,
  save,
  set_title,
  shortened_names,
  themed,
)

# From this ratio of the longest to the shortest training on, seconds are shown by their logarithm.
_FAR_APART = 4


def _ticks(low: float, high: float) -> list[float]:
  """Round numbers on a logarithmic axis, from the last one below the lowest value to the first above the highest."""
  first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
  steps = (1, 2, 5) if last - first <= 2 else (1,)
  ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
  return [max(t for t in ticks if t <= low), *(t for t in ticks if low < t < high), min(t for t in ticks if t >= high)]


class _Point(typing.NamedTuple):
  accuracy: SeedMean
  seconds: SeedMean


def _points(record: ComparisonRecord) -> dict[str, _Point]:
  """The variants that have both numbers."""
  found = {variant.name: _point(variant, record) for variant in record.variants}
  return {name: point for name, point in found.items() if point is not None}


def _point(variant: ComparedVariant, record: ComparisonRecord) -> _Point | None:
  accuracy = variant.of(record.strongest) if record.strongest else None
  seconds = variant.find(comparison.TOTAL_SECONDS)
  return None if accuracy is None or seconds is None or seconds.mean <= 0 else _Point(accuracy, seconds)


def can_draw(record: ComparisonRecord) -> bool:
  """Whether a variant is trained and judged."""
  return bool(_points(record))


def caption(record: ComparisonRecord) -> str:
  """What the figure shows."""
  if record.strongest is None:
    return "Accuracy against training seconds"
  images = f"{record.strongest.num_examples:,} {record.strongest.split.images} of {record.dataset}"
  return f"Accuracy ({strongest_name(record.strongest)}) on {images} against training seconds"


@themed
def accuracy_against_seconds(record: ComparisonRecord, path: Place) -> Place:
  """Accuracy under the strongest attack against seconds of training.

  A point a variant with its interval; small ones are its runs.

  Args:
    record: ComparisonRecord, of which `can_draw` is true.
    path: PNG to write, or an open binary file.

  Returns:
    The path.
  """
  points, others = limited(_points(record))
  figure, places, rows = paired_panels(shortened_names(points, 2.2, 8), "variants", count=1)
  for name, (accuracy, seconds) in points.items():
    axes, i = places[name]
    style: typing.Any = {"color": color(i), "marker": marker(i), "clip_on": False}
    seconds_by_seed = dict(zip(seconds.seeds, seconds.values))
    runs = [(seconds_by_seed[s], v) for s, v in zip(accuracy.seeds, accuracy.values) if s in seconds_by_seed]
    if len(runs) > 1:
      axes.plot(*np.array(runs).T, linestyle="", markersize=3, alpha=0.5, **style)
    ends = np.array(accuracy.interval or (accuracy.mean, accuracy.mean))
    axes.errorbar(
      seconds.mean,
      accuracy.mean,
      yerr=np.abs(ends - accuracy.mean).reshape(2, 1),
      markersize=6,
      elinewidth=1,
      capsize=2,
      **style,
    )
  times = [value for _, seconds in points.values() for value in seconds.values if value > 0]
  lows = [min(*(accuracy.interval or ()), *accuracy.values, accuracy.mean) for accuracy, _ in points.values()]
  highs = [max(*(accuracy.interval or ()), *accuracy.values, accuracy.mean) for accuracy, _ in points.values()]
  room = max(0.02, 0.08 * (max(highs) - min(lows)))
  for (axes,) in rows:
    if max(times) >= _FAR_APART * min(times):
      axes.set_xscale("log")
      ticks = _ticks(min(times), max(times))
      axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
      axes.minorticks_off()
      axes.set_xlim(ticks[0] / 1.1, ticks[-1] * 1.1)
    else:
      axes.set_xlim(0, max(times) * 1.1)
    axes.set(
      xlabel="seconds of training", ylabel="accuracy", ylim=(max(0, min(lows) - room), min(1, max(highs) + room))
    )
  left_out = f" ({others})" if others else ""
  set_title(figure, f"{caption(record)}{left_out}; 95% intervals, small points are runs", 9)
  return save(figure, path)
