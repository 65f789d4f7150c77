"""What a comparison notes in its folder, so that another process goes on where it was killed."""

from __future__ import annotations

import dataclasses
import typing

from tla_tf.records.record import Record, unchanged


@dataclasses.dataclass(frozen=True)
class MeasuredStep:
  """What a variant's step takes.

  Attributes:
    phases: (number of its first step, seconds of a step), several where a cheaper inner attack comes before PGD.
    work: digest of the settings that the time hangs on.
    threads: of the process; None for as many as it likes.
  """

  phases: list[tuple[int, float]]
  work: str
  threads: int | None = None


@dataclasses.dataclass(frozen=True)
class BudgetRecord(Record):
  """`budget.json`: what steps take on this machine, measured once, so that the lengths of trainings stay.

  Attributes:
    steps: by variant.
  """

  FORMAT, FILE, REMEDY = 2, "budget.json", "restore the file, or compare in another folder"
  UPGRADES: typing.ClassVar[dict] = {1: unchanged}
  SEALED_SINCE = 2

  steps: dict[str, MeasuredStep]


@dataclasses.dataclass(frozen=True)
class Choice:
  """What was chosen of a group.

  Attributes:
    variant: the best.
    held_out: by variant and seed, the robust accuracy on held-out images of the checkpoint that is judged.
    means: by variant, over the seeds.
  """

  variant: str
  held_out: dict[str, dict[str, float]]
  means: dict[str, float]


@dataclasses.dataclass(frozen=True)
class SelectionRecord(Record):
  """`selection.json`: which variants went to the test set, and why.

  Attributes:
    groups: by name.
  """

  FORMAT, FILE, REMEDY = 2, "selection.json", "remove it; it will be made again"
  UPGRADES: typing.ClassVar[dict] = {1: unchanged}
  SEALED_SINCE = 2

  groups: dict[str, Choice]


@dataclasses.dataclass(frozen=True)
class BegunRecord(Record):
  """A file of `judging/`: an evaluation or an analysis of a run has begun, and what the run's results were before.

  It is done when there are results of this checkpoint that were not there before.

  Attributes:
    checkpoint_digest: of what is judged.
    source_digest: of the network that makes images for it, or None.
    before: digests of the results that there were.
  """

  FORMAT, FILE, REMEDY = 2, "judging/*.json", "remove it; what it tells of will be judged again"
  UPGRADES: typing.ClassVar[dict] = {1: unchanged}
  SEALED_SINCE = 2

  checkpoint_digest: str
  source_digest: str | None
  before: list[str]
