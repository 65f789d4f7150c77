"""A report's sections on how the runs were trained: settings and training curves."""

from __future__ import annotations

import typing

from tla_tf.records.shown import pixels
from tla_tf.registry import METHODS
from tla_tf.reporting import figures
from tla_tf.reporting.document import Details, Missing
from tla_tf.reporting.report_parts import Block, Runs, drawn
from tla_tf.reporting.run_files import Run
from tla_tf.reporting.tables import Table, ball_name, percent
from tla_tf.types import Norm

# Settings that a reader asks for first; the others are folded away.
_FIRST_SETTINGS = (
  "dataset",
  "method",
  "network",
  "train_steps",
  "batch_size",
  "optimizer",
  "learning_rate",
  "weight_decay",
  "attack.epsilon",
  "attack.steps",
  "attack.step_size",
  "seed",
)
# Those of the run's method, which follow.
_RECIPE = "recipe."


def settings_blocks(runs: Runs) -> list[Block]:
  """The settings that matter most, all that differ, and the rest folded away."""

  def table(title: str, names: list[str]) -> Table:
    return Table(
      title,
      ("Setting", *(run.name for run in runs)),
      tuple(
        (name, *("-" if name in run.unused else _shown(name, run.settings.get(name)) for run in runs)) for name in names
      ),
    )

  names = list(dict.fromkeys(name for run in runs for name in run.settings))
  first = [name for name in _FIRST_SETTINGS if name in names]
  first += [
    name
    for name in names
    if name.startswith(_RECIPE) and any(name in run.settings and name not in run.unused for run in runs)
  ]
  rest = [name for name in names if name not in first]
  differing = [
    name for name in rest if len({repr(run.settings.get(name)) for run in runs if name not in run.unused}) > 1
  ]
  blocks: list[Block] = [table("The settings that matter most, and all that differ", [*first, *differing])]
  if rest:
    blocks.append(Details("All other settings", (table("As in config.json", [n for n in rest if n not in differing]),)))
  return blocks


def _shown(name: str, value: typing.Any) -> str:
  if value is None or value == "" or value == []:
    return "-"
  if name.endswith(("epsilon", "step_size")) and isinstance(value, float):
    return pixels(value)
  return f"{value:g}" if isinstance(value, float) else str(value)


def _heldout_table(runs: Runs) -> Table:
  """What training measured on held-out images of the checkpoint that this report speaks of, and by which attack."""
  return Table(
    "On held-out images, as training saw the checkpoint that is judged here (or the best, where none was)",
    ("Model", "step", "Clean", "Under attack", "Attack", "Images, at most"),
    tuple(_heldout_row(run) for run in runs),
  )


def _heldout_row(run: Run) -> tuple[str, ...]:
  if run.findings:
    step = run.findings[0].checkpoint
  elif run.analysis:
    step = run.analysis.checkpoint
  else:
    first = METHODS.get(str(run.settings["method"])).best_by
    step = max(run.metrics, key=lambda row: (*(row.get(name, -1.0) for name in first), row["step"]))["step"]
  # A checkpoint that training has gone back behind since has no numbers.
  found = next((row for row in run.metrics if row["step"] == step), {})
  shares = (found.get(name) for name in ("val_accuracy", "val_robust_accuracy"))
  attack = {name: run.settings.get(f"validation_attack.{name}") for name in ("norm", "epsilon", "steps", "step_size")}
  radius = ball_name(Norm(attack["norm"]), float(attack["epsilon"] or 0.0))
  named = f"PGD, {attack['steps']} steps of {_shown('step_size', attack['step_size'])}, {radius}"
  return (
    run.name,
    "-" if step is None else f"{step:,}",
    *("-" if share is None else percent(share) for share in shares),
    named,
    str(run.settings.get("validation_examples", "-")),
  )


def training_blocks(runs: Runs) -> list[Block]:
  """Training curves, and which runs have none."""
  trained = {run.name: run.metrics for run in runs if run.metrics}
  blocks: list[Block] = []
  if trained:
    blocks.append(
      drawn(
        "training",
        "Loss on training batches, and accuracy on held-out images, clean and under the validation attack.",
        figures.training_curves,
        trained,
      )
    )
    blocks.append(_heldout_table([run for run in runs if run.metrics]))
  return blocks + [
    Missing(
      f"Missing for {run.name}: training curves; the network was imported, or its training has "
      "not reached the first checkpoint."
    )
    for run in runs
    if not run.metrics and "model" not in run.settings
  ]
