"""Judging a network: suites of attacks, an independent verifier, alarms."""

from tla_tf.evaluation.judge import Judge, KeptImages
from tla_tf.evaluation.network_evaluation import evaluate
from tla_tf.evaluation.planning import EvaluationOptions
from tla_tf.evaluation.probes import probe
from tla_tf.evaluation.protocol import Evaluation, evaluate_with
from tla_tf.evaluation.suites import SUITES, NamedAttack, read_suite, suite
from tla_tf.evaluation.verifier import verify
from tla_tf.records import Alarm
from tla_tf.summaries.alarms import raise_alarms

__all__ = [
  "SUITES",
  "Alarm",
  "Evaluation",
  "EvaluationOptions",
  "Judge",
  "KeptImages",
  "NamedAttack",
  "evaluate",
  "evaluate_with",
  "probe",
  "raise_alarms",
  "read_suite",
  "suite",
  "verify",
]
