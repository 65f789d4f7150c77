"""Library errors name arguments, between backticks; a tool's user knows flags."""

from __future__ import annotations

import collections.abc
import functools
import re
import sys
import typing

from absl import flags

from tla_tf.errors import InputError

_ARGUMENT = r"`([a-z][\w.]*)(=[^`]*)?`"


def in_flags(text: str, names: collections.abc.Container[str], renamed: dict[str, str] | None = None) -> str:
  """A message with flags in the place of arguments.

  What the tool has no flag for is said to be an argument of Python's, so that nobody
  looks for the flag.

  Args:
    text: with arguments between backticks, perhaps with their values: `epsilon=8`.
    names: of the flags that there are.
    renamed: dict from argument to flag, where they are not called alike.

  Returns:
    The text: --epsilon=8.
  """
  unknown: list[str] = []

  def flag(found: re.Match) -> str:
    if found[1] is None:
      return found[0]
    name = (renamed or {}).get(found[1], found[1])
    if name in names:
      return f"--{name}{found[2] or ''}"
    unknown.append(found[1])
    return f"{found[1]}{found[2] or ''}"

  # A path of the user's may have backticks, too.
  given = {re.escape(part) for word in sys.argv for part in re.split("[/=]", word) if "`" in part}
  said = re.sub("|".join([*sorted(given, key=len, reverse=True), _ARGUMENT]), flag, text)
  if not unknown:
    return said
  listed = " and ".join(dict.fromkeys(unknown))
  return f"{said} (No flag of this tool sets {listed}; the functions of tla_tf do.)"


class _OwnFlags:
  """The names of the flags that are not absl's own."""

  def __contains__(self, name: object) -> bool:
    known = isinstance(name, str) and name in flags.FLAGS
    return known and not str(flags.FLAGS.find_module_defining_flag(str(name))).startswith("absl")


def said(text: str, **renamed: str) -> str:
  """A message of the library with this tool's flags in the place of arguments.

  Args:
    text: the message.
    **renamed: flags that are not called as their arguments, as in k="neighbors".
  """
  return in_flags(text, _OwnFlags(), renamed)


def translated(**renamed: str) -> collections.abc.Callable:
  """Decorates a tool's `main`: an InputError of the library names flags.

  Args:
    **renamed: flags that are not called as their arguments, as in k="neighbors".
  """

  def decorate(main: collections.abc.Callable) -> collections.abc.Callable:
    @functools.wraps(main)
    def speaking(*arguments: typing.Any) -> typing.Any:
      try:
        return main(*arguments)
      except InputError as error:
        raise InputError(said(str(error), **renamed)) from error

    return speaking

  return decorate
