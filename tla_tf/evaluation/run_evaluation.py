"""Evaluating a subject: suites, probes, alarms, and going on where a killed process was."""

from __future__ import annotations

import contextlib
import importlib.metadata
import pathlib
import typing

import numpy as np

from tla_tf import attack_configs
from tla_tf.config import AttackConfig
from tla_tf.data import ImageData
from tla_tf.errors import InputError
from tla_tf.evaluation import eight_bit, probes, protocol
from tla_tf.evaluation.journal import Journal
from tla_tf.evaluation.judge import Judge
from tla_tf.evaluation.planning import EvaluationOptions, PlannedAttacks, planned_attacks, replaced_for_classes
from tla_tf.evaluation.progress import with_seconds_left
from tla_tf.evaluation.subject import Subject
from tla_tf.evaluation.transfer_images import Source, images_of_attacks
from tla_tf.persistence.versions import versions
from tla_tf.records.evaluation import AttackRow, EvaluationImages, EvaluationRecord, Probes
from tla_tf.records.shown import cross_checked, pixels
from tla_tf.summaries import Findings, Measured, alarms, findings_of, shares
from tla_tf.types import Precision, Split

# Adversarial images that are kept of every attack, for pictures.
_KEPT = 8
# Of the journal's lines: those of another layout are not read.
_JOURNAL_FORMAT = 3


_SEARCHED = "Gradient attacks (FGSM, BIM, PGD, MIM) searched in bfloat16; what they found was judged in float32."


class AdversarialExamples(typing.NamedTuple):
  """A few images that fell to an attack, for pictures.

  Attributes:
    images: float32 [m, height, width, channels] in [0, 1], clean.
    adversarial: the same, attacked.
    labels: int [m], the true classes.
    predictions: int [m], what the network says of the attacked ones.
  """

  images: np.ndarray
  adversarial: np.ndarray
  labels: np.ndarray
  predictions: np.ndarray


class EvaluationOutcome(typing.NamedTuple):
  """What an evaluation gives.

  Attributes:
    measured: list of `summaries.Measured`, one a suite.
    examples: dict from attack name to AdversarialExamples.
    class_names: names of the classes.
    discard: function that removes the journal, when results are written.
  """

  measured: list[Measured]
  examples: dict[str, AdversarialExamples]
  class_names: tuple[str, ...]
  discard: typing.Callable[[], None]

  @property
  def findings(self) -> Findings:
    """What all suites found together."""
    (found,) = findings_of(self.measured)
    return found


def joined(outcomes: list[EvaluationOutcome]) -> EvaluationOutcome:
  """Several evaluations of one subject as one; pictures of an attack that several have say at which radius."""
  examples: dict[str, AdversarialExamples] = {}
  for outcome in outcomes:
    radii = {row.name: row.epsilon for one in outcome.measured for row in one.record.attacks}
    for name, found in outcome.examples.items():
      examples[f"{name} at {pixels(radii[name])}" if name in examples else name] = found

  def discard() -> None:
    for outcome in outcomes:
      outcome.discard()

  measured = [one for outcome in outcomes for one in outcome.measured]
  return EvaluationOutcome(measured, examples, outcomes[0].class_names, discard)


def evaluate_subject(
  subject: Subject,
  options: EvaluationOptions = EvaluationOptions(),
  *,
  state: pathlib.Path | None = None,
  source: Source | None = None,
  progress: typing.Callable | None = None,
  on_resume: typing.Callable[[int], None] | None = None,
) -> EvaluationOutcome:
  """Judges a network under suites of attacks and raises alarms.

  Killed at any moment and called again, it goes on behind the last finished
  batch and gives the same result.

  Args:
    subject: Subject.
    options: EvaluationOptions.
    state: folder of the journal; None keeps none.
    source: of the black-box attack's images, or None.
    progress: called with (attack, batches done, batches to do, seconds left), or None.
    on_resume: called with the number of batches that a killed process left judged, if
      any; or None.

  Returns:
    EvaluationOutcome.

  Raises:
    InputError: for options that do not fit the data.
  """
  plan = planned_attacks(options, subject.dataset, source is not None, subject.training_epsilon)
  test = _judged_images(subject, options)
  plan = replaced_for_classes(plan, test.num_classes)
  timed = with_seconds_left(progress) if progress else None
  transfers = images_of_attacks(
    plan.attacks,
    source,
    test,
    subject.facts["data_digest"],
    seed=options.seed,
    batch_size=options.batch_size,
    progress=timed,
  )
  journal = None if state is None else Journal(state, _journal_facts(subject, options, plan, source))
  with contextlib.nullcontext() if journal is None else journal.open():
    if journal and on_resume:
      on_resume(len(journal))
    judge = Judge(
      subject.network,
      test,
      jit=subject.jit,
      batch_size=options.batch_size,
      eight_bit=options.eight_bit,
      search_precision=options.search_precision,
      keep=_KEPT,
      transfers=transfers,
      recall=None if journal is None else journal.recall,
      progress=timed,
    )
    found = protocol.evaluate_with(judge, plan.attacks, seed=options.seed, num_seeds=options.num_seeds)
    probed = probes.probe_attacks(judge, plan.attacks, plan.epsilon, options.probe_examples, options.seed)
  measured = [
    _of_suite(name, found, judge, probed, subject, options, plan, source)
    for name in dict.fromkeys(attack.suite for attack in plan.attacks)
  ]
  examples = {
    name: AdversarialExamples(
      test.float_images(kept.positions), kept.adversarial, test.labels[kept.positions], kept.predictions
    )
    for name, kept in found.kept.items()
  }
  discard = (lambda: None) if journal is None else journal.discard
  return EvaluationOutcome(measured, examples, test.class_names, discard)


def _of_suite(
  name: str,
  found: protocol.Evaluation,
  judge: Judge,
  probed: Probes | None,
  subject: Subject,
  options: EvaluationOptions,
  plan: PlannedAttacks,
  source: Source | None,
) -> Measured:
  """What one suite found."""
  rows = [row for row in found.attacks if row.suite == name]
  fell = {row.name: found.fell[row.name] for row in rows}
  if probed and not _probes_belong(probed, plan, name):
    probed = None
  searched = any(row.kind == attack_configs.kind(AttackConfig()) for row in rows)
  judged_by = tuple(dict.fromkeys(attack.suite for attack in plan.attacks))
  replayed = any(row.kind == "transfer" for row in rows)
  checks = shares.cross_checks(rows, found.attacks, found.fell, found.right)
  record = EvaluationRecord(
    clean=found.clean,
    attacks=rows,
    worst_case=shares.worst_case(rows, fell, found.right),
    alarms=alarms.raise_alarms(
      rows, fell, found.right, probed, subject.probabilities, subject.range_doubt, checks, judged_by, found.nonfinite
    ),
    probes=probed,
    suite=name,
    seed=options.seed,
    num_seeds=options.num_seeds,
    eight_bit=options.eight_bit,
    search_precision=Precision(options.search_precision),
    source={"run_dir": str(source.folder.path), **source.subject.facts} if source and replayed else None,
    seconds=sum(row.seconds for row in rows),
    training_epsilon=subject.training_epsilon,
    notes=[
      *plan.notes,
      *([_SEARCHED] if options.search_precision != "float32" and searched else []),
      *(sentence for sentence in plan.replaced if sentence.startswith(f"{name}:")),
      *map(cross_checked, checks),
    ],
    **subject.facts,
    versions=versions() | _library_versions(rows),
    cross_check=checks or None,
    split=Split(options.split),
  )
  images = EvaluationImages(
    labels=judge.data.labels,
    predictions=judge.predictions,
    right=found.right,
    attacks=np.array(list(fell)),
    broken=np.stack(list(fell.values()), 1),
  )
  return Measured(record, images)


def _library_versions(rows: list[AttackRow]) -> dict[str, str]:
  """Versions of the libraries whose attacks these rows are of."""
  configs = [row.config for row in rows if row.kind == "library"]
  return {name: importlib.metadata.version(name) for name in sorted({one.facts.distribution for one in configs})}


def _probes_belong(probed: Probes, plan: PlannedAttacks, suite: str) -> bool:
  """Whether the probes say something of a suite: it attacks in their ball; the first one where none does."""
  inside = [a.suite for a in plan.attacks if (a.config.norm, a.config.epsilon) == (probed.norm, probed.epsilon)]
  return suite in (inside or [plan.attacks[0].suite])


def _judged_images(subject: Subject, options: EvaluationOptions) -> ImageData:
  split = Split(options.split)
  data = subject.splits.judged(split)
  if options.num_examples is not None and options.num_examples > len(data):
    raise InputError(
      f"`num_examples={options.num_examples}`: {subject.dataset} has only {len(data)} {split.images}; leave it "
      "out to judge on all."
    )
  test = data.take(slice(options.num_examples))
  if options.eight_bit and test.images.dtype != np.uint8 and not eight_bit.whole_levels(test.images):
    raise InputError("`eight_bit`: the clean images are not of whole grey levels, so adversarial ones cannot be.")
  return test


def _journal_facts(
  subject: Subject, options: EvaluationOptions, plan: PlannedAttacks, source: Source | None
) -> dict[str, typing.Any]:
  """All that the result of a batch depends on."""
  asked = {**options._asdict(), "suite_file": None}
  if options.split == Split.TEST:
    del asked["split"]  # so that journals of releases that knew no other are gone on with
  return {
    "format": _JOURNAL_FORMAT,
    "attacks": [[a.name, a.suite, a.config.to_dict(), a.target.value, a.on_survivors] for a in plan.attacks],
    "options": asked,
    "subject": subject.facts,
    "jit": subject.jit,
    "source": source and source.subject.facts,
    "versions": versions(),
  }
