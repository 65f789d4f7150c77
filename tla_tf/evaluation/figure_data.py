"""What the figures of an analysis are drawn from: classes, queries, t-SNE points, neighbours, curves.

Source: Mao et al. 2019, Figures 1, 2, 4 and 5.
"""

import numpy as np

from tla_tf.analysis import project
from tla_tf.errors import InputError
from tla_tf.evaluation import run_analysis

# Points of the paper's Figures 1 and 2.
_ATTACKED, _NATURAL, _PAIR = 1000, 500, 200
_QUERIES, _RETRIEVED = 3, 7
_CURVE_POINTS = 400


def check_classes(wanted, names):
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


def figure_classes(analyses, wanted=()):
  """The classes of Figures 1 and 2: (true class, class that its images are taken for).

  Args:
    analyses: sequence of `run_analysis.Analysis` of one data set.
    wanted: names of one or both, see `check_classes`; by default the true class
      that is most often misclassified under the usual attack, over all models
      together, and the class that it is then most often taken for.
  """
  names = analyses[0].parts.class_names
  confusion = np.zeros((len(names), len(names)), int)
  for analysis in analyses:
    usual = analysis.parts.usual
    known = usual.errs & (usual.predictions >= 0)
    np.add.at(confusion, (usual.labels[known], usual.predictions[known]), 1)
  true = names.index(wanted[0]) if wanted else int(confusion.sum(1).argmax())
  # A class is never taken for itself here.
  confusion[true, true] = -1
  return true, names.index(wanted[1]) if len(wanted) > 1 else int(confusion[true].argmax())


def figure_queries(analyses):
  """Rows of the test images of Figure 4: right when clean under every model, then broken in as many as may be.

  Of different classes where there are such images; none where no image is right
  under every model.
  """
  right = np.all([~analysis.parts.test.errs for analysis in analyses], 0)
  broken = np.sum([analysis.parts.usual.errs for analysis in analyses], 0)
  labels = analyses[0].parts.test.labels
  # Stable: among equals, in the order of the data.
  order = np.argsort(-broken, kind="stable")
  order = order[right[order]]
  first_of_class = [row for i, row in enumerate(order) if labels[row] not in labels[order[:i]]]
  chosen = first_of_class[:_QUERIES]
  chosen += [row for row in order if row not in chosen][: _QUERIES - len(chosen)]
  return np.array(chosen, int)


def figure_arrays(analysis, classes, queries, options=run_analysis.Options()):
  """What the figures of a run are drawn from, as `analysis.npz` holds it.

  Args:
    analysis: `run_analysis.Analysis`.
    classes: see `figure_classes`.
    queries: see `figure_queries`.
    options: `run_analysis.Options`.

  Returns:
    Dict of arrays: `tsne_class_*` (Figure 1), `tsne_pair_*` (Figure 2),
    `retrieval_*` (Figure 4), `roc_*` (Figure 5) and `classes`.
  """
  parts, rng = analysis.parts, np.random.default_rng(options.seed)
  true, false = classes
  usual = parts.usual

  def rows(mask, most):
    return np.sort(rng.permutation(np.flatnonzero(mask))[:most])

  attacked, natural = rows(usual.labels == true, _ATTACKED), rows(parts.test.labels == true, _NATURAL)
  arrays = {
    "classes": np.array(classes),
    "tsne_class_points": _projected([(parts.test, natural), (usual, attacked)], options),
    "tsne_class_attacked": np.repeat([False, True], [len(natural), len(attacked)]),
    "tsne_class_predictions": np.concatenate([parts.test.predictions[natural], usual.predictions[attacked]]),
  }
  groups = [
    (parts.test, rows(parts.test.labels == true, _PAIR)),
    (parts.test, rows(parts.test.labels == false, _PAIR)),
    (usual, rows((usual.labels == true) & (usual.predictions == false), _PAIR)),
  ]
  arrays["tsne_pair_points"] = _projected(groups, options)
  # 0: natural, of the true class; 1: natural, of the false class; 2: attacked, taken for the false class.
  arrays["tsne_pair_kinds"] = np.repeat(np.arange(3), [len(chosen) for _, chosen in groups])
  sides = (parts.test, usual)
  found = np.stack([analysis.neighbours.nearest(side.embeddings[queries], _RETRIEVED) for side in sides], 1)
  arrays |= {
    "retrieval_images": np.stack([side.pictures(queries) for side in sides], 1),
    "retrieval_labels": parts.test.labels[queries],
    "retrieval_predictions": np.stack([side.predictions[queries] for side in sides], 1),
    "retrieval_neighbours": parts.train.pictures(found),
    "retrieval_neighbour_labels": parts.train.labels[found],
  }
  for name, curve in analysis.curves.items():
    points = np.stack([curve.false_positive_rate, curve.true_positive_rate])
    kept = np.unique(np.linspace(0, points.shape[1] - 1, _CURVE_POINTS).astype(int)) if points.shape[1] else []
    arrays[f"roc_{name}"] = points[:, kept]
  return arrays


def _projected(groups, options):
  embeddings = np.concatenate([part.embeddings[rows] for part, rows in groups])
  if len(embeddings) < 3:
    return np.zeros((len(embeddings), 2), np.float32)
  return project(embeddings, options.seed, metric=options.metric)


def projector_points(analysis, count, options=run_analysis.Options()):
  """What TensorBoard's projector shows: test images drawn by the seed, natural and then attacked.

  Returns:
    (embeddings float32 [n, d], images uint8 [n, height, width, channels], dict
    from column to n texts).
  """
  parts = analysis.parts
  rows = np.sort(np.random.default_rng(options.seed).permutation(len(parts.test.labels))[:count])
  sides = {"natural": parts.test, "attacked": parts.usual}
  names = parts.class_names
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
