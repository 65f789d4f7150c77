"""Comparing methods and settings over seeds: the plan, its jobs, and what they found.

Example:
  plan = ComparisonPlan.read("plan.yaml")
  outcome = Comparison(plan, "compared", data_dir="mnist", note=print).run()

Loaded on first use: children are started through this package, too.
"""

import importlib

_HOMES = {"Comparison": "runner", "ComparisonPlan": "plan"}

__all__ = ["Comparison", "ComparisonPlan"]  # noqa: F822


def __getattr__(name):
  if name in _HOMES:
    return getattr(importlib.import_module(f"tla_tf.comparing.{_HOMES[name]}"), name)
  raise AttributeError(f"module 'tla_tf.comparing' has no attribute {name!r}")
