"""Results of one or several models as tables, for the terminal and Markdown."""

import re
import typing

import rich.table
from rich import box
from rich.console import Console
from rich.text import Text


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


def pixels(value):
  """A length in pixels of [0, 1] as people know it: 8/255 or 0.3."""
  grey_levels = round(value * 255)
  few = 0 < grey_levels <= 32 and value == grey_levels / 255
  return f"{grey_levels}/255" if few else f"{value:.4g}"


def suites_of(results):
  """Names of the suites in the results, in order."""
  return list(dict.fromkeys(row["suite"] for result in results.values() for row in result["attacks"]))


def suite_title(results, suite):
  """What a suite's table shows: images, data set, threats."""
  first = next(iter(results.values()))
  rows = [row for row in first["attacks"] if row["suite"] == suite]
  units = {"linf": "L-inf epsilon ", "l2": "L2 epsilon ", "l0": "L0 share "}
  threats = dict.fromkeys(units[row["norm"]] + pixels(row["epsilon"]) for row in rows)
  chain = ", every attack on what the last one left" if any(row["on_survivors"] for row in rows) else ""
  return (
    f"Accuracy on {first['clean']['num_examples']} test images of {first['config']['dataset']}, "
    f"suite {suite}, {', '.join(threats)}{chain}"
  )


def suite_table(results, suite):
  """A suite's results: a row a model; a column each for clean, every attack, and the worst case with its interval.

  Args:
    results: dict from model name to what `evaluation.json` holds.
    suite: which of its suites.

  Returns:
    Table.
  """
  chosen = {model: [row for row in result["attacks"] if row["suite"] == suite] for model, result in results.items()}
  names = list(dict.fromkeys(row["name"] for rows in chosen.values() for row in rows))
  lines = []
  for model, result in results.items():
    by_name = {row["name"]: row for row in chosen[model]}
    worst = result["worst_case"]["by_suite"].get(suite)
    interval = "-" if worst is None else "{:.1f}-{:.1f}%".format(*(100 * end for end in worst["interval"]))
    lines.append(
      (
        model,
        percent(result["clean"]["accuracy"]),
        *(_cell(by_name.get(name)) for name in names),
        percent(worst and worst["accuracy"]),
        interval,
      )
    )
  return Table(suite_title(results, suite), ("Model", "Clean", *names, "Worst case", "95% interval"), tuple(lines))


def percent(value):
  """A share as text; "-" for None."""
  return "-" if value is None else f"{value:.2%}"


def ranged(accuracy, interval):
  """A share with its interval as text."""
  return f"{accuracy:.2%} ({100 * interval[0]:.1f}-{100 * interval[1]:.1f})"


def _cell(row):
  """An accuracy, with its standard deviation where several seeds were used."""
  if row is None:
    return "-"
  deviation = row.get("accuracy_std")
  return percent(row["accuracy"]) + (f" ± {100 * deviation:.2f}" if deviation is not None else "")


def markdown_table(table):
  """A `Table` in Markdown, without its title."""
  lines = [table.header, ("---", *["---:"] * (len(table.header) - 1)), *table.rows]
  return "".join("| " + " | ".join(map(escaped, line)) + " |\n" for line in lines)


def markdown_tables(tables):
  """Several tables in Markdown, each below its title."""
  return "\n".join(f"{escaped(table.title)}\n\n{markdown_table(table)}" for table in tables)


def escaped(text):
  """Text that Markdown shows as it is; `code` between backticks stays code."""
  parts = text.split("`")
  # With an odd number of backticks the last one is no code.
  return "`".join(
    part if i % 2 and i < len(parts) - 1 else re.sub(r"([\\*\[\]<>|])", r"\\\1", part) for i, part in enumerate(parts)
  )


def print_table(table):
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


def markdown_alarms(results):
  """The alarms of all models as a Markdown list."""
  lines = [
    f"- **{alarm['code']}** ({model}): {alarm['seen']} {alarm['why']} *{alarm['remedy']}*\n"
    for model, result in results.items()
    for alarm in result["alarms"]
  ]
  return "".join(lines) or "No alarm.\n"


def print_alarms(results):
  """Prints the alarms of all models to the terminal."""
  console = Console()
  for model, result in results.items():
    for alarm in result["alarms"]:
      console.print(Text.assemble((f"ALARM {alarm['code']}", "bold red"), f" ({model}): {alarm['seen']}"))
      console.print(Text(f"  {alarm['why']} {alarm['remedy']}", style="dim"))
    if not result["alarms"]:
      console.print(f"{model}: no alarm (docs/alarms.md lists what is checked).")
    if not result["probes"]:
      console.print(f"{model}: no probes were run, so half of the alarms could not be raised (--probe_examples).")
