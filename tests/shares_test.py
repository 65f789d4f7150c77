"""Worst cases from masks, by hand."""

import numpy as np
import pytest
from result_support import attack_row

from tla_tf.summaries import shares
from tla_tf.types import Norm

RIGHT = np.array([True] * 9 + [False])


def _images(*positions):
  return np.isin(np.arange(10), positions)


def test_a_larger_ball_holds_what_fell_in_a_smaller_one():
  rows = [attack_row("small", epsilon=0.1), attack_row("large"), attack_row("other", "l2", Norm.L2, 1.0)]
  fell = {"small": _images(0, 1, 9), "large": _images(1, 2), "other": _images(3)}
  found = shares.worst_case(rows, fell, RIGHT)
  by_threat = [(left.norm, left.epsilon, round(10 * left.accuracy)) for left in found.by_threat]
  assert by_threat == [(Norm.LINF, 0.1, 7), (Norm.LINF, 0.3, 6), (Norm.L2, 1.0, 8)]
  assert found.accuracy == pytest.approx(0.5)
  assert {suite: round(10 * left.accuracy) for suite, left in found.by_suite.items()} == {"own": 6, "l2": 8}
  # Exact: 5 of 10.
  assert found.interval == pytest.approx((0.187, 0.813), abs=1e-3)
