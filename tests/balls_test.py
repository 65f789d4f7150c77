"""The L-infinity ball: start, projection, steepest step and distance."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tla_tf.balls import LinfBall, gaussian_start
from tla_tf.ops import seeds

BALL = LinfBall()
FAST = hypothesis.settings(max_examples=30, deadline=None)
EPSILON = st.floats(0, 0.5, width=32)
SEED = st.integers(0, 10**6)
# Float32 rounding of x + epsilon for pixels in [0, 1].
ROUNDING = 2e-7


def centers(seed, count=3):
  return np.random.default_rng(seed).uniform(size=(count, 2, 3, 1)).astype(np.float32)


def anywhere(seed, count=3):
  return np.random.default_rng(seed + 1).normal(size=(count, 2, 3, 1)).astype(np.float32)


def largest(difference):
  return np.abs(difference).max(axis=(1, 2, 3))


@hypothesis.given(SEED, EPSILON)
@FAST
def test_a_random_start_lies_in_the_ball(seed, epsilon):
  center = centers(seed)
  start = BALL.random_start(center, epsilon, seeds.key(seed)).numpy()
  assert start.shape == center.shape and start.dtype == np.float32
  assert np.all(largest(start - center) <= epsilon + ROUNDING)


def test_random_starts_fill_the_ball():
  shifts = BALL.random_start(tf.zeros([2000, 1, 1, 1]), 0.3, seeds.key(0)).numpy().ravel()
  counts, _ = np.histogram(shifts, bins=10, range=(-0.3, 0.3))
  assert counts.sum() == 2000
  assert counts.min() > 130 and counts.max() < 270  # five standard deviations


def test_a_random_start_of_radius_0_is_the_center():
  np.testing.assert_array_equal(BALL.random_start(centers(0), 0.0, seeds.key(0)), centers(0))


def test_a_random_start_by_example_does_not_depend_on_the_batch():
  center, keys = centers(0), seeds.example_keys(seeds.key(0), tf.constant([4, 9, 2]))
  together = BALL.random_start(center, 0.3, keys)
  np.testing.assert_array_equal(together[1:2], BALL.random_start(center[1:2], 0.3, keys[1:2]))


@hypothesis.given(SEED, EPSILON)
@FAST
def test_a_projection_lies_in_the_ball(seed, epsilon):
  center = centers(seed)
  assert np.all(largest(BALL.project(anywhere(seed), center, epsilon).numpy() - center) <= epsilon + ROUNDING)


@hypothesis.given(SEED, EPSILON)
@FAST
def test_a_projection_is_idempotent(seed, epsilon):
  once = BALL.project(anywhere(seed), centers(seed), epsilon)
  np.testing.assert_array_equal(BALL.project(once, centers(seed), epsilon), once)


@hypothesis.given(SEED, EPSILON)
@FAST
def test_a_projection_leaves_the_inside_alone(seed, epsilon):
  center = centers(seed)
  inside = (center + np.float32(0.99 * epsilon) * np.sign(anywhere(seed))).astype(np.float32)
  hypothesis.assume(np.all(largest(inside - center) < epsilon) or epsilon == 0)
  np.testing.assert_array_equal(BALL.project(inside, center, epsilon), inside)


@hypothesis.given(SEED, EPSILON)
@FAST
def test_no_point_of_the_ball_is_nearer_than_the_projection(seed, epsilon):
  outside, center = anywhere(seed), centers(seed)
  projected = BALL.project(outside, center, epsilon).numpy()
  other = BALL.random_start(center, epsilon, seeds.key(seed)).numpy()
  assert np.all(np.abs(outside - projected) <= np.abs(outside - other) + ROUNDING)


def test_a_projection_by_hand():
  projected = BALL.project(tf.constant([[0.0, 0.5, 0.9]]), tf.constant([[0.5, 0.5, 0.5]]), 0.25)
  np.testing.assert_array_equal(projected, [[0.25, 0.5, 0.75]])


@hypothesis.given(SEED)
@FAST
def test_the_steepest_step_has_length_1(seed):
  gradient = anywhere(seed)
  step = BALL.steepest_step(gradient)
  np.testing.assert_array_equal(BALL.distance(step, tf.zeros_like(step)), [1, 1, 1])


@hypothesis.given(SEED)
@FAST
def test_no_step_of_length_1_climbs_more_than_the_steepest(seed):
  gradient = anywhere(seed)
  others = np.random.default_rng(seed).uniform(-1, 1, (50, *gradient.shape))
  climbed = np.sum(gradient * BALL.steepest_step(gradient), axis=(1, 2, 3))
  assert np.all(climbed >= np.sum(gradient * others, axis=(2, 3, 4)).max(0))
  np.testing.assert_allclose(climbed, np.abs(gradient).sum(axis=(1, 2, 3)), rtol=1e-5)  # the dual norm


def test_a_zero_gradient_takes_no_step():
  np.testing.assert_array_equal(BALL.steepest_step(tf.constant([[0.0, -2.0, 1e-30]])), [[0, -1, 1]])


@hypothesis.given(SEED)
@FAST
def test_the_distance_is_the_largest_change_of_a_pixel(seed):
  images, center = anywhere(seed), centers(seed)
  np.testing.assert_array_equal(BALL.distance(images, center), largest(images - center))


@pytest.mark.parametrize("shape", [(4,), (2, 2), (2, 2, 1)])
def test_the_distance_is_one_number_an_example(shape):
  images = np.zeros((3, *shape), np.float32)
  images[1].flat[-1], images[2].flat[0] = 0.25, -0.5
  np.testing.assert_array_equal(BALL.distance(images, tf.zeros_like(images)), [0, 0.25, 0.5])


@pytest.mark.parametrize("key", ["batch", "example"])
def test_a_gaussian_start_is_normal_noise_of_its_deviation(key):
  center = tf.random.stateless_uniform([40, 10, 10, 1], [0, 1])
  keys = seeds.key(3) if key == "batch" else seeds.example_keys(seeds.key(3), tf.range(40))
  noise = gaussian_start(center, 0.001, keys) - center
  # Of 4,000 draws; kurtosis 3 tells a normal from a uniform one, whose is 1.8.
  assert abs(np.mean(noise)) < 1e-4
  assert np.std(noise) == pytest.approx(0.001, rel=0.05)
  assert np.mean(noise**4) / np.std(noise) ** 4 == pytest.approx(3, abs=0.5)
  np.testing.assert_array_equal(gaussian_start(center, tf.constant(0.001), keys), center + noise)
  np.testing.assert_array_equal(gaussian_start(center, 0.0, keys), center)


def test_a_gaussian_start_by_example_does_not_depend_on_the_batch():
  center, keys = centers(0), seeds.example_keys(seeds.key(0), tf.constant([4, 9, 2]))
  together = gaussian_start(center, 0.3, keys)
  # Logarithms and cosines may be rounded differently in a larger batch.
  np.testing.assert_allclose(together[1:2], gaussian_start(center[1:2], 0.3, keys[1:2]), atol=1e-6)
