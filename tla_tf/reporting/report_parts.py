"""What all sections of a report are made with: what is missing, figures in both themes."""

from __future__ import annotations

import collections.abc
import io
import typing

from tla_tf.reporting.document import Bullets, Details, Figure, Missing, Text
from tla_tf.reporting.run_files import Run
from tla_tf.reporting.tables import Table
from tla_tf.visible import shell_word

Block = Bullets | Details | Figure | Missing | Table | Text
Runs = collections.abc.Sequence[Run]


def missing(runs: Runs, attribute: str, what: str, tool: str) -> list[Block]:
  """A note on the runs that lack something, and the command that makes it; none if none does."""
  lacking = [run for run in runs if not getattr(run, attribute)]
  if not lacking:
    return []
  trained = [run for run in lacking if "model" not in run.settings]
  commands = []
  if trained:
    elsewhere = " (with the same `--output_dir`)" if any(run.elsewhere for run in trained) else ""
    commands.append(f"`{tool} --run_dir={' '.join(map(_word, trained))}`{elsewhere}")
  commands += [f"`{_of_model(run, tool)}`" for run in lacking if run not in trained]
  names = ", ".join(run.name for run in lacking)
  return [Missing(f"Missing for {names}: {what}. To get it: {' and '.join(commands)}")]


def _word(run: Run) -> str:
  """The folder of a run in a list of such: one that begins as a flag does is told from it."""
  return shell_word(f"./{run.path}" if str(run.path).startswith("-") else run.path)


def _of_model(run: Run, tool: str) -> str:
  """The command of a tool for a model from elsewhere."""
  flag = {"keras": "keras_model"}.get(run.settings["kind"], run.settings["kind"])
  given = {flag: run.settings["model"], "dataset": run.settings["dataset"], "output_dir": run.path}
  return " ".join([tool, *(f"--{name}={shell_word(value)}" for name, value in given.items())])


def drawn(name: str, caption: str, draw: collections.abc.Callable, *args: typing.Any) -> Figure:
  """A Figure in both themes, by a drawing function that takes an open file last."""
  pictures = []
  for theme in ("light", "dark"):
    content = io.BytesIO()
    draw(*args, content, theme=theme)
    pictures.append(content.getvalue())
  return Figure(name, caption, *pictures)


def results_of(runs: Runs, attribute: str) -> dict[str, typing.Any]:
  """Records by the name of their run, of the runs that have one."""
  return {run.name: getattr(run, attribute) for run in runs if getattr(run, attribute)}
