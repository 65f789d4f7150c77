"""Records of results: the files of a run folder as frozen dataclasses. No TensorFlow here."""

from tla_tf.records.analysis import AnalysisArrays, AnalysisRecord
from tla_tf.records.arrays import ArrayRecord, Layout
from tla_tf.records.detector import DetectorAbout, DetectorFacts
from tla_tf.records.evaluation import Alarm, AttackRow, EvaluationImages, EvaluationRecord, Probes, Share, WorstCase
from tla_tf.records.evaluation_book import EvaluationBook
from tla_tf.records.pool_times import PoolTime, PoolTimes
from tla_tf.records.record import Record, plain, read_object
from tla_tf.records.seals import sealed
from tla_tf.records.training import training_epsilon

__all__ = [
  "Alarm",
  "AnalysisArrays",
  "AnalysisRecord",
  "ArrayRecord",
  "AttackRow",
  "DetectorAbout",
  "DetectorFacts",
  "EvaluationBook",
  "EvaluationImages",
  "EvaluationRecord",
  "Layout",
  "PoolTime",
  "PoolTimes",
  "Probes",
  "Record",
  "Share",
  "WorstCase",
  "plain",
  "read_object",
  "sealed",
  "training_epsilon",
]
