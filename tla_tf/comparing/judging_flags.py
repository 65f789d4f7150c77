"""The flags of `tla-evaluate` and `tla-analyze` that a plan may give.

Paths and runs are the comparison's own. tests/comparing_plan_test.py holds the names against the tools.
"""

from __future__ import annotations

from tla_tf.attack_configs import LIBRARY_ATTACKS
from tla_tf.config import Option

SUITES = ("quick", "table1", "table3", "auto_attack", "auto_attack_l2", "auto_attack_plus")


def _flag(name: str, kind: type, pixels: bool = False, choices: tuple[str, ...] = ()) -> Option:
  """A flag; in place of a help, which the tool has, its choices."""
  return Option(name, name, kind, "|".join(choices), pixels)


_SHARED = (_flag("checkpoint", str), _flag("batch_size", int), _flag("seed", int), _flag("num_examples", int))
JUDGE = (
  *_SHARED,
  _flag("suite", tuple, choices=SUITES),
  _flag("suite_file", str),
  _flag("epsilon", tuple, pixels=True),
  _flag("l2_epsilon", tuple, pixels=True),
  _flag("l0_epsilon", tuple, pixels=True),
  _flag("num_seeds", int),
  _flag("eight_bit", bool),
  _flag("search_precision", str, choices=("float32", "bfloat16")),
  _flag("probe_examples", int),
  _flag("cross_check", bool),
  _flag("cross_check_attacks", tuple, choices=tuple(LIBRARY_ATTACKS)),
  _flag("split", str, choices=("test", "held_out")),
)
ANALYZE = (
  *_SHARED,
  _flag("weak_epsilon", float, pixels=True),
  _flag("strong_epsilon", float, pixels=True),
  _flag("num_train_examples", int),
  _flag("fit_examples", int),
  _flag("neighbors", int),
  _flag("metric", str, choices=("cosine", "euclidean")),
  _flag("covariance", str, choices=("auto", "full", "tied", "diagonal")),
  _flag("shrinkage", float),
  _flag("unit_embeddings", bool),
  _flag("false_positive_rate", float),
  _flag("classes", tuple),
  _flag("projector_examples", int),
  _flag("split", str, choices=("test", "held_out")),
)
