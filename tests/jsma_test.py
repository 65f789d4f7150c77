"""JSMA by hand and against a search over all pairs; see deepfool_test for the rest."""

import itertools

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from deepfool_test import affine, curved
from hypothesis import strategies as st

from tla_tf.attack_configs import JsmaConfig
from tla_tf.attacks.jsma import Jsma, best_pair
from tla_tf.errors import InputError


def scores(gains, falls, allowed):
  """(u_p + u_q)(v_p + v_q) of every pair that qualifies, one row at a time: dict from (p, q) to the product."""
  return {
    (p, q): (gains[p] + gains[q]) * (falls[p] + falls[q])
    for p, q in itertools.combinations(np.flatnonzero(allowed), 2)
    if gains[p] + gains[q] > 0 and falls[p] + falls[q] > 0
  }


@hypothesis.given(st.integers(0, 10**6), st.sampled_from([-1.0, -0.9, 0.0, 1.0]), st.booleans(), st.floats(-2, 2))
@hypothesis.settings(max_examples=25, deadline=None)
def test_the_best_of_all_pairs_is_found(seed, correlation, whole, shift):
  rng = np.random.default_rng(seed)
  gains, rest = rng.normal(size=(2, 6, 17)).astype(np.float32)
  falls = np.float32(correlation) * gains + np.float32(np.sqrt(1 - correlation**2)) * rest + np.float32(shift)
  if whole:  # Whole numbers tie often.
    gains, falls = np.round(gains), np.round(falls)
  allowed = rng.random((6, 17)) < rng.random()
  first, second, exists = (t.numpy() for t in best_pair(*map(tf.constant, (gains, falls, allowed))))
  for row in range(6):
    expected = scores(gains[row].astype(np.float64), falls[row].astype(np.float64), allowed[row])
    assert exists[row] == bool(expected)
    if expected:
      found = expected[tuple(sorted((first[row], second[row])))]
      np.testing.assert_allclose(found, max(expected.values()), rtol=1e-5)


def test_products_that_vanish_in_float32_are_still_ordered():
  gains = np.array([[1e-30, 3e-30, 2e-30, 4e-30]], np.float32)
  first, second, exists = best_pair(*map(tf.constant, (gains, gains, np.ones((1, 4), bool))))
  assert exists.numpy().all() and {int(first[0]), int(second[0])} == {1, 3}


def test_probabilities_by_hand():
  """Two classes, z_1 - z_0 = 1, 3, 2, -1 times the pixels - 4: pixels 1 and 2 give 1."""
  network = affine([[0] * 4, [1, 3, 2, -1]], [0, -4 + 2.5])
  found = Jsma(network, JsmaConfig(epsilon=0.5), "off")(np.zeros((1, 2, 2, 1), np.float32), [0])
  np.testing.assert_array_equal(found.adversarial.numpy().ravel(), [0, 1, 1, 0])
  assert found.success.numpy().all() and found.distance.numpy().tolist() == [0.5]
  assert found.loss.numpy().tolist() == [-0.5]


def test_logits_by_hand():
  """alpha 3, 2, 1, 0 and beta 2, -1, -4, -3: the pair (1, 2) scores 3 * 5, more than (0, 2), 4 * 2."""
  weights = np.array([[3, 2, 1, 0], [1, -2, -1, -1], [1, 1, -3, -2]])
  images = np.zeros((1, 4), np.float32)
  network = affine(weights, 0.5 * weights.sum(1) + [-0.5, 0, 0])
  found = Jsma(network, JsmaConfig(epsilon=0.5), "off", logits=True)(images, [1], targets=[0])
  np.testing.assert_array_equal(found.adversarial, [[0, 1, 1, 0]])
  assert found.success.numpy().all()


def test_darkening_turns_the_signs_round():
  """z_1 - z_0 = 1, -3, -2, -1 times the pixels + 1, -4 at white: without pixels 1 and 2 it is 1."""
  network = affine([[0] * 4, [1, -3, -2, -1]], [0, -2.5 + 1])
  found = Jsma(network, JsmaConfig(epsilon=0.5, theta=-1.0), "off")(np.ones((1, 4), np.float32), [0])
  np.testing.assert_array_equal(found.adversarial, [[1, 0, 0, 1]])
  assert found.success.numpy().all()


def test_small_steps_use_values_again_within_the_budget():
  """With theta 0.3 pixels 1 and 2 go 0.3, 0.6, ...: 5 * 0.9 is the first above 4; two values have changed."""
  network = affine([[0] * 4, [1, 3, 2, -1]], [0, -4 + 2.5])
  found = Jsma(network, JsmaConfig(epsilon=0.5, theta=0.3), "off")(np.zeros((1, 4), np.float32), [0])
  np.testing.assert_allclose(found.adversarial, [[0, 0.9, 0.9, 0]], rtol=1e-6)
  assert found.success.numpy().all()


def test_no_pair_no_step():
  """Every pixel lowers the target."""
  network = affine([[0] * 4, [-1, -3, -2, -1]], [0, -4])
  found = Jsma(network, JsmaConfig(epsilon=1.0), "off")(np.zeros((1, 4), np.float32), [0])
  assert not found.success.numpy().any() and found.distance.numpy().tolist() == [0.0]


def test_untargeted_it_aims_at_the_likeliest_class_then_at_the_next():
  """Class 1 grows with pixels 0 and 1, class 2 with 2 and 3; class 1 is likelier at first."""
  network = affine([[0] * 4, [1, 1, 0, 0], [0, 0, 1, 1]], [0, -0.1, -0.2])
  attack = Jsma(network, JsmaConfig(epsilon=0.5, theta=0.2), "off")
  images = np.full((1, 4), 0.5, np.float32)
  for restart, changed in ((0, [0, 1]), (1, [2, 3]), (2, [0, 1])):
    found = attack(images, [0], restart=restart)
    assert found.success.numpy().all() and np.flatnonzero(found.adversarial != images).tolist() == changed


@hypothesis.given(st.integers(0, 10**6), st.floats(0, 1), st.sampled_from([1.0, 0.3, -0.4, -1.0]), st.booleans())
@hypothesis.settings(max_examples=10, deadline=None)
def test_the_budget_holds(seed, epsilon, theta, logits):
  network, images, labels = curved(seed)
  found = Jsma(network, JsmaConfig(epsilon=epsilon, theta=theta), "off", logits=logits)(images, labels)
  changed = (found.adversarial.numpy() != images).reshape(6, -1)
  assert np.all(changed.sum(1) <= np.floor(epsilon * 24 + 1e-9))
  assert np.all(np.sign(found.adversarial - images).ravel()[changed.ravel()] == np.sign(theta))
  np.testing.assert_allclose(found.distance, changed.mean(1), rtol=1e-6)


def test_a_budget_of_a_decimal_share_is_not_rounded_down():
  """0.29 * 100 is 28.999999999999996 in binary; 29 values are meant, 14 pairs of them are used."""
  network = affine([[0] * 100, [1] * 100], [0, 50 - 27.5])
  images = np.zeros((1, 100), np.float32)
  assert Jsma(network, JsmaConfig(epsilon=0.29), "off")(images, [0]).distance.numpy() == [np.float32(0.28)]
  assert not Jsma(network, JsmaConfig(epsilon=0.27), "off")(images, [0]).success.numpy().any()


@pytest.mark.parametrize(
  "settings", [{"epsilon": 1.5}, {"epsilon": -0.1}, {"theta": 0.0}, {"theta": 2.0}, {"restarts": 0}, {"norm": "l2"}]
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(InputError, match=next(iter(settings))):
    JsmaConfig(**settings)
