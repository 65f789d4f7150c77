"""What is written into run folders, and into folders that compare runs: tables, figures, reports."""

from __future__ import annotations

import collections.abc
import pathlib
import typing

from tla_tf import files, limits
from tla_tf.errors import InputError
from tla_tf.persistence import RunFolder
from tla_tf.records import AnalysisArrays, AnalysisRecord
from tla_tf.records.comparison import ComparisonRecord
from tla_tf.reporting import analysis_figures, comparison_figures, comparison_tables, figures
from tla_tf.reporting.analysis_tables import markdown_analysis, tables_of_analysis
from tla_tf.reporting.document import MARKDOWN_MARK, Document, figures_of, to_html, to_markdown
from tla_tf.reporting.escaping import markdown, markdown_block
from tla_tf.reporting.tables import (
  Judged,
  Table,
  csv_tables,
  markdown_evaluation,
  markdown_tables,
  probed_groups,
  suite_groups,
  tables_of_evaluation,
)
from tla_tf.summaries import Evaluations, Measured, keep_evaluations


def write_training(folder: RunFolder, metrics: list[dict]) -> pathlib.Path:
  """Draws `figures/training.png` of a run from the rows of its `metrics.jsonl`; returns its path.

  Raises:
    InputError: if it cannot be written, or the run's records are damaged.
  """
  config, _ = folder.read_config()
  title = f"{config.method} on {config.dataset}, {config.network}"
  figures.training_curves({config.method: metrics}, folder.training_figure, title)
  return folder.training_figure


def write_evaluation(
  name: str,
  folder: RunFolder,
  measured: collections.abc.Sequence[Measured],
  examples: typing.Mapping[str, tuple],
  class_names: typing.Sequence[str],
) -> Evaluations:
  """Adds evaluations to what a folder holds; writes tables and figures of all of them and, last, `evaluation.json`.

  Args:
    name: what the run is called.
    folder: RunFolder.
    measured: what was measured just now.
    examples: dict from attack name to what `figures.adversarial_examples` draws.
    class_names: names of the classes.

  Returns:
    Evaluations: all that the folder holds.

  Raises:
    InputError: if it cannot be written.
  """
  files.make_folder(folder.results)

  def show(known: Evaluations) -> None:
    results = {name: known.findings}
    others = {name: known.others}
    files.write_text(folder.evaluation_table, markdown_evaluation(results, others))
    _write_csv(folder.evaluation_table, tables_of_evaluation(results, others))
    _draw_evaluations(results, folder.figures)
    figures.adversarial_examples(
      examples, class_names, folder.figures / "adversarial_examples.png", title=f"{name}: images that were broken"
    )

  return keep_evaluations(folder.evaluation, folder.evaluation_images, measured, show)


def compare_evaluations(results: Judged, folder: pathlib.Path) -> None:
  """Writes `table.md`, `table.csv` and figures of several models into a folder."""
  files.make_folder(folder)
  _draw_evaluations(results, folder)
  files.write_text(folder / "table.md", markdown_evaluation(results))
  _write_csv(folder / "table.md", tables_of_evaluation(results))


def _write_csv(beside: pathlib.Path, tables: list[Table]) -> None:
  """Writes tables beside their Markdown, as CSV."""
  files.write_text(beside.with_suffix(".csv"), csv_tables(tables))


def _draw_evaluations(results: Judged, folder: pathlib.Path) -> None:
  """A figure for every suite and group of models that were judged alike; curves of the probes."""
  # Those of another evaluation would contradict the new results.
  for pattern in ("robust_accuracy*.png", "accuracy_curves*.png", "epsilon_curves.png"):
    for stale in folder.glob(pattern):
      stale.unlink()
  if figures.has_epsilon_curves(results):
    figures.epsilon_curves(results, folder / "epsilon_curves.png")
  suites: list[str] = []
  for suite, group in suite_groups(results):
    ending = f"_{suite}" * bool(suites and suite != suites[0])
    figures.robust_accuracy(group, suite, folder / f"robust_accuracy{ending}{_number(suites.count(suite))}.png")
    suites.append(suite)
  for i, group in enumerate(probed_groups(results)):
    figures.accuracy_curves(group, folder / f"accuracy_curves{_number(i)}.png")


def _number(i: int) -> str:
  return f"_{i + 1}" if i else ""


def write_analysis(name: str, folder: RunFolder, record: AnalysisRecord, arrays: AnalysisArrays) -> AnalysisRecord:
  """Writes `analysis.npz`, `analysis.md`, `analysis.csv`, figures and, last, `analysis.json` into a run folder.

  Args:
    name: what the run is called.
    folder: RunFolder.
    record: AnalysisRecord; its `arrays_digest` is set.
    arrays: AnalysisArrays.

  Returns:
    The record as it was written.

  Raises:
    InputError: if it cannot be written.
  """
  arrays.write(folder.analysis_arrays)
  _draw_analyses({name: record}, {name: arrays}, folder.figures)
  files.write_text(folder.analysis_table, markdown_analysis({name: record}))
  _write_csv(folder.analysis_table, tables_of_analysis({name: record}))
  # Tells, after a kill in between, that the arrays are of another analysis.
  record = record.replace(arrays_digest=files.digest(folder.analysis_arrays))
  record.write(folder.analysis)
  return record


def compare_analyses(
  results: dict[str, AnalysisRecord], arrays: dict[str, AnalysisArrays], folder: pathlib.Path
) -> None:
  """Writes `analysis.md`, `analysis.csv` and figures of several runs side by side into a folder."""
  files.make_folder(folder)
  _draw_analyses(results, arrays, folder)
  files.write_text(folder / "analysis.md", markdown_analysis(results))
  _write_csv(folder / "analysis.md", tables_of_analysis(results))


def _draw_analyses(results: dict[str, AnalysisRecord], arrays: dict[str, AnalysisArrays], folder: pathlib.Path) -> None:
  class_names = next(iter(results.values())).class_names
  analysis_figures.tsne_of_class(arrays, class_names, folder / "tsne_class.png")
  analysis_figures.tsne_of_pair(arrays, class_names, folder / "tsne_pair.png")
  analysis_figures.retrieval(arrays, class_names, folder / "retrieval.png")
  analysis_figures.roc_curves(arrays, results, folder / "roc.png")


def write_comparison(record: ComparisonRecord, folder: pathlib.Path) -> None:
  """Writes `comparison.md`, `.csv` and `figures/accuracy_against_seconds.png` into the folder of a comparison."""
  tables = comparison_tables.tables_of_comparison(record)
  place = folder / "figures" / "accuracy_against_seconds.png"
  picture = ""
  if comparison_figures.can_draw(record):
    files.make_folder(place.parent)
    comparison_figures.accuracy_against_seconds(record, place)
    picture = f"\n![{markdown(comparison_figures.caption(record))}](figures/{place.name})\n"
  else:
    place.unlink(missing_ok=True)
  notes = "".join(f"\n{markdown_block(note)}\n" for note in comparison_tables.sentences(record))
  files.write_text(folder / "comparison.md", markdown_tables(tables) + picture + notes)
  _write_csv(folder / "comparison.md", tables)


class WrittenReport(typing.NamedTuple):
  """Where a report is: one HTML page, and the same as Markdown."""

  html: pathlib.Path
  markdown: pathlib.Path


def _is_report(text: pathlib.Path) -> bool:
  mark = MARKDOWN_MARK.encode()
  with limits.open_regular(text) as file:
    return file.read(len(mark)) == mark


def write_document(document: Document, output: pathlib.Path) -> WrittenReport:
  """Writes a report as one HTML page; its Markdown goes beside it, with figures in a folder.

  Args:
    document: Document.
    output: the HTML file.

  Returns:
    WrittenReport.

  Raises:
    InputError: if it cannot be written, or would replace Markdown that is no report.
  """
  text, pictures = output.with_suffix(".md"), output.with_name(f"{output.stem}_figures")
  if text.exists() and not _is_report(text):
    raise InputError(f"{text}: exists and is no report; choose another `output`, whose .md is not taken.")
  files.make_folder(pictures)
  for figure in figures_of(document):
    files.write_bytes(pictures / f"{figure.name}.png", figure.light)
  files.write_text(text, to_markdown(document, pictures.name))
  files.write_text(output, to_html(document))
  return WrittenReport(output, text)
