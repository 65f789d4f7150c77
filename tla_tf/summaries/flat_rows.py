"""Flat dicts of what an evaluation found, for `pandas.DataFrame`."""

from __future__ import annotations

import collections.abc
import typing

from tla_tf.records.evaluation import AttackRow, CleanShare, Share, WorstCase

Rows = list[dict[str, typing.Any]]


def attack_rows(about: dict[str, typing.Any], clean: CleanShare, attacks: collections.abc.Iterable[AttackRow]) -> Rows:
  """A dict of the clean images, and one an attack; `about` begins each."""
  rows = [_row(about, None, "clean", clean)]
  for each in attacks:
    more = {"steps": each.steps, "restarts": each.restarts, "seconds": each.seconds}
    rows.append(_row(about, each.suite, each.name, each, each.norm.value, each.epsilon, **more))
  return rows


def suite_rows(
  about: dict[str, typing.Any], worst_case: WorstCase, attacks: collections.abc.Sequence[AttackRow]
) -> Rows:
  """A dict of each suite's worst case; with its ball, where it has one alone."""
  rows = []
  for suite, share in worst_case.by_suite.items():
    balls = {(each.norm.value, each.epsilon) for each in attacks if each.suite == suite}
    rows.append(_row(about, suite, "worst case", share, *(balls.pop() if len(balls) == 1 else ())))
  return rows


def ball_rows(about: dict[str, typing.Any], worst_case: WorstCase) -> Rows:
  """A dict of each ball's worst case."""
  return [
    _row(about, None, "worst case", Share(left.accuracy, left.interval), left.norm.value, left.epsilon)
    for left in worst_case.by_threat
  ]


def _row(
  about: dict[str, typing.Any],
  suite: str | None,
  attack: str,
  share: AttackRow | CleanShare | Share,
  norm: str | None = None,
  epsilon: float | None = None,
  **more: typing.Any,
) -> dict[str, typing.Any]:
  low, high = share.interval
  ball = {"norm": norm, "epsilon": epsilon, "steps": more.get("steps"), "restarts": more.get("restarts")}
  found = {"accuracy": share.accuracy, "interval_low": low, "interval_high": high, "seconds": more.get("seconds")}
  return {**about, "suite": suite, "attack": attack, **ball, **found}
