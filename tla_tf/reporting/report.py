"""The report of one or several runs, from the records in their folders."""

from __future__ import annotations

from tla_tf.reporting import analysis_tables
from tla_tf.reporting.document import Document, Missing, Section, Text
from tla_tf.reporting.report_analysis import detection_blocks, embedding_blocks, tables
from tla_tf.reporting.report_parts import Block, Runs, missing, results_of
from tla_tf.reporting.report_robustness import attack_image_blocks, robustness_blocks
from tla_tf.reporting.report_settings import settings_blocks, training_blocks
from tla_tf.reporting.run_files import Run
from tla_tf.reporting.tables import Table, percent, ranged


def make_report(runs: Runs) -> Document:
  """The report of one or several runs on one data set.

  Args:
    runs: sequence of Run with different names.

  Returns:
    `document.Document`.
  """
  makers = (
    ("Summary", _summary),
    ("Settings", settings_blocks),
    ("Training", training_blocks),
    ("Robustness", robustness_blocks),
    ("Images of attacks", attack_image_blocks),
    ("Embeddings under attack", embedding_blocks),
    ("Detection", detection_blocks),
  )
  return Document(
    "Robustness report: " + ", ".join(run.name for run in runs),
    f"Data set {runs[0].settings['dataset']}. Accuracies are shares of test images, with exact "
    "95% intervals; pixels and epsilon are in [0, 1].",
    tuple(Section(title, tuple(make(runs))) for title, make in makers),
  )


def _summary(runs: Runs) -> list[Block]:
  blocks: list[Block] = [
    Table(
      "Worst case: images that withstand every attack of every suite that was run; the rest is explained below.",
      (
        "Model",
        "method",
        "network",
        "clean",
        "worst case",
        "kNN, attacked",
        "r, weak / strong attack",
        "AUC misclassified",
      ),
      tuple(_summary_row(run) for run in runs),
    )
  ]
  analysed = results_of(runs, "analysis")
  if any(
    len(tables(analysed, make)) > 1
    for make in (analysis_tables.separation_table, analysis_tables.neighbour_table, analysis_tables.detection_table)
  ):
    blocks.append(
      Missing(
        "The runs were analysed with different settings: compare the last columns only after a "
        "look at the tables below, or run `tla-analyze` on all of them together."
      )
    )
  alarms = {run.name: len(run.evaluation.alarms) for run in runs if run.evaluation}
  if any(alarms.values()):
    listed = ", ".join(f"{name} {count}" for name, count in alarms.items() if count)
    blocks.append(Text(f"Alarms were raised ({listed}): read them under Robustness before trusting an accuracy."))
  for run in runs:
    if run.evaluation and run.analysis and run.evaluation.checkpoint_digest != run.analysis.checkpoint_digest:
      blocks.append(
        Missing(
          f"{run.name}: robustness was measured on the checkpoint of step {run.evaluation.checkpoint}, the embeddings "
          f"are of step {run.analysis.checkpoint}; run `tla-evaluate` or `tla-analyze` again."
        )
      )
  blocks += missing(runs, "evaluation", "accuracy under attack", "tla-evaluate")
  return blocks + missing(runs, "analysis", "embeddings and detection", "tla-analyze")


def _summary_row(run: Run) -> tuple[str, ...]:
  clean = worst = votes = ratios = area = "missing"
  if run.evaluation:
    clean = ranged(run.evaluation.clean.accuracy, run.evaluation.clean.interval)
    worst = ranged(run.evaluation.worst_case.accuracy, run.evaluation.worst_case.interval)
  if run.analysis:
    votes = percent(run.analysis.knn.adversarial)
    ratios = " / ".join("-" if r is None else f"{r:.3f}" for r in run.analysis.separation_ratio.values())
    found = run.analysis.detection.auc_misclassified
    area = "-" if found is None else f"{found:.4f}"
  return (run.name, str(run.settings["method"]), str(run.settings["network"]), clean, worst, votes, ratios, area)
