"""Auto-PGD: its rules by hand, closed forms on linear models, and properties."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from bowl_support import Bowl
from hypothesis import strategies as st

from tla_tf import networks
from tla_tf.attack_configs import ApgdConfig
from tla_tf.attacks import attack_survivors
from tla_tf.attacks.auto_attack import Apgd, standard
from tla_tf.attacks.auto_attack.apgd import checkpoints, dlr
from tla_tf.errors import InputError
from tla_tf.evaluation.verifier import verify
from tla_tf.ops import objectives, seeds

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


def few_classes(count):
  return linear(np.random.default_rng(1).normal(size=(25, count)))


def test_the_ratio_of_three_classes_by_hand():
  np.testing.assert_allclose(dlr(tf.constant([[5.0, 3.0, 1.0]]), tf.constant([0])), [-0.5])


@pytest.mark.parametrize(
  "classes, loss, targets, advised",
  [(3, "targeted_dlr", False, "dlr"), (3, "dlr", True, "margin"), (2, "dlr", False, "margin")]
  + [(2, "targeted_dlr", targeted, "margin") for targeted in (False, True)],
)
@pytest.mark.parametrize("known", [True, False])
def test_a_loss_that_is_constant_with_few_classes_is_refused(classes, loss, targets, advised, known):
  network, images = few_classes(classes), pixels(0)
  labels = said(network, images)
  # A graph may not know how many classes there are.
  seen = network if known else tf.function(network, input_signature=[tf.TensorSpec(None)], autograph=False)
  targets = (labels + 1) % classes if targets else None
  with pytest.raises(InputError, match=f"`loss={loss}` is constant with {classes} classes.*`loss={advised}`"):
    Apgd(seen, ApgdConfig(loss=loss), jit="off")(images, labels, targets=targets)


@pytest.mark.parametrize("classes, loss", [(4, "targeted_dlr"), (3, "dlr"), (3, "margin"), (2, "margin")])
def test_the_losses_for_few_classes_have_gradients_and_break_what_can_be_broken(classes, loss):
  network, images = few_classes(classes), pixels(0, 12)
  labels = said(network, images)
  found = Apgd(network, ApgdConfig(epsilon=1.0, steps=20, loss=loss, restarts=3), jit="off")(images, labels)
  broken = found.success.numpy()
  assert broken.mean() > 0.6
  # The ratio is 1 where the true class is the last of three: there the work is done.
  assert not found.zero_gradients.numpy()[~broken].any()


def test_the_margin_by_hand():
  network, images = few_classes(2), pixels(0)
  labels = said(network, images)
  found = Apgd(network, ApgdConfig(epsilon=0.01, steps=3, loss="margin"), jit="off")(images, labels)
  np.testing.assert_allclose(found.loss, -objectives.logit_lead(network(found.adversarial), labels), atol=1e-6)
  aimed = Apgd(network, ApgdConfig(epsilon=1.0, steps=20, loss="margin"), jit="off")(images, labels, targets=1 - labels)
  np.testing.assert_array_equal(aimed.success, said(network, aimed.adversarial) == 1 - labels)
  assert aimed.success.numpy().any()


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


# Their bottoms lie within the ball of 0.25 around 0.5; no search converges there, where values would tie.
BOWLS = {"linf": Bowl(32, (3, 3, 1)), "l2": Bowl(22, (3, 3, 1), power=1, reach=0.06)}


def trail(network, images, config):
  """The points that the network is called on in turn, [points, n, ...]."""
  seen = []

  def watched(x):
    # The first call counts classes, on one image.
    if len(x) == len(images):
      seen.append(x.numpy())
    return network(x)

  tf.config.run_functions_eagerly(True)
  try:
    Apgd(watched, config, jit="off")(images, np.zeros(len(images), np.int32), seed=0)
  finally:
    tf.config.run_functions_eagerly(False)
  return np.array(seen)


def by_hand(bowl, start, config):
  """Algorithm 1 for 20 steps around 0.5 on a bowl, in float64: its points [21, n, ...] and last step sizes [n].

  Raises AssertionError where one of its decisions is so near a tie that rounding could turn it.
  """

  def broadcast(values):
    return np.reshape(values, [-1] + [1] * (start.ndim - 1))

  def direction(x):
    gradient = bowl.gradient(x)
    return np.sign(gradient) if config.norm == "linf" else gradient / broadcast(length(gradient))

  def clip(x):
    change = x - 0.5
    if config.norm == "linf":
      return 0.5 + np.clip(change, -config.epsilon, config.epsilon)
    return 0.5 + change * broadcast(np.minimum(1, config.epsilon / length(change)))

  def rose(new, old, x, y):
    """Whether the new value, of x, is larger than the old one, of y."""
    same = np.all(x == y, axis=tuple(range(1, x.ndim)))
    assert np.all(same | (np.abs(new - old) > 1e-6))
    return ~same & (new > old)

  # The cross-entropy, softplus of the score, orders points alike.
  count, value, checks = len(start), bowl.score, [5, 9, 12, 14, 16, 18, 19]
  step, halved = np.full(count, 2 * config.epsilon), np.zeros(count, bool)
  previous, x = start, clip(start + broadcast(step) * direction(start))
  points, last = [previous, x], 0
  rises = rose(value(x), value(previous), x, previous)
  best, best_at_check = np.where(broadcast(rises), x, previous), value(previous)
  rises = rises.astype(int)
  for k in range(1, 20):
    if k in checks:
      halved = (rises < 0.75 * (k - last)) | (~halved & (value(best) == best_at_check))
      best_at_check, last, rises = value(best), k, np.zeros(count, int)
      step, x = np.where(halved, step / 2, step), np.where(broadcast(halved), best, x)
    ahead = clip(x + broadcast(step) * direction(x))
    following = clip(x + 0.75 * (ahead - x) + 0.25 * (x - previous))
    rises += rose(value(following), value(x), following, x)
    previous, x = x, following
    points.append(x)
    best = np.where(broadcast(rose(value(x), value(best), x, best)), x, best)
  return np.array(points), step


def length(change):
  return np.linalg.norm(change.reshape(len(change), -1), axis=1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_step_is_that_of_the_algorithm_by_hand(norm):
  """The first steps, 2 epsilon, leap over the bottom; only smaller ones come near."""
  config = ApgdConfig(epsilon=0.25, steps=20, norm=norm)
  images = np.full([6, 3, 3, 1], 0.5, np.float32)
  seen = trail(BOWLS[norm], images, config)
  # On the ball's surface.
  reach = np.abs(seen[0] - 0.5).max((1, 2, 3)) if norm == "linf" else length(seen[0] - 0.5)
  np.testing.assert_allclose(reach, 0.25, rtol=1e-6)
  expected, step_size = by_hand(BOWLS[norm], seen[0].astype(float), config)
  np.testing.assert_allclose(seen, expected, atol=1e-5)
  # The size was halved several times, and that served.
  scores = np.array([BOWLS[norm].score(x) for x in expected])
  assert np.all(step_size <= 0.5 / 4) and np.all(scores.max(0) > scores[:5].max(0))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("count", [6, 2])
def test_every_compiler_and_batch_size_finds_the_best_point_by_hand(norm, compiler, count):
  config = ApgdConfig(epsilon=0.25, steps=20, norm=norm)
  images, labels = np.full([6, 3, 3, 1], 0.5, np.float32), np.zeros(6, np.int32)
  points, _ = by_hand(BOWLS[norm], trail(BOWLS[norm], images, config)[0].astype(float), config)
  scores = np.array([BOWLS[norm].score(x) for x in points])
  found = Apgd(BOWLS[norm], config, jit=compiler)(images[:count], labels[:count], seed=0)
  np.testing.assert_allclose(found.adversarial, points[scores.argmax(0), np.arange(6)][:count], atol=1e-5)
  np.testing.assert_allclose(found.loss, np.log1p(np.exp(scores.max(0)))[:count], rtol=1e-4)
  assert not np.any(found.success)


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
def test_compilers_agree_on_a_step_of_a_keras_network(norm):
  """One step: what it gains does not depend on pixels whose gradient is within rounding of 0."""
  network = networks.build("mlp_64", (5, 5, 1), 4, seed=0)
  images, labels = pixels(3, 8), np.arange(8) % 4
  config = ApgdConfig(epsilon=0.1, steps=1, loss="targeted_dlr", norm=norm)
  plain = Apgd(network, config, jit="off")(images, labels)
  compiled = Apgd(network, config, jit="on")(images, labels)
  tf.config.run_functions_eagerly(True)
  try:
    eager = Apgd(network, config, jit="off")(images, labels)
  finally:
    tf.config.run_functions_eagerly(False)
  clear = np.abs(objectives.logit_lead(network(plain.adversarial)["logits"], labels)) > 1e-4
  assert clear.sum() >= 7
  for other in (compiled, eager):
    np.testing.assert_allclose(other.loss, plain.loss, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(other.success[clear], plain.success[clear])
    if norm == "l2":
      np.testing.assert_allclose(other.adversarial, plain.adversarial, atol=1e-4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_neighbours_do_not_matter_and_seeds_do(norm):
  network, images = four_classes(), pixels(4, 6)
  labels, keys = np.arange(6) % 4, seeds.example_keys(seeds.key(1), tf.range(6))
  attack = Apgd(network, ApgdConfig(epsilon=0.05, steps=20, norm=norm), jit="off")
  together, again = attack(images, labels, keys), attack(images, labels, keys)
  np.testing.assert_array_equal(together.adversarial, again.adversarial)
  changed = np.concatenate([images[:2], pixels(5, 4)])
  np.testing.assert_array_equal(together.adversarial[:2], attack(changed, labels, keys).adversarial[:2])
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
