"""What is known by name: methods, data sets. No TensorFlow here.

The modules of a package register themselves: a file more is an entry more. They
are imported at the first look-up, so that whoever only looks up, from a lower
floor too, needs no import of them.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import typing

from tla_tf.errors import InputError

Entry = typing.TypeVar("Entry")


class Registry(typing.Generic[Entry]):
  """Entries by name.

  Args:
    kind: what an entry is, in messages: "method".
    package: the package whose modules register the entries that come with the
      library.
  """

  def __init__(self, kind: str, package: str):
    self.kind = kind
    self._package = package
    self._entries: dict[str, Entry] = {}
    self._complete = False

  def register(self, name: str, entry: Entry) -> Entry:
    """Adds an entry; returns it.

    Raises:
      ValueError: if another entry has that name.
    """
    known = self._entries.setdefault(name, entry)
    # A module that is run anew, in a notebook say, replaces what it had registered.
    if known is not entry and _origin(known) != _origin(entry):
      raise ValueError(
        f"There is another {self.kind} called {name!r}, of {_origin(known)}: choose another name for that of "
        f"{_origin(entry)}."
      )
    self._entries[name] = entry
    return entry

  def names(self) -> list[str]:
    """All names, in the order of their rank, then of registration."""
    self._load()
    return sorted(self._entries, key=lambda name: getattr(self._entries[name], "rank", 100))

  def get(self, name: str) -> Entry:
    """The entry of a name.

    Raises:
      InputError: for an unknown name; the message lists the known ones.
    """
    self._load()
    if name not in self._entries:
      raise InputError(f"Unknown {self.kind} {name!r}: {expected(name, self.names())}.")
    return self._entries[name]

  def __contains__(self, name: str) -> bool:
    self._load()
    return name in self._entries

  def _load(self) -> None:
    if self._complete:
      return
    # Set first: the modules look up names themselves.
    self._complete = True
    try:
      for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
        importlib.import_module(f"{self._package}.{module.name}")
    except BaseException:
      self._complete = False
      raise


def _origin(entry: typing.Any) -> str:
  """The module that an entry is of: that of a data set's reader, or of a recipe's class."""
  return getattr(entry, "read", type(entry)).__module__


def expected(name: str, known: typing.Iterable[str]) -> str:
  """What to say after a name that is not known: the nearest known one, if any is near, and all of them."""
  known = list(known)
  near = difflib.get_close_matches(str(name), known, 1)
  return (f"did you mean {near[0]!r}? " if near else "") + f"expected one of {known}"


DATASETS: Registry = Registry("data set", "tla_tf.datasets")
METHODS: Registry = Registry("method", "tla_tf.recipes")
