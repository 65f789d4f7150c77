"""Judging a network: suites of attacks, an independent verifier, alarms."""

from tla_tf.evaluation.alarms import Alarm, raise_alarms
from tla_tf.evaluation.judge import Evaluation, Found, Judge, evaluate
from tla_tf.evaluation.probes import probe
from tla_tf.evaluation.suites import SUITES, NamedAttack, read_suite, suite
from tla_tf.evaluation.verifier import verify

__all__ = [
  "SUITES",
  "Alarm",
  "Evaluation",
  "Found",
  "Judge",
  "NamedAttack",
  "evaluate",
  "probe",
  "raise_alarms",
  "read_suite",
  "suite",
  "verify",
]
