"""The paper's figures of one or several models: t-SNE (1, 2), retrieval (4), ROC (5).

All take a dict from model name to AnalysisArrays and names of the classes.
Source: Mao et al. 2019.
"""

from __future__ import annotations

import math
import typing

import numpy as np

from tla_tf.records.analysis import AnalysisArrays, AnalysisRecord
from tla_tf.reporting.drawing import (
  GROUP,
  MAX_WIDTH,
  Axes,
  Figure,
  Place,
  color,
  dot,
  legend_below,
  limited,
  marker,
  new_figure,
  paired_panels,
  save,
  set_title,
  shortened,
  shortened_names,
  themed,
  wrapped,
)

# Predicted classes that get a colour of their own; the rest share one.
_COLORED = 9
_RIGHT, _WRONG = "#2f9e5f", "#d64545"
# Rows of retrieved images in one figure.
_ROWS = 24


def _panels(models: dict[str, AnalysisArrays]) -> tuple[Figure, dict[str, Axes], float]:
  """A figure of square panels without axes; (figure, dict from model name to panel, inches of a panel)."""
  columns = min(len(models), 3 if len(models) <= 3 else 4 if len(models) <= GROUP else 6)
  side = min(3.5, (MAX_WIDTH - 0.5) / columns)
  rows = math.ceil(len(models) / columns)
  # A panel, its title, a caption, and on the whole a title and a legend.
  figure = new_figure(side * columns, (side + 0.5) * rows + 0.8)
  grid = figure.subplots(rows, columns, squeeze=False).ravel()
  size = 10 if side > 2 else 8
  for axes in grid[len(models) :]:
    axes.remove()
  panels = dict(zip(models, grid))
  shown = shortened_names(models, side - 0.2, size)
  for name, axes in panels.items():
    axes.set(xticks=[], yticks=[])
    axes.set_title(shown[name], fontsize=size)
    axes.spines[:].set_alpha(0.3)
  return figure, panels, side


def _scatter(axes: Axes, points: np.ndarray, **style: typing.Any) -> None:
  axes.scatter(points[:, 0], points[:, 1], linewidths=0, **style)


@themed
def tsne_of_class(models: dict[str, AnalysisArrays], class_names: typing.Sequence[str], path: Place) -> Place:
  """Figure 1: t-SNE of a class's attacked images, coloured by predicted class, over its natural ones.

  Args:
    models: dict from model name to AnalysisArrays.
    class_names: names of the classes.
    path: PNG to write, or an open binary file.

  Returns:
    The path.
  """
  import matplotlib

  models, others = limited(models)
  figure, panels, side = _panels(models)
  said = np.concatenate([arrays.tsne_class_predictions[arrays.tsne_class_attacked] for arrays in models.values()])
  classes, counts = np.unique(said, return_counts=True)
  common = sorted(classes[np.argsort(-counts, kind="stable")][:_COLORED])
  # Without the palette's grey, which is that of natural images.
  palette: typing.Any = matplotlib.colormaps["tab10"]
  shades = dict(zip(common, [shade for i, shade in enumerate(palette.colors) if i != 7]))
  true = int(next(iter(models.values())).classes[0])
  for name, arrays in models.items():
    axes, points, attacked = panels[name], arrays.tsne_class_points, arrays.tsne_class_attacked
    predictions = arrays.tsne_class_predictions
    _scatter(axes, points[~attacked], s=7, color="#9aa2ad", alpha=0.55)
    rare = attacked & ~np.isin(predictions, common)
    _scatter(axes, points[rare], s=9, color="#5b6470", marker="s")
    for label in common:
      _scatter(axes, points[attacked & (predictions == label)], s=9, color=shades[label])
    right = np.mean(predictions[attacked] == true) if attacked.any() else np.nan
    axes.set_xlabel(wrapped(f"{right:.0%} of attacked images still {class_names[true]}", side - 0.2, 8), fontsize=8)
  handles = [dot("#9aa2ad", f"natural {class_names[true]}")]
  handles += [dot(shades[label], class_names[label] if label >= 0 else "NaN") for label in common]
  handles += [dot("#5b6470", "others", "s")] if len(classes) > len(common) else []
  legend_below(figure, handles)
  _title(figure, f"Attacked images of class {class_names[true]}, coloured by predicted class (t-SNE)", others)
  return save(figure, path)


def _title(figure: Figure, text: str, others: str) -> None:
  set_title(figure, f"{text}: {others}" if others else text)


@themed
def tsne_of_pair(models: dict[str, AnalysisArrays], class_names: typing.Sequence[str], path: Place) -> Place:
  """Figure 2: t-SNE of two classes, and of the attacked images of one that are taken for the other.

  Args:
    models: dict from model name to AnalysisArrays.
    class_names: names of the classes.
    path: PNG to write, or an open binary file.

  Returns:
    The path.
  """
  models, others = limited(models)
  figure, panels, side = _panels(models)
  true, false = next(iter(models.values())).classes
  kinds = (
    (0, color(1), "o", f"natural {class_names[true]}"),
    (1, color(3), "o", f"natural {class_names[false]}"),
    (2, _WRONG, "^", f"{class_names[true]}, attacked, taken for {class_names[false]}"),
  )
  for name, arrays in models.items():
    points, found = arrays.tsne_pair_points, arrays.tsne_pair_kinds
    for kind, shade, shape, _ in kinds:
      _scatter(panels[name], points[found == kind], s=10 + 5 * (kind == 2), color=shade, marker=shape, alpha=0.75)
    panels[name].set_xlabel(wrapped(f"{np.sum(found == 2)} such attacked images", side - 0.2, 8), fontsize=8)
  handles = [dot(shade, label, shape) for _, shade, shape, label in kinds]
  legend_below(figure, handles)
  _title(figure, f"Where {class_names[true]} goes when it is taken for {class_names[false]} (t-SNE)", others)
  return save(figure, path)


@themed
def retrieval(models: dict[str, AnalysisArrays], class_names: typing.Sequence[str], path: Place) -> Place:
  """Figure 4: the training images nearest to a clean query and to the same query attacked, a row a model.

  Frames say whether an image has the query's class (red and dashed: another); a
  query's frame, whether the network says so.

  Args:
    models: dict from model name to AnalysisArrays.
    class_names: names of the classes.
    path: PNG to write, or an open binary file.

  Returns:
    The path.
  """
  models, others = limited(models, _ROWS)
  first = next(iter(models.values()))
  asked, count = len(first.retrieval_labels), first.retrieval_neighbour_labels.shape[-1]
  queries = min(asked, _ROWS // len(models))
  others = ", ".join(filter(None, (others, f"{queries} of {asked} queries" if queries < asked else "")))
  rows = [(query, name) for query in range(queries) for name in models]
  # A gap between the clean and the attacked half.
  widths = [1] * (1 + count) + [0.35] + [1] * (1 + count)
  shown = shortened_names(models, 1.2, 8)
  figure = new_figure(0.62 * sum(widths) + 1.4, 0.8 * max(1, len(rows)) + 0.4 + 0.25 * bool(others))
  if not rows:
    figure.text(0.5, 0.5, "No image was classified correctly by every model.", ha="center", va="center")
    return save(figure, path)
  grid = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths)
  for panels, (query, name) in zip(grid, rows):
    arrays = models[name]
    label = arrays.retrieval_labels[query]
    panels[1 + count].set_axis_off()
    for side, begin in ((0, 0), (1, 2 + count)):
      said = arrays.retrieval_predictions[query, side]
      _picture(
        panels[begin],
        arrays.retrieval_images[query, side],
        class_names[said] if said >= 0 else "NaN",
        said == label,
        width=2.6,
      )
      for i in range(count):
        found = arrays.retrieval_neighbour_labels[query, side, i]
        _picture(
          panels[begin + 1 + i],
          arrays.retrieval_neighbours[query, side, i],
          class_names[found],
          found == label,
          width=1.2,
        )
    panels[0].set_ylabel(shown[name], fontsize=8, rotation=0, ha="right", va="center", labelpad=8)
  for begin, heading in ((0, "a clean query, and the nearest images"), (2 + count, "the same query attacked")):
    # Not a title, for whose middle the layout would make room.
    grid[0][begin].text(0, 1.1, heading, transform=grid[0][begin].transAxes, fontsize=8).set_in_layout(False)
  # Tight, with room for the headings above.
  if others:
    figure.supxlabel(f"Shown: {others}; the figures of each run have all.", fontsize=8)
  figure.get_layout_engine().set(
    w_pad=0.03, h_pad=0.01, wspace=0.01, hspace=0.01, rect=(0, 0, 1, 1 - 0.2 / figure.get_figheight())
  )
  return save(figure, path)


def _picture(axes: Axes, image: np.ndarray, caption: str, right: bool, width: float) -> None:
  axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
  axes.set(xticks=[], yticks=[])
  axes.set_xlabel(shortened(caption, 0.6, 6), fontsize=6, labelpad=1.5)
  for spine in axes.spines.values():
    # Told apart without colours, too.
    spine.set(color=_RIGHT if right else _WRONG, linewidth=width, linestyle="-" if right else "--")


@themed
def roc_curves(models: dict[str, AnalysisArrays], results: dict[str, AnalysisRecord], path: Place) -> Place:
  """Figure 5: ROC of the detector, for misclassified and for attacked images.

  Args:
    models: dict from model name to AnalysisArrays.
    results: dict from model name to AnalysisRecord.
    path: PNG to write, or an open binary file.

  Returns:
    The path.
  """
  models, others = limited(models)
  sides = {"misclassified": "misclassified against correctly classified", "adversarial": "attacked against clean"}
  names = shortened_names(models, 1.8, 8)

  def areas(model: str) -> str:
    found = [getattr(results[model].detection, f"auc_{side}") for side in sides]
    return f"{names[model]}: {' | '.join('-' if area is None else f'{area:.4f}' for area in found)}"

  labels = {model: areas(model) for model in models}
  title = "AUC left | right" + "\n-: no such images" * any("-" in label[len(names[m]) :] for m, label in labels.items())
  figure, places, rows = paired_panels(labels, title, 3.6)
  for model, arrays in models.items():
    *panels, i = places[model]
    for axes, side in zip(panels, sides):
      curve = getattr(arrays, f"roc_{side}")
      axes.plot(*curve, color=color(i), marker=marker(i), markersize=4, markevery=(0.02 + 0.01 * i, 0.12))
  for pair in rows:
    for axes, text in zip(pair, sides.values()):
      axes.plot([0, 1], [0, 1], ":", color=color(0), linewidth=1)
      axes.set(xlabel="false-positive rate (dotted: chance)", ylabel="true-positive rate", xlim=(0, 1), ylim=(0, 1.01))
      axes.set_title(text, fontsize=9)
  if others:
    set_title(figure, others)
  return save(figure, path)
