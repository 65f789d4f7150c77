"""Runs tools as child processes: so many at once, each with its log; what others wait for first.

The children die with this process, and hold its lock while they live.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
import typing

from tla_tf import files, limits

# Seconds between looks at the children.
_LOOK = 0.1
# Seconds that an interrupted child has to end by itself.
_GRACE = 10.0
# Bytes at the end of a log in which a failure is looked for.
_LAST_WORDS = 1 << 16


@dataclasses.dataclass(frozen=True)
class Job:
  """A tool's run.

  Attributes:
    name: unique; what people call it: "train at_seed_1".
    command: the module and the arguments that follow `python -m`.
    log: file that its output goes to, behind what is there.
    after: names of jobs without which it makes no sense: of those in the same list it waits for the end, and is not
      begun where one failed.
    uses: folders that no two jobs may write at once.
  """

  name: str
  command: tuple[str, ...]
  log: pathlib.Path
  after: tuple[str, ...] = ()
  uses: frozenset[pathlib.Path] = frozenset()


class Ended(typing.NamedTuple):
  """How a job ended.

  Attributes:
    job: the job.
    failure: None; else what its tool said last, or what it waited for in vain.
    seconds: how long it took.
  """

  job: Job
  failure: str | None
  seconds: float


class Process(typing.Protocol):
  """What is asked of a child: `subprocess.Popen` has it."""

  def poll(self) -> int | None:
    """The exit status, negative for a signal; None while it runs."""

  def send_signal(self, sig: int) -> None:
    """Sends it a signal."""


Start = collections.abc.Callable[[Job], Process]


def run(
  jobs: collections.abc.Sequence[Job],
  at_once: int,
  start: Start,
  began: collections.abc.Callable[[Job], None] = lambda job: None,
  ended: collections.abc.Callable[[Ended], None] = lambda end: None,
) -> list[Ended]:
  """Runs jobs; a failed one does not stop those that do not wait for it.

  Args:
    jobs: in the order in which they begin where nothing holds them up.
    at_once: how many run at the same time.
    start: function that starts a job; see `spawner`.
    began: called with a job that has begun.
    ended: called with an Ended as soon as a job has ended, or cannot begin.

  Returns:
    All Ended, in the order of their ends.
  """
  waiting = list(jobs)
  running: dict[str, tuple[Job, Process, float]] = {}
  found: list[Ended] = []

  def end(job: Job, failure: str | None, seconds: float = 0.0) -> None:
    found.append(Ended(job, failure, seconds))
    ended(found[-1])

  try:
    while waiting or running:
      failed = {one.job.name for one in found if one.failure is not None}
      for job in list(waiting):
        missing = next((name for name in job.after if name in failed), None)
        if missing:
          waiting.remove(job)
          end(job, f"not begun, as {missing} failed")
          break
        open_ = {other.name for other in waiting} | set(running)
        busy = frozenset().union(*(other.uses for other, _, _ in running.values()))
        if len(running) < at_once and not open_ & set(job.after) and not busy & job.uses:
          waiting.remove(job)
          running[job.name] = (job, start(job), time.monotonic())
          began(job)
      ends = {name: status for name, (_, child, _) in running.items() if (status := child.poll()) is not None}
      for name, status in ends.items():
        job, _, since = running.pop(name)
        end(job, _failure(job, status), time.monotonic() - since)
      if running and not ends:
        time.sleep(_LOOK)
  except BaseException:
    _stop([child for _, child, _ in running.values()])
    raise
  return found


def run_and_say(
  jobs: collections.abc.Sequence[Job],
  at_once: int,
  start: Start,
  note: collections.abc.Callable[[str], None],
  done: collections.abc.Callable[[Job], None] = lambda job: None,
) -> list[Ended]:
  """`run`, saying when each job begins and ends.

  Args:
    jobs: in the order in which they begin where nothing holds them up.
    at_once: how many run at the same time.
    start: function that starts a job; see `spawner`.
    note: called with lines.
    done: called with a job that has not failed, when that is said.

  Returns:
    Those that failed.
  """
  count = iter(range(1, len(jobs) + 1))

  def began(job: Job) -> None:
    note(f"{job.name}: began ({next(count)} of {len(jobs)}; {job.log})")

  def ended(end: Ended) -> None:
    note(f"{end.job.name}: {end.failure or 'done'}" + (f" ({end.seconds:.0f} s)" if end.seconds else ""))
    if end.failure is None:
      done(end.job)

  return [end for end in run(jobs, at_once, start, began, ended) if end.failure is not None]


def spawner(lock: int, threads: int | None = None) -> Start:
  """A function that starts jobs as child processes.

  Args:
    lock: descriptor of a locked file, which children inherit.
    threads: of every child; None for as many as it likes.
  """

  def start(job: Job) -> Process:
    files.make_folder(job.log.parent)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if threads is not None:
      environment |= dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"), str(threads))
    with open(job.log, "ab") as log:
      return subprocess.Popen(
        [sys.executable, "-m", "tla_tf.comparing.child", str(os.getpid()), *job.command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        pass_fds=(lock,),
      )

  return start


def cores() -> int:
  """Processor cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _failure(job: Job, status: int) -> str | None:
  """What to say of an exit status; None of success."""
  if status == 0:
    return None
  if status < 0:
    return f"ended by signal {signal.Signals(-status).name}"
  said = [line.strip() for line in _end_of(job.log).split("\n") if line.strip()]
  return f"status {status}" + (f": {said[-1]}" if said else "")


def _end_of(log: pathlib.Path) -> str:
  """The last text of a log, "" if there is none."""
  try:
    with limits.open_regular(log) as file:
      file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST_WORDS))
      return file.read(_LAST_WORDS).decode("utf-8", "replace")
  except OSError:
    return ""


def _stop(children: list[Process]) -> None:
  """Ends children: they have the time to write what they must."""
  for child in children:
    if child.poll() is None:
      child.send_signal(signal.SIGTERM)  # A shell may have had SIGINT ignored.
  until = time.monotonic() + _GRACE
  while any(child.poll() is None for child in children) and time.monotonic() < until:
    time.sleep(_LOOK)
  for child in children:
    if child.poll() is None:
      child.send_signal(signal.SIGKILL)
