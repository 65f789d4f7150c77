"""A report's sections on embeddings under attack, and on detection."""

from __future__ import annotations

import collections.abc
import functools
import typing

import numpy as np

from tla_tf.records.analysis import AnalysisRecord
from tla_tf.records.shown import pixels
from tla_tf.reporting import analysis_figures, analysis_tables
from tla_tf.reporting.document import Text
from tla_tf.reporting.report_parts import Block, Runs, drawn, missing, results_of
from tla_tf.reporting.run_files import Run
from tla_tf.reporting.tables import Table, alike


def embedding_blocks(runs: Runs) -> list[Block]:
  """Tables 5 and 6, Figures 1, 2 and 4."""
  analysed = results_of(runs, "analysis")
  blocks: list[Block] = [*tables(analysed, analysis_tables.separation_table, analysis_tables.neighbour_table)]
  blocks += [Text(f"{name}: {note}") for name, result in analysed.items() for note in result.notes]
  if analysed:
    shares = ", ".join(
      f"{name} {result.embedding_dimensions:,} dimensions, {result.zero_share:.0%} zeros"
      for name, result in analysed.items()
    )
    counts = " or ".join(f"{count:,}" for count in dict.fromkeys(r.num_examples for r in analysed.values()))
    images = " or ".join(dict.fromkeys(r.split.images for r in analysed.values()))
    blocks.append(
      Text(f"Attacks: PGD on {counts} {images}, whether or not they were classified correctly. Embeddings: {shares}.")
    )
    blocks += _analysis_figures(runs)
  return blocks + missing(runs, "analysis", "Tables 5 and 6, Figures 1, 2 and 4", "tla-analyze")


def tables(analysed: dict[str, AnalysisRecord], *makers: collections.abc.Callable) -> list[Table]:
  """The tables of the makers, each one for every group of runs that were analysed with the same settings."""

  def described(make: collections.abc.Callable, one: dict[str, AnalysisRecord]) -> tuple:
    return make(one)[:2]

  return [make(group) for make in makers for group in alike(analysed, functools.partial(described, make))]


def _analysis_figures(runs: Runs) -> list[Block]:
  """Figures 1, 2 and 4 side by side for runs that were analysed together, else one after the other."""
  groups: dict[bytes, list[Run]] = {}
  for run in runs:
    if run.arrays and run.analysis:
      drawn_from = (
        run.arrays.classes,
        run.arrays.retrieval_labels,
        run.arrays.retrieval_images[:, 0],
        np.array(run.analysis.usual_epsilon),
      )
      groups.setdefault(b"".join(np.ascontiguousarray(part).tobytes() for part in drawn_from), []).append(run)
  blocks: list[Block] = []
  for i, group in enumerate(groups.values()):
    arrays = {run.name: run.arrays for run in group if run.arrays}
    first = typing.cast(AnalysisRecord, group[0].analysis)
    names, epsilon = first.class_names, pixels(first.usual_epsilon)
    true, false = (names[label] for label in next(iter(arrays.values())).classes)
    shown = (
      (
        "tsne_class",
        f"Figure 1: t-SNE of attacked images of class {true} (epsilon {epsilon}), coloured by the class "
        "that the network says, over natural images of it (grey).",
        analysis_figures.tsne_of_class,
      ),
      (
        "tsne_pair",
        f"Figure 2: natural images of {true} and of {false}, and attacked images of {true} that are taken "
        f"for {false} (epsilon {epsilon}).",
        analysis_figures.tsne_of_pair,
      ),
      (
        "retrieval",
        "Figure 4: the natural training images nearest to a clean query and to the same query attacked "
        f"(epsilon {epsilon}). Frames: green for the query's true class, red and dashed for another; below, "
        "the class (of a query: what the network says).",
        analysis_figures.retrieval,
      ),
    )
    blocks += [drawn(f"{name}_{i}", caption, draw, arrays, names) for name, caption, draw in shown]
  return blocks


def detection_blocks(runs: Runs) -> list[Block]:
  """Figure 5 and the detector."""
  analysed = results_of(runs, "analysis")
  blocks: list[Block] = []
  for i, group in enumerate(alike(analysed, lambda one: analysis_tables.detection_table(one).title)):
    arrays = {run.name: run.arrays for run in runs if run.name in group}
    blocks.append(
      drawn(
        f"roc_{i}", "Figure 5: ROC of the largest class density as a score.", analysis_figures.roc_curves, arrays, group
      )
    )
  blocks += tables(analysed, analysis_tables.detection_table, analysis_tables.covariance_table)
  if analysed:
    blocks += [
      Text(
        "One Gaussian per class, fitted to training images, each clean and attacked at the weaker epsilon; tested "
        "on clean images and on the same attacked at the stronger one. AUC misclassified: misclassified "
        "against correctly classified images, both clean and attacked among them. AUC adversarial: attacked against "
        "clean images. Intervals: bootstrap over images."
      ),
      Text(
        "The attacks did not know of the detector. An attacker who does can also raise the density of an image: "
        "these figures say nothing of that."
      ),
    ]
  return blocks + missing(runs, "analysis", "Figure 5 and the detector", "tla-analyze")
