"""What a reader may make of a file, data or one sentence within so much time and memory, and how that is measured."""

from __future__ import annotations

import contextlib
import pathlib

SECONDS, BYTES = 10.0, 10**9


def is_sentence(words: str, path: pathlib.Path) -> bool:
  """One line, not endless, that names the file or a file below; what cannot be printed is shown by the tools."""
  return str(path) in words and words.endswith((".", ")", "?")) and len(words) < 1500 and not {"\n", "\r"} & {*words}


def memory(field: str) -> int:
  """Bytes of this process: a field of /proc/self/status."""
  with open("/proc/self/status") as file:
    return next((int(line.split()[1]) * 1024 for line in file if line.startswith(f"{field}:")), 0)


def forget_peak() -> int:
  """Makes the system measure the peak of memory anew; returns what is in use."""
  with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
    file.write("5")
  return memory("VmRSS")


def peak() -> int:
  """The most memory that was in use since."""
  return memory("VmHWM")
