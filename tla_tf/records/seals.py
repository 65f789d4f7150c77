"""Checksums in JSON that is read back: they show damage, as a digit that changed; they stop no forger."""

from __future__ import annotations

import hashlib
import json
import typing

KEY = "sha256"
# Of lines, of which there are many.
_SHORT = 16


def digest(content: typing.Any) -> str:
  """SHA-256 of a JSON value, as hex: the same for all ways to write it, but for the order of keys."""
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def sealed(content: dict) -> dict:
  """A JSON object with its checksum under "sha256", in the place of any that it had."""
  content = {name: value for name, value in content.items() if name != KEY}
  return {**content, KEY: digest(content)}


def fits(content: dict) -> bool:
  """Whether an object has its checksum, and it is right."""
  return sealed(content).get(KEY) == content.get(KEY)


def sealed_row(number: int, row: dict) -> dict:
  """A row of a table with its checksum, which says where the row stands, too: one that is lost shifts the others."""
  row = {name: value for name, value in row.items() if name != KEY}
  return {**row, KEY: digest([number, row])[:_SHORT]}


def row_fits(number: int, row: dict) -> bool:
  """Whether a row is as it was, and where it was."""
  return sealed_row(number, row).get(KEY) == row.get(KEY)
