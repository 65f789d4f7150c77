"""The report of one or several runs, from the records in their folders."""

from __future__ import annotations

import collections

from tla_tf.records import AnalysisRecord, EvaluationRecord
from tla_tf.records.comparison import ComparisonRecord
from tla_tf.records.evaluation import ThreatShare
from tla_tf.reporting import analysis_tables
from tla_tf.reporting.document import Document, Missing, Section, Text
from tla_tf.reporting.report_analysis import detection_blocks, embedding_blocks, tables
from tla_tf.reporting.report_comparison import comparison_blocks
from tla_tf.reporting.report_parts import Block, Runs, missing, results_of
from tla_tf.reporting.report_robustness import attack_image_blocks, robustness_blocks
from tla_tf.reporting.report_settings import settings_blocks, training_blocks
from tla_tf.reporting.run_files import Run
from tla_tf.reporting.tables import Number, Table, alarms_of, ball_name, percent, ranged, with_seeds
from tla_tf.summaries import Findings
from tla_tf.types import Norm


def make_report(runs: Runs, comparison: ComparisonRecord | None = None) -> Document:
  """The report of one or several runs on one data set.

  Args:
    runs: sequence of Run with different names.
    comparison: what they are part of, which then comes first; or None.

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
  first = (Section("Comparison", tuple(comparison_blocks(comparison))),) if comparison else ()
  return Document(
    "Robustness report: " + ", ".join(run.name for run in runs),
    f"Data set {runs[0].settings['dataset']}. Accuracies are shares of test images, with exact "
    "95% intervals; pixels and epsilon are in [0, 1].",
    (*first, *(Section(title, tuple(make(runs))) for title, make in makers)),
  )


def _summary(runs: Runs) -> list[Block]:
  summary = Table(
    "Worst case: images that withstand every attack of every suite that was run in the ball that it names; the rest "
    "is explained below.",
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
  blocks: list[Block] = [with_seeds(summary, {run.name: run.settings for run in runs})]
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
  alarms = collections.Counter(name for name, _ in alarms_of(results_of(runs, "findings")))
  if alarms:
    listed = ", ".join(f"{name} {count}" for name, count in alarms.items())
    blocks.append(Text(f"Alarms were raised ({listed}): read them under Robustness before trusting an accuracy."))
  for run in runs:
    judged = run.findings[0].last if run.findings else None
    if judged and run.analysis and judged.checkpoint_digest != run.analysis.checkpoint_digest:
      blocks.append(
        Missing(
          f"{run.name}: robustness was measured on {_weights(judged)}, the embeddings are of "
          f"{_weights(run.analysis)}; run `tla-evaluate` or `tla-analyze` again."
        )
      )
  blocks += missing(runs, "findings", "accuracy under attack", "tla-evaluate")
  return blocks + missing(runs, "analysis", "embeddings and detection", "tla-analyze")


def _weights(record: EvaluationRecord | AnalysisRecord) -> str:
  """Which weights a record speaks of."""
  step = record.checkpoint
  return f"the model {record.checkpoint_digest[:8]}" if step is None else f"the checkpoint of step {step}"


def _summary_row(run: Run) -> tuple[str, ...]:
  clean = worst = votes = ratios = area = "missing"
  if run.findings:
    found = run.findings[0]
    clean = ranged(found.clean.accuracy, found.clean.interval)
    worst = _headline(found)
  if run.analysis:
    votes = percent(run.analysis.knn.adversarial)
    ratios = " / ".join("-" if r is None else f"{r:.3f}" for r in run.analysis.separation_ratio.values())
    auc = run.analysis.detection.auc_misclassified
    area = "-" if auc is None else Number(auc, 4, percent=False)
  return (run.name, str(run.settings["method"]), str(run.settings["network"]), clean, worst, votes, ratios, area)


def _headline(found: Findings) -> str:
  """The worst case in the ball of the training, or in that of the most attacks."""
  if not found.worst_case.by_threat:
    return ranged(found.worst_case.accuracy, found.worst_case.interval)
  counts = collections.Counter((row.norm, row.epsilon) for row in found.attacks)

  def weight(left: ThreatShare) -> tuple:
    ball = (left.norm, left.epsilon)
    return (ball == (Norm.LINF, found.training_epsilon), left.norm is Norm.LINF, counts[ball], left.epsilon)

  left = max(found.worst_case.by_threat, key=weight)
  return Number(left.accuracy, interval=left.interval, unit=f", {ball_name(left.norm, left.epsilon)}")
