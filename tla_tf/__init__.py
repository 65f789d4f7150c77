"""Adversarial robustness by metric learning, on TensorFlow 2 and Keras 3.

Subpackages load on first use, so that importing `tla_tf` is instant. It makes
`keras.models.load_model` know what is saved with a model of `tla_tf`.
"""

import importlib

from tla_tf import registration

__version__ = "0.5.0"

_SUBPACKAGES = frozenset(
  {
    "analysis",
    "api",
    "attack_configs",
    "attacks",
    "balls",
    "comparing",
    "config",
    "data",
    "datasets",
    "detection",
    "errors",
    "evaluation",
    "files",
    "lazy",
    "limits",
    "losses",
    "models",
    "networks",
    "ops",
    "persistence",
    "published",
    "recipes",
    "registration",
    "registry",
    "records",
    "reporting",
    "reproducing",
    "settings",
    "summaries",
    "training",
    "types",
    "user_code",
    "visible",
    "xla_flags",
    "yaml_file",
  }
)


# Functions of `tla_tf.api` on run folders.
_FUNCTIONS = frozenset(
  {
    "ModelFile",
    "analyze_runs",
    "evaluate_model",
    "evaluate_run",
    "evaluate_runs",
    "export_run",
    "read_evaluations",
    "train",
    "write_report",
  }
)


def __getattr__(name):
  if name in _SUBPACKAGES:
    return importlib.import_module(f"tla_tf.{name}")
  if name in _FUNCTIONS:
    return getattr(importlib.import_module("tla_tf.api"), name)
  raise AttributeError(f"module 'tla_tf' has no attribute {name!r}")


def __dir__():
  return sorted(_SUBPACKAGES | _FUNCTIONS | {"__version__"})


registration.install()
