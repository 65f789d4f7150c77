"""Progress of a run for people: steps, loss, speed, time left."""

from __future__ import annotations

import sys
import time
import typing

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress(keras.callbacks.Callback):
  """A bar on a terminal; everywhere a line at each interval's end.

  Args:
    start: the step that the run starts or resumes at.
    stop: the step that it ends at.
    say: receives the lines.
  """

  def __init__(self, start: int, stop: int, say: typing.Callable[[str], object] = print):
    super().__init__()
    self._start, self._stop, self._say = start, stop, say
    self._done = start
    self._began = 0.0  # Set when the first stretch of the training begins.
    self._bar: Bar | None = None

  def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
    if not self._began:
      self._began = time.monotonic()
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
    self._done += 1
    if self._bar:
      self._bar.update(self._task, completed=self._done, description=f"loss {logs['loss']:.4f}")

  def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
    elapsed = time.monotonic() - self._began
    speed = (self._done - self._start) / max(elapsed, 1e-9)
    left = (self._stop - self._done) / max(speed, 1e-9)
    self._say(
      f"step {self._done}/{self._stop}  loss {logs['loss']:.3f}  held-out {logs['val_accuracy']:.1%} clean "
      f"{logs['val_robust_accuracy']:.1%} robust  {speed:.1f} steps/s  {_clock(left)} left"
    )

  def on_train_end(self, logs: dict[str, float] | None = None) -> None:
    self.close()

  def close(self) -> None:
    """Takes the bar off the terminal."""
    if self._bar:
      self._bar.stop()
      self._bar = None


def _clock(seconds):
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
