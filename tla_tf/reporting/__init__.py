"""Tables, figures and reports from result files; no model runs here."""

from tla_tf.reporting.analysis_figures import retrieval, roc_curves, tsne_of_class, tsne_of_pair
from tla_tf.reporting.analysis_tables import markdown_analysis, tables_of_analysis
from tla_tf.reporting.comparison_figures import accuracy_against_seconds
from tla_tf.reporting.comparison_tables import tables_of_comparison
from tla_tf.reporting.document import MARKDOWN_MARK, figures_of, to_html, to_markdown
from tla_tf.reporting.figures import accuracy_curves, adversarial_examples, robust_accuracy, training_curves
from tla_tf.reporting.outputs import (
  WrittenReport,
  compare_analyses,
  compare_evaluations,
  write_analysis,
  write_comparison,
  write_document,
  write_evaluation,
  write_training,
)
from tla_tf.reporting.projector import remove_projector, write_projector
from tla_tf.reporting.report import make_report
from tla_tf.reporting.run_files import Run, read_run
from tla_tf.reporting.tables import (
  Judged,
  Number,
  Table,
  alike,
  csv_tables,
  markdown_alarms,
  markdown_evaluation,
  markdown_table,
  markdown_tables,
  print_alarms,
  print_table,
  probed_groups,
  suite_groups,
  suite_table,
  suite_tables,
  tables_of_evaluation,
)

__all__ = [
  "MARKDOWN_MARK",
  "Judged",
  "Number",
  "Run",
  "Table",
  "WrittenReport",
  "accuracy_against_seconds",
  "accuracy_curves",
  "adversarial_examples",
  "alike",
  "compare_analyses",
  "csv_tables",
  "compare_evaluations",
  "figures_of",
  "make_report",
  "markdown_alarms",
  "markdown_analysis",
  "markdown_evaluation",
  "markdown_table",
  "markdown_tables",
  "print_alarms",
  "print_table",
  "probed_groups",
  "read_run",
  "remove_projector",
  "retrieval",
  "roc_curves",
  "robust_accuracy",
  "suite_groups",
  "suite_table",
  "suite_tables",
  "tables_of_analysis",
  "tables_of_comparison",
  "tables_of_evaluation",
  "to_html",
  "to_markdown",
  "training_curves",
  "tsne_of_class",
  "tsne_of_pair",
  "write_analysis",
  "write_comparison",
  "write_document",
  "write_evaluation",
  "write_training",
  "write_projector",
]
