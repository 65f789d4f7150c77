"""What is kept on disk: run folders, checkpoints, SavedModels.

Loaded on first use: `run_folder` alone needs no TensorFlow.
"""

import importlib

_HOMES = {"CheckpointStore": "checkpoints", "RunFolder": "run_folder", "export_saved_model": "export"}

__all__ = ["CheckpointStore", "RunFolder", "export_saved_model"]  # noqa: F822


def __getattr__(name):
  if name in _HOMES:
    return getattr(importlib.import_module(f"tla_tf.persistence.{_HOMES[name]}"), name)
  raise AttributeError(f"module 'tla_tf.persistence' has no attribute {name!r}")
