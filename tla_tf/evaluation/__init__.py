"""Judging a network: suites of attacks, an independent verifier, alarms."""

from tla_tf.evaluation.alarms import Alarm, raise_alarms
from tla_tf.evaluation.judge import Evaluation, Found, Judge, evaluate
from tla_tf.evaluation.probes import probe
from tla_tf.evaluation.suites import SUITES, NamedAttack, read_suite, suite
from tla_tf.evaluation.table import markdown_alarms, markdown_table, print_alarms, print_table, suites_of
from tla_tf.evaluation.verifier import verify

__all__ = ["SUITES", "Alarm", "Evaluation", "Found", "Judge", "NamedAttack", "evaluate", "markdown_alarms",
           "markdown_table", "print_alarms", "print_table", "probe", "raise_alarms", "read_suite", "suite", "suites_of",
           "verify"]
