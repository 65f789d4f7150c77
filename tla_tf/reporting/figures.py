"""Figures of a run: training curves, robust accuracy, adversarial images."""

from __future__ import annotations

import pathlib
import typing

import numpy as np

from tla_tf.records.evaluation import EvaluationRecord
from tla_tf.records.shown import pixels
from tla_tf.reporting.drawing import (
  GROUP,
  MAX_WIDTH,
  Figure,
  Place,
  color,
  contrast,
  dot,
  ink,
  legend_below,
  limited,
  marker,
  new_figure,
  paired_panels,
  paper,
  save,
  set_title,
  shortened,
  shortened_names,
  text_width,
  themed,
  wrapped,
)
from tla_tf.reporting.tables import Judged, suite_title
from tla_tf.summaries import Findings
from tla_tf.types import Norm

# Bars whose percentages stand beside each other in the widest figure.
_BARS = 32
# Attacks that a figure shows.
_COLUMNS, _EXAMPLES = 30, 16


@themed
def training_curves(runs: dict[str, list[dict]], path: Place, title: str = "") -> Place:
  """Loss, and clean and robust accuracy, against the step; more than eight models in groups.

  Args:
    runs: dict from model name to the dicts of its `metrics.jsonl`.
    path: PNG to write, or an open binary file.
    title: what was trained.

  Returns:
    The path.
  """
  runs, others = limited(runs)
  figure, places, rows = paired_panels(shortened_names(runs, 2.2, 8))
  sides = (
    (("loss", "total loss", "-"), ("cross_entropy", "cross-entropy", ":")),
    (("val_accuracy", "clean", "-"), ("val_robust_accuracy", "under attack", ":")),
  )
  for name, metrics in runs.items():
    *panels, i = places[name]
    for axes, curves in zip(panels, sides):
      for metric, _, style in curves:
        points = np.array([(row["step"], row[metric]) for row in metrics if metric in row], float).reshape(-1, 2)
        # One model's curves differ in colour, several models' by model.
        shade = color(i) if len(runs) > 1 else color(1 if style == "-" else 2)
        axes.plot(*points.T, marker(i) + style, color=shade, markersize=3)
  lines = {"-": "line", ":": "dots"}
  # Groups of models are compared on the same scale.
  top = max(left.get_ylim()[1] for left, _ in rows)
  for left, right in rows:
    left.set(xlabel="step", ylabel="training loss", ylim=(0, top))
    right.set(xlabel="step", ylabel="held-out accuracy", ylim=(0, 1.02))
    for axes, curves in zip((left, right), sides):
      logged = [curve for curve in curves if any(curve[0] in row for metrics in runs.values() for row in metrics)]
      axes.set_title(", ".join(f"{lines[style]}: {label}" for _, label, style in logged), fontsize=8)
  set_title(figure, ": ".join(filter(None, (title, others))))
  return save(figure, path)


@themed
def robust_accuracy(results: dict[str, EvaluationRecord], suite: str, path: Place) -> Place:
  """Accuracy under every attack of a suite: bars with 95% intervals, one group an attack, one bar a model.

  Of more than eight models, or more bars than can be told apart, a coloured table: a
  row a model, a column an attack.

  Args:
    results: dict from model name to EvaluationRecord.
    suite: which of its suites.
    path: PNG to write, or an open binary file.

  Returns:
    The path.
  """
  title = suite_title(results, suite)
  results, others = limited(results)
  shares: dict[str, dict[str, typing.Any]] = {}
  for model, result in results.items():
    rows = {row.name: row for row in result.of_suite(suite)}
    shares[model] = {"Clean": result.clean, **rows, "Worst case": result.worst_case.by_suite.get(suite)}
  names = list(dict.fromkeys(name for rows in shares.values() for name in rows if name != "Worst case"))
  if len(names) > _COLUMNS:
    others = ", ".join(filter(None, (others, f"the first {_COLUMNS - 1} of {len(names) - 1} attacks")))
  names = [*names[:_COLUMNS], "Worst case"]
  draw = _bars if len(results) <= GROUP and len(results) * len(names) <= _BARS else _heat_map
  figure = draw(shares, names)
  set_title(figure, f"{title} ({others}; the table has all)" if others else title)
  return save(figure, path)


def _bars(shares: dict[str, dict[str, typing.Any]], names: list[str]) -> Figure:
  shown_names = shortened_names(names, 1.6, 9)
  group = max(0.34 * len(shares), 0.15 + max(text_width(name, 9) for name in shown_names.values()))
  group = max(0.34 * len(shares), min(group, (MAX_WIDTH - 1) / len(names)))
  figure = new_figure(max(6.0, group * len(names) + 0.9), 4.0)
  axes = figure.subplots()
  width = 0.8 / len(shares)
  for i, (model, rows) in enumerate(shares.items()):
    positions = np.arange(len(names)) + (i - (len(shares) - 1) / 2) * width
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
      error_kw={"elinewidth": 0.8, "ecolor": ink()},
    )
    for (x, _), height, end in zip(shown, heights, ends[1]):
      axes.text(x, max(height, end) + 0.01, f"{100 * height:.0f}%", ha="center", va="bottom", fontsize=7)
  axes.set(ylabel="accuracy, with 95% intervals", ylim=(0, 1.1), xlim=(-0.6, len(names) - 0.4))
  axes.spines[["top", "right"]].set_visible(False)
  _name_columns(axes, list(shown_names.values()), (figure.get_figwidth() - 0.9) / len(names), 9)
  models = shortened_names(shares, 2.6, 8)
  legend_below(figure, [dot(color(i), name, "s") for i, name in enumerate(models.values())])
  return figure


def _name_columns(axes: typing.Any, names: list[str], inches: float, size: float) -> None:
  """Names below columns, upright where one is wider than its column."""
  fit = all(text_width(name, size) + 0.08 <= inches for name in names)
  axes.set_xticks(np.arange(len(names)), names, fontsize=size, rotation=0 if fit else 90)


def _heat_map(shares: dict[str, dict[str, typing.Any]], names: list[str]) -> Figure:
  from matplotlib.colors import LinearSegmentedColormap

  models, columns = shortened_names(shares, 2.6, 8), shortened_names(names, 1.6, 8)
  aside = 0.4 + max(text_width(name, 8) for name in models.values())
  cell = min(0.8, (MAX_WIDTH - aside) / len(names))
  # Room for a title, and for names that stand upright.
  above = 0.7 + max(text_width(name, 8) for name in columns.values())
  figure = new_figure(max(6.0, aside + cell * len(names)), above + 0.24 * len(shares))
  axes = figure.subplots()
  values = np.array(
    [[np.nan if rows.get(name) is None else rows[name].accuracy for name in names] for rows in shares.values()]
  )
  scale = LinearSegmentedColormap.from_list("accuracy", [paper(), color(1)])
  axes.imshow(values, cmap=scale, vmin=0, vmax=1, aspect="auto")
  for row, line in enumerate(values):
    for column, value in enumerate(line):
      known = not np.isnan(value)
      text = (f"{100 * value:.0f}%" if cell >= 0.34 else f"{100 * value:.0f}") if known else "-"
      # On paper or on the colour, whichever reads better.
      shade = max((paper(), ink()), key=lambda shade: contrast(shade, scale(value))) if known else ink()
      axes.text(column, row, text, ha="center", va="center", fontsize=7, color=shade)
  axes.set_yticks(np.arange(len(models)), list(models.values()), fontsize=8)
  axes.xaxis.tick_top()
  _name_columns(axes, list(columns.values()), cell, 8)
  axes.tick_params(length=0)
  axes.spines[:].set_visible(False)
  # The last column is of another kind.
  axes.axvline(len(names) - 1.5, color=ink(), linewidth=0.8)
  return figure


@themed
def accuracy_curves(results: dict[str, EvaluationRecord], path: Place) -> Place:
  """Accuracy of the probed images against epsilon and against PGD's steps; more than eight models in groups.

  Args:
    results: dict from model name to EvaluationRecord, with probes.
    path: PNG to write, or an open binary file.

  Returns:
    The path.
  """
  probed, others = limited({model: result.probes for model, result in results.items() if result.probes})
  figure, places, rows = paired_panels(shortened_names(probed, 2.2, 8))
  images = next(iter(results.values())).split.images
  for model, probes in probed.items():
    left, right, i = places[model]
    i += len(probed) == 1  # not the grey of the dashed line
    style: typing.Any = {"color": color(i), "marker": marker(i), "markersize": 3.5}
    left.plot([p.epsilon for p in probes.epsilons], [p.accuracy for p in probes.epsilons], **style)
    right.plot([p.steps for p in probes.steps], [p.accuracy for p in probes.steps], **style)
    right.axhline(probes.noise.accuracy, color=color(i), linestyle=":", linewidth=1)
  norm = {Norm.LINF: "L-inf", Norm.L2: "L2"}[probes.norm]
  steps = [point.steps for point in probes.steps]
  for left, right in rows:
    left.axvline(probes.epsilon, color=ink(), linestyle="--", linewidth=1)
    left.set(xlabel=f"epsilon ({norm}; dashed: that of the suite)", ylabel="accuracy", ylim=(0, 1.02))
    right.set(xlabel="steps of PGD (dotted: random noise)", xscale="log", ylim=(0, 1.02))
    right.set_xticks(steps, [str(n) for n in steps])
    right.minorticks_off()
    right.tick_params(labelleft=False)
  set_title(
    figure,
    f"{probes.num_examples} {images}{f', {others}' if others else ''}; a curve that does not fall to 0 (left), or "
    "has not levelled off (right), is a warning",
    9,
  )
  return save(figure, path)


def has_epsilon_curves(results: Judged) -> bool:
  """Whether a model was judged at several radii of a norm."""
  return bool(_curved_norms(results))


def _curved_norms(results: Judged) -> list[Norm]:
  def radii(found: Findings, norm: Norm) -> int:
    return sum(left.norm is norm for left in found.worst_case.by_threat)

  return [norm for norm in Norm if any(radii(found, norm) > 1 for all_of in results.values() for found in all_of)]


@themed
def epsilon_curves(results: Judged, path: Place) -> Place:
  """The worst case against the radius, in each norm with several; more than eight models in groups.

  Args:
    results: dict from model name to its Findings, of which the first with most radii is
      drawn.
    path: PNG to write, or an open binary file.

  Returns:
    The path.
  """
  norms = _curved_norms(results)[:2]
  best = {
    name: max(all_of, key=lambda found: sum(left.norm in norms for left in found.worst_case.by_threat))
    for name, all_of in results.items()
    if all_of
  }
  drawn, others = limited(best)
  names = shortened_names(drawn, 2.2, 8)
  images = {found.clean.num_examples for found in drawn.values()}
  if len(images) > 1:
    names = {name: f"{text} ({drawn[name].clean.num_examples:,})" for name, text in names.items()}
  figure, places, rows = paired_panels(names, count=len(norms))
  ticks: dict[Norm, set[float]] = {norm: {0.0} for norm in norms}
  for name, found in drawn.items():
    *panels, i = places[name]
    i += len(drawn) == 1
    for axes, norm in zip(panels, norms):
      points = sorted((left.epsilon, left.accuracy) for left in found.worst_case.by_threat if left.norm is norm)
      ticks[norm] |= {radius for radius, _ in points}
      curve = np.array([(0.0, found.clean.accuracy), *points])
      axes.plot(*curve.T, marker(i) + "-", color=color(i), markersize=4)
  units = {Norm.LINF: "epsilon (L-inf)", Norm.L2: "epsilon (L2)", Norm.L0: "share of pixel values (L0)"}
  for row in rows:
    for axes, norm in zip(row, norms):
      axes.set(xlabel=units[norm], ylabel="worst case", ylim=(0, 1.02))
      if len(ticks[norm]) <= 7:
        axes.set_xticks(sorted(ticks[norm]), [pixels(tick) for tick in sorted(ticks[norm])], fontsize=8)
  kind = next(iter(drawn.values())).last.split.images
  count = f"{images.pop():,} {kind}" if len(images) == 1 else f"numbers of {kind} in brackets"
  set_title(figure, f"Worst case of all attacks in a ball, {count}{f', {others}' if others else ''}", 9)
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
  if len(rows) > _EXAMPLES:
    title = f"{title} (the first {_EXAMPLES} of {len(rows)} attacks)"
    rows = rows[:_EXAMPLES]
  # A triple an example: three examples an attack are enough to see how.
  count = min(3, max(len(found[0]) for _, found in rows))
  figure = new_figure(1.15 * 3 * count + 1.3, 1.35 * len(rows) + 0.7)
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
        panel.set_xlabel(shortened(caption, 1.0, 7), fontsize=7, labelpad=2)
    panels[0].set_ylabel(wrapped(name, 1.1, 8), fontsize=8, rotation=0, ha="right", va="center", labelpad=6)
  for i in range(count):
    for panel, heading in zip(grid[0][3 * i : 3 * i + 3], ("clean", "attacked", "change")):
      panel.set_title(heading, fontsize=8)
  set_title(figure, title)
  save(figure, path)
  return pathlib.Path(path)
