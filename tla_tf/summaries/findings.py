"""What several evaluations of one network found together: tables by suite and ball, worst cases, alarms."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import typing

import numpy as np

from tla_tf import attack_configs
from tla_tf.records.evaluation import (
  Alarm,
  AttackRow,
  CleanShare,
  Diagnostics,
  EvaluationImages,
  EvaluationRecord,
  Probes,
  WorstCase,
)
from tla_tf.records.shown import pixels
from tla_tf.summaries import shares, statistics
from tla_tf.summaries.alarms import raise_alarms
from tla_tf.summaries.flat_rows import attack_rows, ball_rows, suite_rows
from tla_tf.types import Norm, Target


class Measured(typing.NamedTuple):
  """An evaluation; `images` is None where it is not known which image withstood which attack."""

  record: EvaluationRecord
  images: EvaluationImages | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
  """What is known of one network on the same images.

  Attributes:
    evaluations: EvaluationRecord for each suite and set of balls, in the order in which
      they were measured first; evaluations that differ in seeds or attacks only are one.
    clean: CleanShare.
    worst_case: WorstCase over all attacks of all evaluations, image by image.
    alarms: of every evaluation, and those that only several together raise.
    images: EvaluationImages of all attacks; where attacks of one name differ, their
      radius or suite is added. None of an evaluation that stands alone without them.
    columns: the row of each of its attacks, under that name.
  """

  evaluations: list[EvaluationRecord]
  clean: CleanShare
  worst_case: WorstCase
  alarms: list[Alarm]
  images: EvaluationImages | None = dataclasses.field(default=None, compare=False, repr=False)
  columns: list[AttackRow] = dataclasses.field(default_factory=list, compare=False, repr=False)

  @property
  def last(self) -> EvaluationRecord:
    """The evaluation that was measured last: all are alike in what names the network and the images."""
    return self.evaluations[-1]

  @property
  def attacks(self) -> list[AttackRow]:
    """The rows of all attacks, suite by suite."""
    return [row for record in self.evaluations for row in record.attacks]

  @property
  def suites(self) -> list[str]:
    """Names of the suites, in order."""
    return list(dict.fromkeys(suite for record in self.evaluations for suite in record.suites))

  @property
  def notes(self) -> list[str]:
    """Sentences on how it was judged, each once."""
    return list(dict.fromkeys(note for record in self.evaluations for note in record.notes))

  @property
  def probes(self) -> Probes | None:
    """The first probes; None where no evaluation has any."""
    return next((record.probes for record in self.evaluations if record.probes), None)

  @property
  def dataset(self) -> str:
    """The data set's name."""
    return self.last.dataset

  @property
  def config(self) -> dict:
    """Settings of the training, or of the foreign model."""
    return self.last.config

  @property
  def checkpoint(self) -> int | None:
    """Step of a run's checkpoint; None of a foreign model."""
    return self.last.checkpoint

  @property
  def checkpoint_digest(self) -> str:
    """SHA-256 of the weights that were judged."""
    return self.last.checkpoint_digest

  @property
  def data_digest(self) -> str:
    """Of the data set."""
    return self.last.data_digest

  @property
  def training_epsilon(self) -> float | None:
    """Radius in L-infinity that the run was trained at, if it is known."""
    return self.last.training_epsilon

  def standing(self, norm: Norm | str, epsilon: float) -> np.ndarray:
    """Which images withstand every attack in a ball, and in smaller ones: bool [n].

    Raises:
      ValueError: if it is not known image by image.
    """
    if self.images is None:
      raise ValueError("It is not known which image withstood which attack.")
    fell = dict(zip(map(str, self.images.attacks), self.images.broken.T))
    return self.images.right & ~shares.broken_within(self.columns, fell, Norm(norm), epsilon, len(self.images.right))

  def rows(self) -> list[dict[str, typing.Any]]:
    """Flat dicts for `pandas.DataFrame`: clean images, every attack, and the worst cases, by suite and by ball."""
    about = {
      "dataset": self.dataset,
      "method": self.config.get("method"),
      "network": self.config.get("network"),
      "checkpoint": self.checkpoint,
      "num_examples": self.clean.num_examples,
      "training_epsilon": self.training_epsilon,
    }
    rows = attack_rows(about, self.clean, self.attacks)
    for record in self.evaluations:
      rows += suite_rows(about, record.worst_case, record.attacks)
    return rows + ball_rows(about, self.worst_case)


def findings_of(measured: collections.abc.Iterable[Measured]) -> list[Findings]:
  """What evaluations of one network found, those on the same images together.

  Args:
    measured: evaluations, in the order in which they were measured.

  Returns:
    List of Findings, those on most images first. Evaluations on other images, with
    rounding to 8 bits, or of which it is not known which image withstood what, stand
    apart.
  """
  groups: dict[typing.Any, list[Measured]] = {}
  for i, one in enumerate(measured):
    if one.images is None:
      key: typing.Any = i
    else:
      same = (one.record.data_digest, one.record.split, one.record.eight_bit)
      # A network that answers otherwise when asked again is another one.
      key = (*same, one.images.labels.tobytes(), one.images.right.tobytes())
    groups.setdefault(key, []).append(one)
  found = [_together(group) for group in groups.values()]
  return sorted(found, key=lambda findings: -findings.clean.num_examples)


def _together(group: list[Measured]) -> Findings:
  last, images = group[-1]
  if images is None:
    return Findings(evaluations=[last], clean=last.clean, worst_case=last.worst_case, alarms=list(last.alarms))
  columns, fell = _columns(group)
  tables: dict[typing.Any, list[Measured]] = {}
  for one in group:
    balls = frozenset((row.norm, row.epsilon) for row in one.record.attacks)
    tables.setdefault((one.record.suite, balls), []).append(one)
  alarms = _once(alarm for record, _ in group for alarm in record.alarms)
  if len(group) > 1:
    codes = {alarm.code for alarm in alarms}
    # What no evaluation alone could notice.
    alarms += [alarm for alarm in raise_alarms(columns, fell, images.right) if alarm.code not in codes]
  # A row that suites share counts in each of them.
  names = _names([record for record, _ in group])
  rows = [dataclasses.replace(row, name=names[_identity(record, row)]) for record, _ in group for row in record.attacks]
  return Findings(
    evaluations=[_joined(table) for table in tables.values()],
    clean=last.clean,
    worst_case=shares.worst_case(rows, fell, images.right),
    alarms=alarms,
    images=dataclasses.replace(images, attacks=np.array(list(fell)), broken=np.stack(list(fell.values()), 1)),
    columns=columns,
  )


def _columns(group: list[Measured]) -> tuple[list[AttackRow], dict[str, np.ndarray]]:
  """The rows of all attacks under names of their own, the last of each, and what fell to them."""
  names = _names([record for record, _ in group])
  rows: dict[str, AttackRow] = {}
  fell: dict[str, np.ndarray] = {}
  for record, images in group:
    broken = dict(zip(map(str, images.attacks), images.broken.T)) if images else {}
    for row in record.attacks:
      name = names[_identity(record, row)]
      rows[name] = dataclasses.replace(row, name=name)
      fell[name] = fell[name] | broken[row.name] if name in fell else broken[row.name]
  return list(rows.values()), fell


def _identity(record: EvaluationRecord, row: AttackRow) -> str:
  return json.dumps(record.attack_settings(row), sort_keys=True)


def _names(records: list[EvaluationRecord]) -> dict[str, str]:
  """A name of its own for every attack: its name, and what tells it from others of that name."""
  names: dict[str, str] = {}
  radii: dict[str, float] = {}
  for record in records:
    for row in record.attacks:
      if (identity := _identity(record, row)) in names:
        continue
      tries = [row.name, f"{row.name} ({row.suite})", *(f"{row.name} ({i})" for i in range(2, len(names) + 3))]
      if radii.setdefault(row.name, row.epsilon) != row.epsilon:
        tries.insert(1, f"{row.name} at {pixels(row.epsilon)}")
      names[identity] = next(name for name in tries if name not in names.values())
  return names


def _once(alarms: collections.abc.Iterable[Alarm]) -> list[Alarm]:
  return list({(alarm.code, alarm.seen): alarm for alarm in alarms}.values())


def _joined(table: list[Measured]) -> EvaluationRecord:
  """Evaluations of one suite in the same balls as one: what the last of them says, of every attack and seed."""
  last, images = table[-1]
  if len(table) == 1 or images is None:
    return last
  columns, fell = _columns(table)
  records = [record for record, _ in table]
  names = _names(records)
  rows: list[AttackRow] = []
  chain = np.zeros(len(images.right), bool)
  for column in columns:
    same = [
      (record, row) for record in records for row in record.attacks if names[_identity(record, row)] == column.name
    ]
    gone = fell[column.name] | chain if column.on_survivors else fell[column.name]
    chain = chain | fell[column.name]
    rows.append(dataclasses.replace(_over_seeds(same, images.right & ~gone), name=column.name))
  return last.replace(
    attacks=rows,
    worst_case=shares.worst_case(rows, fell, images.right),
    alarms=_once(alarm for record in records for alarm in record.alarms),
    probes=next((record.probes for record in reversed(records) if record.probes), None),
    seed=min(record.seed for record in records),
    num_seeds=max(len(row.accuracy_per_seed) for row in rows),
    notes=list(dict.fromkeys(note for record in records for note in record.notes)),
    seconds=sum(record.seconds for record in records),
    images_digest=None,
  )


def _over_seeds(same: list[tuple[EvaluationRecord, AttackRow]], standing: np.ndarray) -> AttackRow:
  """One attack's row over the seeds of several evaluations; `standing` are the images that withstand all: bool [n]."""
  _, last = same[-1]
  draws = attack_configs.draws(last.config) or last.target is Target.RANDOM or last.on_survivors
  by_seed: dict[int, float] = {}
  used: list[AttackRow] = []
  for record, row in reversed(same):
    seeds = range(record.seed, record.seed + len(row.accuracy_per_seed)) if draws else range(1)
    if not by_seed.keys() >= set(seeds):
      by_seed = dict(zip(seeds, row.accuracy_per_seed)) | by_seed
      used.append(row)
  if len(used) == 1:
    return last
  accuracies = [by_seed[seed] for seed in sorted(by_seed)]
  mean, deviation = statistics.spread(accuracies)

  def total(name: str) -> int:
    return sum(getattr(row.diagnostics, name) for row in used)

  return dataclasses.replace(
    last,
    accuracy=mean,
    interval=statistics.interval(round(mean * len(standing)), len(standing)),
    accuracy_per_seed=accuracies,
    accuracy_std=deviation,
    accuracy_worst_over_seeds=float(standing.mean()),
    images_attacked=sum(row.images_attacked for row in used),
    seconds=sum(row.seconds for row in used),
    diagnostics=Diagnostics(**{field.name: total(field.name) for field in dataclasses.fields(Diagnostics)}),
  )
