"""Judging a trained network: suites of attacks, an independent verifier."""

from tla_tf.evaluation.judge import evaluate
from tla_tf.evaluation.suites import SUITES, NamedAttack, suite
from tla_tf.evaluation.table import markdown_table, print_table
from tla_tf.evaluation.verifier import verify

__all__ = ["SUITES", "NamedAttack", "evaluate", "markdown_table", "print_table", "suite", "verify"]
