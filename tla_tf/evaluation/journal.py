"""The journal of an evaluation: what was judged stays judged when the process is killed."""

from __future__ import annotations

import collections.abc
import contextlib
import fcntl
import hashlib
import json
import pathlib
import typing
import warnings

from tla_tf import files, limits
from tla_tf.errors import InputError, RecordWarning
from tla_tf.records import seals


class Journal:
  """Results of finished batches, one JSON line each, under the name of the batch and with a checksum.

  A batch's name says all that its result depends on besides the `facts`, which
  name the file: an evaluation with other settings has another journal.

  Args:
    folder: where journals lie; made if missing.
    facts: JSON values that all results depend on: network, data, attacks, ...
  """

  def __init__(self, folder: str | pathlib.Path, facts: typing.Any):
    text = json.dumps(facts, sort_keys=True)
    self._folder = pathlib.Path(folder)
    self.path = self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsonl"
    self._known: dict[str, typing.Any] = {}
    self._file: typing.BinaryIO | None = None

  @contextlib.contextmanager
  def open(self) -> collections.abc.Iterator[Journal]:
    """Reads what an earlier process wrote and keeps others out while the body runs.

    What a damaged line held will be judged again, of which a RecordWarning tells.
    The journal stays until `discard`: results are to be written first.

    Raises:
      InputError: if another process holds it, or its folder cannot be made.
    """
    files.make_folder(self._folder)
    try:
      with limits.open_appending(self.path) as file:
        self._lock(file)
        self._file = file
        self._read(file)
        yield self
    finally:
      self._file = None

  def discard(self) -> None:
    """Removes the journal, and its folder if that is empty then."""
    self.path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
      self._folder.rmdir()

  def __len__(self) -> int:
    return len(self._known)

  def recall(self, name: list, compute: typing.Callable[[], typing.Any]) -> typing.Any:
    """The result of a batch: from the journal, or computed and written.

    Args:
      name: a list of strings and numbers.
      compute: function without arguments that returns JSON values.
    """
    key = json.dumps(name)
    if key not in self._known:
      result = compute()
      if self._file is not None:
        # A kill leaves the line whole or without its end.
        self._write(_line(key, result))
      self._known[key] = result
    return self._known[key]

  def _write(self, line: bytes) -> None:
    assert self._file is not None
    try:
      self._file.write(line)
      self._file.flush()
    except OSError as error:
      # What is left of the line would be written when the file is closed, and fail once more.
      with contextlib.suppress(OSError):
        self._file.raw.close()  # type: ignore[attr-defined]
      raise files.unwritable(self.path, error, len(line)) from error

  def _lock(self, file: typing.BinaryIO) -> None:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise InputError(f"{self.path}: another process runs the same evaluation; wait for it.") from None

  def _read(self, file: typing.BinaryIO) -> None:
    file.seek(0)
    content = file.read()
    *lines, cut_off = content.split(b"\n")
    damaged, begin = {}, 0
    for line in lines:
      found = _entry(line)
      if found is not None:
        self._known[found[0]] = found[1]
      elif line.strip():
        damaged[begin] = len(line)
      begin += len(line) + 1
    if cut_off:  # by a kill
      file.truncate(len(content) - len(cut_off))
    if damaged:
      what = "1 line is" if len(damaged) == 1 else f"{len(damaged)} lines are"
      warnings.warn(f"{self.path}: {what} damaged; what stood there is judged again.", RecordWarning, stacklevel=2)
      # In their places, so that a kill costs none of the others.
      with open(self.path, "r+b") as blanked:
        for begin, length in damaged.items():
          blanked.seek(begin)
          blanked.write(b" " * length)


def _line(key: str, result: typing.Any) -> bytes:
  return (json.dumps([key, result, seals.digest([key, result])]) + "\n").encode()


def _entry(line: bytes) -> tuple[str, typing.Any] | None:
  """(name of a batch, its result) of a line, or None where it is not as it was written."""
  try:
    key, result, digest = json.loads(line)
    return (key, result) if isinstance(key, str) and digest == seals.digest([key, result]) else None
  except (ValueError, TypeError, RecursionError):
    return None
