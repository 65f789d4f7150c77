"""Modules that are imported when they are first used."""

import importlib
import typing


class _Lazy:
  def __init__(self, name: str):
    self._name = name

  def __getattr__(self, attribute: str) -> typing.Any:
    return getattr(importlib.import_module(self._name), attribute)


def lazy(name: str) -> typing.Any:
  """A stand-in for a module: importing it waits for the first use of an attribute.

  A recipe says what a command-line tool's flags are, and how a step is computed:
  the tool reads flags without waiting for TensorFlow.

  Example:
    tf = lazy("tensorflow")
  """
  return _Lazy(name)
