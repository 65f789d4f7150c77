"""Becomes a tool that does not outlive the process that started it.

  python -m tla_tf.comparing.child PARENT MODULE ARGUMENTS...

PARENT is the id of that process. When it ends, however it ends, Linux kills the tool; what tools write survives that.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
  """Runs `python -m` with a command in the place of this process."""
  with contextlib.suppress(OSError, AttributeError):  # Elsewhere the lock that a child inherits keeps others out.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
  if os.getppid() != parent:
    sys.exit(1)  # It ended before it could be watched.
  os.execv(sys.executable, [sys.executable, "-m", *command])


if __name__ == "__main__":
  main(int(sys.argv[1]), sys.argv[2:])
