"""`metrics.jsonl`: what a training measured, a JSON object a line, each with a checksum that says where it stands."""

from __future__ import annotations

import json
import typing

from tla_tf import files, limits
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.records import seals
from tla_tf.records.record import beyond_limits, is_whole

_REMEDY = "restore the file, or remove it: the training goes on, and its curves begin anew"


def write_rows(path: AnyPath, rows: typing.Sequence[dict]) -> None:
  """Replaces the file; every row is a JSON object with a "step"."""
  lines = (json.dumps(seals.sealed_row(number, row)) for number, row in enumerate(rows, 1))
  files.write_text(path, "".join(f"{line}\n" for line in lines))


def read_rows(path: AnyPath, reaches: int = 0) -> list[dict]:
  """The rows, without their checksums.

  Lines of releases up to 0.5 have none: what could not be of a training is refused.

  Args:
    path: the file.
    reaches: the step that the last row is of, or a later one, of a release that writes checksums.

  Raises:
    InputError: naming the file and the line.
  """
  try:
    lines = limits.read_text(path, errors="replace").split("\n")
  except OSError as error:
    raise InputError(f"{path}: {files.refusal(error)}.") from None
  rows = [_row(line, number, path) for number, line in enumerate(lines[: -1 if lines[-1] == "" else None], 1)]
  # A release writes all lines, or none, with checksums: a line that lacks it is not of this file.
  sealed = any(seals.KEY in row for row in rows)
  if sealed:
    for number, row in enumerate(rows, 1):
      if not seals.row_fits(number, row):
        raise _damaged(path, number, f"does not fit its checksum {seals.KEY!r}, or a line before it is gone")
  rows = [{name: value for name, value in row.items() if name != seals.KEY} for row in rows]
  for number, (before, row) in enumerate(zip(rows, rows[1:]), 2):
    if row["step"] <= before["step"]:
      raise _damaged(path, number, f"is of step {row['step']}, after one of step {before['step']}")
  ends = rows[-1]["step"] if rows else 0
  if ends < reaches and (sealed or not rows):
    raise InputError(f"{path}: damaged, it ends at step {ends} and not at step {reaches} or behind; {_REMEDY}.")
  return rows


def _row(line: str, number: int, path: AnyPath) -> dict:
  try:
    row = json.loads(line)
  except (ValueError, RecursionError):
    row = None
  if not isinstance(row, dict) or beyond_limits(row):
    raise _damaged(path, number, "is no JSON object")
  if not is_whole(row.get("step")) or row["step"] < 0:
    raise _damaged(path, number, "has no 'step' that is a whole number")
  wrong = next((name for name, value in row.items() if name != seals.KEY and not _is_number(value)), None)
  if wrong is not None:
    raise _damaged(path, number, f"has {wrong!r}, which is no number")
  return row


def _is_number(value: typing.Any) -> bool:
  return is_whole(value) or isinstance(value, float)


def _damaged(path: AnyPath, number: int, what: str) -> InputError:
  return InputError(f"{path}: damaged, line {number} {what}; {_REMEDY}.")
