"""What the figures of an analysis are drawn from: classes, queries, t-SNE points, neighbours, curves.

Source: Mao et al. 2019, Figures 1, 2, 4 and 5.
"""

from __future__ import annotations

import collections.abc

import numpy as np

from tla_tf.analysis import project
from tla_tf.errors import InputError
from tla_tf.evaluation.analysis_planning import AnalysisOptions
from tla_tf.evaluation.run_analysis import Analysis
from tla_tf.records.analysis import AnalysisArrays

# Points of the paper's Figures 1 and 2.
_ATTACKED, _NATURAL, _PAIR = 1000, 500, 200
_QUERIES, _RETRIEVED = 3, 7
_CURVE_POINTS = 400


def check_classes(wanted: collections.abc.Sequence[str], names: collections.abc.Sequence[str]) -> None:
  """Checks the names of Figures 1 and 2's classes.

  Raises:
    InputError: for an unknown class, the same class twice, or more than two.
  """
  for name in wanted:
    if name not in names:
      listed = ", ".join(names[:30]) + (" ..." if len(names) > 30 else "")
      raise InputError(f"No class {name!r}; the classes are {listed}.")
  if len(wanted) > 2 or len(set(wanted)) < len(wanted):
    raise InputError(f"Expected one class, or two different ones, got {','.join(wanted)}.")


def figure_classes(
  analyses: collections.abc.Sequence[Analysis], wanted: collections.abc.Sequence[str] = ()
) -> tuple[int, int]:
  """The classes of Figures 1 and 2: (true class, class that its images are taken for).

  Args:
    analyses: `run_analysis.Analysis` of one data set.
    wanted: names of one or both, the true class first; by default the true class that
      is most often misclassified under the usual attack, over all models
      together, and the class that it is then most often taken for.
  """
  names = analyses[0].images.class_names
  confusion = np.zeros((len(names), len(names)), int)
  for analysis in analyses:
    usual = analysis.images.usual
    known = usual.errs & (usual.predictions >= 0)
    np.add.at(confusion, (usual.labels[known], usual.predictions[known]), 1)
  true = names.index(wanted[0]) if wanted else int(confusion.sum(1).argmax())
  # A class is never taken for itself here.
  confusion[true, true] = -1
  return true, names.index(wanted[1]) if len(wanted) > 1 else int(confusion[true].argmax())


def figure_queries(analyses: collections.abc.Sequence[Analysis]) -> np.ndarray:
  """Rows of the test images of Figure 4.

  Right when clean under every model, then wrong when attacked under as many as may
  be. Of different classes where there are such images; none where no image is right
  under every model.
  """
  right = np.all([~analysis.images.test.errs for analysis in analyses], 0)
  fallen = np.sum([analysis.images.usual.errs for analysis in analyses], 0)
  labels = analyses[0].images.test.labels
  # Stable: among equals, in the order of the data.
  order = np.argsort(-fallen, kind="stable")
  order = order[right[order]]
  first_of_class = [row for i, row in enumerate(order) if labels[row] not in labels[order[:i]]]
  chosen = first_of_class[:_QUERIES]
  chosen += [row for row in order if row not in chosen][: _QUERIES - len(chosen)]
  return np.array(chosen, int)


def figure_arrays(
  analysis: Analysis, classes: tuple[int, int], queries: np.ndarray, options: AnalysisOptions = AnalysisOptions()
) -> AnalysisArrays:
  """What the figures of a run are drawn from.

  Args:
    analysis: `run_analysis.Analysis`.
    classes: the true class of Figures 1 and 2, and the one that it is taken for.
    queries: rows of the test images of Figure 4.
    options: AnalysisOptions.

  Returns:
    AnalysisArrays.
  """
  images, rng = analysis.images, np.random.default_rng(options.seed)
  true, false = classes
  usual = images.usual

  def rows(mask: np.ndarray, most: int) -> np.ndarray:
    return np.sort(rng.permutation(np.flatnonzero(mask))[:most])

  attacked, natural = rows(usual.labels == true, _ATTACKED), rows(images.test.labels == true, _NATURAL)
  arrays = {
    "classes": np.array(classes),
    "tsne_class_points": _projected([(images.test, natural), (usual, attacked)], options),
    "tsne_class_attacked": np.repeat([False, True], [len(natural), len(attacked)]),
    "tsne_class_predictions": np.concatenate([images.test.predictions[natural], usual.predictions[attacked]]),
  }
  groups = [
    (images.test, rows(images.test.labels == true, _PAIR)),
    (images.test, rows(images.test.labels == false, _PAIR)),
    (usual, rows((usual.labels == true) & (usual.predictions == false), _PAIR)),
  ]
  arrays["tsne_pair_points"] = _projected(groups, options)
  # 0: natural, of the true class; 1: natural, of the false class; 2: attacked, taken for the false class.
  arrays["tsne_pair_kinds"] = np.repeat(np.arange(3), [len(chosen) for _, chosen in groups])
  sides = (images.test, usual)
  found = np.stack([analysis.neighbours.nearest(side.embeddings[queries], _RETRIEVED) for side in sides], 1)
  arrays |= {
    "retrieval_images": np.stack([side.pictures(queries) for side in sides], 1),
    "retrieval_labels": images.test.labels[queries],
    "retrieval_predictions": np.stack([side.predictions[queries] for side in sides], 1),
    "retrieval_neighbours": images.train.pictures(found),
    "retrieval_neighbour_labels": images.train.labels[found],
  }
  for name, curve in analysis.curves.items():
    points = np.stack([curve.false_positive_rate, curve.true_positive_rate])
    count = points.shape[1]
    kept = np.unique(np.linspace(0, max(count - 1, 0), _CURVE_POINTS).astype(int))[:count]
    arrays[f"roc_{name}"] = points[:, kept]
  return AnalysisArrays(**arrays)


def _projected(groups: list, options: AnalysisOptions) -> np.ndarray:
  embeddings = np.concatenate([part.embeddings[rows] for part, rows in groups])
  if len(embeddings) < 3:
    return np.zeros((len(embeddings), 2), np.float32)
  return project(embeddings, options.seed, metric=options.metric)


def projector_points(
  analysis: Analysis, count: int, options: AnalysisOptions = AnalysisOptions()
) -> tuple[np.ndarray, np.ndarray, dict[str, list[str]]]:
  """What TensorBoard's projector shows: test images drawn by the seed, natural and then attacked.

  Args:
    analysis: `run_analysis.Analysis`.
    count: images, at most.
    options: AnalysisOptions.

  Returns:
    (embeddings float32 [n, d], images uint8 [n, height, width, channels], dict
    from column to n texts).
  """
  images = analysis.images
  rows = np.sort(np.random.default_rng(options.seed).permutation(len(images.test.labels))[:count])
  sides = {"natural": images.test, "attacked": images.usual}
  names = images.class_names
  said = [int(label) for side in sides.values() for label in side.predictions[rows]]
  columns = {
    "true class": [names[label] for side in sides.values() for label in side.labels[rows]],
    "predicted class": [names[label] if label >= 0 else "NaN" for label in said],
    "image": list(np.repeat(list(sides), len(rows))),
    "outcome": ["wrong" if wrong else "right" for side in sides.values() for wrong in side.errs[rows]],
  }
  return (
    np.concatenate([side.embeddings[rows] for side in sides.values()]),
    np.concatenate([side.pictures(rows) for side in sides.values()]),
    columns,
  )
