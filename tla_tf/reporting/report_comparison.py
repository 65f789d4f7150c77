"""A report's section on the comparison that its runs are of."""

from __future__ import annotations

from tla_tf.records.comparison import ComparisonRecord
from tla_tf.reporting import comparison_figures
from tla_tf.reporting.comparison_tables import measured_tables, runs_table, sentences, summary_table
from tla_tf.reporting.document import Bullets, Details
from tla_tf.reporting.report_parts import Block, drawn
from tla_tf.reporting.tables import transposed


def comparison_blocks(record: ComparisonRecord) -> list[Block]:
  """The summary, the figure, every suite and analysis, and the runs."""
  blocks: list[Block] = [summary_table(record)]
  if comparison_figures.can_draw(record):
    draw, caption = comparison_figures.accuracy_against_seconds, comparison_figures.caption(record)
    blocks.append(drawn("accuracy_against_seconds", f"{caption}.", draw, record))
  blocks.append(Bullets(tuple(sentences(record))))
  # A row an attack, a column a variant: as the suites' own tables.
  blocks += [transposed(table, "Measured") for table in measured_tables(record)]
  return [*blocks, Details("Runs of the comparison", (runs_table(record),))]
