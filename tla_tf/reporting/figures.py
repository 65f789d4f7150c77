"""Figures of a run: training curves, robust accuracy, adversarial images."""

import io
import pathlib

import numpy as np

from tla_tf.errors import InputError

_BLUE, _ORANGE, _GREY = "#2563a8", "#c8571b", "#6b7280"


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


def robust_accuracy(results, path, title=""):
  """Accuracy under every attack as bars, one group an attack, one bar a model.

  Args:
    results: dict from model name to what `evaluation.json` holds.
    path: PNG to write.
    title: of the figure.

  Returns:
    The path.
  """
  names = ["Clean"] + [row["name"] for row in next(iter(results.values()))["attacks"]]
  figure = _figure(figsize=(max(6.0, max(1.3, 0.36 * len(results)) * len(names)), 3.6))
  axes = figure.subplots()
  width = 0.8 / len(results)
  colors = [_GREY, _BLUE, _ORANGE, "#2f855a", "#805ad5", "#b7791f"]
  for i, (model, result) in enumerate(results.items()):
    by_name = {"Clean": result["clean"]["accuracy"], **{row["name"]: row["accuracy"] for row in result["attacks"]}}
    heights = [by_name.get(name, np.nan) for name in names]
    positions = np.arange(len(names)) + (i - (len(results) - 1) / 2) * width
    axes.bar(positions, heights, width, label=model, color=colors[i % len(colors)])
    for x, height in zip(positions, heights):
      if np.isfinite(height):
        axes.text(x, height + 0.01, f"{100 * height:.0f}%", ha="center", va="bottom", fontsize=7)
  axes.set_xticks(np.arange(len(names)), names)
  axes.set(ylabel="accuracy", ylim=(0, 1.12))
  axes.set_title(title, fontsize=10)
  axes.legend(frameon=False, ncols=len(results), loc="upper right")
  axes.spines[["top", "right"]].set_visible(False)
  return _save(figure, path)


def adversarial_examples(images, adversarial, labels, predictions, class_names, path, title=""):
  """Broken images: clean, adversarial and their difference.

  Args:
    images: float32 [n, h, w, c] in [0, 1], n at least 1.
    adversarial: the same shape.
    labels: true classes [n].
    predictions: what the network says of the adversarial images [n].
    class_names: names of the classes.
    path: PNG to write.
    title: of the figure.

  Returns:
    The path.
  """
  count = min(8, len(images))
  figure = _figure(figsize=(1.3 * count + 0.6, 4.6))
  axes = figure.subplots(3, count, squeeze=False)
  difference = 0.5 + (adversarial - images) / (2 * max(float(np.abs(adversarial - images).max()), 1e-9))
  for column in range(count):
    pictures = (images[column], adversarial[column], difference[column])
    captions = (class_names[labels[column]], f"{class_names[predictions[column]]}!", "")
    for row, (picture, caption) in enumerate(zip(pictures, captions)):
      panel = axes[row, column]
      panel.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
      panel.set(xticks=[], yticks=[])
      panel.set_xlabel(caption, fontsize=9)
  for row, name in enumerate(("clean", "adversarial", "difference")):
    axes[row, 0].set_ylabel(name)
  figure.suptitle(title)
  return _save(figure, path)
