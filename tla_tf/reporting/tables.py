"""Results of one or several models as tables, for the terminal and Markdown."""

from __future__ import annotations

import collections.abc
import re
import typing

import rich.table
from rich import box
from rich.console import Console
from rich.text import Text

from tla_tf.records.evaluation import AttackRow, EvaluationRecord
from tla_tf.records.shown import pixels
from tla_tf.types import Norm

_Record = typing.TypeVar("_Record")
_UNITS = {Norm.LINF: "L-inf epsilon ", Norm.L2: "L2 epsilon ", Norm.L0: "L0 share "}


class Table(typing.NamedTuple):
  """A table of text.

  Attributes:
    title: what it shows.
    header: names of the columns; the first one's cells name the rows.
    rows: tuples of text.
  """

  title: str
  header: tuple
  rows: tuple


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


def suites_of(results: dict[str, EvaluationRecord]) -> list[str]:
  """Names of the suites in the results, in order."""
  return list(dict.fromkeys(suite for result in results.values() for suite in result.suites))


def of_suite(results: dict[str, EvaluationRecord], suite: str) -> list[dict[str, EvaluationRecord]]:
  """The results of models that were judged with a suite, in groups of one table each."""
  judged = {name: result for name, result in results.items() if suite in result.suites}
  return alike(judged, lambda one: suite_title(one, suite))


def suite_title(results: dict[str, EvaluationRecord], suite: str) -> str:
  """What a suite's table shows: images, data set, threats."""
  first = next(iter(results.values()))
  rows = first.of_suite(suite)
  threats = dict.fromkeys(_UNITS[row.norm] + pixels(row.epsilon) for row in rows)
  chain = ", every attack on what the last one left" if any(row.on_survivors for row in rows) else ""
  return (
    f"Accuracy on {first.clean.num_examples} test images of {first.dataset}, suite {suite}, {', '.join(threats)}{chain}"
  )


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
        percent(result.clean.accuracy),
        *(_cell(chosen[model].get(name)) for name in names),
        percent(None if worst is None else worst.accuracy),
        interval,
      )
    )
  return Table(suite_title(results, suite), ("Model", "Clean", *names, "Worst case", "95% interval"), tuple(lines))


def suite_tables(results: dict[str, EvaluationRecord]) -> list[Table]:
  """A table for every suite, and for every group of models that were judged alike."""
  return [suite_table(group, suite) for suite in suites_of(results) for group in of_suite(results, suite)]


def percent(value: float | None) -> str:
  """A share as text; "-" for None."""
  return "-" if value is None else f"{value:.2%}"


def ranged(accuracy: float, interval: collections.abc.Sequence[float]) -> str:
  """A share with its interval as text."""
  return f"{accuracy:.2%} ({100 * interval[0]:.1f}-{100 * interval[1]:.1f})"


def _cell(row: AttackRow | None) -> str:
  """An accuracy, with its standard deviation where several seeds were used."""
  if row is None:
    return "-"
  return percent(row.accuracy) + (f" ± {100 * row.accuracy_std:.2f}" if row.accuracy_std is not None else "")


def markdown_table(table: Table) -> str:
  """A `Table` in Markdown, without its title."""
  lines = [table.header, ("---", *["---:"] * (len(table.header) - 1)), *table.rows]
  return "".join("| " + " | ".join(map(escaped, line)) + " |\n" for line in lines)


def markdown_tables(tables: collections.abc.Iterable[Table]) -> str:
  """Several tables in Markdown, each below its title."""
  return "\n".join(f"{escaped(table.title)}\n\n{markdown_table(table)}" for table in tables)


def escaped(text: str) -> str:
  """Text that Markdown shows as it is; `code` between backticks stays code."""
  parts = text.split("`")
  # With an odd number of backticks the last one is no code.
  return "`".join(
    part if i % 2 and i < len(parts) - 1 else re.sub(r"([\\*\[\]<>|])", r"\\\1", part) for i, part in enumerate(parts)
  )


def print_table(table: Table) -> None:
  """Prints a `Table` to the terminal."""
  # As Text: names may look like rich's markup.
  shown = rich.table.Table(title=Text(table.title), box=box.SIMPLE_HEAD, title_justify="left")
  for i, name in enumerate(table.header):
    shown.add_column(Text(name), justify="right" if i else "left", no_wrap=True)
  for row in table.rows:
    shown.add_row(*map(Text, row))
  # Wide enough for every column where the output is no terminal.
  console = Console()
  widths = [max(len(line[i]) for line in (table.header, *table.rows)) for i in range(len(table.header))]
  console.width = max(console.width, sum(widths) + 3 * len(table.header) + 2)
  console.print(shown)


def markdown_alarms(results: dict[str, EvaluationRecord]) -> str:
  """The alarms of all models as a Markdown list."""
  lines = [
    f"- **{alarm.code}** ({model}): {alarm.seen} {alarm.why} *{alarm.remedy}*\n"
    for model, result in results.items()
    for alarm in result.alarms
  ]
  return "".join(lines) or "No alarm.\n"


def markdown_evaluation(results: dict[str, EvaluationRecord]) -> str:
  """Tables, notes and alarms of all models, as `evaluation.md` holds them."""
  notes = "".join(f"{model}: {note}\n\n" for model, result in results.items() for note in result.notes)
  return f"{markdown_tables(suite_tables(results))}\n{notes}Alarms:\n\n{markdown_alarms(results)}"


def print_alarms(results: dict[str, EvaluationRecord]) -> None:
  """Prints the alarms of all models to the terminal."""
  console = Console()
  for model, result in results.items():
    for alarm in result.alarms:
      console.print(Text.assemble((f"ALARM {alarm.code}", "bold red"), f" ({model}): {alarm.seen}"))
      console.print(Text(f"  {alarm.why} {alarm.remedy}", style="dim"))
    if not result.alarms:
      console.print(f"{model}: no alarm (docs/alarms.md lists what is checked).")
    if not result.probes:
      console.print(f"{model}: no probes were run, so half of the alarms could not be raised (probe_examples).")
