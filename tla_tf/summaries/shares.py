"""From masks of images to shares of them: accuracies with intervals, worst cases."""

from __future__ import annotations

import collections.abc

import numpy as np

from tla_tf.records.evaluation import AttackRow, CleanShare, CrossCheck, Share, ThreatShare, WorstCase
from tla_tf.summaries import statistics
from tla_tf.types import Norm


def union(masks: collections.abc.Iterable[np.ndarray], count: int) -> np.ndarray:
  """Images that are in any mask: bool [count]; none without masks."""
  return np.any([np.zeros(count, bool), *masks], axis=0)


def share(mask: np.ndarray) -> Share:
  """The share of images that a mask holds, with its exact interval."""
  return Share(float(np.mean(mask)), statistics.interval(int(np.sum(mask)), len(mask)))


def clean_share(right: np.ndarray) -> CleanShare:
  """The row of images that nothing attacks, of bool [n]: classified correctly."""
  whole = share(right)
  return CleanShare(accuracy=whole.accuracy, num_examples=len(right), interval=whole.interval)


def broken_within(
  rows: collections.abc.Iterable[AttackRow], fell: dict[str, np.ndarray], norm: Norm, epsilon: float, count: int
) -> np.ndarray:
  """bool [count]: images that fell to an attack in a ball, or in a smaller one, which lies in it.

  Args:
    rows: of the attacks.
    fell: dict from attack name to bool [count].
    norm: of the ball.
    epsilon: its radius.
    count: number of images.
  """
  return union([fell[row.name] for row in rows if row.norm is norm and row.epsilon <= epsilon], count)


def cross_checks(
  rows: collections.abc.Sequence[AttackRow],
  every: collections.abc.Sequence[AttackRow],
  fell: dict[str, np.ndarray],
  right: np.ndarray,
) -> list[CrossCheck]:
  """What attacks of other libraries found that ours had missed, ball by ball; empty without such attacks.

  Args:
    rows: of a suite.
    every: of all suites.
    fell: dict from attack name to bool [n].
    right: bool [n], images classified correctly.
  """
  theirs = [row for row in rows if row.kind == "library"]
  ours = [row for row in every if row.kind != "library"]
  found = []
  for norm, epsilon in dict.fromkeys((row.norm, row.epsilon) for row in theirs):
    left = right & ~broken_within(ours, fell, norm, epsilon, len(right))
    broken = left & union([fell[row.name] for row in theirs if (row.norm, row.epsilon) == (norm, epsilon)], len(right))
    found.append(
      CrossCheck(
        norm=norm, epsilon=epsilon, withstood=int(left.sum()), broken=int(broken.sum()), share=float(broken.mean())
      )
    )
  return found


def worst_case(rows: collections.abc.Sequence[AttackRow], fell: dict[str, np.ndarray], right: np.ndarray) -> WorstCase:
  """Accuracy where an image must withstand every attack: of all, by suite, and by norm and epsilon.

  Args:
    rows: of the attacks.
    fell: dict from attack name to bool [n], what the attack itself broke.
    right: bool [n], images classified correctly.
  """

  def standing(chosen: collections.abc.Iterable[AttackRow]) -> Share:
    return share(right & ~union([fell[row.name] for row in chosen], len(right)))

  by_threat = {
    (row.norm, row.epsilon): share(right & ~broken_within(rows, fell, row.norm, row.epsilon, len(right)))
    for row in rows
  }
  every = standing(rows)
  return WorstCase(
    accuracy=every.accuracy,
    interval=every.interval,
    by_suite={
      suite: standing(row for row in rows if row.suite == suite) for suite in dict.fromkeys(row.suite for row in rows)
    },
    by_threat=[
      ThreatShare(norm=norm, epsilon=epsilon, accuracy=left.accuracy, interval=left.interval)
      for (norm, epsilon), left in by_threat.items()
    ],
  )
