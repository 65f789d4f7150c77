"""Results of one or several models as tables, for the terminal and Markdown."""

from __future__ import annotations

import collections.abc
import csv
import io
import typing

import rich.table
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from tla_tf.records.evaluation import Alarm, AttackRow, EvaluationRecord
from tla_tf.records.shown import ball_name
from tla_tf.reporting.escaping import markdown, markdown_block
from tla_tf.summaries import Findings, over_seeds, seed_groups
from tla_tf.types import Norm, Split
from tla_tf.visible import visible

_Record = typing.TypeVar("_Record")


class Number(str):
  """A number as a table shows it, with what it is made from."""

  value: float
  digits: int
  percent: bool
  interval: tuple[float, float] | None
  std: float | None
  unit: str

  def __new__(
    cls,
    value: float,
    digits: int = 2,
    percent: bool = True,
    interval: collections.abc.Sequence[float] | None = None,
    beside: bool = True,
    std: float | None = None,
    unit: str = "",
    both: bool = False,
  ) -> Number:
    """Of an interval and a deviation, the text has the deviation, unless it is to have both.

    Args:
      value: it.
      digits: behind the point.
      percent: whether it is shown as a percentage.
      interval: its ends, or None.
      beside: whether the text has the interval.
      std: its sample standard deviation, or None.
      unit: text that follows.
      both: whether the text has the interval beside a deviation, too.
    """
    text = f"{value:.{digits}{'%' if percent else 'f'}}"
    if std is not None:
      text += f" ± {100 * std if percent else std:.{digits}f}"
    if interval is not None and beside and (std is None or both):
      low, high = ((100 * end if percent else end) for end in interval)
      # A digit less of what is itself uncertain.
      text += f" ({low:.{digits - 1}f}-{high:.{digits - 1}f})"
    self = super().__new__(cls, text + unit)
    self.value, self.digits, self.percent, self.std, self.unit = value, digits, percent, std, unit
    self.interval = None if interval is None else (interval[0], interval[1])
    return self


class Own(str):
  """Text that says something of one model alone, even where others have the same."""


class Table(typing.NamedTuple):
  """A table of text.

  Attributes:
    title: what it shows.
    header: names of the columns; the first one's cells name the rows.
    rows: tuples of text, `Number` where it is one.
    seeds: (name of a row, number of models that it is the mean of).
  """

  title: str
  header: tuple
  rows: tuple
  seeds: tuple[tuple[str, int], ...] = ()


def with_seeds(
  table: Table,
  settings: collections.abc.Mapping[str, collections.abc.Mapping[str, typing.Any]],
  apart: collections.abc.Callable[[tuple], typing.Any] = lambda row: None,
) -> Table:
  """Adds a row of mean and sample standard deviation for the models that differ in the seed of their training only.

  Args:
    table: a row a model.
    settings: dict from model name to the settings of its training.
    apart: function of a row to what must agree, of tables with several rows a model.

  Returns:
    Table; a cell where not every model has a number is their common text, or "-".
  """
  rows, counts = [], []
  for group in seed_groups(settings):
    alike: dict[typing.Any, list[tuple]] = {}
    for row in table.rows:
      if row[0] in group.members:
        alike.setdefault(apart(row), []).append(row)
    for members in alike.values():
      if len(members) == len(group.members):
        rows.append((group.name, *map(_mean, list(zip(*members))[1:])))
        counts.append((group.name, len(members)))
  return table._replace(rows=(*table.rows, *rows), seeds=(*table.seeds, *counts))


def _mean(cells: collections.abc.Sequence[str]) -> str:
  numbers = [cell for cell in cells if isinstance(cell, Number)]
  units = {number.unit for number in numbers}
  if len(numbers) < len(cells) or len(units) > 1:
    return cells[0] if len(set(cells)) == 1 and not isinstance(cells[0], Own) else "-"
  mean, std = over_seeds([number.value for number in numbers])
  return Number(mean, numbers[0].digits, numbers[0].percent, std=std, unit=units.pop())


def transposed(table: Table, corner: str) -> Table:
  """A table with its rows as columns.

  Args:
    table: Table.
    corner: what the new rows are.
  """
  columns = zip(table.header[1:], *(row[1:] for row in table.rows))
  return Table(table.title, (corner, *(row[0] for row in table.rows)), tuple(columns), table.seeds)


def csv_tables(tables: collections.abc.Iterable[Table]) -> str:
  """Several tables as one CSV text, a line a cell: pandas pivots it to any form.

  Columns: the table's title, the number of its row, the model, of how many seeds it is
  the mean, the column, what is shown, and of a number its value, the ends of its
  interval and its standard deviation; shares are fractions.
  """
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(["table", "row", "model", "seeds", "column", "shown", "value", "low", "high", "std"])
  for table in tables:
    seeds = dict(table.seeds)
    for number, (model, *cells) in enumerate(table.rows, 1):
      for column, cell in zip(table.header[1:], cells):
        made: tuple = ("", "", "", "")
        if isinstance(cell, Number):
          made = (cell.value, *(cell.interval or ("", "")), "" if cell.std is None else cell.std)
        writer.writerow([table.title, number, model, seeds.get(model, ""), column, str(cell), *made])
  return text.getvalue()


def alike(
  records: dict[str, _Record], describe: collections.abc.Callable[[dict[str, _Record]], collections.abc.Hashable]
) -> list[dict[str, _Record]]:
  """Groups of records that one table or figure may hold.

  Args:
    records: dict from model name to record.
    describe: function from such a dict of one record to what must agree.

  Returns:
    List of dicts, in order of their first members.
  """
  groups: dict = {}
  for name, record in records.items():
    groups.setdefault(describe({name: record}), {})[name] = record
  return list(groups.values())


# What is known of models, by name: on the same images together, those on most images first.
Judged = collections.abc.Mapping[str, collections.abc.Sequence[Findings]]
# Evaluations of other checkpoints, by the name of the model.
Others = collections.abc.Mapping[str, collections.abc.Sequence[EvaluationRecord]]


def suite_groups(results: Judged) -> list[tuple[str, dict[str, EvaluationRecord]]]:
  """What stands in one table or figure each: a suite, and the models that were judged alike with it.

  Args:
    results: dict from model name to its Findings.

  Returns:
    List of (suite, dict from model name to EvaluationRecord), by suite in order of their
    first models.
  """
  groups: dict[str, dict[str, dict[str, EvaluationRecord]]] = {}
  for name, findings in results.items():
    for found in findings:
      for record in found.evaluations:
        for suite in record.suites:
          groups.setdefault(suite, {}).setdefault(suite_title({name: record}, suite), {})[name] = record
  return [(suite, group) for suite, alike in groups.items() for group in alike.values()]


def probed_groups(results: Judged) -> list[dict[str, EvaluationRecord]]:
  """Models whose probes one figure shows: of one ball, on as many images."""
  groups: dict[tuple, dict[str, EvaluationRecord]] = {}
  for name, findings in results.items():
    for found in findings:
      for record in found.evaluations:
        if (probes := record.probes) is not None:
          ball = (record.split, probes.norm, probes.epsilon, probes.num_examples)
          groups.setdefault(ball, {}).setdefault(name, record)
  return list(groups.values())


def worst_case_table(results: Judged) -> Table | None:
  """What withstands everything that is known, by ball: a row a model and set of images, a column a ball.

  None where every model was judged with one suite in one ball, whose own table says it.

  Args:
    results: dict from model name to its Findings.
  """
  balls = sorted(
    {
      (left.norm, left.epsilon)
      for all_of in results.values()
      for found in all_of
      for left in found.worst_case.by_threat
    },
    key=lambda ball: (list(Norm).index(ball[0]), ball[1]),
  )
  rows = []
  for name, findings in results.items():
    for found in findings:
      by_ball = {(left.norm, left.epsilon): left for left in found.worst_case.by_threat}
      shown = [ranged(left.accuracy, left.interval) if (left := by_ball.get(ball)) else "-" for ball in balls]
      clean = found.clean
      rows.append((name, images_name(found), ranged(clean.accuracy, clean.interval), *shown))
  if all(
    len(found.evaluations) < 2 and len(found.worst_case.by_threat) < 2
    for all_of in results.values()
    for found in all_of
  ):
    return None
  table = Table(
    "Worst case by ball: images that withstand every attack of every suite that was run in it, or in a smaller one",
    ("Model", "images", "Clean", *(ball_name(*ball) for ball in balls)),
    tuple(rows),
  )
  settings = {name: findings[0].config for name, findings in results.items() if findings}
  return with_seeds(table, settings, apart=lambda row: row[1])


def images_name(found: Findings) -> str:
  """How many images were judged, which, and whether attacked ones were rounded."""
  return f"{_images(found.last)}{', 8 bits' if found.last.eight_bit else ''}"


def _images(record: EvaluationRecord) -> str:
  return f"{record.num_examples:,}{', held out' if record.split is Split.HELD_OUT else ''}"


def others_table(others: Others) -> Table | None:
  """Evaluations of checkpoints, or models, that are not those judged last; None without such."""
  rows = []
  for name, records in others.items():
    for record in records:
      for suite, left in record.worst_case.by_suite.items():
        balls = dict.fromkeys(ball_name(row.norm, row.epsilon) for row in record.of_suite(suite))
        rows.append(
          (
            name,
            checkpoint_name(record),
            suite,
            ", ".join(balls),
            _images(record),
            ranged(record.clean.accuracy, record.clean.interval),
            ranged(left.accuracy, left.interval),
          )
        )
  if not rows:
    return None
  return Table(
    "Judged before, of other checkpoints than those above",
    ("Model", "checkpoint", "suite", "balls", "images", "Clean", "Worst case"),
    tuple(rows),
  )


def checkpoint_name(record: EvaluationRecord) -> str:
  """What names the weights that were judged."""
  step = "" if record.checkpoint is None else f"step {record.checkpoint}, "
  return f"{step}{record.checkpoint_digest[:8]}"


def suite_title(results: dict[str, EvaluationRecord], suite: str) -> str:
  """What a suite's table shows: images, data set, threats."""
  first = next(iter(results.values()))
  rows = first.of_suite(suite)
  threats = dict.fromkeys(ball_name(row.norm, row.epsilon) for row in rows)
  chain = ", every attack on what the last one left" if any(row.on_survivors for row in rows) else ""
  rounded = ", adversarial images of 8 bits" if first.eight_bit else ""
  images = f"{first.clean.num_examples} {first.split.images} of {first.dataset}"
  return f"Accuracy on {images}, suite {suite}, {', '.join(threats)}{chain}{rounded}"


def suite_table(results: dict[str, EvaluationRecord], suite: str) -> Table:
  """A suite's results: a row a model; a column each for clean, every attack, and the worst case with its interval.

  Args:
    results: dict from model name to EvaluationRecord.
    suite: which of its suites.

  Returns:
    Table.
  """
  chosen = {model: {row.name: row for row in result.of_suite(suite)} for model, result in results.items()}
  names = list(dict.fromkeys(name for rows in chosen.values() for name in rows))
  lines = []
  for model, result in results.items():
    worst = result.worst_case.by_suite.get(suite)
    interval = "-" if worst is None else "{:.1f}-{:.1f}%".format(*(100 * end for end in worst.interval))
    lines.append(
      (
        model,
        Number(result.clean.accuracy, interval=result.clean.interval, beside=False),
        *(_cell(chosen[model].get(name)) for name in names),
        "-" if worst is None else Number(worst.accuracy, interval=worst.interval, beside=False),
        Own(interval),
      )
    )
  header = ("Model", "Clean", *names, "Worst case", "95% interval")
  table = Table(suite_title(results, suite), header, tuple(lines))
  return with_seeds(table, {model: result.config for model, result in results.items()})


def tables_of_evaluation(results: Judged, others: Others | None = None) -> list[Table]:
  """All tables of `suite_tables`, and the one of other checkpoints, if any."""
  before = others_table(others or {})
  return [*suite_tables(results), *([before] if before else [])]


def suite_tables(results: Judged) -> list[Table]:
  """A table for every suite and group of models that were judged alike, and the worst cases by ball."""
  tables = [suite_table(group, suite) for suite, group in suite_groups(results)]
  worst = worst_case_table(results)
  return tables if worst is None else [*tables, worst]


def percent(value: float | None) -> str:
  """A share as text; "-" for None."""
  return "-" if value is None else Number(value)


def ranged(accuracy: float, interval: collections.abc.Sequence[float]) -> str:
  """A share with its interval as text."""
  return Number(accuracy, interval=interval)


def _cell(row: AttackRow | None) -> str:
  """An accuracy, with its standard deviation where several seeds were used."""
  if row is None:
    return "-"
  return Number(row.accuracy, interval=row.interval, beside=False, std=row.accuracy_std)


def markdown_table(table: Table) -> str:
  """A `Table` in Markdown, without its title."""
  lines = [table.header, ("---", *["---:"] * (len(table.header) - 1)), *table.rows]
  return "".join("| " + " | ".join(map(markdown, line)) + " |\n" for line in lines)


def markdown_tables(tables: collections.abc.Iterable[Table]) -> str:
  """Several tables in Markdown, each below its title."""
  return "\n".join(f"{markdown_block(table.title)}\n\n{markdown_table(table)}" for table in tables)


def print_table(table: Table) -> None:
  """Prints a `Table` to the terminal."""
  # As Text: names may look like rich's markup.
  title, header, *rows = (Text(visible(table.title)), *([*map(visible, line)] for line in (table.header, *table.rows)))
  shown = rich.table.Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
  for i, name in enumerate(header):
    shown.add_column(Text(name), justify="right" if i else "left", no_wrap=True)
  for row in rows:
    shown.add_row(*map(Text, row))
  # Wide enough for every column where the output is no terminal.
  console = Console()
  widths = [max(map(cell_len, column)) for column in zip(header, *rows)]
  console.width = max(console.width, sum(widths) + 3 * len(table.header) + 2)
  console.print(shown)


def alarms_of(results: Judged) -> list[tuple[str, Alarm]]:
  """(model, alarm) of all models, each once."""
  return list(
    {
      (name, alarm.code, alarm.seen): (name, alarm)
      for name, findings in results.items()
      for found in findings
      for alarm in found.alarms
    }.values()
  )


def notes_of(results: Judged) -> list[str]:
  """What a reader should know, with the model's name, each sentence once."""
  return list(
    dict.fromkeys(f"{name}: {note}" for name, findings in results.items() for found in findings for note in found.notes)
  )


def markdown_alarms(results: Judged) -> str:
  """The alarms of all models as a Markdown list."""
  lines = [
    f"- **{markdown(alarm.code)}** ({markdown(model)}): {markdown_block(f'{alarm.seen} {alarm.why}')} "
    f"*{markdown_block(alarm.remedy)}*\n"
    for model, alarm in alarms_of(results)
  ]
  return "".join(lines) or "No alarm.\n"


def markdown_evaluation(results: Judged, others: Others | None = None) -> str:
  """Tables, notes and alarms of all models, as `evaluation.md` holds them.

  Args:
    results: dict from model name to its Findings.
    others: evaluations of other checkpoints, if any.
  """
  tables = tables_of_evaluation(results, others)
  notes = "".join(f"{markdown_block(note)}\n\n" for note in notes_of(results))
  return f"{markdown_tables(tables)}\n{notes}Alarms:\n\n{markdown_alarms(results)}"


def print_alarms(results: Judged) -> None:
  """Prints the alarms of all models to the terminal."""
  console = Console()
  for model, alarm in alarms_of(results):
    console.print(Text.assemble((f"ALARM {alarm.code}", "bold red"), visible(f" ({model}): {alarm.seen}")))
    console.print(Text(visible(f"  {alarm.why} {alarm.remedy}"), style="dim"))
  for model, findings in results.items():
    if not any(found.alarms for found in findings):
      console.print(Text(visible(f"{model}: no alarm (docs/alarms.md lists what is checked).")))
    if not any(found.probes for found in findings):
      text = "no probes were run, so half of the alarms could not be raised (probe_examples)."
      console.print(Text(visible(f"{model}: {text}")))
