"""What the runs of a comparison found, with what there is so far: `comparison.json`, tables, a figure, a report.

No model runs here, and no TensorFlow is loaded.
"""

from __future__ import annotations

import collections.abc
import hashlib
import json
import os
import pathlib
import typing

from tla_tf import files, reporting
from tla_tf.config import TrainingConfig
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.persistence.checkpoints import CheckpointStore, best_of
from tla_tf.persistence.run_folder import RunFolder
from tla_tf.records import AnalysisRecord, training_epsilon
from tla_tf.records import comparison as record
from tla_tf.records.analysis import epsilon_key
from tla_tf.records.comparison import (
  ComparedRun,
  ComparedVariant,
  ComparisonRecord,
  Measure,
  Over,
  Quantity,
  RunState,
  SeedMean,
)
from tla_tf.records.evaluation import AttackRow
from tla_tf.summaries import Evaluations, Findings, read_evaluations, statistics
from tla_tf.types import Norm, Split

# Variant, seed and run folder, which need not be there yet.
Runs = collections.abc.Iterable[tuple[str, int, RunFolder]]


def write(output_dir: AnyPath, runs: Runs, notes: collections.abc.Sequence[str] = ()) -> ComparisonRecord:
  """Writes what is known so far into the folder of a comparison: `comparison.json`, `.md`, `.csv` and the figure.

  Args:
    output_dir: the folder.
    runs: all that are planned, in the order of the plan.
    notes: sentences that a reader should know.

  Returns:
    ComparisonRecord.

  Raises:
    InputError: if nothing can be written.
  """
  found = read(output_dir, runs, notes)
  files.make_folder(output_dir)
  reporting.write_comparison(found, pathlib.Path(output_dir))
  found.write(pathlib.Path(output_dir, "comparison.json"))
  return found


def read(output_dir: AnyPath, runs: Runs, notes: collections.abc.Sequence[str] = ()) -> ComparisonRecord:
  """What `write` writes; runs with damaged files are named, and do not keep the others from being read."""
  notes, compared = list(notes), []
  configs: dict[str, TrainingConfig] = {}
  for variant, seed, folder in runs:
    place = pathlib.PurePath(os.path.relpath(folder.path, output_dir)).as_posix()
    try:
      known = _Known(variant, seed, folder)
      compared.append(known.run(place))
      if known.config is not None:
        configs.setdefault(variant, known.config)
    except InputError as error:
      notes.append(str(error))
      compared.append(_run(variant, seed, place, RunState.DAMAGED))
  variants = [
    _variant([run for run in compared if run.variant == name], configs.get(name))
    for name in dict.fromkeys(run.variant for run in compared)
  ]
  radii = {training_epsilon(config.to_dict()) for config in configs.values()}
  epsilon = radii.pop() if len(radii) == 1 else None
  return ComparisonRecord(
    dataset=next((config.dataset for config in configs.values()), ""),
    training_epsilon=epsilon,
    variants=variants,
    runs=compared,
    strongest=_strongest(variants, epsilon),
    notes=notes,
  )


def _run(variant: str, seed: int, place: str, state: RunState, **known: typing.Any) -> ComparedRun:
  """A ComparedRun of which no more is known than is given."""
  nothing: dict[str, typing.Any] = {
    "steps": 0,
    "train_steps": 0,
    "checkpoint": None,
    "checkpoint_digest": None,
    "alarms": [],
    "measures": [],
  }
  return ComparedRun(variant=variant, seed=seed, folder=place, state=state, **(nothing | known))


class _Known:
  """What a run folder says of its training.

  Attributes:
    variant, seed, folder: of the run.
    config: TrainingConfig; None before it has begun.
    steps: of the last checkpoint.
    evaluations: Evaluations by split, once the training is done.
    checkpoint: step of the checkpoint that was judged last, of those that are there; else
      of the best on held-out images; None before the training is done.
    digest: of that checkpoint.
  """

  def __init__(self, variant: str, seed: int, folder: RunFolder):
    self.variant, self.seed, self.folder = variant, seed, folder
    self.config: TrainingConfig | None = folder.read_config()[0] if folder.is_run else None
    self._store = CheckpointStore(folder.checkpoints)
    self.steps = self._store.last() or 0
    self.finished = self.config is not None and self.steps >= self.config.train_steps
    self.evaluations: dict[Split, Evaluations] = {}
    self.checkpoint: int | None = None
    self.digest: str | None = None
    if self.finished:
      places = {split: folder.of_split(split) for split in Split}
      self.evaluations = {
        split: read_evaluations(place.evaluation, place.evaluation_images) for split, place in places.items()
      }
      records = self._store.records()
      steps = {record.digest: step for step, record in records.items()}
      judged = (found.checkpoint_digest for known in self.evaluations.values() for found in known.findings)
      self.checkpoint = next((steps[digest] for digest in judged if digest in steps), best_of(records))
      self.digest = None if self.checkpoint is None else records[self.checkpoint].digest

  def run(self, place: str) -> ComparedRun:
    """All that is known; `place` is the path of the run folder from that of the comparison."""
    measures = [*self._seconds(), *self._validation()]
    for split in self.evaluations:
      measures += [measure for found in self._findings(split) for measure in _accuracies(found, split)]
      measures += self._analysis(split)
    judged = self._findings(Split.TEST)
    state = RunState.JUDGED if judged else RunState.TRAINED if self.finished else RunState.TRAINING
    alarms = (alarm.code for found in judged for alarm in found.alarms)
    return _run(
      self.variant,
      self.seed,
      place,
      RunState.PLANNED if self.config is None else state,
      steps=self.steps,
      train_steps=self.config.train_steps if self.config else 0,
      checkpoint=self.checkpoint,
      checkpoint_digest=self.digest,
      alarms=list(dict.fromkeys(alarms)),
      measures=list({measure.quantity: measure for measure in measures}.values()),
    )

  def _seconds(self) -> list[Measure]:
    if not self.finished or self.config is None:
      return []
    own = seconds_of(self.folder)
    found = [Measure(quantity=Quantity(name=record.SECONDS), value=own)]
    before = _seconds_before(self.config)
    if before is not None:
      found.append(Measure(quantity=Quantity(name=record.TOTAL_SECONDS), value=own + before))
    return found

  def _validation(self) -> list[Measure]:
    """Accuracies of the chosen checkpoint on held-out images, as the training measured them."""
    if self.config is None or self.checkpoint is None:
      return []
    metrics, found = self._store.metrics(self.checkpoint), []
    for name, metric in ((record.VALIDATION, "val_accuracy"), (record.ROBUST_VALIDATION, "val_robust_accuracy")):
      if metric in metrics:
        attack = self.config.validation_attack
        hangs_on = [self.config.validation_examples, attack.to_dict() if name == record.ROBUST_VALIDATION else None]
        quantity = Quantity(name=name, split=Split.HELD_OUT, settings=_digest(hangs_on))
        found.append(Measure(quantity=quantity, value=metrics[metric]))
    return found

  def _findings(self, split: Split) -> list[Findings]:
    """What judging the checkpoint found, on most images first."""
    if split not in self.evaluations:
      return []
    return [found for found in self.evaluations[split].findings if found.checkpoint_digest == self.digest]

  def _analysis(self, split: Split) -> list[Measure]:
    place = self.folder.of_split(split)
    if not place.analysis.exists():
      return []
    analysis = AnalysisRecord.read(place.analysis)
    return _analysed(analysis) if analysis.checkpoint_digest == self.digest else []


def seconds_of(folder: RunFolder) -> float:
  """Seconds that a training took, with its looks at held-out images: the sum of its intervals."""
  return float(sum(row.get("seconds", 0.0) for row in folder.read_metrics()))


def _seconds_before(config: TrainingConfig) -> float | None:
  """Seconds of the trainings that a run's weights come from; None where their folders are gone."""
  total, seen = 0.0, set()
  while config.init.run_dir:
    folder = RunFolder(config.init.run_dir)
    if not folder.is_run or config.init.run_dir in seen:
      return None
    seen.add(config.init.run_dir)
    total += seconds_of(folder)
    config, _ = folder.read_config()
  return total


def _digest(content: typing.Any) -> str:
  return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _accuracies(found: Findings, split: Split) -> list[Measure]:
  """Clean accuracy, every attack's, and the worst cases, by suite and by ball."""
  images: dict[str, typing.Any] = {
    "split": split,
    "num_examples": found.clean.num_examples,
    "eight_bit": found.last.eight_bit,
  }

  def measure(
    name: str, share: typing.Any, rows: collections.abc.Sequence[AttackRow] = (), **ball: typing.Any
  ) -> Measure:
    hangs_on = sorted(_digest([row.name, row.kind, row.settings, row.target.value]) for row in rows)
    total = found.clean.num_examples
    return Measure(
      quantity=Quantity(name=name, **images, **ball, settings=_digest(hangs_on) if rows else ""),
      value=share.accuracy,
      count=round(share.accuracy * total),
      total=total,
      interval=share.interval,
    )

  measures = [measure(record.CLEAN, found.clean)]
  for evaluation in found.evaluations:
    for suite in evaluation.suites:
      rows = evaluation.of_suite(suite)
      measures += [measure(f"{suite}/{row.name}", row, [row], norm=row.norm, epsilon=row.epsilon) for row in rows]
      balls = {(row.norm, row.epsilon) for row in rows}
      ball = dict(zip(("norm", "epsilon"), balls.pop())) if len(balls) == 1 else {}
      standing = evaluation.worst_case.by_suite.get(suite)
      if standing is not None:
        measures.append(measure(f"{suite}/{record.WORST_CASE}", standing, rows, **ball))
  for left in found.worst_case.by_threat:
    inside = [row for row in found.attacks if row.norm is left.norm and row.epsilon <= left.epsilon]
    measures.append(measure(record.WORST_CASE, left, inside, norm=left.norm, epsilon=left.epsilon))
  return measures


def _analysed(analysis: AnalysisRecord) -> list[Measure]:
  """Tables 5 and 6 and the areas of Figure 5."""
  hangs_on = [analysis.num_train_examples, {name: attack.to_dict() for name, attack in analysis.attacks.items()}]

  def quantity(name: str, epsilon: float | None, *more: typing.Any) -> Quantity:
    return Quantity(
      name=name,
      split=analysis.split,
      num_examples=analysis.num_examples,
      norm=None if epsilon is None else Norm.LINF,
      epsilon=epsilon,
      settings=_digest([*hangs_on, *more]),
    )

  measures = []
  for name, attack in analysis.attacks.items():
    ratio = analysis.separation_ratio.get(epsilon_key(attack.epsilon))
    if ratio is not None:
      measures.append(Measure(quantity=quantity(f"separation/{name}", attack.epsilon), value=ratio))
  votes, total = analysis.knn, analysis.num_examples
  voted: list[tuple] = [("natural", None, votes.natural, votes.natural_interval)]
  for name, attack in analysis.attacks.items():
    share = votes.by_epsilon.get(epsilon_key(attack.epsilon))
    if share is not None:
      voted.append((name, attack.epsilon, share.accuracy, share.interval))
  for name, epsilon, value, interval in voted:
    of = quantity(f"neighbours/{name}", epsilon, votes.k, votes.metric.value)
    measures.append(Measure(quantity=of, value=value, count=round(value * total), total=total, interval=interval))
  found = analysis.detection
  detector = (found.covariance.value, found.unit_length, found.shrinkage, found.fit_examples)
  for name in ("misclassified", "adversarial"):
    area, interval = getattr(found, f"auc_{name}"), getattr(found, f"auc_{name}_interval")
    if area is not None:
      of = quantity(f"area/{name}", found.test_epsilon, *detector)
      measures.append(Measure(quantity=of, value=area, interval=interval))
  return measures


def _variant(runs: list[ComparedRun], config: TrainingConfig | None) -> ComparedVariant:
  """The means of a variant's runs."""
  by_quantity: dict[Quantity, list[tuple[int, Measure]]] = {}
  for run in runs:
    for measure in run.measures:
      by_quantity.setdefault(measure.quantity, []).append((run.seed, measure))
  return ComparedVariant(
    name=runs[0].variant,
    method=config.method if config else "",
    network=config.network if config else "",
    seeds=[run.seed for run in runs],
    finished=sum(run.state in (RunState.TRAINED, RunState.JUDGED) for run in runs),
    measures=[_mean(quantity, measures) for quantity, measures in by_quantity.items()],
  )


def _mean(quantity: Quantity, measures: list[tuple[int, Measure]]) -> SeedMean:
  values = [measure.value for _, measure in measures]
  own = [measure.interval for _, measure in measures if measure.interval is not None]
  of_images = own if len(own) == len(values) else None
  mean, deviation = statistics.spread(values)
  interval = statistics.interval_of_mean(values, of_images)
  if of_images is None and quantity.is_share:
    interval = None  # How many images they are shares of is not known: seeds alone would make too much of them.
  if interval is not None and quantity.is_share:
    interval = max(0.0, interval[0]), min(1.0, interval[1])
  several = Over.SEEDS if of_images is None else Over.BOTH
  return SeedMean(
    quantity=quantity,
    seeds=[seed for seed, _ in measures],
    values=values,
    mean=mean,
    std=deviation,
    interval=interval,
    over=None if interval is None else several if len(values) > 1 else Over.IMAGES,
  )


def _strongest(variants: list[ComparedVariant], epsilon: float | None) -> Quantity | None:
  """The worst case on test images that most runs have: in the ball of the training, and the lowest."""
  found: dict[Quantity, list[SeedMean]] = {}
  for variant in variants:
    for measure in variant.measures:
      if measure.quantity.name == record.WORST_CASE and measure.quantity.split is Split.TEST:
        found.setdefault(measure.quantity, []).append(measure)

  def rank(quantity: Quantity) -> tuple:
    means = found[quantity]
    own = (quantity.norm, quantity.epsilon) == (Norm.LINF, epsilon)
    mean = sum(one.mean for one in means) / len(means)
    return own, quantity.norm is Norm.LINF, sum(len(one.values) for one in means), -mean, quantity.num_examples

  return max(found, key=rank, default=None)
