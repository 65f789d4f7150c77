"""FAB-T: the projection against other solvers, closed forms on linear models, and properties."""

import hypothesis
import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf
from hypothesis import strategies as st

from tla_tf import networks
from tla_tf.attack_configs import FabConfig
from tla_tf.attacks import attack_survivors
from tla_tf.attacks.auto_attack import Fab
from tla_tf.attacks.auto_attack.fab import hyperplane_step
from tla_tf.errors import InputError
from tla_tf.ops import objectives
from tla_tf.types import Norm

FAST = hypothesis.settings(max_examples=20, deadline=None)
SEED = st.integers(0, 10**6)
NORMS = ["linf", "l2"]
DUAL = {"linf": 1, "l2": 2}
ORDER = {"linf": np.inf, "l2": 2}
# Compiled once: the property test calls it often.
STEPS = {
  norm: tf.function(lambda *args, norm=norm: hyperplane_step(*args, Norm(norm)), autograph=False) for norm in NORMS
}


def pixels(seed, count=3, size=5):
  return np.random.default_rng(seed).uniform(size=(count, size, size, 1)).astype(np.float32)


def linear(kernel, bias=0.0):
  kernel = tf.constant(kernel, tf.float32)
  return lambda images: tf.reshape(images - 0.5, [tf.shape(images)[0], -1]) @ kernel + bias


def four_classes(seed=0):
  return linear(np.random.default_rng(seed).normal(size=(25, 4)))


def said(network, images):
  return np.argmax(network(tf.constant(images)), -1)


def length(change, norm):
  return np.linalg.norm(np.asarray(change, np.float64).reshape(len(change), -1), ord=ORDER[norm], axis=1)


def nearest_by_scipy(point, normal, gap, norm):
  """Length of the shortest step: a linear program in L-infinity, bisection for the multiplier in L2."""
  if norm == "linf":
    size = len(point)
    upper = np.concatenate(
      [np.hstack([np.eye(size), -np.ones((size, 1))]), np.hstack([-np.eye(size), -np.ones((size, 1))])]
    )
    solved = scipy.optimize.linprog(
      np.eye(size + 1)[-1],
      A_ub=upper,
      b_ub=np.zeros(2 * size),
      A_eq=[[*normal, 0.0]],
      b_eq=[gap],
      bounds=[*zip(-point, 1 - point), (0, None)],
    )
    return solved.fun if solved.success else None

  def step(multiplier):
    return np.clip(multiplier * normal, -point, 1 - point)

  low, high = -1e6, 1e6
  if not normal @ step(low) <= gap <= normal @ step(high):
    return None
  return np.linalg.norm(step(scipy.optimize.brentq(lambda m: normal @ step(m) - gap, low, high, xtol=1e-14)))


@pytest.mark.parametrize("norm", NORMS)
def test_a_step_is_as_short_as_that_of_another_solver(norm):
  rng = np.random.default_rng(0)
  points, normals = rng.uniform(size=(60, 12)), rng.normal(size=(60, 12)) * rng.uniform(0.01, 1, size=(60, 1))
  # From an easy step to one that the box nearly rules out; some beyond it.
  gaps = rng.uniform(-1.2, 1.2, 60) * np.abs(normals).sum(1) / 2
  found = hyperplane_step(*(tf.constant(part, tf.float32) for part in (points, normals, gaps)), Norm(norm)).numpy()
  missed = 0
  for point, normal, gap, step in zip(points, normals, gaps, found):
    assert np.all((point + step > -1e-6) & (point + step < 1 + 1e-6))
    expected = nearest_by_scipy(point, normal, gap, norm)
    if expected is None:
      # The box's corner that is nearest to the hyperplane.
      missed += 1
      corner = np.where(normal * gap > 0, 1 - point, -point)
      np.testing.assert_allclose(step, corner, atol=1e-5)
    else:
      np.testing.assert_allclose(normal @ step, gap, atol=1e-5)
      np.testing.assert_allclose(np.linalg.norm(step, ORDER[norm]), expected, rtol=1e-4, atol=1e-6)
  assert 0 < missed < 40


@hypothesis.given(SEED, st.sampled_from(NORMS), st.floats(-3, 3, width=32))
@FAST
def test_a_step_stays_in_the_box_and_reaches_the_plane(seed, norm, gap):
  rng = np.random.default_rng(seed)
  # Pixels at the ends of their range, and weights of 0, as images and networks have them.
  points = np.round(rng.uniform(-0.3, 1.3, size=(4, 9)), 1).clip(0, 1).astype(np.float32)
  normals = np.where(rng.uniform(size=(4, 9)) < 0.3, 0, rng.normal(size=(4, 9))).astype(np.float32)
  step = STEPS[norm](tf.constant(points), tf.constant(normals), tf.fill([4], gap)).numpy()
  assert np.all((points + step > -1e-6) & (points + step < 1 + 1e-6))
  assert np.all(step[normals == 0] == 0)
  most = np.where(normals * gap > 0, 1 - points, points)
  reachable = np.sign(gap) * np.minimum(np.abs(gap), (np.abs(normals) * most).sum(1))
  np.testing.assert_allclose((normals * step).sum(1), reachable, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_steps_by_hand(norm):
  """From (0.5, 0.9) along (1, 2): in L-infinity both pixels move alike until the second is at 1."""
  points, normals = tf.constant([[0.5, 0.9]] * 3), tf.constant([[1.0, 2.0]] * 3)
  steps = hyperplane_step(points, normals, tf.constant([0.15, 0.4, -0.3]), Norm(norm)).numpy()
  expected = {"linf": [[0.05, 0.05], [0.2, 0.1], [-0.1, -0.1]], "l2": [[0.03, 0.06], [0.2, 0.1], [-0.06, -0.12]]}
  np.testing.assert_allclose(steps, expected[norm], atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_the_nearest_image_on_a_linear_model_is_found(norm):
  """Far from the ends of the pixel range, |lead| / |w_y - w_other|_dual is the distance to the boundary."""
  rng = np.random.default_rng(1)
  kernel, images = rng.normal(size=(25, 4)), rng.uniform(0.4, 0.6, size=(30, 5, 5, 1)).astype(np.float32)
  network = linear(kernel)
  labels, logits = said(network, images), network(images).numpy()
  expected = np.full(len(images), np.inf)
  for other in range(4):
    normal = np.linalg.norm(kernel[:, labels] - kernel[:, [other]], ord=DUAL[norm], axis=0)
    gap = logits[np.arange(len(images)), labels] - logits[:, other]
    expected = np.minimum(expected, np.where(labels == other, np.inf, gap / np.maximum(normal, 1e-9)))
  attack = Fab(network, FabConfig(epsilon=1.0, steps=10, norm=norm), jit="off")
  distances = [attack(images, labels, restart=restart).distance for restart in range(3)]
  np.testing.assert_allclose(np.min(distances, 0), expected, rtol=0.01)
  epsilon = float(np.median(expected))
  config = FabConfig(epsilon=epsilon, steps=10, restarts=3, norm=norm)
  found = attack_survivors(Fab(network, config, jit="off"), images, labels, batch_size=30)
  clear = np.abs(expected / epsilon - 1) > 0.01
  np.testing.assert_array_equal(found.success[clear], (expected < epsilon)[clear])


@pytest.mark.parametrize("norm", NORMS)
def test_the_box_is_heeded_on_a_linear_model(norm):
  """Images near the ends of the pixel range: the distance is that of the other solver."""
  rng = np.random.default_rng(2)
  kernel, images = rng.normal(size=(25, 2)), np.round(rng.uniform(size=(12, 5, 5, 1))).astype(np.float32)
  network = linear(kernel)
  labels, logits = said(network, images), network(images).numpy()
  found = Fab(network, FabConfig(epsilon=1.0 if norm == "linf" else 5.0, norm=norm), jit="off")(images, labels)
  assert np.all(found.success)
  for image, label, logit, distance in zip(images, labels, logits, found.distance.numpy()):
    normal = kernel[:, 1 - label] - kernel[:, label]
    expected = nearest_by_scipy(image.ravel().astype(float), normal, logit[label] - logit[1 - label], norm)
    np.testing.assert_allclose(distance, expected, rtol=0.01)


def test_the_loss_is_minus_the_distance_and_success_needs_epsilon():
  network, images = four_classes(), pixels(0, 10)
  labels = said(network, images)
  far = Fab(network, FabConfig(epsilon=1.0, steps=10), jit="off")(images, labels)
  assert np.all(far.success)
  np.testing.assert_array_equal(far.loss, -far.distance)
  np.testing.assert_allclose(far.distance, length(far.adversarial - images, "linf"), atol=1e-6)
  epsilon = float(np.median(far.distance))
  near = Fab(network, FabConfig(epsilon=epsilon, steps=10), jit="off")(images, labels)
  np.testing.assert_array_equal(near.success, far.distance.numpy() <= np.float32(epsilon))
  # The image is returned all the same.
  np.testing.assert_array_equal(near.adversarial, far.adversarial)
  assert np.all(said(network, near.adversarial) != labels)


def test_what_is_wrong_already_has_distance_0():
  network, images = four_classes(), pixels(0, 4)
  found = Fab(network, FabConfig(epsilon=0.1, steps=3), jit="off")(images, (said(network, images) + 1) % 4)
  np.testing.assert_array_equal(found.adversarial, images)
  assert np.all(found.success) and np.all(found.distance.numpy() == 0)


@pytest.mark.parametrize("norm", NORMS)
def test_explicit_targets_are_reached(norm):
  network, images = four_classes(), pixels(0, 12)
  labels = said(network, images)
  targets = (labels + 2) % 4
  found = Fab(network, FabConfig(epsilon=1.0 if norm == "linf" else 5.0, norm=norm), jit="off")(
    images, labels, targets=targets
  )
  assert np.all(found.success)
  np.testing.assert_array_equal(said(network, found.adversarial), targets)


@hypothesis.given(SEED, st.floats(0, 1, width=32), st.integers(1, 8), st.sampled_from(NORMS), st.integers(0, 5))
@FAST
def test_whatever_is_found_is_an_image_and_is_wrong(seed, epsilon, steps, norm, restart):
  images, network = pixels(seed), four_classes()
  labels = said(network, images)
  config = FabConfig(epsilon=epsilon, steps=steps, norm=norm)
  # One attack for all examples: its numbers enter as tensors, so that it is traced once.
  attack = SHARED.setdefault(norm, Fab(network, config, jit="off"))
  attack.config = config
  found = attack(images, labels, restart=restart)
  adversarial, success = found.adversarial.numpy(), found.success.numpy()
  assert np.all((adversarial >= 0) & (adversarial <= 1))
  assert np.all(length(adversarial - images, norm)[success] <= epsilon + 1e-6)
  assert np.all(said(network, adversarial)[success] != labels[success])
  some = np.isfinite(found.loss)
  np.testing.assert_array_equal(said(network, adversarial) != labels, some)
  np.testing.assert_array_equal(adversarial[~some], images[~some])


SHARED = {}


def around_a_sphere():
  """Class 1 is the inside of a sphere: (network, images outside, their leads at every point looked at, the distances).

  The boundary curves away from every linearisation, so that no step ends on it, as steps on a piecewise linear network
  do: on which side a point lies is never a matter of rounding.
  """
  rng = np.random.default_rng(0)
  shifts = rng.uniform(0.25, 0.45, size=(8, 5, 5, 1)) * rng.choice([-1, 1], size=(8, 5, 5, 1))
  lengths = length(shifts, "l2")
  radius, leads = lengths.mean() / 1.5, []

  def network(images):
    lead = (tf.reduce_sum((images - 0.5) ** 2, [1, 2, 3]) - radius**2) / (2 * radius)
    if tf.executing_eagerly():
      leads.append(lead.numpy())
    return tf.stack([lead, tf.zeros_like(lead)], 1)

  def beyond(reach, shift):
    return (np.maximum(np.abs(shift) - reach, 0) ** 2).sum() - radius**2

  by_pixel = [scipy.optimize.brentq(beyond, 0, 0.5, args=(shift,)) for shift in shifts]
  return network, (0.5 + shifts).astype(np.float32), leads, {"linf": np.array(by_pixel), "l2": lengths - radius}


@pytest.mark.parametrize("norm", NORMS)
def test_compilers_agree(norm):
  network, images, leads, exact = around_a_sphere()
  labels, config = np.zeros(8, np.int32), FabConfig(epsilon=1.0, steps=5, restarts=1, norm=norm)
  plain = Fab(network, config, jit="off")(images, labels)
  compiled = Fab(network, config, jit="on")(images, labels)
  tf.config.run_functions_eagerly(True)
  try:
    leads.clear()
    eager = Fab(network, config, jit="off")(images, labels)
  finally:
    tf.config.run_functions_eagerly(False)
  # A hundred times what rounding changes.
  assert np.abs(np.concatenate(leads)).min() > 1e-5
  for found in (plain, compiled, eager):
    np.testing.assert_allclose(found.distance, exact[norm], rtol=1e-3)
    np.testing.assert_allclose(found.distance, plain.distance, rtol=1e-4)
    np.testing.assert_allclose(found.adversarial, plain.adversarial, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_every_compiler_stops_just_beyond_the_networks_own_boundary(norm, compiler):
  """Steps on this network end within rounding of its boundary: the side decides the next, but not how near it ends."""
  network = networks.build("mlp_64", (5, 5, 1), 4, seed=0)
  images = pixels(3, 8)
  labels = np.argmax(network(images)["logits"], -1)
  found = Fab(network, FabConfig(epsilon=0.1, steps=5, norm=norm), jit=compiler)(images, labels)
  assert np.all(np.isfinite(found.loss))
  change = found.adversarial.numpy() - images
  np.testing.assert_allclose(found.distance, length(change, norm), rtol=1e-5)

  def lead(share):
    """By how much the label leads, as a share of the largest logit."""
    logits = network(images + np.float32(share) * change)["logits"]
    return objectives.logit_lead(logits, labels).numpy() / np.abs(logits).max(-1)

  # A step overshoots the linearised boundary by 5%.
  assert np.all(lead(1.0) < 1e-5) and np.all(lead(0.94) > 1e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_neighbours_do_not_matter(norm):
  network, images = four_classes(), pixels(4, 6)
  labels = said(network, images)
  attack = Fab(network, FabConfig(epsilon=0.1, steps=10, norm=norm), jit="off")
  together, again = attack(images, labels, 1), attack(images, labels, 2)
  # Nothing is drawn.
  np.testing.assert_array_equal(together.adversarial, again.adversarial)
  changed = np.concatenate([images[:2], pixels(5, 4)])
  np.testing.assert_array_equal(together.adversarial[:2], attack(changed, labels).adversarial[:2])
  assert attack.trace_count == 1


@pytest.mark.parametrize("norm", NORMS)
def test_the_batch_size_does_not_matter(norm):
  network, images, _, _ = around_a_sphere()
  attack = Fab(network, FabConfig(epsilon=1.0, steps=5, norm=norm), jit="off")
  together, few = attack(images, np.zeros(8, int)), attack(images[:2], np.zeros(2, int))
  np.testing.assert_allclose(together.adversarial[:2], few.adversarial, atol=1e-5)
  assert attack.trace_count == 1


@pytest.mark.parametrize("norm", NORMS)
def test_a_network_without_gradient_is_counted_and_harmless(norm):
  def quantised(images):
    return four_classes()(tf.round(images))

  images = pixels(0)
  labels = said(quantised, images)
  found = Fab(quantised, FabConfig(epsilon=0.1, steps=7, restarts=1, norm=norm), jit="off")(images, labels)
  np.testing.assert_array_equal(found.zero_gradients, [7, 7, 7])
  np.testing.assert_array_equal(found.adversarial, images)
  assert not np.any(found.success) and np.all(found.distance.numpy() == 0) and np.all(np.isneginf(found.loss))


def test_a_gradient_of_nan_is_counted_and_harmless():
  def network(images):
    flat = tf.reshape(images, [tf.shape(images)[0], -1])
    # The root's derivative at 0 is infinite, times 0 NaN.
    return tf.concat([flat[:, :1] + 2.0, tf.sqrt(0.0 * flat[:, :1])], -1)

  images = pixels(0)
  labels = said(network, images)
  found = Fab(network, FabConfig(epsilon=0.1, steps=7), jit="off")(images, labels)
  np.testing.assert_array_equal(found.nonfinite_gradients, [7, 7, 7])
  np.testing.assert_array_equal(found.adversarial, images)


@pytest.mark.parametrize(
  "bad",
  [
    dict(epsilon=-0.1),
    dict(epsilon=1.5),
    dict(steps=0),
    dict(alpha_max=1.5),
    dict(eta=0.9),
    dict(beta=-0.1),
    dict(norm="l0"),
    dict(restarts=0),
  ],
)
def test_bad_settings_are_refused(bad):
  with pytest.raises(InputError, match=next(iter(bad))):
    FabConfig(**bad)
