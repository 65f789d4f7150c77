"""A report's sections on attacks: accuracies, alarms, probes, and images that fell."""

from __future__ import annotations

from tla_tf.records.evaluation import EvaluationRecord
from tla_tf.reporting import figures
from tla_tf.reporting.document import Bullets, Details, Figure, Missing, Text
from tla_tf.reporting.drawing import GROUP
from tla_tf.reporting.report_parts import Block, Runs, drawn, missing, results_of
from tla_tf.reporting.tables import (
  Table,
  alarms_of,
  checkpoint_name,
  notes_of,
  others_table,
  probed_groups,
  ranged,
  suite_groups,
  suite_title,
  tables_of_evaluation,
  transposed,
  with_seeds,
  worst_case_table,
)
from tla_tf.summaries import Findings


def robustness_blocks(runs: Runs) -> list[Block]:
  """Accuracies by suite and by ball, notes, alarms and probes; what is known of other checkpoints."""
  results = results_of(runs, "findings")
  blocks: list[Block] = []
  for suite, group in suite_groups(results):
    blocks.append(_attack_table(group, suite))
    blocks.append(
      drawn(
        f"robust_accuracy_{len(blocks)}",
        f"Suite {suite}: accuracy under every attack.",
        figures.robust_accuracy,
        group,
        suite,
      )
    )
  worst = worst_case_table(results)
  blocks += [worst] if worst else []
  if figures.has_epsilon_curves(results):
    blocks.append(drawn("epsilon_curves", "The worst case by radius.", figures.epsilon_curves, results))
  blocks += [Text(note) for note in notes_of(results)]
  if results:
    blocks.append(Text(f"Judged: {'; '.join(_judged(name, found[0]) for name, found in results.items())}."))
    alarms = [f"`{a.code}` ({name}): {a.seen} {a.why} {a.remedy}" for name, a in alarms_of(results)]
    blocks.append(
      Text(
        "Alarms: signs that an attack was too weak, so that an accuracy is too high."
        if alarms
        else "No alarm was raised."
      )
    )
    blocks += [Bullets(tuple(alarms))] if alarms else []
    for i, group in enumerate(probed_groups(results)):
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
      for name, findings in results.items()
      if not any(found.probes for found in findings)
    ]
  before = others_table(results_of(runs, "others"))
  if before:
    blocks.append(Details("Judged before, of other checkpoints", (before,)))
  apart = tables_of_evaluation(results_of(runs, "heldout"))
  if apart:
    blocks.append(Details("Judged on held-out images, which chose the checkpoints", tuple(apart)))
  return blocks + missing(runs, "findings", "accuracy under attack", "tla-evaluate")


def _judged(name: str, found: Findings) -> str:
  """Which weights of a model the tables speak of."""
  return f"{name}, {checkpoint_name(found.last)}"


def _attack_table(results: dict[str, EvaluationRecord], suite: str) -> Table:
  """A suite's accuracies with intervals: a row an attack, a column a model, which fits a phone better."""
  by_model = {name: {row.name: row for row in result.of_suite(suite)} for name, result in results.items()}
  names = list(dict.fromkeys(name for rows in by_model.values() for name in rows))
  lines = []
  for model, result in results.items():
    cells = [result.clean, *(by_model[model].get(name) for name in names), result.worst_case.by_suite.get(suite)]
    lines.append((model, *("-" if cell is None else ranged(cell.accuracy, cell.interval) for cell in cells)))
  table = Table(suite_title(results, suite), ("Model", "Clean", *names, "Worst case"), tuple(lines))
  return transposed(with_seeds(table, {model: result.config for model, result in results.items()}), "Attack")


def attack_image_blocks(runs: Runs) -> list[Block]:
  """The pictures of images that fell."""
  pictures = [
    Figure(
      f"adversarial_examples_{i}",
      f"{run.name}: images that attacks broke; clean, attacked, and the change, with what the network says.",
      run.adversarial_examples,
    )
    for i, run in enumerate(runs)
    if run.adversarial_examples
  ]
  # Many would hide what follows.
  folded = len(pictures) > GROUP
  blocks: list[Block] = [Details(f"Images of {len(pictures)} runs", tuple(pictures))] if folded else [*pictures]
  return blocks + missing(
    runs, "adversarial_examples", "images that attacks broke (none did, or it was not evaluated)", "tla-evaluate"
  )
