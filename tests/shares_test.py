"""Worst cases from masks, by hand."""

import numpy as np
import pytest

from tla_tf.attack_configs import KINDS
from tla_tf.records.evaluation import AttackRow, Diagnostics
from tla_tf.summaries import shares
from tla_tf.types import Norm, Target

RIGHT = np.array([True] * 9 + [False])


def _row(name, suite="own", norm=Norm.LINF, epsilon=0.3):
  return AttackRow(
    name=name,
    suite=suite,
    kind="gradient",
    norm=norm,
    epsilon=epsilon,
    steps=1,
    step_size=0.1,
    restarts=1,
    settings=KINDS["gradient"]().to_dict(),
    target=Target.NONE,
    on_survivors=False,
    accuracy=0.5,
    interval=(0.0, 1.0),
    accuracy_per_seed=[0.5],
    accuracy_std=None,
    accuracy_worst_over_seeds=0.5,
    images_attacked=9,
    median_distance=None,
    seconds=1.0,
    diagnostics=Diagnostics(zero_gradient_images=0, nonfinite_gradient_images=0, rejected_by_verifier=0),
  )


def _images(*positions):
  return np.isin(np.arange(10), positions)


def test_a_larger_ball_holds_what_fell_in_a_smaller_one():
  rows = [_row("small", epsilon=0.1), _row("large"), _row("other", "l2", Norm.L2, 1.0)]
  fell = {"small": _images(0, 1, 9), "large": _images(1, 2), "other": _images(3)}
  found = shares.worst_case(rows, fell, RIGHT)
  by_threat = [(left.norm, left.epsilon, round(10 * left.accuracy)) for left in found.by_threat]
  assert by_threat == [(Norm.LINF, 0.1, 7), (Norm.LINF, 0.3, 6), (Norm.L2, 1.0, 8)]
  assert found.accuracy == pytest.approx(0.5)
  assert {suite: round(10 * left.accuracy) for suite, left in found.by_suite.items()} == {"own": 6, "l2": 8}
  # Exact: 5 of 10.
  assert found.interval == pytest.approx((0.187, 0.813), abs=1e-3)
