"""The paper's figures of one or several models: t-SNE (1, 2), retrieval (4), ROC (5).

All take a dict from model name to AnalysisArrays and names of the classes.
Source: Mao et al. 2019.
"""

from __future__ import annotations

import textwrap
import typing

import numpy as np

from tla_tf.records.analysis import AnalysisArrays, AnalysisRecord
from tla_tf.reporting.figures import Figure, Place, color, new_figure, save, themed

Axes = typing.Any  # of matplotlib, which is imported when something is drawn

# Predicted classes that get a colour of their own; the rest share one.
_COLORED = 9
_RIGHT, _WRONG = "#2f9e5f", "#d64545"


def _panels(models: dict[str, AnalysisArrays], height: float = 3.7) -> tuple[Figure, dict[str, Axes]]:
  """A figure of a square panel a model, without axes; (figure, dict from model name to panel)."""
  figure = new_figure(figsize=(3.5 * len(models), height))
  panels = dict(zip(models, figure.subplots(1, len(models), squeeze=False)[0]))
  for name, axes in panels.items():
    axes.set(xticks=[], yticks=[])
    axes.set_title(name, fontsize=10)
    axes.spines[:].set_alpha(0.3)
  return figure, panels


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

  figure, panels = _panels(models, 4.1)
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
    axes.set_xlabel(f"{right:.0%} of attacked images still {class_names[true]}", fontsize=8)
  handles = [_dot("#9aa2ad", f"natural {class_names[true]}")]
  handles += [_dot(shades[label], class_names[label] if label >= 0 else "NaN") for label in common]
  handles += [_dot("#5b6470", "others", "s")] if len(classes) > len(common) else []
  _legend(figure, handles)
  _title(figure, f"Attacked images of class {class_names[true]}, coloured by predicted class (t-SNE)")
  return save(figure, path)


def _dot(shade: typing.Any, label: str, marker: str = "o") -> typing.Any:
  from matplotlib.lines import Line2D

  return Line2D([], [], color=shade, marker=marker, linestyle="", markersize=5, label=label)


def _title(figure: Figure, text: str) -> None:
  figure.suptitle(textwrap.fill(text, int(12 * figure.get_figwidth())), fontsize=10)


def _legend(figure: Figure, handles: list) -> None:
  # A column is as wide as its longest line, in inches of this font size.
  for handle in handles:
    handle.set_label(textwrap.fill(handle.get_label(), int((figure.get_figwidth() - 0.5) / 0.08)))
  width = 0.35 + 0.08 * max(len(line) for handle in handles for line in handle.get_label().splitlines())
  columns = max(1, int(figure.get_figwidth() / width))
  figure.legend(
    handles=handles,
    loc="outside lower center",
    ncols=min(len(handles), columns),
    frameon=False,
    fontsize=8,
    handletextpad=0.1,
    columnspacing=0.9,
  )


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
  figure, panels = _panels(models, 4.0)
  true, false = next(iter(models.values())).classes
  kinds = (
    (0, color(1), "o", f"natural {class_names[true]}"),
    (1, color(3), "o", f"natural {class_names[false]}"),
    (2, _WRONG, "^", f"{class_names[true]}, attacked, taken for {class_names[false]}"),
  )
  for name, arrays in models.items():
    points, found = arrays.tsne_pair_points, arrays.tsne_pair_kinds
    for kind, shade, marker, _ in kinds:
      _scatter(panels[name], points[found == kind], s=10 + 5 * (kind == 2), color=shade, marker=marker, alpha=0.75)
    panels[name].set_xlabel(f"{np.sum(found == 2)} such attacked images", fontsize=8)
  handles = [_dot(shade, label, marker) for _, shade, marker, label in kinds]
  _legend(figure, handles)
  _title(figure, f"Where {class_names[true]} goes when it is taken for {class_names[false]} (t-SNE)")
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
  first = next(iter(models.values()))
  queries, count = len(first.retrieval_labels), first.retrieval_neighbour_labels.shape[-1]
  rows = [(query, name) for query in range(queries) for name in models]
  # A gap between the clean and the attacked half.
  widths = [1] * (1 + count) + [0.35] + [1] * (1 + count)
  figure = new_figure(figsize=(0.62 * sum(widths) + 0.8, 0.8 * max(1, len(rows)) + 0.4))
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
    panels[0].set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center", labelpad=8)
  for begin, heading in (
    (0, "clean query, and the training images nearest to it"),
    (2 + count, "the same query attacked"),
  ):
    # Not a title, for whose middle the layout would make room.
    grid[0][begin].text(0, 1.1, heading, transform=grid[0][begin].transAxes, fontsize=8).set_in_layout(False)
  # Tight, with room for the headings above.
  figure.get_layout_engine().set(
    w_pad=0.03, h_pad=0.01, wspace=0.01, hspace=0.01, rect=(0, 0, 1, 1 - 0.2 / (0.8 * len(rows) + 0.4))
  )
  return save(figure, path)


def _picture(axes: Axes, image: np.ndarray, caption: str, right: bool, width: float) -> None:
  axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
  axes.set(xticks=[], yticks=[])
  axes.set_xlabel(caption[:12], fontsize=6, labelpad=1.5)
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
  figure = new_figure(figsize=(8.4, 4.2))
  panels = figure.subplots(1, 2)
  titles = {"misclassified": "misclassified against correctly classified", "adversarial": "attacked against clean"}
  for axes, (name, title) in zip(panels, titles.items()):
    for i, (model, arrays) in enumerate(models.items()):
      curve, area = getattr(arrays, f"roc_{name}"), getattr(results[model].detection, f"auc_{name}")
      shown = "no such images" if area is None else f"AUC {area:.4f}"
      axes.plot(*curve, color=color(i), label=f"{model}: {shown}")
    axes.plot([0, 1], [0, 1], ":", color=color(0), linewidth=1, label="chance")
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate", xlim=(0, 1), ylim=(0, 1.01))
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
  return save(figure, path)
