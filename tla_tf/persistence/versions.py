"""Versions of the packages that a result depends on."""

import importlib.metadata


def versions():
  """Dict from package to version."""
  return {name: importlib.metadata.version(name) for name in ("tla_tf", "tensorflow", "keras", "numpy")}
