"""`evaluation.json`: all evaluations of a run or a foreign model, one after the other."""

from __future__ import annotations

import dataclasses
import typing

from tla_tf.records.evaluation import EvaluationRecord
from tla_tf.records.record import Record, unchanged
from tla_tf.records.training import training_epsilon


def _with_training_epsilon(content: dict) -> dict:
  # Format 1 had no number, and judged every run at its data set's epsilon.
  return {**content, "training_epsilon": training_epsilon(content.get("config")), "notes": []}


def _as_a_book(content: dict) -> dict:
  # Format 2 knew the last evaluation only.
  return {"evaluations": [content]}


@dataclasses.dataclass(frozen=True)
class EvaluationBook(Record):
  """`evaluation.json`.

  Attributes:
    evaluations: in the order in which they were measured, each of a suite; those of
      other checkpoints among them.
  """

  FORMAT, FILE, REMEDY = 4, "evaluation.json", "move it away and run tla-evaluate again"
  UPGRADES: typing.ClassVar[dict] = {1: _with_training_epsilon, 2: _as_a_book, 3: unchanged}
  SEALED_SINCE = 4

  evaluations: list[EvaluationRecord]
