"""Text from outside as it may be shown: names of folders, classes and attacks, and what the records of others say."""

from __future__ import annotations

import collections.abc
import os
import shlex
import unicodedata

# Control and format characters, lone halves of characters (as Python reads names that are no UTF-8), those of private
# use, and separators of lines and paragraphs.
_STEERING = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
# They join and part letters in Persian, Indic scripts and emoji.
_JOINERS = frozenset("\u200c\u200d")


def visible(text: object) -> str:
  """Text on one line that steers nothing: what would is written out.

  That is what ends a line, moves a terminal's cursor or changes its colour, turns the
  direction of what follows, or cannot be encoded: a line feed becomes the two letters
  `\\n`, the escape of terminals `\\x1b`, an override to right-to-left `\\u202e`.

  Args:
    text: anything, as `str` gives it.
  """
  shown = str(text)
  return shown if shown.isprintable() else "".join(_written(one) if _steers(one) else one for one in shown)


def shell_word(text: object) -> str:
  """Text as one word of a command that is shown to be copied into a shell; what steers is written as bash reads it."""
  word = str(text)
  if not any(map(_steers, word)):
    return shlex.quote(word)
  return f"$'{''.join(map(_in_bash, word))}'"


def shell_command(words: collections.abc.Iterable[object]) -> str:
  """Such words as a command."""
  return " ".join(map(shell_word, words))


def _in_bash(character: str) -> str:
  if _steers(character):
    return "".join(f"\\x{byte:02x}" for byte in _bytes(character))
  return f"\\{character}" if character in "\\'" else character


def _bytes(character: str) -> bytes:
  try:
    return os.fsencode(character)
  except UnicodeEncodeError:  # Half a character, of which JSON may consist.
    return character.encode("utf-8", "surrogatepass")


def _steers(character: str) -> bool:
  return unicodedata.category(character) in _STEERING and character not in _JOINERS


def _written(character: str) -> str:
  return character.encode("unicode_escape").decode("ascii")
