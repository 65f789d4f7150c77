"""C&W in L2 on linear networks, whose nearest adversarial image is known; see deepfool_test for the rest."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from deepfool_test import MIDDLE, affine
from hypothesis import strategies as st

from tla_tf.attack_configs import CarliniWagnerConfig
from tla_tf.attacks.carlini_wagner import CarliniWagner
from tla_tf.errors import InputError

# In the middle class 0 leads, then class 1; the boundaries of classes 1 and 2 are 0.1 and 0.4 away.
THREE = affine([[0, 0], [3, 4], [-2, 0]], [0, -0.5, -0.8])


def config(**settings):
  return CarliniWagnerConfig(**{"steps": 200, "initial_constant": 0.01, **settings})


def test_the_nearest_point_of_three_classes():
  found = CarliniWagner(THREE, config(), "off")(MIDDLE, [0])
  np.testing.assert_allclose(found.distance, [0.1], rtol=0.02)
  np.testing.assert_allclose(found.adversarial.numpy().ravel(), [0.56, 0.58], atol=0.005)
  assert found.success.numpy().all() and found.distance.numpy()[0] >= 0.1
  np.testing.assert_array_equal(found.loss, -found.distance)


def test_targeted_the_nearest_point_of_that_class():
  found = CarliniWagner(THREE, config(), "off")(MIDDLE, [0], targets=[2])
  np.testing.assert_allclose(found.distance, [0.4], rtol=0.02)
  assert np.argmax(THREE(found.adversarial), 1) == [2]


@pytest.mark.parametrize("targets", [None, [1]])
def test_confidence_asks_for_a_lead(targets):
  """|w| = 5, f = -0.5: a lead of 0.5 is 0.2 away."""
  network = affine([[0, 0], [3, 4]], [0, -0.5])
  found = CarliniWagner(network, config(confidence=0.5), "off")(MIDDLE, [0], targets=targets)
  np.testing.assert_allclose(found.distance, [0.2], rtol=0.02)
  z = network(found.adversarial).numpy()[0]
  assert z[1] - z[0] >= 0.5


@hypothesis.given(st.integers(0, 10**6))
@hypothesis.settings(max_examples=4, deadline=None)
def test_two_classes_within_two_percent_of_the_exact_distance(seed):
  rng = np.random.default_rng(seed)
  weights, images = rng.normal(size=12), rng.uniform(0.45, 0.55, size=(5, 2, 2, 3)).astype(np.float32)
  offset = 0.2 * np.linalg.norm(weights)
  network = affine([0 * weights, weights], [0, offset])
  gap = (images.reshape(5, -1) - 0.5) @ weights + offset
  found = CarliniWagner(network, config(), "off")(images, np.ones(5, np.int32))
  exact = np.abs(gap) / np.linalg.norm(weights)
  np.testing.assert_allclose(found.distance, exact, rtol=0.02)
  assert found.success.numpy().all()


@pytest.mark.parametrize("jit", ["off", "on"])
def test_images_at_the_ends_of_the_range_are_moved(jit):
  """From black and white, 4 pixels by 0.5 each: a distance of 1."""
  network = affine([[0] * 4, [1, -1, 1, -1]], [0, 0])
  images = np.array([[0, 1, 0, 1], [1, 0, 1, 0]], np.float32)
  found = CarliniWagner(network, config(step_size=0.1), jit)(images, [0, 1])
  np.testing.assert_allclose(found.distance, [1.0, 1.0], rtol=0.02)
  assert np.isfinite(found.adversarial).all() and found.success.numpy().all()


def test_the_constant_grows_until_it_is_enough():
  """At 0.1, c has to be 2 * 0.1 / 5 = 0.04: out of reach of one constant of 0.001, within reach of three."""
  for rounds, success in ((1, False), (2, False), (3, True)):
    attack = CarliniWagner(THREE, config(initial_constant=1e-3, binary_search_steps=rounds), "off")
    assert attack(MIDDLE, [0]).success.numpy().tolist() == [success]


def test_the_largest_constants_are_still_numbers():
  attack = CarliniWagner(
    lambda x: tf.stack([1.0 + 0.0 * x[:, 0], 0.1 * x[:, 1]], 1),
    config(steps=2, binary_search_steps=60, initial_constant=1e8),
    "off",
  )
  found = attack(np.full((1, 2), 0.5, np.float32), [0])
  assert not found.success.numpy().any() and found.nonfinite_gradients.numpy().tolist() == [0]


def test_found_beyond_epsilon_is_no_success():
  found = CarliniWagner(THREE, config(epsilon=0.05), "off")(MIDDLE, [0])
  assert not found.success.numpy().any() and np.argmax(THREE(found.adversarial), 1) == [1]


@pytest.mark.parametrize(
  "settings",
  [
    {"epsilon": -1.0},
    {"steps": 0},
    {"step_size": 0.0},
    {"binary_search_steps": 0},
    {"initial_constant": 0.0},
    {"confidence": -1.0},
    {"norm": "l0"},
  ],
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(InputError, match=next(iter(settings))):
    CarliniWagnerConfig(**settings)
