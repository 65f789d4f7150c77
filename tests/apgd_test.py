"""Auto-PGD: its rules by hand, closed forms on linear models, and properties."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tla_tf import networks
from tla_tf.attack_configs import ApgdConfig
from tla_tf.attacks import attack_survivors
from tla_tf.attacks.auto_attack import Apgd, standard
from tla_tf.attacks.auto_attack.apgd import checkpoints, dlr
from tla_tf.errors import InputError
from tla_tf.evaluation.verifier import verify
from tla_tf.ops import seeds

FAST = hypothesis.settings(max_examples=20, deadline=None)
SEED = st.integers(0, 10**6)
# Dual of the ball's norm: the margin changes by at most epsilon times this length of w.
DUAL = {"linf": 1, "l2": 2}
LOSSES = ["cross_entropy", "dlr", "targeted_dlr"]


def pixels(seed, count=3, size=5):
  return np.random.default_rng(seed).uniform(size=(count, size, size, 1)).astype(np.float32)


def linear(kernel, bias=0.0):
  kernel = tf.constant(kernel, tf.float32)
  return lambda images: tf.reshape(images - 0.5, [tf.shape(images)[0], -1]) @ kernel + bias


def four_classes(seed=0, size=5):
  return linear(np.random.default_rng(seed).normal(size=(size * size, 4)))


def said(network, images):
  return np.argmax(network(tf.constant(images)), -1)


@pytest.mark.parametrize(
  "steps, expected",
  [
    (100, [0, 22, 41, 57, 70, 80, 87, 93, 99]),
    (50, [0, 11, 21, 29, 35, 40, 44, 47, 50]),
    (10, [0, 3, 5, 6, 7, 8, 9, 10, 10]),
    (1, [0, 1, 1, 1, 1, 1, 1, 1, 1]),
  ],
)
def test_checkpoints_by_hand(steps, expected):
  np.testing.assert_array_equal(checkpoints(steps), expected)


def test_the_ratio_by_hand():
  logits = tf.constant([[5.0, 3.0, 1.0, -1.0], [5.0, 3.0, 1.0, -1.0]])
  labels = tf.constant([0, 2])
  # -(5 - 3) / (5 - 1) and -(1 - 5) / (5 - 1)
  np.testing.assert_allclose(dlr(logits, labels), [-0.5, 1.0])
  # -(5 - -1) / (5 - 0) and -(1 - 3) / (5 - 0)
  np.testing.assert_allclose(dlr(logits, labels, tf.constant([3, 1])), [-1.2, 0.4])
  np.testing.assert_allclose(dlr(1000 * logits, labels), [-0.5, 1.0], rtol=1e-6)


def test_the_ratio_with_few_classes():
  three, two = tf.constant([[5.0, 3.0, 1.0]]), tf.constant([[5.0, 3.0]])
  np.testing.assert_allclose(dlr(three, tf.constant([0]), tf.constant([2])), [-1.0])
  np.testing.assert_allclose(dlr(two, tf.constant([0])), [-2.0])
  np.testing.assert_allclose(dlr(two, tf.constant([0]), tf.constant([1])), [-2.0])


@pytest.mark.parametrize("targets", [None, [1, 1]])
def test_the_ratio_of_equal_logits_is_finite(targets):
  with tf.GradientTape() as tape:
    logits = tf.Variable([[1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, -3.0]])
    values = dlr(logits, tf.constant([0, 3]), None if targets is None else tf.constant(targets))
  assert np.all(np.isfinite(values)) and np.all(np.isfinite(tape.gradient(values, logits)))


def one_pixel(shape_of_loss):
  """Two classes on one pixel: the cross-entropy of class 0 grows with `shape_of_loss` of the pixel."""

  def logits(images):
    value = shape_of_loss(tf.reshape(images, [-1, 1]))
    return tf.concat([tf.zeros_like(value), value], -1)

  return logits


def trail(shape_of_loss, steps, epsilon=0.25):
  """The pixel at every step of Auto-PGD from 0.5, in order; the network is called on the points in turn."""
  seen = []

  def network(images):
    seen.append(float(images[0, 0, 0, 0]))
    return one_pixel(shape_of_loss)(images)

  tf.config.run_functions_eagerly(True)
  try:
    attack = Apgd(network, ApgdConfig(epsilon=epsilon, steps=steps), jit="off")
    attack(np.full([1, 1, 1, 1], 0.5, np.float32), [0], seed=0)
  finally:
    tf.config.run_functions_eagerly(False)
  return np.array(seen)


def test_every_step_is_that_of_the_algorithm_by_hand():
  """A ridge at 0.6: the first steps, 2 epsilon, leap over it; only smaller ones come near."""
  seen = trail(lambda x: -tf.abs(x - 0.6), 20)
  assert seen[0] in (0.25, 0.75)  # on the ball's surface
  expected, step_size = by_hand(seen[0], 20)
  np.testing.assert_allclose(seen, expected, atol=1e-5)
  # The size was halved several times, and that served: the best point is nearer than by leaps.
  assert step_size <= 0.5 / 8
  assert np.abs(seen - 0.6).min() < 0.02


def by_hand(start, steps):
  """Algorithm 1 in one dimension on -|x - 0.6|, around 0.5 with epsilon 0.25: its points and its last step size."""

  def value(x):
    return -abs(x - 0.6)

  def clip(x):
    return min(max(x, 0.25), 0.75)

  checks = [5, 9, 12, 14, 16, 18, 19]
  step, halved = 0.5, False
  points = [start, clip(start - step if start > 0.6 else start + step)]
  # The cross-entropy, softplus(-|x - 0.6|), orders points alike.
  x, previous = points[1], points[0]
  best = points[0] if value(points[0]) >= value(points[1]) else points[1]
  rises, best_at_check, last = int(value(points[1]) > value(points[0])), value(points[0]), 0
  for k in range(1, steps):
    if k in checks:
      unchanged = not halved and value(best) == best_at_check
      halved = rises < 0.75 * (k - last) or unchanged
      best_at_check, last, rises = value(best), k, 0
      if halved:
        step, x = step / 2, best
    ahead = clip(x + (step if x < 0.6 else -step))
    following = clip(x + 0.75 * (ahead - x) + 0.25 * (x - previous))
    rises += value(following) > value(x)
    previous, x = x, following
    points.append(x)
    if value(x) > value(best):
      best = x
  return points, step


def test_the_last_point_is_looked_at_too():
  """One step from the surface reaches the other end; only the point after the last step is adversarial."""
  network = one_pixel(lambda x: 100.0 * (x - 0.74))
  images = np.full([8, 1, 1, 1], 0.5, np.float32)
  found = Apgd(network, ApgdConfig(epsilon=0.25, steps=1), jit="off")(images, [0] * 8, seed=0)
  assert np.all(found.success)
  assert np.all(found.adversarial.numpy() == 0.75)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_linear_model_is_broken_exactly_where_epsilon_suffices(norm, loss):
  """Far from the ends of the pixel range, |lead| / |w_y - w_other|_dual is the distance to the boundary."""
  # Among more than two classes, the cross-entropy may run towards one that is out of reach.
  classes = 2 if loss == "cross_entropy" else 4
  rng = np.random.default_rng(1)
  kernel, images = rng.normal(size=(25, classes)), rng.uniform(0.4, 0.6, size=(40, 5, 5, 1)).astype(np.float32)
  network = linear(kernel)
  labels = said(network, images)
  logits = network(images).numpy()
  distance = np.full(len(images), np.inf)
  for other in range(classes):
    normal = np.linalg.norm(kernel[:, labels] - kernel[:, [other]], ord=DUAL[norm], axis=0)
    gap = logits[np.arange(len(images)), labels] - logits[:, other]
    distance = np.minimum(distance, np.where(labels == other, np.inf, gap / np.maximum(normal, 1e-9)))
  epsilon = float(np.median(distance))
  config = ApgdConfig(epsilon=epsilon, loss=loss, restarts=3, norm=norm)
  found = attack_survivors(Apgd(network, config, jit="off"), images, labels, batch_size=40)
  clear = np.abs(distance / epsilon - 1) > 0.01
  np.testing.assert_array_equal(found.success[clear], (distance < epsilon)[clear])
  assert 10 < found.success.sum() < 30


@pytest.mark.parametrize("loss", LOSSES)
def test_explicit_targets_are_reached(loss):
  network, images = four_classes(), pixels(0, 12)
  labels = said(network, images)
  targets = (labels + 1) % 4
  found = Apgd(network, ApgdConfig(epsilon=0.5, loss=loss), jit="off")(images, labels, targets=targets)
  np.testing.assert_array_equal(found.success, said(network, found.adversarial) == targets)
  assert np.all(found.success)


def test_a_restart_aims_at_the_next_class():
  network, images = four_classes(), pixels(6, 5)
  logits = network(images).numpy()
  ranked = np.argsort(-logits, axis=1)
  attack = Apgd(network, ApgdConfig(epsilon=0.1, steps=5, loss="targeted_dlr", restarts=3), jit="off")
  for restart in range(4):
    found = attack(images, ranked[:, 0], restart=restart)
    aims = tf.constant(ranked[:, 1 + restart % 3], tf.int32)
    expected = dlr(network(found.adversarial), tf.constant(ranked[:, 0], tf.int32), aims)
    np.testing.assert_allclose(found.loss, expected, atol=1e-5)


@hypothesis.given(
  SEED, st.floats(0, 1, width=32), st.integers(1, 8), st.sampled_from(["linf", "l2"]), st.sampled_from(LOSSES)
)
@FAST
def test_whatever_is_found_passes_the_independent_check(seed, epsilon, steps, norm, loss):
  images = pixels(seed)
  network = four_classes()
  labels = said(network, images)
  config = ApgdConfig(epsilon=epsilon, steps=steps, loss=loss, norm=norm)
  # One attack for all examples: its numbers enter as tensors, so that it is traced once.
  attack = SHARED.setdefault((norm, loss), Apgd(network, config, jit="off"))
  attack.config = config
  found = attack(images, labels, seed=seed)
  assert np.all(verify(images, found.adversarial, epsilon, norm))
  np.testing.assert_array_equal(found.success, said(network, found.adversarial) != labels)
  assert np.all(np.isfinite(found.loss))


SHARED = {}


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_compilers_agree(norm):
  network = networks.build("mlp_64", (5, 5, 1), 4, seed=0)
  images, labels = pixels(3, 8), np.arange(8) % 4
  # Few steps: rounding errors grow with the steps.
  config = ApgdConfig(epsilon=0.1, steps=5, loss="targeted_dlr", norm=norm)
  plain = Apgd(network, config, jit="off")(images, labels)
  compiled = Apgd(network, config, jit="on")(images, labels)
  tf.config.run_functions_eagerly(True)
  try:
    eager = Apgd(network, config, jit="off")(images, labels)
  finally:
    tf.config.run_functions_eagerly(False)
  for other in (compiled, eager):
    np.testing.assert_allclose(other.adversarial, plain.adversarial, atol=1e-4)
    np.testing.assert_array_equal(other.success, plain.success)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_neighbours_do_not_matter_and_seeds_do(norm):
  network, images = four_classes(), pixels(4, 6)
  labels, keys = np.arange(6) % 4, seeds.example_keys(seeds.key(1), tf.range(6))
  attack = Apgd(network, ApgdConfig(epsilon=0.05, steps=20, norm=norm), jit="off")
  all_six, again, first = (
    attack(images, labels, keys),
    attack(images, labels, keys),
    attack(images[:2], labels[:2], keys[:2]),
  )
  np.testing.assert_array_equal(all_six.adversarial, again.adversarial)
  np.testing.assert_allclose(all_six.adversarial[:2], first.adversarial, atol=1e-5)
  one = Apgd(network, ApgdConfig(epsilon=0.05, steps=1, norm=norm), jit="off")
  assert np.any(one(images, labels, 1).adversarial.numpy() != one(images, labels, 2).adversarial.numpy())


def test_one_trace_serves_all_batches():
  attack = Apgd(four_classes(), ApgdConfig(epsilon=0.1, steps=2), jit="off")
  for count in (1, 2, 5):
    attack(pixels(0, count), np.zeros(count, np.int32))
  assert attack.trace_count == 1


def test_a_network_without_gradient_is_counted_and_harmless():
  attack = Apgd(
    lambda images: tf.zeros([tf.shape(images)[0], 4]), ApgdConfig(epsilon=0.1, steps=7, loss="dlr"), jit="off"
  )
  found = attack(pixels(0), [0, 0, 1])
  np.testing.assert_array_equal(found.zero_gradients, [7, 7, 7])
  np.testing.assert_array_equal(found.nonfinite_gradients, [0, 0, 0])
  np.testing.assert_array_equal(found.success, [False, False, True])
  assert np.all(np.isfinite(found.adversarial)) and np.all(np.isfinite(found.loss))


def test_a_gradient_of_nan_is_counted_and_harmless():
  def network(images):
    flat = tf.reshape(images, [tf.shape(images)[0], -1])
    # The root's derivative at 0 is infinite, times 0 NaN.
    return tf.concat([flat[:, :3], tf.sqrt(0.0 * flat[:, 3:4])], -1)

  found = Apgd(network, ApgdConfig(epsilon=0.1, steps=7), jit="off")(pixels(0), [0, 1, 2])
  np.testing.assert_array_equal(found.nonfinite_gradients, [7, 7, 7])
  assert np.all(np.isfinite(found.adversarial))


def test_the_standard_version():
  names, configs = zip(*standard(0.5, "l2"))
  assert names == ("APGD-CE", "APGD-T", "FAB-T", "Square")
  assert [config.steps for config in configs] == [100, 100, 100, 5000]
  assert [config.restarts for config in configs] == [1, 9, 9, 1]
  assert all(config.norm == "l2" and config.epsilon == 0.5 for config in configs)
  assert configs[1].loss == "targeted_dlr" and configs[3].initial_share == 0.8


@pytest.mark.parametrize(
  "bad", [dict(epsilon=-0.1), dict(epsilon=1.5), dict(steps=0), dict(loss="hinge"), dict(norm="l0"), dict(restarts=0)]
)
def test_bad_settings_are_refused(bad):
  with pytest.raises(InputError, match=next(iter(bad))):
    ApgdConfig(**bad)
