"""Results of one or several models as a table, for the terminal and Markdown."""

from rich import box
from rich.console import Console
from rich.table import Table


def _cells(results):
  """(header, rows): a column each for clean, every attack and the worst case."""
  names = []
  for result in results.values():
    names += [row["name"] for row in result["attacks"] if row["name"] not in names]
  header = ["Model", "Clean", *names, "Worst case"]
  rows = []
  for model, result in results.items():
    by_name = {row["name"]: row["accuracy"] for row in result["attacks"]}
    values = [result["clean"]["accuracy"], *(by_name.get(name) for name in names), result["worst_case"]["accuracy"]]
    rows.append([model, *("-" if value is None else f"{value:.2%}" for value in values)])
  return header, rows


def markdown_table(results):
  """A Markdown table.

  Args:
    results: dict from model name to what `judge.evaluate` returns.
  """
  header, rows = _cells(results)
  lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
  return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def print_table(results, title):
  """Prints the table to the terminal; arguments as in `markdown_table`."""
  header, rows = _cells(results)
  table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
  for i, name in enumerate(header):
    table.add_column(name, justify="right" if i else "left", no_wrap=True)
  for row in rows:
    table.add_row(*row)
  # Wide enough for every column where the output is no terminal.
  console = Console()
  console.width = max(console.width, sum(len(name) + 6 for name in header) + 20)
  console.print(table)
