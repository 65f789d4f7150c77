"""The flags of `tla-evaluate` and `tla-analyze` that a plan may give.

Paths and runs are the comparison's own. tests/messages_test.py holds the names against the tools.
"""

from __future__ import annotations

from tla_tf.attack_configs import LIBRARY_ATTACKS, SUITES
from tla_tf.config import Option
from tla_tf.types import Covariance, Metric, Precision, Split, values

# What the entries of a list are, and a choice that no type of `types` has.
ENTRIES = {"suite": SUITES, "cross_check_attacks": tuple(LIBRARY_ATTACKS), "covariance": ("auto", *values(Covariance))}


def _flag(name: str, kind: type, pixels: bool = False) -> Option:
  """A flag; its help is the tool's own."""
  return Option(name, name, kind, "", pixels)


_SHARED = (_flag("checkpoint", str), _flag("batch_size", int), _flag("seed", int), _flag("num_examples", int))
JUDGE = (
  *_SHARED,
  _flag("suite", tuple),
  _flag("suite_file", str),
  _flag("epsilon", tuple, pixels=True),
  _flag("l2_epsilon", tuple, pixels=True),
  _flag("l0_epsilon", tuple, pixels=True),
  _flag("num_seeds", int),
  _flag("eight_bit", bool),
  _flag("search_precision", Precision),
  _flag("probe_examples", int),
  _flag("cross_check", bool),
  _flag("cross_check_attacks", tuple),
  _flag("split", Split),
)
ANALYZE = (
  *_SHARED,
  _flag("weak_epsilon", float, pixels=True),
  _flag("strong_epsilon", float, pixels=True),
  _flag("num_train_examples", int),
  _flag("fit_examples", int),
  _flag("neighbors", int),
  _flag("metric", Metric),
  _flag("covariance", str),
  _flag("shrinkage", float),
  _flag("unit_embeddings", bool),
  _flag("false_positive_rate", float),
  _flag("classes", tuple),
  _flag("projector_examples", int),
  _flag("split", Split),
)
