"""What is written into run folders, and into folders that compare runs: tables, figures, reports."""

from __future__ import annotations

import pathlib
import typing

from tla_tf import files
from tla_tf.errors import InputError
from tla_tf.persistence import RunFolder
from tla_tf.records import AnalysisArrays, AnalysisRecord, EvaluationImages, EvaluationRecord
from tla_tf.reporting import analysis_figures, figures
from tla_tf.reporting.analysis_tables import markdown_analysis
from tla_tf.reporting.document import MARKDOWN_MARK, Document, figures_of, to_html, to_markdown
from tla_tf.reporting.report_robustness import probed_ball
from tla_tf.reporting.tables import alike, markdown_evaluation, of_suite, suites_of


def write_evaluation(
  name: str,
  folder: RunFolder,
  record: EvaluationRecord,
  images: EvaluationImages,
  examples: typing.Mapping[str, tuple],
  class_names: typing.Sequence[str],
) -> None:
  """Writes `evaluation.json`, `evaluation_images.npz`, `evaluation.md` and figures into a run folder.

  Args:
    name: what the run is called.
    folder: RunFolder.
    record: EvaluationRecord.
    images: EvaluationImages.
    examples: dict from attack name to what `figures.adversarial_examples` draws.
    class_names: names of the classes.

  Raises:
    InputError: if it cannot be written.
  """
  files.make_folder(folder.path)
  record.write(folder.evaluation)
  images.write(folder.evaluation_images)
  files.write_text(folder.evaluation_table, markdown_evaluation({name: record}))
  # Those of another evaluation would contradict the new results.
  for stale in (*folder.figures.glob("robust_accuracy*.png"), *folder.figures.glob("accuracy_curves*.png")):
    stale.unlink()
  _draw_evaluations({name: record}, folder.figures)
  figures.adversarial_examples(
    examples, class_names, folder.figures / "adversarial_examples.png", title=f"{name}: images that were broken"
  )


def compare_evaluations(results: dict[str, EvaluationRecord], folder: pathlib.Path) -> None:
  """Writes `table.md` and figures of several models into a folder."""
  files.make_folder(folder)
  _draw_evaluations(results, folder)
  files.write_text(folder / "table.md", markdown_evaluation(results))


def _draw_evaluations(results: dict[str, EvaluationRecord], folder: pathlib.Path) -> None:
  """A figure for every suite and group of models that were judged alike; curves of the probes."""
  for i, suite in enumerate(suites_of(results)):
    for j, group in enumerate(of_suite(results, suite)):
      figures.robust_accuracy(group, suite, folder / f"robust_accuracy{f'_{suite}' * bool(i)}{_number(j)}.png")
  if all(result.probes for result in results.values()):
    for j, group in enumerate(alike(results, probed_ball)):
      figures.accuracy_curves(group, folder / f"accuracy_curves{_number(j)}.png")


def _number(i: int) -> str:
  return f"_{i + 1}" if i else ""


def write_analysis(name: str, folder: RunFolder, record: AnalysisRecord, arrays: AnalysisArrays) -> AnalysisRecord:
  """Writes `analysis.npz`, `analysis.md`, figures and, last, `analysis.json` into a run folder.

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
  # Tells, after a kill in between, that the arrays are of another analysis.
  record = record.replace(arrays_digest=files.digest(folder.analysis_arrays))
  record.write(folder.analysis)
  return record


def compare_analyses(
  results: dict[str, AnalysisRecord], arrays: dict[str, AnalysisArrays], folder: pathlib.Path
) -> None:
  """Writes `analysis.md` and figures of several runs side by side into a folder."""
  files.make_folder(folder)
  _draw_analyses(results, arrays, folder)
  files.write_text(folder / "analysis.md", markdown_analysis(results))


def _draw_analyses(results: dict[str, AnalysisRecord], arrays: dict[str, AnalysisArrays], folder: pathlib.Path) -> None:
  class_names = next(iter(results.values())).class_names
  analysis_figures.tsne_of_class(arrays, class_names, folder / "tsne_class.png")
  analysis_figures.tsne_of_pair(arrays, class_names, folder / "tsne_pair.png")
  analysis_figures.retrieval(arrays, class_names, folder / "retrieval.png")
  analysis_figures.roc_curves(arrays, results, folder / "roc.png")


class WrittenReport(typing.NamedTuple):
  """Where a report is: one HTML page, and the same as Markdown."""

  html: pathlib.Path
  markdown: pathlib.Path


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
  markdown, pictures = output.with_suffix(".md"), output.with_name(f"{output.stem}_figures")
  if markdown.exists() and not markdown.read_bytes().startswith(MARKDOWN_MARK.encode()):
    raise InputError(f"{markdown}: exists and is no report; choose another `output`, whose .md is not taken.")
  files.make_folder(pictures)
  for figure in figures_of(document):
    files.write_bytes(pictures / f"{figure.name}.png", figure.light)
  files.write_text(markdown, to_markdown(document, pictures.name))
  files.write_text(output, to_html(document))
  return WrittenReport(output, markdown)
