"""Runs a comparison: trainings, then the choice on held-out images, then the test images, once.

Killed at any moment and run again, it goes on; what is finished is not touched. No TensorFlow here: tools run as
child processes.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import fnmatch
import hashlib
import json
import pathlib
import typing

from tla_tf import api, datasets, files, limits, reporting
from tla_tf.comparing import jobs, results, selection, work
from tla_tf.comparing.jobs import Ended, Job
from tla_tf.comparing.plan import ComparisonPlan, Judging, PlannedRun
from tla_tf.comparing.records import BudgetRecord, MeasuredStep
from tla_tf.config import TrainingConfig, require
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.persistence.run_folder import RunFolder
from tla_tf.records.comparison import ComparisonRecord

PLAN = "comparison.yaml"
# Seconds to wait for the children of a process that was killed.
_PATIENCE = 15.0
Note = collections.abc.Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a call did.

  Attributes:
    runs: all of the plan.
    failed: jobs that failed, or waited for one that did.
    untrained: runs of the plan that are not trained yet.
    record: what is known of all runs; None where nothing could begin.
  """

  runs: list[PlannedRun]
  failed: list[Ended]
  untrained: list[PlannedRun]
  record: ComparisonRecord | None


def read_plan(path: AnyPath | None, output_dir: AnyPath) -> ComparisonPlan:
  """The plan of a file; without one that which the comparison in a folder was begun with.

  Raises:
    InputError: if there is none, or it is wrong.
  """
  begun = pathlib.Path(output_dir) / PLAN
  if path is None and not begun.is_file():
    raise InputError(f"{output_dir}: no comparison has begun here (no {PLAN}); give its `plan`.")
  return ComparisonPlan.read(begun if path is None else path)


class Comparison:
  """A plan in a folder.

  Args:
    plan: ComparisonPlan.
    output_dir: the folder.
    at_once: how many tools run at the same time.
    only: shell patterns of the variants to work on now; none for all. What others begin with is trained, too.
    data_dir: folder of the data set's files; None for the plan's.
    note: called with lines on what happens.

  Attributes:
    plan: as given.
    wanted: names of the variants to work on now.

  Raises:
    InputError: for anything wrong in the plan or the folder.
  """

  def __init__(
    self,
    plan: ComparisonPlan,
    output_dir: AnyPath,
    *,
    at_once: int = 1,
    only: collections.abc.Sequence[str] = (),
    data_dir: str | None = None,
    note: Note = lambda text: None,
  ):
    require(at_once >= 1, "jobs", "a whole number of at least 1", at_once)
    self.plan, self._folder, self._data_dir = plan, pathlib.Path(output_dir), data_dir
    self._at_once, self._note = at_once, note
    self._start: jobs.Start | None = None
    self._known_runs: dict[tuple[tuple[str, int], ...], list[PlannedRun]] = {}
    self.wanted = self._named(only)
    if data_dir is not None and "data_dir" not in datasets.get(plan.dataset).reading_flags:
      raise InputError(f"`data_dir` does not go with the data set {plan.dataset}, which needs no files; leave it out.")
    if self._folder.is_dir() and not (self._folder / PLAN).is_file():
      other = next((path.name for path in self._folder.iterdir() if not self._may_be_there(path)), None)
      if other:
        raise InputError(
          f"{output_dir}: holds {other} but no {PLAN}, so it is no comparison; choose an empty or new `output_dir`."
        )
    for run in self.runs():
      work.require_same(run)

  def _may_be_there(self, path: pathlib.Path) -> bool:
    """Whether a new folder may hold a path: hidden files, and runs of the plan that were trained elsewhere."""
    names = {variant.name for variant in self.plan.variants}
    moved = path.name == "runs" and path.is_dir() and {child.name for child in path.iterdir()} <= names
    return path.name.startswith(".") or moved

  # ------------------------------------------------------------- what there is to do

  @property
  def threads(self) -> int | None:
    """Of every tool: all where one runs at a time, else its part of the cores."""
    return None if self._at_once == 1 else max(1, jobs.cores() // self._at_once)

  def runs(self) -> list[PlannedRun]:
    """All trainings of the plan, with the lengths that are known."""
    return self._runs_with(tuple(self._train_steps().items()))

  def _runs_with(self, train_steps: tuple[tuple[str, int], ...]) -> list[PlannedRun]:
    if train_steps not in self._known_runs:
      self._known_runs[train_steps] = self.plan.runs(
        self._folder, data_dir=self._data_dir, train_steps=dict(train_steps)
      )
    return self._known_runs[train_steps]

  def has_length(self, variant: str) -> bool:
    """Whether it is known how many steps a variant trains for: equal seconds are to be measured first."""
    return self.plan.seconds is None or variant in self._train_steps()

  def trainings(self) -> list[Job]:
    """Jobs of the trainings to work on now that are not finished."""
    by_folder = {run.folder: run for run in self.runs()}
    logs = self._folder / "logs"
    return [
      work.training(run, logs, by_folder.get(run.init_from) if run.init_from else None)
      for run in by_folder.values()
      if run.variant in self.wanted and not work.is_trained(run)
    ]

  def judgings(self, held_out: bool, chosen: collections.abc.Collection[str] | None = None) -> list[work.Judged]:
    """Evaluations and analyses to work on now, those that are done among them.

    Args:
      held_out: of held-out images, or of test images.
      chosen: names of the variants that are judged; None for all.
    """
    judged = {variant.name for variant in self.plan.variants if variant.seed is None} & self.wanted
    asked: list[tuple[Judging, bool]] = [(judging, False) for judging in self.plan.judge]
    asked += [(self.plan.analyze, True)] if self.plan.analyze else []
    runs = self.runs()
    of = {(run.variant, run.seed): run for run in runs}
    return [
      work.Judged(
        run,
        judging,
        analysis,
        self._folder,
        # What is made on a network itself is no black box.
        of[judging.source, self.plan.seed_of(judging.source, run.seed)]
        if judging.source and judging.source != run.variant
        else None,
        self._data_dir or self.plan.data_dir,
      )
      for run in runs
      for judging, analysis in asked
      if judging.held_out == held_out and run.variant in judged and (chosen is None or run.variant in chosen)
    ]

  def is_done(self, one: work.Judged) -> bool:
    """Whether an evaluation or analysis has its results."""
    return all(map(work.is_trained, one.runs)) and one.is_done()

  # ------------------------------------------------------------- doing it

  def run(self, start: jobs.Start | None = None) -> Outcome:
    """Does all that is not done yet.

    Args:
      start: how tools are started; as child processes by default.

    Raises:
      InputError: if there are no data, another process works on the folder, or something in it is damaged.
    """
    data = self._data_dir or self.plan.data_dir
    if data is not None and not pathlib.Path(data).exists():
      raise InputError(f"`data_dir={data}`: no such folder or file; give that of {self.plan.dataset}'s data.")
    files.make_folder(self._folder)
    message = f"{self._folder}: another process works on this comparison; wait for it, or choose another `output_dir`."
    with files.locked(self._folder / ".lock", message, _PATIENCE) as lock:
      files.remove_leftovers(self._folder)
      files.write_text(self._folder / PLAN, self.plan.text())
      self._start = start or jobs.spawner(lock, self.threads)
      failed = self._measure()
      if failed:
        return Outcome(self.runs(), failed, self._untrained(), None)
      failed += self._train()
      untrained = self._untrained()
      if not untrained:
        chosen = selection.chosen(self.plan, self.runs(), self._folder)
        failed += self._do([], [one for one in self.judgings(False, chosen) if not self.is_done(one)])
      self._draw_trainings()
      record = self._write()
      if any(RunFolder(run.folder).is_run for run in self.runs()):
        api.write_report([self._folder])
      return Outcome(self.runs(), failed, untrained, record)

  def _draw_trainings(self) -> None:
    """Draws the figures of trainings that were killed when all else was done."""
    for run in self.runs():
      folder = RunFolder(run.folder)
      if work.is_trained(run) and not folder.training_figure.exists():
        with contextlib.suppress(InputError):  # What is damaged is said where results are read.
          reporting.write_training(folder, folder.read_metrics())

  def _measure(self) -> list[Ended]:
    """Measures the steps of variants whose lengths follow from seconds; returns what failed."""
    if self.plan.seconds is None:
      return []
    failed: list[Ended] = []
    for variant in self.plan.variants:
      run = next(run for run in self._runs_with(()) if run.variant == variant.name)
      if run.variant not in self.wanted or self.has_length(run.variant):
        continue
      # Steps of the same work take the same time, whatever is measured: a choice between them is to be a fair one.
      known = {step.work: step for step in self._measured().values()}
      if _work(run.config) not in known:
        ends = self._time(run)
        failed += ends
        if ends:
          continue
        phases = json.loads(limits.read_json_text(self._timed(run)))
        known[_work(run.config)] = MeasuredStep(
          [(first, taken) for first, taken in phases], _work(run.config), self.threads
        )
      step = known[_work(run.config)]
      BudgetRecord({**self._measured(), run.variant: step}).write(self._folder / "budget.json")
      steps = self._train_steps()[run.variant]
      self._note(f"time {run.variant}: {step.phases[-1][1]:.4g} s a step, {steps:,} steps in {self.plan.seconds:g} s")
    return failed

  def _time(self, run: PlannedRun) -> list[Ended]:
    """Measures the step of a run, alone: what runs beside it would count. Returns what failed."""
    place = self._timed(run)
    files.make_folder(place.parent)
    settings = place.with_suffix(".settings.json")
    files.write_text(settings, json.dumps(run.config.to_dict()))
    command = ("tla_tf.comparing.timing", str(settings), str(place))
    return self._do([Job(f"time {run.variant}", command, self._folder / "logs" / f"{run.variant}.time.log")])

  def _timed(self, run: PlannedRun) -> pathlib.Path:
    return self._folder / "timing" / f"{run.variant}.json"

  def _train(self) -> list[Ended]:
    """Trains, and judges on held-out images what is trained; returns what failed."""
    trainings = self.trainings()
    known = {job.name for job in trainings}
    todo = [
      one
      for one in self.judgings(True)
      if {*one.job().after} & known or (all(map(work.is_trained, one.runs)) and not one.is_done())
    ]
    return self._do(trainings, todo)

  def _do(self, others: list[Job], judgings: collections.abc.Sequence[work.Judged] = ()) -> list[Ended]:
    """Runs jobs; returns what failed."""
    of = {one.name: one for one in judgings}

    def start(job: Job) -> jobs.Process:
      if job.name in of:
        of[job.name].note_begin()
      assert self._start is not None
      return self._start(job)

    def done(job: Job) -> None:
      with contextlib.suppress(InputError):  # It is said at the end.
        self._write()

    todo = [*others, *(one.job() for one in judgings)]
    return jobs.run_and_say(todo, self._at_once, start, self._note, done)

  def _write(self) -> ComparisonRecord:
    """Writes what is known so far."""
    of = {(run.variant, run.seed): run for run in self.runs()}
    return results.write(
      self._folder,
      [
        (variant.name, seed, RunFolder(of[variant.name, seed].folder))
        for variant in self.plan.variants
        if variant.seed is None
        for seed in self.plan.seeds
      ],
      self._notes(),
    )

  def _notes(self) -> list[str]:
    """What a reader of the tables should know."""
    notes = []
    if self.plan.seconds is not None:
      notes.append(f"All runs had {self.plan.seconds:g} seconds of training steps, as one step of each was measured.")
    for group, choice in selection.read(self._folder).items():
      notes.append(
        f"Of {group} ({', '.join(choice.means)}) {choice.variant} goes to the test images: on held-out images "
        f"{choice.means[choice.variant]:.1%} withstand the validation attack, the most of them."
      )
      seen = {run.variant for run in self.runs() if RunFolder(run.folder).evaluation.is_file()} & set(choice.means)
      for variant in sorted(seen - {choice.variant}):
        notes.append(f"{variant} was judged on test images, too: it was chosen of {group} before others were added.")
    return notes

  # ------------------------------------------------------------- parts

  def _untrained(self) -> list[PlannedRun]:
    return [run for run in self.runs() if not work.is_trained(run)]

  def _named(self, only: collections.abc.Sequence[str]) -> set[str]:
    """Names of the variants to work on."""
    names = [variant.name for variant in self.plan.variants]
    found: set[str] = set()
    for pattern in only or ["*"]:
      matching = fnmatch.filter(names, pattern)
      if not matching:
        raise InputError(f"`only={pattern}`: no variant is called so; there are {', '.join(names)}.")
      found |= set(matching)
    for name in list(found):
      begun = self.plan.variant(name).init_from
      while begun is not None:
        found.add(begun)
        begun = self.plan.variant(begun).init_from
    return found

  def _measured(self) -> dict[str, MeasuredStep]:
    """Steps that were measured, of variants whose settings are still those."""
    path = self._folder / "budget.json"
    known = BudgetRecord.read(path).steps if path.is_file() else {}
    now = {run.variant: _work(run.config) for run in self._runs_with(())}
    return {variant: step for variant, step in known.items() if now.get(variant) == step.work}

  def _train_steps(self) -> dict[str, int]:
    """Steps by variant, where equal seconds make them."""
    seconds = self.plan.seconds
    if seconds is None:
      return {}
    return {name: steps_within(seconds, step.phases) for name, step in self._measured().items()}


def steps_within(seconds: float, phases: collections.abc.Sequence[tuple[int, float]]) -> int:
  """How many steps take so long, at least one.

  Args:
    seconds: in all.
    phases: (number of its first step, seconds of a step), the first from step 0.
  """
  ends: list[int | None] = [*(first for first, _ in phases[1:]), None]
  for (first, taken), end in zip(phases, ends):
    if end is None or (end - first) * taken >= seconds:
      return max(1, first + int(seconds / taken))
    seconds -= (end - first) * taken
  raise AssertionError("the last phase has no end")


# What the work of a step does not hang on.
_NO_WORK = (
  "seed",
  "init",
  "train_steps",
  "cosine_steps",
  "warmup_steps",
  "learning_rate_schedule",
  "learning_rate_drops",
  "schedules",
  "weight_average_start",
  "validation_attack",
  "validation_examples",
  "checkpoint_every",
  "keep_checkpoints",
  "log_every",
  "profile_steps",
)


def _work(config: TrainingConfig) -> str:
  """Digest of the settings that the time of a step hangs on: of a weight or a length no more than whether it is 0."""

  def plain(value: typing.Any) -> typing.Any:
    if isinstance(value, dict):
      return {name: plain(part) for name, part in value.items() if name not in _NO_WORK}
    if isinstance(value, list):
      return [plain(part) for part in value]
    return bool(value) if isinstance(value, float) else value

  return hashlib.sha256(json.dumps(plain(config.to_dict()), sort_keys=True).encode()).hexdigest()
