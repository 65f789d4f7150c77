"""How far the work of a tool is, for people: a line that changes on a terminal, elsewhere at least one a minute."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tla_tf.binaries import terminal
from tla_tf.records import shown

# Seconds without a word after which one is due, where there is no terminal.
EVERY = 60.0


class Progress:
  """Says on standard error how far the work is.

  On a terminal, one line that every batch rewrites. Elsewhere a line when something
  is done, and one a minute while it is not. A batch may take longer than that, and
  compiling does: a second thread then says what the last that was heard was.

  Args:
    say: receives lines where there is no terminal.
    clock: seconds of some clock that runs evenly.
  """

  def __init__(self, say: Callable[[str], object] | None = None, clock: Callable[[], float] = time.monotonic):
    self._say = say or (lambda text: terminal.say(text, error=True))
    self._clock = clock
    self._said = self._heard = clock()
    self._last = "starting"
    self._lock = threading.Lock()

  def batches(self, quiet: Sequence[str] = ()) -> Callable[[str, int, int, float], None]:
    """A function of (what, batches done, batches to do, seconds left).

    Args:
      quiet: beginnings of what is not said to be done.
    """

    def show(name: str, done: int, total: int, seconds_left: float) -> None:
      text = f"{name}: batch {done}/{total}, {shown.clock(seconds_left)} left"
      self._show(text, f"{name}: done", done >= total, name.startswith(tuple(quiet)))

    return show

  def reading(self, done: int, total: int) -> None:
    """Says how many image files have been decoded."""
    self._show(f"decoding images: {done:,}/{total:,}", f"decoded {total:,} images", done >= total)

  def said(self) -> None:
    """Something was said by others, such as a training's lines: the minute begins anew."""
    with self._lock:
      self._said = self._heard = self._clock()
      self._last = ""

  def _show(self, text: str, end: str, over: bool, quiet: bool = False) -> None:
    if sys.stderr.isatty():
      terminal.rewrite(text, over)
      return
    with self._lock:
      now = self._heard = self._clock()
      self._last = end if over else text
      if (over and not quiet) or now - self._said >= EVERY:
        self._say(self._last)
        self._said = now

  def beat(self) -> None:
    """Says that the work goes on, if nothing was said for a minute."""
    with self._lock:
      now = self._clock()
      if now - self._said >= EVERY:
        since = shown.clock(now - self._heard)
        self._say(f"{self._last} ({since} ago)" if self._last else f"still at work, {since} since the last line")
        self._said = now

  @contextlib.contextmanager
  def beating(self) -> Iterator[Progress]:
    """Calls `beat` from a second thread while the body runs; on a terminal there is none."""
    if sys.stderr.isatty():
      yield self
      return
    over = threading.Event()

    def beats() -> None:
      while not over.wait(EVERY / 12):
        self.beat()

    thread = threading.Thread(target=beats, daemon=True)
    thread.start()
    try:
      yield self
    finally:
      over.set()
      thread.join()
