"""What a protocol buffer takes in memory, counted before it is parsed: a message of two bytes takes over a hundred."""

from __future__ import annotations

import functools
import os
from typing import Any

from tla_tf import limits

# Bytes of a message with its place among others, and of a text besides its letters; measured, of protobuf's upb.
_MESSAGE = 130
_TEXT = 55
_NUMBER = 8
# A message costs two bytes at least, so that no file grows by more.
_MOST_GROWTH = _MESSAGE // 2
# A message's descriptor, once it was met its own fields.
_Fields = dict[int, Any]
_VARINT, _FIXED_64, _DELIMITED, _GROUP, _GROUP_END, _FIXED_32 = range(6)


def check_message(path: str | os.PathLike[str], content: bytes, kind: type[Any]) -> None:
  """Checks what a message would take in memory.

  Args:
    path: the file, for the message.
    content: the message's bytes.
    kind: its class.

  Raises:
    LimitError: if it would be too much larger than its bytes.
  """
  if len(content) * _MOST_GROWTH > limits.unpacked_bytes():
    size = parsed_bytes(content, kind.DESCRIPTOR, len(content) + limits.unpacked_bytes())
    limits.check_unpacked(path, size, len(content))


def parsed_bytes(content: bytes, kind: Any, most: int) -> int:
  """About what a message takes in memory once it is parsed.

  Args:
    content: the message's bytes. Of a damaged one all that stands before the damage counts.
    kind: its descriptor.
    most: beyond it the rest is taken to be as the part that was counted.
  """
  found, place, end, fields = _MESSAGE, 0, len(content), _nested(kind)
  around: list[tuple[int, _Fields]] = []
  try:
    while found <= most:
      while place >= end:
        if not around:
          return found
        end, fields = around.pop()
      # Numbers of one byte, which nearly all are, without a call: there may be millions.
      tag = content[place]
      place += 1
      if tag > 127:
        tag, place = _varint(content, place - 1)
      wire = tag & 7
      if wire == _DELIMITED:
        length = content[place]
        place += 1
        if length > 127:
          length, place = _varint(content, place - 1)
        if place + length > end:
          return found
        inner = fields.get(tag >> 3, 1)
        if inner.__class__ is int:
          found += _TEXT + length * inner
          place += length
          continue
        if inner.__class__ is not dict:
          inner = fields[tag >> 3] = _nested(inner)
        found += _MESSAGE
        around.append((end, fields))
        end, fields = place + length, inner
      elif wire == _VARINT:
        _, place = _varint(content, place)
        found += _NUMBER
      elif wire in (_FIXED_64, _FIXED_32):
        found += _NUMBER
        place += 8 if wire == _FIXED_64 else 4
      elif wire not in (_GROUP, _GROUP_END):
        return found
  except IndexError:
    return found  # It ends early, or within a number.
  return found * len(content) // max(1, place)


@functools.cache
def _nested(kind: Any) -> _Fields:
  """By the number of a field the message that is in it, or for numbers how many bytes one of its bytes may become."""
  return {
    field.number: field.message_type or _NUMBER
    for field in kind.fields
    if field.type not in (field.TYPE_STRING, field.TYPE_BYTES)
  }


def _varint(content: bytes, place: int) -> tuple[int, int]:
  """A number of 7 bits a byte, and the place behind it."""
  value = 0
  for shift in range(0, 70, 7):
    byte = content[place]
    place += 1
    value |= (byte & 127) << shift
    if byte < 128:
      return value, place
  raise IndexError("a number of more than 64 bits")
