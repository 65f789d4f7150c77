"""The L2 ball, and gradient attacks in it."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tla_tf import balls
from tla_tf.attacks import GradientAttack, GradientSearch, presets
from tla_tf.balls import L2Ball, LinfBall
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.evaluation.verifier import verify
from tla_tf.ops import seeds

BALL = L2Ball()
FAST = hypothesis.settings(max_examples=40, deadline=None)
EPSILON = st.floats(0, 4, width=32)
SEED = st.integers(0, 10**6)


def pixels(seed, count=3, size=5):
  return np.random.default_rng(seed).uniform(size=(count, size, size, 1)).astype(np.float32)


def length(change):
  return np.linalg.norm(np.asarray(change, np.float64).reshape(len(change), -1), axis=1)


@hypothesis.given(SEED, EPSILON)
@FAST
def test_a_random_start_lies_in_the_ball(seed, epsilon):
  center = pixels(seed)
  start = BALL.random_start(center, epsilon, seeds.key(seed))
  assert start.dtype == tf.float32
  assert np.all(length(start - center) <= epsilon + 1e-5)


def test_random_starts_fill_the_disk():
  """In two dimensions the squared radius is uniform, and so is the angle."""
  shifts = BALL.random_start(tf.zeros([4000, 1, 2, 1]), 0.5, seeds.key(0)).numpy().reshape(-1, 2)
  for values, limits in (((shifts**2).sum(1), (0, 0.25)), (np.arctan2(*shifts.T), (-np.pi, np.pi))):
    counts, _ = np.histogram(values, bins=10, range=limits)
    assert counts.sum() == 4000
    assert counts.min() > 305 and counts.max() < 495  # five standard deviations


def test_a_random_start_by_example_does_not_depend_on_the_batch():
  center, keys = pixels(0), seeds.example_keys(seeds.key(0), tf.constant([4, 9, 2]))
  together = BALL.random_start(center, 0.3, keys)
  # Logarithms and cosines may be rounded differently in a larger batch.
  np.testing.assert_allclose(together[1:2], BALL.random_start(center[1:2], 0.3, keys[1:2]), atol=1e-6)


@hypothesis.given(SEED, EPSILON)
@FAST
def test_a_projection_is_the_nearest_point_of_the_ball(seed, epsilon):
  center = pixels(seed)
  outside = center + np.random.default_rng(seed).normal(size=center.shape).astype(np.float32)
  found = BALL.project(outside, center, epsilon).numpy()
  distance = length(outside - center)
  expected = center + (outside - center) * np.minimum(1.0, epsilon / distance)[:, None, None, None]
  np.testing.assert_allclose(found, expected, atol=2e-6)
  inside = distance <= epsilon * (1 - 1e-5)
  np.testing.assert_array_equal(found[inside], outside[inside])


def test_a_step_has_length_1_along_the_gradient_whatever_its_size():
  gradient = tf.constant([[3.0, 4.0], [3e-30, 4e-30], [3e25, 4e25], [0.0, 0.0]])[:, None, :, None]
  step = BALL.steepest_step(gradient).numpy().reshape(4, 2)
  np.testing.assert_allclose(step, [[0.6, 0.8], [0.6, 0.8], [0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


def test_the_distance_is_euclidean():
  np.testing.assert_allclose(BALL.distance(tf.constant([[[[3.0], [4.0]]]]), tf.zeros([1, 1, 2, 1])), [5.0])


def test_balls_are_found_by_norm():
  assert isinstance(balls.get("l2"), L2Ball)
  assert isinstance(balls.get("linf"), LinfBall)


def linear(weights):
  """Two classes whose logit difference is the product with the weights."""
  kernel = tf.constant(np.stack([-np.ravel(weights), np.ravel(weights)], 1) / 2, tf.float32)
  return lambda images: tf.reshape(images - 0.5, [tf.shape(images)[0], -1]) @ kernel


def test_pgd_on_a_linear_model_ends_at_the_point_by_hand():
  """x - epsilon w / |w|, for a label whose logit grows with w."""
  weights = np.array([3.0, 4.0])
  images = np.array([[0.5, 0.6], [0.7, 0.5]], np.float32).reshape(2, 1, 2, 1)
  attack = GradientAttack(linear(weights), presets.pgd(0.2, 0.1, 100, norm="l2"), jit="off")
  found = attack(images, np.array([1, 1]), seed=3)
  expected = images - 0.2 * np.array([0.6, 0.8], np.float32).reshape(1, 1, 2, 1)
  np.testing.assert_allclose(found.adversarial, expected, atol=1e-4)
  np.testing.assert_allclose(found.distance, [0.2, 0.2], rtol=1e-5)
  # Products with w at the points by hand: -0.6 and -0.4 from 0.4 and 0.6.
  assert found.success.numpy().tolist() == [True, True]


@hypothesis.given(SEED, st.floats(0.015625, 3, width=32), st.integers(1, 6))
@FAST
def test_whatever_is_found_passes_the_independent_check(seed, epsilon, steps):
  images, labels = pixels(seed, 4), np.array([0, 1, 0, 1])
  search = SEARCH.setdefault("search", GradientSearch(linear(np.linspace(-1, 1, 25)), jit="off", norm="l2"))
  attack = GradientAttack(search, AttackConfig(epsilon=epsilon, step_size=epsilon / 2, steps=steps, norm="l2"))
  found = attack(images, labels, seed=seed)
  assert np.all(verify(images, found.adversarial, epsilon, "l2"))


SEARCH = {}


def test_the_verifier_measures_in_the_norm_it_is_told():
  images, moved = np.full((1, 2, 2, 1), 0.5), np.full((1, 2, 2, 1), 0.6)
  assert verify(images, moved, 0.11, "linf").all() and not verify(images, moved, 0.19, "l2").any()
  assert verify(images, moved, 0.21, "l2").all()
  with pytest.raises(ValueError, match="'l3'"):
    verify(images, moved, 0.1, "l3")


def test_a_search_of_another_norm_is_refused():
  search = GradientSearch(linear(np.ones(2)), jit="off", norm="l2")
  with pytest.raises(InputError, match="norm"):
    GradientAttack(search, AttackConfig())


def test_only_l2_reaches_beyond_1():
  assert AttackConfig(norm="l2", epsilon=3.0, step_size=2.0).epsilon == 3.0
  with pytest.raises(InputError, match="at most 1"):
    AttackConfig(norm="linf", epsilon=3.0)
