"""The paper's tables beside ours."""

from __future__ import annotations

import collections.abc
import typing

from tla_tf import datasets
from tla_tf.records import PoolTimes
from tla_tf.records.comparison import ComparisonRecord
from tla_tf.reporting import Number, Table
from tla_tf.reproducing.paper import Column, Part
from tla_tf.reproducing.record import Cell, ReproducedRecord, Row

# Behind a difference where the paper's number lies outside the interval of ours.
MARK = " *"
_GAIN_OF, _GAIN = "TLA", "TLA over the best other"


class Ours(typing.NamedTuple):
  """What was measured of a variant.

  Attributes:
    mean: over the seeds; of an accuracy its fraction.
    interval: 95% of it, or None.
    by_seed: the number of every seed.
  """

  mean: float
  interval: tuple[float, float] | None
  by_seed: dict[str, float]


# From (variant, what the column is compared with) to what was measured.
Measured = collections.abc.Mapping[tuple[str, str], Ours]


def measured_of(record: ComparisonRecord, part: Part) -> dict[tuple[str, str], Ours]:
  """What a comparison found of all that a table has columns for.

  Args:
    record: `comparison.json`.
    part: of the paper.
  """
  # The paper's "Adv" is at the epsilon of training.
  names = {"neighbours/adversarial": f"neighbours/{datasets.get(part.dataset).analysis_scale.usual}"}
  found = {}
  for variant in record.variants:
    for column in part.columns:
      mean = variant.find(names.get(column.ours, column.ours))
      if mean is not None:
        by_seed = {str(seed): value for seed, value in zip(mean.seeds, mean.values)}
        found[variant.name, column.ours] = Ours(mean.mean, mean.interval, by_seed)
  return found


def times_of(times: PoolTimes | None, part: Part) -> dict[tuple[str, str], Ours]:
  """What steps with the pools of a table's rows take, in seconds; nothing without times."""
  found = {}
  for pool, time in (times.by_pool() if times else {}).items():
    variant = part.variants.get(str(pool))
    if variant is not None:
      found[variant, "seconds/step"] = Ours(time.seconds, None, {})
      found[variant, "seconds/mining"] = Ours(time.mining_seconds, None, {})
  return found


def notes_of(times: PoolTimes | None) -> list[str]:
  """On what machine times are, and how they stand to AT's; nothing without times."""
  if times is None:
    return []
  how = "measured" if all(time.measured for time in times.pools) else "counted from operations, some of them"
  relative = ", ".join(f"{time.relative:.2f} ({time.pool:,})" for time in times.pools)
  minutes = ", ".join(f"{time.minutes_per_100_steps:.3g}" for time in times.pools)
  return [
    f"Times: ours of {times.network} with batch {times.batch_size} on {times.machine}, {how}; the paper's of a Tesla "
    f"V100. A step of AT takes {times.at.seconds:.3g} s; relative to it (of a pool of): {relative}; minutes per 100 "
    f"steps: {minutes}."
  ]


def beside(
  part: Part,
  measured: Measured,
  *,
  rows: collections.abc.Sequence[str],
  further: collections.abc.Sequence[str] = (),
  scale: str,
  comparison: str,
  notes: collections.abc.Sequence[str] = (),
  pictures: collections.abc.Sequence[str] = (),
) -> ReproducedRecord:
  """Puts ours beside a table of the paper.

  Args:
    part: of the paper.
    measured: ours.
    rows: names of the paper's rows to show.
    further: variants that the paper does not have, to be shown below.
    scale: how long ours were trained.
    comparison: folder that ours lie in.
    notes: sentences that a reader should know.
    pictures: files of a figure without numbers.

  Returns:
    ReproducedRecord.
  """
  nothing = (None,) * len(part.columns)
  shown = [(name, part.variants[name], part.rows[name]) for name in rows]
  shown += [(variant, variant, nothing) for variant in further]
  lines = [
    Row(
      name=name,
      variant=variant,
      cells=[_cell(column, measured.get((variant, column.ours)), paper) for column, paper in zip(part.columns, papers)],
    )
    for name, variant, papers in shown
  ]
  if part.gain is not None:
    lines += _gain(part, lines)
  return ReproducedRecord(
    name=part.name,
    title=part.title,
    dataset=part.dataset,
    network=part.network,
    scale=scale,
    comparison=comparison,
    columns=[column.title for column in part.columns],
    percent=[column.percent for column in part.columns],
    rows=lines,
    notes=list(notes),
    pictures=list(pictures),
  )


def _cell(column: Column, ours: Ours | None, paper: typing.Any) -> Cell:
  difference, differs = None, None
  if ours is not None and paper is not None:
    difference = ours.mean - paper.value
    if ours.interval is not None and not column.of_machine:
      low, high = ours.interval
      differs = not low - paper.rounding <= paper.value <= high + paper.rounding
  return Cell(
    column=column.title,
    ours=ours and ours.mean,
    interval=ours and ours.interval,
    by_seed=ours.by_seed if ours else {},
    paper=paper and paper.value,
    printed=paper and paper.printed,
    difference=difference,
    differs=differs,
  )


def _gain(part: Part, lines: list[Row]) -> list[Row]:
  """How far TLA is above the best other robust model, beside what the text says of it."""
  areas = {line.name: line.cells[0].ours for line in lines if line.name in part.rows}
  others = [area for name, area in areas.items() if name != _GAIN_OF and area is not None]
  own = areas.get(_GAIN_OF)
  if own is None or len(others) < len(part.rows) - 1:
    return []
  ours = Ours(own - max(others), None, {})
  return [Row(name=_GAIN, variant="", cells=[_cell(part.columns[0], ours, part.gain)])]


def table(record: ReproducedRecord) -> Table:
  """A record as a table: below every row of ours the paper's, and the difference.

  A difference is marked with a star where the paper's number lies outside the interval of ours.
  """
  lines: list[tuple] = []
  for row in record.rows:
    cells = list(zip(row.cells, record.percent))
    lines.append((f"{row.name}, ours", *(_ours(cell, percent, record) for cell, percent in cells)))
    if any(cell.paper is not None for cell, _ in cells):
      lines.append(("paper", *(cell.printed or "-" for cell, _ in cells)))
      lines.append(("difference", *(_difference(cell, percent) for cell, percent in cells)))
  title = f"{record.name}, {record.dataset} ({record.network}), scale {record.scale}: {record.title}"
  return Table(title, ("", *record.columns), tuple(lines))


def _digits(cell: Cell, percent: bool) -> int:
  """Two of a share; else those of the paper's number."""
  if percent:
    return 2
  printed = cell.printed or ""
  return max(3, len(printed.partition(".")[2])) if printed and not printed.endswith("%") else 4


def _ours(cell: Cell, percent: bool, record: ReproducedRecord) -> str:
  if cell.ours is None:
    return "-"
  return Number(cell.ours, _digits(cell, percent), percent, cell.interval)


def _difference(cell: Cell, percent: bool) -> str:
  if cell.difference is None:
    return "-"
  digits = _digits(cell, percent)
  return f"{(100 if percent else 1) * cell.difference:+.{digits}f}{MARK * bool(cell.differs)}"
