"""Versions of the packages that a result depends on."""

from __future__ import annotations

import importlib
import importlib.metadata

import tla_tf


def versions() -> dict[str, str]:
  """Dict from package to version, whether or not the packages were installed by pip."""
  return {"tla_tf": tla_tf.__version__} | {name: _version(name) for name in ("tensorflow", "keras", "numpy")}


def _version(name: str) -> str:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    # Nightly builds and builds for one processor are distributed under other names.
    return importlib.import_module(name).__version__
