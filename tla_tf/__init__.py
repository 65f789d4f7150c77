"""Adversarial robustness by metric learning, on TensorFlow 2 and Keras 3.

Subpackages load on first use, so that importing `tla_tf` is instant.
"""

import importlib

__version__ = "0.1.0"

_SUBPACKAGES = frozenset(
  {
    "analysis",
    "api",
    "attack_configs",
    "attacks",
    "balls",
    "config",
    "data",
    "datasets",
    "detection",
    "errors",
    "evaluation",
    "files",
    "lazy",
    "losses",
    "models",
    "networks",
    "ops",
    "persistence",
    "published",
    "recipes",
    "registry",
    "records",
    "reporting",
    "training",
    "types",
  }
)


def __getattr__(name):
  if name in _SUBPACKAGES:
    return importlib.import_module(f"tla_tf.{name}")
  raise AttributeError(f"module 'tla_tf' has no attribute {name!r}")


def __dir__():
  return sorted(_SUBPACKAGES | {"__version__"})
