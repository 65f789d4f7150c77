"""Figures of a run: training curves, robust accuracy, adversarial images."""

import io
import pathlib

import numpy as np

from tla_tf.errors import InputError

_BLUE, _ORANGE, _GREY = "#2563a8", "#c8571b", "#6b7280"
_COLORS = (_GREY, _BLUE, _ORANGE, "#2f855a", "#805ad5", "#b7791f")


def _figure(*args, **kwargs):
  from matplotlib.figure import Figure

  return Figure(*args, layout="constrained", **kwargs)


def _save(figure, path):
  """Writes a PNG whole or not at all; returns its path."""
  path = pathlib.Path(path)
  content = io.BytesIO()
  figure.savefig(content, format="png", dpi=150)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content.getvalue())
    temporary.replace(path)
  except OSError as error:
    raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from error
  return path


def training_curves(rows, path, title=""):
  """Loss, and clean and robust accuracy, against the step.

  Args:
    rows: the dicts of `metrics.jsonl`.
    path: PNG to write.
    title: what was trained.

  Returns:
    The path.
  """
  steps = [row["step"] for row in rows]
  figure = _figure(figsize=(9, 3.6))
  left, right = figure.subplots(1, 2)
  left.plot(steps, [row["loss"] for row in rows], "o-", color=_GREY, markersize=3, label="total loss")
  left.plot(steps, [row["cross_entropy"] for row in rows], "o-", color=_ORANGE, markersize=3, label="cross-entropy")
  left.set(xlabel="step", ylabel="training loss", ylim=(0, None))
  curves = (("val_accuracy", _BLUE, "clean"), ("val_robust_accuracy", _ORANGE, "under attack"))
  for name, color, label in curves:
    right.plot(steps, [row[name] for row in rows], "o-", color=color, markersize=3, label=label)
  right.set(xlabel="step", ylabel="held-out accuracy", ylim=(0, 1.02))
  for axes in (left, right):
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
  figure.suptitle(title)
  return _save(figure, path)


def robust_accuracy(results, suite, path, title=""):
  """Accuracy under every attack of a suite as bars with 95% intervals, one group an attack, one bar a model.

  Args:
    results: dict from model name to what `evaluation.json` holds.
    suite: which of its suites.
    path: PNG to write.
    title: of the figure.

  Returns:
    The path.
  """
  columns = {}
  for model, result in results.items():
    rows = {row["name"]: row for row in result["attacks"] if row["suite"] == suite}
    columns[model] = {"Clean": result["clean"], **rows, "Worst case": result["worst_case"]["by_suite"].get(suite)}
  names = list(dict.fromkeys(name for rows in columns.values() for name in rows if name != "Worst case"))
  names.append("Worst case")
  group = max(1.3, 0.42 * len(results), 0.105 * max(len(name) for name in names))
  figure = _figure(figsize=(max(6.0, group * len(names)), 3.6))
  axes = figure.subplots()
  width = 0.8 / len(results)
  for i, (model, rows) in enumerate(columns.items()):
    positions = np.arange(len(names)) + (i - (len(results) - 1) / 2) * width
    shown = [(x, rows[name]) for x, name in zip(positions, names) if rows.get(name)]
    heights = np.array([row["accuracy"] for _, row in shown])
    ends = np.array([row["interval"] for _, row in shown]).T
    axes.bar([x for x, _ in shown], heights, width, label=model, color=_COLORS[i % len(_COLORS)],
             yerr=np.clip([heights - ends[0], ends[1] - heights], 0, None),
             error_kw={"elinewidth": 0.8, "ecolor": "#1f2937"})
    for (x, _), height, end in zip(shown, heights, ends[1]):
      axes.text(x, max(height, end) + 0.01, f"{100 * height:.0f}%", ha="center", va="bottom", fontsize=7)
  axes.set_xticks(np.arange(len(names)), names)
  axes.set(ylabel="accuracy", ylim=(0, 1.18))
  axes.set_title(title, fontsize=10)
  axes.legend(frameon=False, ncols=len(results), loc="upper right")
  axes.spines[["top", "right"]].set_visible(False)
  return _save(figure, path)


def accuracy_curves(results, path):
  """Accuracy of the probed images against epsilon and against the number of PGD's steps.

  Args:
    results: dict from model name to what `evaluation.json` holds, with probes.
    path: PNG to write.

  Returns:
    The path.
  """
  figure = _figure(figsize=(9, 3.6))
  left, right = figure.subplots(1, 2, sharey=True)
  for i, (model, result) in enumerate(results.items()):
    probes, color = result["probes"], _COLORS[i % len(_COLORS)]
    for axes, name, unit in ((left, "epsilons", "epsilon"), (right, "steps", "steps")):
      points = probes[name]
      axes.plot([p[unit] for p in points], [p["accuracy"] for p in points], "o-", color=color, markersize=3.5,
                label=model)
    if probes["noise"]["accuracy"] is not None:
      right.axhline(probes["noise"]["accuracy"], color=color, linestyle=":", linewidth=1)
  norm = {"linf": "L-inf", "l2": "L2"}[probes["norm"]]
  left.axvline(probes["epsilon"], color="#9ca3af", linestyle="--", linewidth=1)
  left.set(xlabel=f"epsilon ({norm}; dashed: that of the suite)", ylabel="accuracy", ylim=(0, 1.02))
  right.set(xlabel="steps of PGD (dotted: random noise)", xscale="log")
  steps = [point["steps"] for point in probes["steps"]]
  right.set_xticks(steps, [str(n) for n in steps])
  right.minorticks_off()
  for axes in (left, right):
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
  left.legend(frameon=False)
  figure.suptitle(f"{probes['num_examples']} test images; a curve that does not fall to 0 (left), or has not levelled "
                  "off (right), is a warning", fontsize=9)
  return _save(figure, path)


def broken_images(broken, class_names, path, title=""):
  """What was broken and how: a row an attack, in each clean image, adversarial image and their difference.

  Differences are scaled by the largest of the row, which its label gives.

  Args:
    broken: dict from attack name to (images float32 [n, h, w, c], adversarial,
      labels [n], predictions [n]); attacks that broke nothing are left out.
    class_names: names of the classes.
    path: PNG to write; one that stands there is removed if nothing was broken.
    title: of the figure.

  Returns:
    The path, or None if nothing was broken.
  """
  rows = [(name, found) for name, found in broken.items() if len(found[0])]
  if not rows:
    pathlib.Path(path).unlink(missing_ok=True)
    return None
  # A triple an example: three examples an attack are enough to see how.
  count = min(3, max(len(found[0]) for _, found in rows))
  figure = _figure(figsize=(1.15 * 3 * count + 1.2, 1.3 * len(rows) + 0.7))
  grid = figure.subplots(len(rows), 3 * count, squeeze=False)
  for panels, (name, (images, adversarial, labels, predictions)) in zip(grid, rows):
    change = adversarial[:count] - images[:count]
    largest = max(float(np.abs(change).max()), 1e-9)
    for panel in panels:
      panel.set(xticks=[], yticks=[])
      panel.spines[:].set_visible(False)
    for i in range(min(count, len(images))):
      pictures = (images[i], adversarial[i], 0.5 + change[i] / (2 * largest))
      captions = (class_names[labels[i]], f"{class_names[predictions[i]]}!", f"±{largest:.3g}")
      for panel, picture, caption in zip(panels[3 * i:3 * i + 3], pictures, captions):
        panel.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        panel.set_xlabel(caption, fontsize=7, labelpad=2)
    panels[0].set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center", labelpad=6)
  for i in range(count):
    for panel, heading in zip(grid[0][3 * i:3 * i + 3], ("clean", "attacked", "change")):
      panel.set_title(heading, fontsize=8)
  figure.suptitle(title, fontsize=10)
  return _save(figure, path)
