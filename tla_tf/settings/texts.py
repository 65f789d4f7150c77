"""What the texts of flags mean: the values that the tools' flags would have."""

from __future__ import annotations

import enum
import math
import typing

from tla_tf.config import OPTIMIZERS, Option, choice, require

_TRUE, _FALSE = ("true", "t", "1"), ("false", "f", "0")


def parsed(option: Option, text: str) -> typing.Any:
  """The value of a flag that is given as a text.

  Args:
    option: its Option.
    text: as on a command line: "8/255", "true", "50000:0.01,60000:0.001".

  Returns:
    float, int, bool, str, a member of its choice, or list of str, as the tools' parsers
    give it to `resolve`.

  Raises:
    InputError: if it is none of the flag's kind.
  """
  name, kind = option.flag, option.kind
  if name == "image_size":
    return _size(text)
  if kind is tuple:
    return [part.strip() for part in text.split(",")] if text else []
  if name == "optimizer":
    require(text in OPTIMIZERS, name, f"one of {list(OPTIMIZERS)}", text)
    return text
  if issubclass(kind, enum.Enum):
    return choice(kind, name, text)
  if kind is bool:
    require(text.lower() in (*_TRUE, *_FALSE), name, "true or false", text)
    return text.lower() in _TRUE
  if kind is str:
    return text
  try:
    number: typing.Any = fraction(text) if option.pixels else typing.cast(typing.Any, kind)(text)
    if math.isnan(number):
      raise ValueError
    return number
  except (ValueError, ZeroDivisionError):
    what = "a whole number" if kind is int else "a number" + (" or a fraction such as 8/255" if option.pixels else "")
    require(False, name, what, text)
    raise


def fraction(text: str) -> float:
  """The number that 0.03 or 8/255 stands for; raises ValueError or ZeroDivisionError."""
  numerator, slash, denominator = text.partition("/")
  return float(numerator) / float(denominator) if slash else float(numerator)


def size(text: str) -> tuple[int, int]:
  """The (height, width) that 64 or 64x48 stands for; raises ValueError."""
  height, cross, width = text.partition("x")
  return int(height), int(width if cross else height)


def _size(text: str) -> tuple[int, int]:
  try:
    return size(text)
  except ValueError:
    require(False, "image_size", "a size such as 64 or 64x48 (height x width)", text)
    raise
