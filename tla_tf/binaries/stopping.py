"""Ctrl-C and SIGTERM: whatever a tool does, and however often it is asked, it ends with one sentence and 130 or 143."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds that SIGTERM waits for a tool that is within one long call of TensorFlow, which a signal does not interrupt.
_PATIENCE = 10.0
# Who asks so often does not want to wait until it has cleaned up.
_AT_ONCE = 3


class TerminatedError(KeyboardInterrupt):
  """SIGTERM came: what cleans up after Ctrl-C does so after this, too."""


class Stops:
  """Listens to both signals until the process ends.

  The first one is raised in the main thread. Those that follow are not, so that
  nothing interrupts what cleans up; the third ends the process at once, and so does
  SIGTERM if the main thread does not hear it for some seconds.

  Args:
    say: called once, with the status, to say why the tool ends. It must not wait for
      what another thread may hold.

  Attributes:
    asked: the signal that came first, or None.
  """

  def __init__(self, say: Callable[[int], None]):
    self.asked: int | None = None
    self._say, self._said = say, threading.Lock()
    self._heard = threading.Event()
    self._raises = True

  def listen(self) -> None:
    """Begins; a signal that is ignored, as nohup does, or that somebody else handles stays so."""
    if threading.current_thread() is not threading.main_thread():
      return
    for number in _SIGNALS:
      if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
        signal.signal(number, self._hear)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=self._watch, args=[reading], daemon=True).start()

  def end(self) -> int:
    """Says why the tool ends, if that is not said yet; returns its exit status."""
    status = 128 + (self.asked or signal.SIGINT)
    if self._said.acquire(blocking=False):
      self._say(status)
    return status

  def raise_no_more(self) -> None:
    """What is left to do, nothing may interrupt."""
    self._raises = False

  def _hear(self, number: int, frame: Any) -> None:
    self._heard.set()
    if self.asked is None:
      self.asked = number
      if self._raises:
        raise TerminatedError("SIGTERM") if number == signal.SIGTERM else KeyboardInterrupt

  def _watch(self, reading: int) -> None:
    """Reads, in a thread of its own, which signals come: the main thread hears them between two calls only."""
    came: list[int] = []
    while True:
      waits = signal.SIGTERM in came and not self._heard.is_set()
      ready, _, _ = select.select([reading], [], [], _PATIENCE if waits else None)
      came += [number for number in os.read(reading, 64) if number in _SIGNALS] if ready else []
      if len(came) >= _AT_ONCE or not (ready or self._heard.is_set()):
        self.asked = self.asked or came[0]
        os._exit(self.end())
