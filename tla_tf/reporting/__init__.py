"""Tables, figures and reports from result files; no model runs here."""

from tla_tf.reporting.analysis_figures import retrieval, roc_curves, tsne_of_class, tsne_of_pair
from tla_tf.reporting.analysis_tables import tables_of_analysis
from tla_tf.reporting.document import MARKDOWN_MARK, figures_of, to_html, to_markdown
from tla_tf.reporting.figures import accuracy_curves, broken_images, robust_accuracy, training_curves
from tla_tf.reporting.projector import remove_projector, write_projector
from tla_tf.reporting.report import make_report, read_run
from tla_tf.reporting.tables import (
  Table,
  markdown_alarms,
  markdown_table,
  markdown_tables,
  print_alarms,
  print_table,
  suite_table,
  suites_of,
)

__all__ = [
  "MARKDOWN_MARK",
  "Table",
  "accuracy_curves",
  "broken_images",
  "figures_of",
  "make_report",
  "markdown_alarms",
  "markdown_table",
  "markdown_tables",
  "print_alarms",
  "print_table",
  "read_run",
  "remove_projector",
  "retrieval",
  "roc_curves",
  "robust_accuracy",
  "suite_table",
  "suites_of",
  "tables_of_analysis",
  "to_html",
  "to_markdown",
  "training_curves",
  "tsne_of_class",
  "tsne_of_pair",
  "write_projector",
]
