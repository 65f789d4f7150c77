"""Images and labels: arrays, checks, splits, files of several formats, and the seeded batch stream.

Loaded on first use: only the stream needs TensorFlow. Data sets by name are in `tla_tf.datasets`.
"""

import importlib

_HOMES = {"BatchStream": "stream", "ImageData": "image_data", "Splits": "image_data"}

__all__ = ["BatchStream", "ImageData", "Splits"]  # noqa: F822


def __getattr__(name):
  if name in _HOMES:
    return getattr(importlib.import_module(f"tla_tf.data.{_HOMES[name]}"), name)
  raise AttributeError(f"module 'tla_tf.data' has no attribute {name!r}")
