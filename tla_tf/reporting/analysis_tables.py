"""Tables 5 and 6 and the detector's figures, of one or several models.

All take a dict from model name to AnalysisRecord.
"""

from __future__ import annotations

from tla_tf.records.analysis import AnalysisRecord, DetectionResult, SeparationEntry
from tla_tf.records.evaluation import Share
from tla_tf.records.shown import pixels
from tla_tf.reporting.escaping import markdown_block
from tla_tf.reporting.tables import Number, Table, markdown_tables, percent, ranged, with_seeds
from tla_tf.types import Split


def separation_table(results: dict[str, AnalysisRecord]) -> Table:
  """Table 5: the ratio r at both epsilons, and what was left out."""
  first = next(iter(results.values()))
  epsilons = [entry.epsilon for entry in first.separation]
  rows = []
  for model, result in results.items():
    entries = {entry.epsilon: entry for entry in result.separation}
    cells = []
    for epsilon in epsilons:
      entry = entries.get(epsilon)
      cells += ["-", "-"] if entry is None else [_ratio(entry.ratio), _left_out(entry)]
    rows.append((model, *cells))
  header = [title for epsilon in epsilons for title in (f"r at {pixels(epsilon)}", "classes left out")]
  table = Table(
    "Table 5: distance of misclassified attacked images from the class that they are taken for, over that "
    f"class's own spread (D = 1 - |cos|; larger is better){_of_images(first)}",
    ("Model", *header),
    tuple(rows),
  )
  return _seeded(table, results)


def _ratio(value: float | None) -> str:
  return "-" if value is None else Number(value, 3, percent=False)


def _left_out(entry: SeparationEntry) -> str:
  names = entry.left_out
  listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
  return f"{len(names)} of {len(entry.classes)}" + (f": {listed}" if names else "")


def neighbour_table(results: dict[str, AnalysisRecord]) -> Table:
  """Table 6: accuracy of the vote of the nearest neighbours, beside the network's own under the same attack."""
  first = next(iter(results.values()))
  epsilons = list(first.knn.by_epsilon)
  rows = []
  for model, result in results.items():
    knn, own = result.knn, result.accuracy
    cells = [ranged(knn.natural, knn.natural_interval)]
    cells += [_ranged(knn.by_epsilon.get(epsilon)) for epsilon in epsilons]
    cells.append(percent(own.natural.accuracy))
    found = [own.by_epsilon.get(epsilon) for epsilon in epsilons]
    cells += [percent(None if share is None else share.accuracy) for share in found]
    rows.append((model, *cells))
  names = [f"PGD at {pixels(attack.epsilon)}" for attack in first.attacks.values()]
  header = (
    "Model",
    "kNN, natural",
    *(f"kNN, {name}" for name in names),
    "network, natural",
    *(f"network, {name}" for name in names),
  )
  table = Table(
    f"Table 6: {first.knn.k} nearest natural training images ({first.knn.metric}) vote; the network's own "
    f"accuracy under the same attack beside it{_of_images(first)}",
    header,
    tuple(rows),
  )
  return _seeded(table, results)


def _ranged(share: Share | None) -> str:
  return "-" if share is None else ranged(share.accuracy, share.interval)


def detection_table(results: dict[str, AnalysisRecord]) -> Table:
  """Figure 5's areas, and what the chosen threshold does."""
  rows = []
  for model, result in results.items():
    found = result.detection
    at = found.at_threshold
    rows.append(
      (
        model,
        str(found.covariance) + (", unit length" if found.unit_length else ""),
        *(_area(found, name) for name in ("misclassified", "adversarial")),
        *(percent(getattr(at, f"{name}_flagged")) for name in ("clean", "adversarial", "misclassified")),
      )
    )
  shown = next(iter(results.values()))
  first = shown.detection
  table = Table(
    f"Detection by density (fitted at epsilon {pixels(first.fit_epsilon)}, tested at "
    f"{pixels(first.test_epsilon)}; threshold for {first.false_positive_rate:.1%} false alarms on "
    f"held-out clean images){_of_images(shown)}",
    (
      "Model",
      "covariance",
      "AUC misclassified",
      "AUC adversarial",
      "clean flagged",
      "attacked flagged",
      "misclassified flagged",
    ),
    tuple(rows),
  )
  return _seeded(table, results)


def _area(found: DetectionResult, name: str) -> str:
  value, interval = getattr(found, f"auc_{name}"), getattr(found, f"auc_{name}_interval")
  return "-" if value is None else Number(value, 4, percent=False, interval=interval)


def covariance_table(results: dict[str, AnalysisRecord]) -> Table:
  """The areas of every kind of covariance."""
  kinds = list(dict.fromkeys(kind for result in results.values() for kind in result.detection.by_covariance))
  header = ("Model", *(f"{kind}, {name}" for kind in kinds for name in ("misclassified", "adversarial")))
  rows = []
  for model, result in results.items():
    areas = result.detection.by_covariance
    values = [
      getattr(areas.get(kind), f"auc_{name}", None) for kind in kinds for name in ("misclassified", "adversarial")
    ]
    rows.append((model, *("-" if value is None else Number(value, 4, percent=False) for value in values)))
  title = f"AUC by covariance{_of_images(next(iter(results.values())))}"
  return _seeded(Table(title, header, tuple(rows)), results)


def _of_images(record: AnalysisRecord) -> str:
  """What the title of a table adds where others than the test images were analysed."""
  return "" if record.split is Split.TEST else f", on {record.split.images}"


def _seeded(table: Table, results: dict[str, AnalysisRecord]) -> Table:
  """With means over the seeds of the training."""
  return with_seeds(table, {model: result.config for model, result in results.items()})


def tables_of_analysis(results: dict[str, AnalysisRecord]) -> list[Table]:
  """All of the above, in order."""
  return [make(results) for make in (separation_table, neighbour_table, detection_table, covariance_table)]


def markdown_analysis(results: dict[str, AnalysisRecord]) -> str:
  """Tables and notes of all models, as `analysis.md` holds them."""
  notes = [f"{model}: {note}" for model, result in results.items() for note in result.notes]
  return markdown_tables(tables_of_analysis(results)) + "".join(f"\n{markdown_block(note)}\n" for note in notes)
