"""A report's sections on attacks: accuracies, alarms, probes, and images that fell."""

from __future__ import annotations

from tla_tf.records.evaluation import EvaluationRecord
from tla_tf.reporting import figures
from tla_tf.reporting.document import Bullets, Figure, Missing, Text
from tla_tf.reporting.report_parts import Block, Runs, drawn, missing, results_of
from tla_tf.reporting.tables import Table, alike, of_suite, ranged, suite_title, suites_of


def robustness_blocks(runs: Runs) -> list[Block]:
  """Accuracies by suite, notes, alarms and probes."""
  results = results_of(runs, "evaluation")
  blocks: list[Block] = []
  for suite in suites_of(results):
    for group in of_suite(results, suite):
      blocks.append(_attack_table(group, suite))
      blocks.append(
        drawn(
          f"robust_accuracy_{len(blocks)}",
          f"Suite {suite}: accuracy under every attack, with 95% intervals.",
          figures.robust_accuracy,
          group,
          suite,
        )
      )
  blocks += [Text(f"{name}: {note}") for name, result in results.items() for note in result.notes]
  if results:
    alarms = [
      f"`{alarm.code}` ({name}): {alarm.seen} {alarm.why} {alarm.remedy}"
      for name, result in results.items()
      for alarm in result.alarms
    ]
    blocks.append(
      Text(
        "Alarms: signs that an attack was too weak, so that an accuracy is too high."
        if alarms
        else "No alarm was raised."
      )
    )
    blocks += [Bullets(tuple(alarms))] if alarms else []
    probed = {name: result for name, result in results.items() if result.probes}
    for i, group in enumerate(alike(probed, probed_ball)):
      blocks.append(
        drawn(
          f"accuracy_curves_{i}",
          "Accuracy against epsilon and against the number of PGD's steps, on the probed images.",
          figures.accuracy_curves,
          group,
        )
      )
    blocks += [
      Missing(
        f"Missing for {name}: accuracy against epsilon, and half of the alarms; `tla-evaluate` was run "
        "without probes (probe_examples=0)."
      )
      for name in results
      if name not in probed
    ]
  return blocks + missing(runs, "evaluation", "accuracy under attack", "tla-evaluate")


def probed_ball(one: dict[str, EvaluationRecord]) -> tuple | None:
  """What the probes of one model share with those of others on the same axes."""
  (result,) = one.values()
  probes = result.probes
  return None if probes is None else (probes.norm, probes.epsilon, probes.num_examples)


def _attack_table(results: dict[str, EvaluationRecord], suite: str) -> Table:
  """A suite's accuracies with intervals: a row an attack, a column a model, which fits a phone better."""
  by_model = {name: {row.name: row for row in result.of_suite(suite)} for name, result in results.items()}
  names = list(dict.fromkeys(name for rows in by_model.values() for name in rows))

  def line(title: str, cells: list) -> tuple[str, ...]:
    return (title, *("-" if cell is None else ranged(cell.accuracy, cell.interval) for cell in cells))

  rows = [line("Clean", [result.clean for result in results.values()])]
  rows += [line(name, [rows.get(name) for rows in by_model.values()]) for name in names]
  rows.append(line("Worst case", [result.worst_case.by_suite.get(suite) for result in results.values()]))
  return Table(suite_title(results, suite), ("Attack", *results), tuple(rows))


def attack_image_blocks(runs: Runs) -> list[Block]:
  """The pictures of images that fell."""
  blocks: list[Block] = [
    Figure(
      f"adversarial_examples_{i}",
      f"{run.name}: images that attacks broke; clean, attacked, and the change, with what the network says.",
      run.adversarial_examples,
    )
    for i, run in enumerate(runs)
    if run.adversarial_examples
  ]
  return blocks + missing(
    runs, "adversarial_examples", "images that attacks broke (none did, or it was not evaluated)", "tla-evaluate"
  )
