"""What a user names as `module:name` of code of their own: networks, classes of layers."""

from __future__ import annotations

import importlib
import os
import re
import sys
import typing

from tla_tf.errors import InputError, first_line

_REFERENCE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


def is_reference(text: str) -> bool:
  """Whether a text has the form `module:name`."""
  return bool(_REFERENCE.fullmatch(text))


def imported(reference: str, argument: str) -> typing.Any:
  """Imports what a user names; their module is found in the current folder, too, as under `python -m`.

  Args:
    reference: "module:name"; both may have dots.
    argument: whose value it is, for messages.

  Raises:
    InputError: for another form, a module that is missing or fails, or one without
      the name.
  """
  about = f"`{argument}={reference}`"
  if not is_reference(reference):
    raise InputError(f"{about}: expected module:name, as in my_code:MyClass.")
  module_name, _, name = reference.partition(":")
  # Behind all that is installed: no file of the folder takes the place of a library's module.
  if not {"", os.getcwd()} & set(sys.path):
    sys.path.append(os.getcwd())
  try:
    found: typing.Any = importlib.import_module(module_name)
  except ModuleNotFoundError as error:
    if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
      raise InputError(f"{about}: importing it failed, there is no module {error.name!r}; install it.") from error
    raise InputError(
      f"{about}: there is no module {error.name!r} in the current folder or on PYTHONPATH; start where it lies."
    ) from None
  except Exception as error:  # noqa: BLE001  Code of the user's raises whatever it likes.
    raise InputError(f"{about}: importing it failed ({type(error).__name__}: {first_line(error)}).") from error
  try:
    for part in name.split("."):
      found = getattr(found, part)
  except AttributeError:
    place = getattr(sys.modules[module_name], "__file__", None) or module_name
    raise InputError(f"{about}: {place} has no {name!r}; correct the name.") from None
  return found
