"""Results of one or several models as tables, one a suite, for the terminal and Markdown."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def suites_of(results):
  """Names of the suites in the results, in order."""
  return list(dict.fromkeys(row["suite"] for result in results.values() for row in result["attacks"]))


def _cells(results, suite):
  """(header, rows): a column each for clean, every attack of the suite, and the worst case with its interval."""
  chosen = {model: [row for row in result["attacks"] if row["suite"] == suite] for model, result in results.items()}
  names = list(dict.fromkeys(row["name"] for rows in chosen.values() for row in rows))
  header = ["Model", "Clean", *names, "Worst case", "95% interval"]
  lines = []
  for model, result in results.items():
    by_name = {row["name"]: row for row in chosen[model]}
    worst = result["worst_case"]["by_suite"].get(suite)
    interval = "-" if worst is None else "{:.1f}-{:.1f}%".format(*(100 * end for end in worst["interval"]))
    lines.append([model, _percent(result["clean"]["accuracy"]), *(_cell(by_name.get(name)) for name in names),
                  _percent(worst and worst["accuracy"]), interval])
  return header, lines


def _percent(value):
  return "-" if value is None else f"{value:.2%}"


def _cell(row):
  """An accuracy, with its standard deviation where several seeds were used."""
  if row is None:
    return "-"
  deviation = row.get("accuracy_std")
  return _percent(row["accuracy"]) + (f" ± {100 * deviation:.2f}" if deviation is not None else "")


def markdown_table(results, suite):
  """A Markdown table.

  Args:
    results: dict from model name to what `evaluation.json` holds.
    suite: which of its suites.
  """
  header, rows = _cells(results, suite)
  lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
  return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def print_table(results, suite, title):
  """Prints the table to the terminal; arguments as in `markdown_table`."""
  header, rows = _cells(results, suite)
  table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
  for i, name in enumerate(header):
    table.add_column(name, justify="right" if i else "left", no_wrap=True)
  for row in rows:
    table.add_row(*row)
  # Wide enough for every column where the output is no terminal.
  console = Console()
  widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
  console.width = max(console.width, sum(widths) + 3 * len(header) + 2)
  console.print(table)


def markdown_alarms(results):
  """The alarms of all models as a Markdown list."""
  lines = [f"- **{alarm['code']}** ({model}): {alarm['seen']} {alarm['why']} *{alarm['remedy']}*\n"
           for model, result in results.items() for alarm in result["alarms"]]
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
