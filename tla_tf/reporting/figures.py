"""Figures of a run: training curves, robust accuracy, adversarial images."""

from __future__ import annotations

import functools
import io
import pathlib
import textwrap
import typing

import numpy as np

from tla_tf import files
from tla_tf.records.evaluation import EvaluationRecord
from tla_tf.reporting.tables import suite_title
from tla_tf.types import Norm

Figure = typing.Any  # of matplotlib, which is imported when something is drawn
Place = str | pathlib.Path | typing.BinaryIO

# Colours of models, in order, and of what is drawn around them.
_PALETTES = {
  "light": ("#6b7280", "#2563a8", "#c8571b", "#2f855a", "#805ad5", "#b7791f"),
  "dark": ("#a3adbb", "#6aa9ea", "#f0955f", "#68c08e", "#b79cf0", "#dcb264"),
}
# Paper and ink.
_PAPER = {"light": ("#ffffff", "#1f2937"), "dark": ("#161b22", "#e2e8f0")}


def themed(draw: typing.Callable) -> typing.Callable:
  """Gives a function that draws a figure the argument `theme`, "light" or "dark"."""

  @functools.wraps(draw)
  def drawn(*args: typing.Any, theme: str = "light", **kwargs: typing.Any) -> typing.Any:
    import matplotlib
    from matplotlib.rcsetup import cycler

    paper, ink = _PAPER[theme]
    settings: typing.Any = {
      "axes.prop_cycle": cycler(color=_PALETTES[theme]),
      "text.color": ink,
      "axes.labelcolor": ink,
      "axes.edgecolor": ink,
      "xtick.color": ink,
      "ytick.color": ink,
      "figure.facecolor": paper,
      "axes.facecolor": paper,
      "savefig.facecolor": paper,
      # A class may be called US$.
      "text.parse_math": False,
    }
    with matplotlib.rc_context(settings):
      return draw(*args, **kwargs)

  return drawn


def color(i: int) -> str:
  """The colour of the i-th model under the theme at hand."""
  import matplotlib

  colors = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
  return colors[i % len(colors)]


def _ink() -> str:
  import matplotlib

  return matplotlib.rcParams["text.color"]


def new_figure(*args: typing.Any, **kwargs: typing.Any) -> Figure:
  """A figure that needs no window system."""
  from matplotlib.figure import Figure

  return Figure(*args, layout="constrained", **kwargs)


def save(figure: Figure, path: Place) -> Place:
  """Writes a PNG to a path, whole or not at all, or into an open binary file; returns either."""
  content = io.BytesIO()
  figure.savefig(content, format="png", dpi=150)
  if hasattr(path, "write"):
    path.write(content.getvalue())
    return path
  path = pathlib.Path(path)
  files.make_folder(path.parent)
  files.write_bytes(path, content.getvalue())
  return path


@themed
def training_curves(runs: dict[str, list[dict]], path: Place, title: str = "") -> Place:
  """Loss, and clean and robust accuracy, against the step.

  Args:
    runs: dict from model name to the dicts of its `metrics.jsonl`.
    path: PNG to write, or an open binary file.
    title: what was trained.

  Returns:
    The path.
  """
  figure = new_figure(figsize=(9, 3.6))
  left, right = figure.subplots(1, 2)
  panels = (
    (left, "loss", "total loss", "-"),
    (left, "cross_entropy", "cross-entropy", ":"),
    (right, "val_accuracy", "clean", "-"),
    (right, "val_robust_accuracy", "under attack", ":"),
  )
  for i, rows in enumerate(runs.values()):
    for axes, name, _, style in panels:
      # One model's curves differ in colour, several models' by model.
      shade = color(i) if len(runs) > 1 else color(1 if style == "-" else 2)
      points = np.array([(row["step"], row[name]) for row in rows if name in row], float).reshape(-1, 2)
      axes.plot(*points.T, "o" + style, color=shade, markersize=3)
  left.set(xlabel="step", ylabel="training loss", ylim=(0, None))
  right.set(xlabel="step", ylabel="held-out accuracy", ylim=(0, 1.02))
  for axes in (left, right):
    for _, _, label, style in (panel for panel in panels if panel[0] is axes):
      axes.plot([], [], style, color=color(0) if len(runs) > 1 else color(1 if style == "-" else 2), label=label)
    if len(runs) > 1:
      for i, name in enumerate(runs):
        axes.plot([], [], "o", color=color(i), markersize=4, label=name)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
  figure.suptitle(title)
  return save(figure, path)


@themed
def robust_accuracy(results: dict[str, EvaluationRecord], suite: str, path: Place) -> Place:
  """Accuracy under every attack of a suite as bars with 95% intervals, one group an attack, one bar a model.

  Args:
    results: dict from model name to EvaluationRecord.
    suite: which of its suites.
    path: PNG to write, or an open binary file.

  Returns:
    The path.
  """
  columns: dict[str, dict[str, typing.Any]] = {}
  for model, result in results.items():
    rows = {row.name: row for row in result.of_suite(suite)}
    columns[model] = {"Clean": result.clean, **rows, "Worst case": result.worst_case.by_suite.get(suite)}
  names = list(dict.fromkeys(name for rows in columns.values() for name in rows if name != "Worst case"))
  names.append("Worst case")
  group = max(1.3, 0.42 * len(results), 0.105 * max(len(name) for name in names))
  figure = new_figure(figsize=(max(6.0, group * len(names)), 3.6))
  axes = figure.subplots()
  width = 0.8 / len(results)
  for i, (model, rows) in enumerate(columns.items()):
    positions = np.arange(len(names)) + (i - (len(results) - 1) / 2) * width
    shown = [(x, rows[name]) for x, name in zip(positions, names) if rows.get(name)]
    heights = np.array([row.accuracy for _, row in shown])
    ends = np.array([row.interval for _, row in shown]).T
    axes.bar(
      [x for x, _ in shown],
      heights,
      width,
      label=model,
      color=color(i),
      yerr=np.clip([heights - ends[0], ends[1] - heights], 0, None),
      error_kw={"elinewidth": 0.8, "ecolor": _ink()},
    )
    for (x, _), height, end in zip(shown, heights, ends[1]):
      axes.text(x, max(height, end) + 0.01, f"{100 * height:.0f}%", ha="center", va="bottom", fontsize=7)
  axes.set_xticks(np.arange(len(names)), names)
  axes.set(ylabel="accuracy", ylim=(0, 1.18))
  axes.set_title(textwrap.fill(suite_title(results, suite), int(11 * figure.get_figwidth())), fontsize=10)
  axes.legend(frameon=False, ncols=len(results), loc="upper right")
  axes.spines[["top", "right"]].set_visible(False)
  return save(figure, path)


@themed
def accuracy_curves(results: dict[str, EvaluationRecord], path: Place) -> Place:
  """Accuracy of the probed images against epsilon and against the number of PGD's steps.

  Args:
    results: dict from model name to EvaluationRecord, with probes.
    path: PNG to write, or an open binary file.

  Returns:
    The path.
  """
  figure = new_figure(figsize=(9, 3.6))
  left, right = figure.subplots(1, 2, sharey=True)
  probed = {model: result.probes for model, result in results.items() if result.probes}
  for i, (model, probes) in enumerate(probed.items()):
    shade = color(i)
    style: typing.Any = {"color": shade, "markersize": 3.5, "label": model}
    left.plot([p.epsilon for p in probes.epsilons], [p.accuracy for p in probes.epsilons], "o-", **style)
    right.plot([p.steps for p in probes.steps], [p.accuracy for p in probes.steps], "o-", **style)
    right.axhline(probes.noise.accuracy, color=shade, linestyle=":", linewidth=1)
  norm = {Norm.LINF: "L-inf", Norm.L2: "L2"}[probes.norm]
  left.axvline(probes.epsilon, color=color(0), linestyle="--", linewidth=1)
  left.set(xlabel=f"epsilon ({norm}; dashed: that of the suite)", ylabel="accuracy", ylim=(0, 1.02))
  right.set(xlabel="steps of PGD (dotted: random noise)", xscale="log")
  steps = [point.steps for point in probes.steps]
  right.set_xticks(steps, [str(n) for n in steps])
  right.minorticks_off()
  for axes in (left, right):
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
  left.legend(frameon=False)
  figure.suptitle(
    f"{probes.num_examples} test images; a curve that does not fall to 0 (left), or has not levelled "
    "off (right), is a warning",
    fontsize=9,
  )
  return save(figure, path)


@themed
def adversarial_examples(
  examples: typing.Mapping[str, tuple], class_names: typing.Sequence[str], path: str | pathlib.Path, title: str = ""
) -> pathlib.Path | None:
  """Images that fell and how: a row an attack, in each clean image, adversarial image and their difference.

  Differences are scaled by the largest of the row, which its label gives.

  Args:
    examples: dict from attack name to (images float32 [n, h, w, c], adversarial, labels
      [n], predictions [n]); attacks to which nothing fell are left out.
    class_names: names of the classes.
    path: PNG to write; one that stands there is removed if nothing fell.
    title: of the figure.

  Returns:
    The path, or None if nothing fell.
  """
  rows = [(name, found) for name, found in examples.items() if len(found[0])]
  if not rows:
    pathlib.Path(path).unlink(missing_ok=True)
    return None
  # A triple an example: three examples an attack are enough to see how.
  count = min(3, max(len(found[0]) for _, found in rows))
  figure = new_figure(figsize=(1.15 * 3 * count + 1.2, 1.3 * len(rows) + 0.7))
  grid = figure.subplots(len(rows), 3 * count, squeeze=False)
  for panels, (name, (images, adversarial, labels, predictions)) in zip(grid, rows):
    change = adversarial[:count] - images[:count]
    largest = max(float(np.abs(change).max()), 1e-9)
    for panel in panels:
      panel.set(xticks=[], yticks=[])
      panel.spines[:].set_visible(False)
    for i in range(min(count, len(images))):
      pictures = (images[i], adversarial[i], 0.5 + change[i] / (2 * largest))
      captions = (
        class_names[labels[i]],
        f"{class_names[predictions[i]] if predictions[i] >= 0 else 'NaN'}!",
        f"±{largest:.3g}",
      )
      for panel, picture, caption in zip(panels[3 * i : 3 * i + 3], pictures, captions):
        panel.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        panel.set_xlabel(caption, fontsize=7, labelpad=2)
    panels[0].set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center", labelpad=6)
  for i in range(count):
    for panel, heading in zip(grid[0][3 * i : 3 * i + 3], ("clean", "attacked", "change")):
      panel.set_title(heading, fontsize=8)
  figure.suptitle(title, fontsize=10)
  save(figure, path)
  return pathlib.Path(path)
