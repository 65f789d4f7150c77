"""What is said of work that takes long."""

from __future__ import annotations

import time
import typing


def with_seconds_left(progress: typing.Callable, clock: typing.Callable[[], float] = time.monotonic) -> typing.Callable:
  """Adds the seconds left to what a progress function is told.

  Args:
    progress: called with (what, batches done, batches to do, seconds left).
    clock: seconds of some clock that runs evenly.

  Returns:
    A function of (what, batches done, batches to do).
  """
  began: dict[str, tuple[float, int]] = {}

  def timed(name: str, done: int, total: int) -> None:
    now = clock()
    # The clock starts when the first batch, and its compilation, is done.
    start, first = began.setdefault(name, (now, done))
    left = (now - start) / (done - first) * (total - done) if done > first else 0.0
    progress(name, done, total, left)

  return timed
