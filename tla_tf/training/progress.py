"""Progress of a training for people: steps, loss, speed, time left."""

from __future__ import annotations

import sys
import time
import typing

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from tla_tf.records import shown

# Seconds between lines where there is no terminal to show a bar.
_EVERY = 60.0
# Steps after the first, or seconds, after which it is said what a step costs.
_ENOUGH_STEPS, _ENOUGH_SECONDS = 10, 30.0


class Progress(keras.callbacks.Callback):
  """A bar on a terminal, elsewhere a line a minute; everywhere one at each interval's end.

  After the first steps one says what a step costs, and when the last one ends.

  Args:
    start: the step that the run starts or resumes at.
    stop: the step that it ends at.
    say: receives the lines.
    clock: seconds of some clock that runs evenly.
    now: seconds since the epoch, for the time of day.
  """

  def __init__(
    self,
    start: int,
    stop: int,
    say: typing.Callable[[str], object] = print,
    clock: typing.Callable[[], float] = time.monotonic,
    now: typing.Callable[[], float] = time.time,
  ):
    super().__init__()
    self._start, self._stop, self._say, self._clock = start, stop, say, clock
    # Steps done, and before the epoch.
    self._done = self._epoch = start
    self._began: float | None = None  # Set when the first stretch of the training begins.
    self._said = 0.0
    self._now = now
    # Steps done and time after the first execution, which was compiled; None once its cost is said.
    self._first: tuple[int, float] | None = (start, 0.0)
    self._bar: Bar | None = None

  def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
    if self._began is None:
      self._began = self._said = self._clock()
    if sys.stderr.isatty():
      self._bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
      )
      self._task = self._bar.add_task("training", total=self._stop, completed=self._done)
      self._bar.start()

  def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
    self._done = self._epoch + batch + 1  # An execution may have had several steps.
    if self._bar:
      self._bar.update(self._task, completed=self._done, description=f"loss {logs['loss']:.4f}")
    elif self._silent():
      self._line(f"loss {logs['loss']:.3f}")
    self._say_cost()

  def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
    if not self._bar and self._silent():
      self._line(f"held-out images: batch {batch + 1}")

  def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
    self._epoch = self._done
    self._line(
      f"loss {logs['loss']:.3f}  held-out {logs['val_accuracy']:.1%} clean {logs['val_robust_accuracy']:.1%} robust"
    )

  def on_train_end(self, logs: dict[str, float] | None = None) -> None:
    self.close()

  def close(self) -> None:
    """Takes the bar off the terminal."""
    if self._bar:
      self._bar.stop()
      self._bar = None

  def _say_cost(self) -> None:
    """Says once what a step costs, without compilation, and when the last one ends."""
    if self._first is None:
      return
    done, since = self._first
    if done == self._start:
      self._first = self._done, self._clock()
      return
    steps, seconds, left = self._done - done, self._clock() - since, self._stop - self._done
    if not left or (steps < _ENOUGH_STEPS and seconds < _ENOUGH_SECONDS):
      return
    self._first = None
    rest = seconds / steps * left
    day = "%H:%M" if rest < 12 * 3600 else "%Y-%m-%d %H:%M"
    end = time.strftime(day, time.localtime(self._now() + rest))
    self._say(
      f"a step takes {shown.seconds(seconds / steps)}: the {left:,} that are left take {shown.clock(rest)}, until "
      f"about {end}; checkpoints and held-out images come on top"
    )

  def _silent(self) -> bool:
    return self._clock() - self._said >= _EVERY

  def _line(self, what: str) -> None:
    self._said = self._clock()
    speed = (self._done - self._start) / max(self._said - (self._began or 0.0), 1e-9)
    left = (self._stop - self._done) / max(speed, 1e-9)
    self._say(f"step {self._done}/{self._stop}  {what}  {speed:.1f} steps/s  {shown.clock(left)} left")
