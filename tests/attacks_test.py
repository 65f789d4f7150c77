"""Attacks: closed forms, eager = graph = XLA, the record, bad gradients, restarts on survivors."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from bowl_support import Bowl
from hypothesis import strategies as st

from tla_tf import networks
from tla_tf.attacks import (
  Attack,
  AttackResult,
  GradientAttack,
  GradientSearch,
  attack_survivors,
  gradient_loop,
  presets,
)
from tla_tf.attacks.gradient_loop import input_gradient
from tla_tf.attacks.survivors import batch_slots
from tla_tf.balls import L2Ball, LinfBall, gaussian_start
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.ops import objectives, seeds
from tla_tf.types import MomentumRule, Objective

SHAPE = (8, 8, 1)


def _images(count, seed=0, shape=SHAPE):
  return np.random.default_rng(seed).random((count, *shape), np.float32)


def _predictions(network, images):
  return np.argmax(networks.logits_function(network)(images), -1)


@pytest.fixture(scope="module")
def network():
  return networks.build("mlp_32", SHAPE, 10, seed=1)


@pytest.fixture(scope="module")
def shared_search(network):
  """One compiled loop for all cross-entropy attacks on `network`."""
  return GradientSearch(network, jit="off")


@pytest.fixture(scope="module")
def labelled(network):
  """Ten images and the classes that the network sees in them."""
  images = _images(10, seed=7)
  return images, _predictions(network, images)


# --------------------------------------------------------------------------- closed forms

WEIGHT = np.array([2.0, -3.0, 0.0, 0.5], np.float32)
LINEAR_IMAGES = np.array([[0.5, 0.5, 0.5, 0.5], [0.95, 0.02, 0.3, 1.0]], np.float32)
# By hand, epsilon 0.1: the pixel without weight stays, the others go to the corner or the edge of [0, 1].
CORNER_UP = np.array([[0.6, 0.4, 0.5, 0.6], [1.0, 0.0, 0.3, 1.0]], np.float32)
CORNER_DOWN = np.array([[0.4, 0.6, 0.5, 0.4], [0.85, 0.12, 0.3, 0.9]], np.float32)


def _linear(images):
  """Logits 0 and w.x."""
  score = tf.linalg.matvec(images, WEIGHT)
  return tf.stack([tf.zeros_like(score), score], 1)


@pytest.mark.parametrize("label,corner", [(0, CORNER_UP), (1, CORNER_DOWN)])
def test_fgsm_reaches_the_corner_of_a_linear_model(label, corner):
  result = GradientAttack(_linear, presets.fgsm(0.1))(LINEAR_IMAGES, [label] * 2)
  np.testing.assert_allclose(result.adversarial, corner, atol=1e-7)


@pytest.mark.parametrize("label,corner", [(0, CORNER_UP), (1, CORNER_DOWN)])
def test_pgd_from_a_random_start_reaches_the_corner_of_a_linear_model(label, corner):
  result = GradientAttack(_linear, presets.pgd(0.1, 0.03, 10))(LINEAR_IMAGES, [label] * 2, seed=5)
  weighted = WEIGHT != 0
  np.testing.assert_allclose(result.adversarial.numpy()[:, weighted], corner[:, weighted], atol=1e-7)


def test_pgd_leaves_a_pixel_without_weight_at_its_random_start():
  start = GradientAttack(_linear, presets.pgd(0.1, 0.03, 0))(LINEAR_IMAGES, [0, 0], seed=5).adversarial.numpy()
  end = GradientAttack(_linear, presets.pgd(0.1, 0.03, 10))(LINEAR_IMAGES, [0, 0], seed=5).adversarial.numpy()
  np.testing.assert_allclose(end[:, 2], start[:, 2], atol=1e-7)
  assert not np.array_equal(start[:, 2], LINEAR_IMAGES[:, 2])


def test_short_steps_stop_short_of_the_corner():
  result = GradientAttack(_linear, presets.bim(0.1, 0.02, 3))(LINEAR_IMAGES[:1], [0])
  np.testing.assert_allclose(result.adversarial, [[0.56, 0.44, 0.5, 0.56]], atol=1e-6)


def test_cross_entropy_of_the_record_by_hand():
  result = GradientAttack(_linear, presets.fgsm(0.1))(LINEAR_IMAGES[:1], [0])
  # w.x = 1.2 - 1.2 + 0.3 = 0.3; the loss is log(1 + e^0.3).
  np.testing.assert_allclose(result.loss, [0.8543552], atol=1e-6)


def test_smoothed_cross_entropy_of_the_record_by_hand():
  result = GradientAttack(_linear, presets.fgsm(0.1), label_smoothing=0.2)(LINEAR_IMAGES[:1], [0])
  # 0.9 log(1 + e^0.3) + 0.1 (log(1 + e^0.3) - 0.3).
  np.testing.assert_allclose(result.loss, [0.8243552], atol=1e-6)


THREE_CLASSES = np.array([[0.0, 0.0], [1.0, -1.0], [-2.0, 1.0]], np.float32)


def _three_classes(images):
  return tf.matmul(images, THREE_CLASSES, transpose_b=True)


def test_margin_attack_moves_towards_the_best_other_class():
  result = GradientAttack(_three_classes, presets.cw_pgd(0.1, 0.1, 5).replace(random_start=False))([[0.5, 0.5]], [0])
  # The logits 0, 0, -0.5 become 0, 0.2, -0.8; the loss is -(0 - 0.2 + 50).
  np.testing.assert_allclose(result.adversarial, [[0.6, 0.4]], atol=1e-6)
  np.testing.assert_allclose(result.loss, [-49.8], atol=1e-4)
  np.testing.assert_array_equal(result.success, [True])


def test_margin_is_flat_beyond_its_confidence():
  config = presets.cw_pgd(0.1, 0.1, 2).replace(random_start=False)
  result = GradientAttack(lambda x: 1000 * _three_classes(x), config)([[0.9, 0.1]], [0])
  np.testing.assert_array_equal(result.loss, [0.0])
  np.testing.assert_array_equal(result.zero_gradients, [2])
  np.testing.assert_allclose(result.adversarial, [[0.9, 0.1]])


def test_no_steps_return_the_start():
  images = _images(3)
  result = GradientAttack(lambda x: tf.reduce_sum(x, [2, 3]), presets.bim(0.1, 0.1, 0))(images, [0, 1, 2])
  np.testing.assert_array_equal(result.adversarial, images)


# --------------------------------------------------------------------------- momentum rules


def _two_bowls(images):
  """Score whose gradient is (1, 7) at (0.5, 0.5) and (-0.2, -0.2) at (0.6, 0.6)."""
  moved = images - 0.5
  score = moved[:, 0] - 6 * moved[:, 0] ** 2 + 7 * moved[:, 1] - 36 * moved[:, 1] ** 2
  return tf.stack([tf.zeros_like(score), score], 1)


MOMENTUM_CASES = {
  # sign(g2) = (-, -): both pixels step back.
  "none": (0.0, MomentumRule.NORMALIZED, [0.5, 0.5]),
  # (0.25, 1.75) + (-1, -1): the mean absolute values 4 and 0.2 are divided out.
  "normalized": (1.0, MomentumRule.NORMALIZED, [0.5, 0.7]),
  # 0.18 (1, 7) + 0.82 (-0.2, -0.2) = (0.016, 1.096); an average that began with 0 would give -0.016.
  "averaged": (0.18, MomentumRule.AVERAGED, [0.7, 0.7]),
}


@pytest.mark.parametrize("case", MOMENTUM_CASES)
def test_two_steps_of_momentum_by_hand(case):
  momentum, rule, expected = MOMENTUM_CASES[case]
  images = tf.constant([[0.5, 0.5]])
  found = gradient_loop(
    _two_bowls,
    objectives.margin,
    LinfBall(),
    images,
    tf.constant([0]),
    images,
    epsilon=0.4,
    step_size=0.1,
    steps=2,
    momentum=momentum,
    momentum_rule=rule,
    record=False,
  )
  np.testing.assert_allclose(found.adversarial, [expected], atol=1e-6)


def test_momentum_rule_may_be_its_value():
  images = tf.constant([[0.5, 0.5]])
  found = gradient_loop(
    _two_bowls,
    objectives.margin,
    LinfBall(),
    images,
    tf.constant([0]),
    images,
    epsilon=0.4,
    step_size=0.1,
    steps=2,
    momentum=0.18,
    momentum_rule="averaged",
    record=False,
  )
  np.testing.assert_allclose(found.adversarial, [[0.7, 0.7]], atol=1e-6)


# --------------------------------------------------------------------------- eager = graph = XLA

COMPILED_CASES = {
  "pgd": presets.pgd(0.1, 0.02, 5),
  "margin": presets.cw_pgd(0.1, 0.02, 5),
  "mim": presets.mim(0.1, 0.02, 5),
  "averaged": presets.mim(0.1, 0.02, 5, momentum=0.9, momentum_rule="averaged"),
}


def _by_hand(bowl, images, start, config):
  """The loop for label 0 on a bowl, in float64: the points [steps + 1, n, ...].

  Raises AssertionError where a step's sign is within rounding.
  """

  def clip(x):
    return np.clip(np.clip(x, images - config.epsilon, images + config.epsilon), 0, 1)

  points, velocity = [clip(start)], 0.0
  for k in range(config.steps):
    x = points[-1]
    gradient = bowl.gradient(x)
    if config.objective is Objective.CROSS_ENTROPY:
      gradient = gradient / (1 + np.exp(-bowl.score(x)))[:, None, None, None]
    if config.momentum_rule is MomentumRule.AVERAGED:
      kept = config.momentum if k else 0.0
      velocity = kept * velocity + (1 - kept) * gradient
    else:
      velocity = config.momentum * velocity + gradient / np.abs(gradient).mean((1, 2, 3), keepdims=True)
    assert np.all(np.abs(velocity) > 1e-4 * np.abs(velocity).max((1, 2, 3), keepdims=True))
    points.append(clip(x + config.step_size * np.sign(velocity)))
  return np.array(points)


@pytest.mark.parametrize("case", COMPILED_CASES)
def test_every_compiler_goes_the_way_by_hand(compiler, case):
  config, bowl = COMPILED_CASES[case].replace(random_start=False), Bowl(2, SHAPE)
  images = _images(2, seed=7)
  start = images + np.random.default_rng(3).uniform(-0.1, 0.1, images.shape)
  points = _by_hand(bowl, images.astype(float), start, config)
  found = GradientAttack(bowl, config, jit=compiler)(images, [0, 0], start=tf.constant(start, tf.float32))
  scores = np.array([bowl.score(x) for x in points])
  # The last point is the best, and no other comes near.
  assert np.all(scores[-1] > scores[:-1] + 1e-3)
  np.testing.assert_allclose(found.adversarial, points[-1], atol=1e-6)
  losses = scores[-1] - 50 if config.objective is Objective.MARGIN else np.log1p(np.exp(scores[-1]))
  np.testing.assert_allclose(found.loss, losses, rtol=1e-4)
  assert not np.any(found.success)


@pytest.mark.parametrize("case", COMPILED_CASES)
@pytest.mark.parametrize("jit", ["off", "on"])
def test_a_compiled_step_equals_the_eager_one(network, labelled, case, jit):
  config, (images, labels) = COMPILED_CASES[case].replace(steps=1), labelled
  start = np.clip(images + np.random.default_rng(3).uniform(-0.1, 0.1, images.shape), 0, 1).astype(np.float32)
  compiled = GradientAttack(network, config, jit=jit)(images, labels, start=start)
  forward, labels = networks.logits_function(network), tf.constant(labels, tf.int32)
  eager = gradient_loop(
    forward,
    objectives.get(config.objective),
    LinfBall(),
    tf.constant(images),
    labels,
    tf.constant(start),
    epsilon=config.epsilon,
    step_size=config.step_size,
    steps=config.steps,
    momentum=config.momentum,
    momentum_rule=config.momentum_rule,
  )
  gradient, _, _ = input_gradient(forward, objectives.get(config.objective), tf.constant(start), labels)
  size = np.abs(gradient)
  # Where it is smaller, its sign is a matter of rounding.
  sure = size > 1e-5 * size.max((1, 2, 3), keepdims=True)
  assert sure.mean() > 0.99
  np.testing.assert_allclose(compiled.adversarial.numpy()[sure], eager.adversarial.numpy()[sure], atol=1e-5)
  np.testing.assert_allclose(compiled.loss, eager.loss, rtol=1e-4)
  clear = np.abs(objectives.logit_lead(forward(eager.adversarial), labels)) > 1e-4
  assert clear.mean() > 0.8
  np.testing.assert_array_equal(compiled.success.numpy()[clear], eager.success.numpy()[clear])


@pytest.mark.parametrize("ball", [LinfBall(), L2Ball()])
@pytest.mark.parametrize("record", [True, False])
def test_numbers_of_the_loop_may_be_tensors_that_change_without_a_trace(ball, record):
  """As a schedule of epsilon in a training step needs it; start included."""
  bowl, images, labels, traces = Bowl(2, SHAPE), tf.constant(_images(2)), tf.constant([0, 0]), []

  def search(epsilon, step_size, steps):
    start = ball.random_start(images, epsilon, seeds.key(1))
    return gradient_loop(
      bowl,
      objectives.cross_entropy,
      ball,
      images,
      labels,
      start,
      epsilon=epsilon,
      step_size=step_size,
      steps=steps,
      record=record,
    ).adversarial

  @tf.function(autograph=False)
  def scheduled(epsilon, step_size, steps):
    traces.append(1)
    return search(epsilon, step_size, steps)

  for epsilon, step_size, steps in ((0.0, 0.1, 2), (0.1, 0.04, 3), (0.25, 0.5, 1)):
    found = scheduled(tf.constant(epsilon), tf.constant(step_size), tf.constant(steps))
    np.testing.assert_allclose(found, search(epsilon, step_size, steps), atol=1e-6)
    assert np.all(ball.distance(found, images) <= epsilon + 1e-6)
  assert len(traces) == 1


def test_the_objective_may_be_any_closure(network, labelled):
  """TRADES's, the divergence from the clean prediction: 0 at the image itself, and no label is looked at."""
  images, forward = tf.constant(labelled[0]), networks.logits_function(network)
  clean = tf.nn.log_softmax(forward(images))

  def divergence(logits, labels):
    del labels
    return tf.reduce_sum(tf.exp(clean) * (clean - tf.nn.log_softmax(logits)), -1)

  @tf.function(autograph=False)
  def search(labels):
    start = gaussian_start(images, 0.001, seeds.key(0))
    return gradient_loop(
      forward, divergence, LinfBall(), images, labels, start, epsilon=0.05, step_size=0.01, steps=5, record=False
    ).adversarial

  found = search(tf.constant(labelled[1], tf.int64))
  np.testing.assert_array_equal(found, search(tf.zeros([10], tf.int64)))
  # At the image itself the gradient is 0, too: the start leads away from it.
  assert np.all(divergence(forward(found), None) > 100 * divergence(forward(images + 0.001), None))
  assert np.all(LinfBall().distance(found, images) <= 0.05 + 1e-6)


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_labels_of_the_loop_are_whole_numbers_of_any_size(network, labelled, dtype):
  images, labels = labelled
  found = gradient_loop(
    networks.logits_function(network),
    objectives.cross_entropy,
    LinfBall(),
    tf.constant(images),
    tf.constant(labels, dtype),
    tf.constant(images),
    epsilon=0.1,
    step_size=0.1,
    steps=1,
  )
  assert found.success.numpy().any()


def test_one_trace_whatever_the_numbers(network, labelled):
  search = GradientSearch(network, jit="off")
  images, labels = labelled
  for config, smoothing, count in [
    (AttackConfig(0.1, 0.02, 3), 0.0, 10),
    (AttackConfig(0.3, 0.5, 1, random_start=False), 0.1, 10),
    (AttackConfig(0.0, 0.0, 0, momentum=0.7), 0.0, 4),
  ]:
    GradientAttack(search, config, smoothing)(images[:count], labels[:count], seed=count)
  assert search.trace_count == 1


def test_another_image_shape_is_another_trace():
  search = GradientSearch(lambda x: tf.reduce_sum(x, [2, 3]), jit="off")
  for shape in [(3, 4, 1), (3, 5, 1), (3, 4, 1)]:
    GradientAttack(search, presets.fgsm(0.1))(_images(2, shape=shape), [0, 1])
  assert search.trace_count == 2


@pytest.mark.parametrize("config", [presets.cw_pgd(0.1, 0.02, 3), presets.mim(0.1, 0.02, 3, momentum_rule="averaged")])
def test_a_shared_search_of_another_kind_is_refused(shared_search, config):
  with pytest.raises(InputError, match="objective, momentum rule or norm"):
    GradientAttack(shared_search, config)


# --------------------------------------------------------------------------- the record


def _hill(images):
  """The logit of class 1 is highest at 0.5."""
  score = -10 * (images[:, 0] - 0.5) ** 2
  return tf.stack([tf.zeros_like(score), score], 1)


def test_record_keeps_the_best_point_met():
  # 0.1 -> 0.4 -> 0.7, which lies beyond the top and is worse than 0.4.
  result = GradientAttack(_hill, presets.bim(0.8, 0.3, 2))([[0.1]], [0])
  np.testing.assert_allclose(result.adversarial, [[0.4]], atol=1e-6)
  np.testing.assert_allclose(result.distance, [0.3], atol=1e-6)
  # log(1 + e^-0.1).
  np.testing.assert_allclose(result.loss, [0.6443967], atol=1e-6)


def test_without_a_record_the_last_point_is_returned():
  images = tf.constant([[0.1]])
  found = gradient_loop(
    _hill,
    objectives.cross_entropy,
    LinfBall(),
    images,
    tf.constant([0]),
    images,
    epsilon=0.8,
    step_size=0.3,
    steps=2,
    record=False,
  )
  np.testing.assert_allclose(found.adversarial, [[0.7]], atol=1e-6)
  assert found.success is None and found.loss is None


def _success_before_loss(images):
  """Wrong for label 0 at x = 0 (loss 0.905), right at x = 0.3 (loss 1.079)."""
  x = images[:, 0]
  return tf.stack([tf.zeros_like(x), 0.1 - 0.5 * x, 3.3 * x - 1.0], 1)


def test_record_prefers_a_misclassified_point_to_a_higher_loss():
  result = GradientAttack(_success_before_loss, presets.bim(0.3, 0.3, 1))([[0.0]], [0])
  np.testing.assert_array_equal(result.adversarial, [[0.0]])
  np.testing.assert_array_equal(result.success, [True])
  np.testing.assert_allclose(result.loss, [np.log(1 + np.exp(0.1) + np.exp(-1.0))], atol=1e-6)


@pytest.mark.parametrize("objective", Objective)
def test_record_agrees_with_recomputation(network, labelled, objective):
  images, labels = labelled
  config = AttackConfig(0.04, 0.01, 4, objective=objective)
  result = GradientAttack(network, config, jit="off")(images, labels, seed=2)
  logits = network(result.adversarial)["logits"]
  np.testing.assert_allclose(result.loss, objectives.get(objective)(logits, labels), rtol=1e-4)
  np.testing.assert_array_equal(result.success, np.argmax(logits, -1) != labels)
  distance = np.abs(result.adversarial - images).reshape(len(images), -1).max(1)
  np.testing.assert_allclose(result.distance, distance, atol=1e-7)
  # A test that tells: some images are broken, some are not.
  assert 0 < np.sum(result.success) < len(images)


# --------------------------------------------------------------------------- gradients


def _saturated(images):
  """Logits that depend on the images, with derivative 0."""
  return tf.stack([1.0 + 0.0 * images[:, 0, 0, 0], 0.0 * images[:, 0, 0, 0]], 1)


def _quantising(images):
  """Looks at rounded pixels only: its derivative is 0 everywhere."""
  score = tf.reduce_sum(tf.round(images * 4) / 4, [1, 2, 3])
  return tf.stack([score, 30.0 - score], 1)


def _constant(images):
  """Logits that do not depend on the images."""
  return tf.tile([[1.0, 0.0]], [tf.shape(images)[0], 1])


@pytest.mark.parametrize("blind", [_saturated, _quantising, _constant])
@pytest.mark.parametrize("steps", [1, 4])
def test_zero_gradients_are_counted(blind, steps):
  result = GradientAttack(blind, presets.bim(0.1, 0.05, steps))(_images(3), [0, 0, 1])
  np.testing.assert_array_equal(result.zero_gradients, [steps] * 3)
  np.testing.assert_array_equal(result.nonfinite_gradients, [0, 0, 0])


@pytest.mark.parametrize("blind", [_saturated, _quantising, _constant])
def test_without_gradient_images_stay_in_place(blind):
  images = _images(3)
  result = GradientAttack(blind, presets.mim(0.1, 0.05, 4))(images, [0, 0, 1])
  np.testing.assert_array_equal(result.adversarial, images)


def test_partly_zero_gradients_are_not_counted():
  result = GradientAttack(_linear, presets.bim(0.1, 0.05, 3))(LINEAR_IMAGES, [0, 0])
  np.testing.assert_array_equal(result.zero_gradients, [0, 0])


def _rooted(images):
  """Infinite derivative where a pixel is 0."""
  score = tf.reduce_sum(tf.sqrt(images), [1, 2, 3])
  return tf.stack([tf.zeros_like(score), score], 1)


def _undefined(images):
  """0 x infinity = NaN as derivative where the first pixel is 0."""
  score = tf.reduce_sum(images, [1, 2, 3]) + tf.sqrt(tf.square(images[:, 0, 0, 0]))
  return tf.stack([tf.zeros_like(score), score], 1)


@pytest.mark.parametrize("network", [_rooted, _undefined])
@pytest.mark.parametrize(
  "config",
  [
    presets.bim(0.1, 0.05, 3),
    presets.mim(0.1, 0.05, 3),
    presets.mim(0.1, 0.05, 3, momentum=0.9, momentum_rule="averaged"),
  ],
)
def test_an_example_with_nonfinite_gradients_stays_and_is_counted(network, config):
  images = 0.2 + 0.5 * _images(3)
  images[1, 0, 0, 0] = 0.0
  result = GradientAttack(network, config)(images, [0, 0, 0])
  np.testing.assert_array_equal(result.nonfinite_gradients, [0, 3, 0])
  np.testing.assert_array_equal(result.zero_gradients, [0, 0, 0])
  np.testing.assert_array_equal(result.adversarial[1], images[1])
  np.testing.assert_allclose(result.adversarial.numpy()[[0, 2]], images[[0, 2]] + 0.1, atol=1e-6)


def _undefined_at_a_half(images):
  """Grows with the pixel, with NaN as derivative at 0.5."""
  score = images[:, 0] + 0.5 * tf.sqrt(tf.square(images[:, 0] - 0.5))
  return tf.stack([tf.zeros_like(score), score], 1)


def test_momentum_does_not_carry_an_example_past_a_nonfinite_gradient():
  result = GradientAttack(_undefined_at_a_half, presets.mim(0.5, 0.125, 4))([[0.375]], [0])
  np.testing.assert_array_equal(result.adversarial, [[0.5]])
  np.testing.assert_array_equal(result.nonfinite_gradients, [3])


def test_gradient_is_of_the_sum_not_the_mean():
  images = tf.constant(np.tile(LINEAR_IMAGES[:1], [5, 1]))
  gradient, _, _ = input_gradient(_linear, objectives.margin, images, tf.zeros(5, tf.int32))
  np.testing.assert_allclose(gradient, np.tile(WEIGHT, [5, 1]), atol=1e-6)


def test_gradient_does_not_depend_on_batch_mates(network, labelled):
  images, labels = tf.constant(labelled[0]), tf.constant(labelled[1])
  forward = networks.logits_function(network)
  together, _, _ = input_gradient(forward, objectives.cross_entropy, images, labels)
  for i in range(len(images)):
    alone, _, _ = input_gradient(forward, objectives.cross_entropy, images[i : i + 1], labels[i : i + 1])
    np.testing.assert_allclose(alone[0], together[i], rtol=1e-3, atol=1e-6)


def test_attack_changes_no_weight(network, labelled, shared_search):
  before = [np.array(w) for w in network.get_weights()]
  GradientAttack(shared_search, presets.pgd(0.1, 0.05, 3))(*labelled)
  for old, new in zip(before, network.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)


def test_adversarial_images_carry_no_gradient_to_weights(network, labelled, shared_search):
  with tf.GradientTape() as tape:
    adversarial = GradientAttack(shared_search, presets.pgd(0.1, 0.05, 3))(*labelled).adversarial
    total = tf.reduce_sum(tf.square(adversarial))
  for gradient in tape.gradient(total, network.trainable_variables):
    assert gradient is None or not np.any(gradient)


# --------------------------------------------------------------------------- ball and pixel range

_numbers = st.floats(0.0, 1.0, width=32, allow_subnormal=False)


@pytest.fixture(scope="module")
def searches(network):
  return {rule: GradientSearch(network, momentum_rule=rule, jit="off") for rule in MomentumRule}


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True, database=None)
@hypothesis.given(
  epsilon=_numbers,
  step_size=_numbers,
  steps=st.integers(0, 4),
  momentum=_numbers,
  rule=st.sampled_from(MomentumRule),
  random_start=st.booleans(),
  seed=st.integers(0, 99),
)
@hypothesis.example(
  epsilon=0.0, step_size=1.0, steps=3, momentum=1.0, rule=MomentumRule.NORMALIZED, random_start=True, seed=0
)
@hypothesis.example(
  epsilon=1.0, step_size=1.0, steps=3, momentum=0.0, rule=MomentumRule.AVERAGED, random_start=True, seed=0
)
def test_adversarial_images_stay_in_ball_and_range(
  searches, epsilon, step_size, steps, momentum, rule, random_start, seed
):
  hypothesis.assume(momentum < 1 or rule is not MomentumRule.AVERAGED)
  config = AttackConfig(epsilon, step_size, steps, random_start, momentum=momentum, momentum_rule=rule)
  images = _images(3, seed)
  images[0] = np.rint(images[0])  # pixels on the edge of the range
  found = GradientAttack(searches[rule], config)(images, [1, 2, 3], seed=seed).adversarial.numpy()
  assert np.isfinite(found).all()
  assert np.abs(found - images).max() <= epsilon + 1e-6
  assert found.min() >= 0 and found.max() <= 1


def test_epsilon_zero_returns_the_images(labelled, shared_search):
  images, labels = labelled
  result = GradientAttack(shared_search, AttackConfig(0.0, 0.1, 3))(images, labels, seed=1)
  np.testing.assert_array_equal(result.adversarial, images)
  np.testing.assert_array_equal(result.distance, np.zeros(10))
  assert not np.any(result.success)


# --------------------------------------------------------------------------- bad input

BAD_INPUT = {
  "bytes": (np.zeros((2, *SHAPE), np.uint8), [0, 1], "divide by 255"),
  "grey levels": (255 * _images(2), [0, 1], "divide by 255"),
  "negative": (_images(2) - 0.5, [0, 1], r"in \[0, 1\]"),
  "NaN": (np.full((2, *SHAPE), np.nan, np.float32), [0, 1], r"in \[0, 1\]"),
  "a flat image": (np.zeros(4, np.float32), [0], r"images \[n, ...\].*shape \[4\]"),
  "fewer labels": (_images(2), [0], "2 images, but 1 `labels`"),
  "one-hot labels": (_images(2), np.eye(2, dtype=int), r"labels \[n\].*argmax"),
  "no class": (_images(2), [0, -1], "`labels` must be .*hold -1"),
  "too large a class": (_images(2), [10, 0], "`labels` must be in 0..9, the network's 10 classes, but hold 10"),
  "fractions": (_images(2), [0.5, 1.0], "`labels` must be whole numbers, the classes, but hold 0.5"),
  "names": (_images(2), ["a", "b"], "`labels` must be whole numbers, but are string.*unique"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused(shared_search, case):
  images, labels, remedy = BAD_INPUT[case]
  attack = GradientAttack(shared_search, presets.fgsm(0.1))
  with pytest.raises(InputError, match=remedy):
    attack(images, labels)
  with pytest.raises(InputError, match=remedy):
    attack_survivors(attack, images, labels)


def test_labels_are_taken_as_keras_takes_them(labelled, shared_search):
  images, labels = labelled
  attack = GradientAttack(shared_search, presets.fgsm(0.1))
  expected = attack(images, labels)
  for form in (labels[:, None], labels.astype(np.float32), labels.astype(np.uint8)):
    np.testing.assert_array_equal(attack(images, form).adversarial, expected.adversarial)


@pytest.mark.parametrize("targets", [[-1, 1], [10, 1]])
def test_targets_that_are_no_classes_are_refused(shared_search, targets):
  attack = GradientAttack(shared_search, presets.fgsm(0.1))
  with pytest.raises(InputError, match="`targets` must be in 0..9"):
    attack(_images(2), [0, 0], targets=targets)


# --------------------------------------------------------------------------- seeds


def _start(search, images, seed):
  return GradientAttack(search, presets.pgd(0.2, 0.05, 0))(images, np.zeros(len(images), int), seed=seed).adversarial


def test_same_seed_same_result(labelled, shared_search):
  attack = GradientAttack(shared_search, presets.pgd(0.2, 0.05, 3))
  for first, second in zip(attack(*labelled, seed=3), attack(*labelled, seed=3), strict=True):
    np.testing.assert_array_equal(first, second)


def test_other_seed_other_start(labelled, shared_search):
  difference = np.abs(_start(shared_search, labelled[0], 1) - _start(shared_search, labelled[0], 2))
  assert np.mean(difference > 0.01) > 0.8


def test_random_start_fills_the_ball(shared_search):
  images = np.full((10, *SHAPE), 0.5, np.float32)
  offset = _start(shared_search, images, 1) - images
  # Uniform in +-0.2: mean 0, standard deviation 0.2 / sqrt(3).
  assert abs(np.mean(offset)) < 0.02
  assert np.std(offset) == pytest.approx(0.2 / np.sqrt(3), rel=0.05)
  assert np.abs(offset).max() > 0.195


def test_seeds_per_example_do_not_depend_on_the_batch(shared_search):
  images = _images(6)
  keys = seeds.example_keys(seeds.key(1), tf.range(6))
  whole = _start(shared_search, images, keys).numpy()
  chosen = [4, 0, 3]
  part = _start(shared_search, images[chosen], tf.gather(keys, chosen))
  np.testing.assert_array_equal(part, whole[chosen])


def test_seeds_per_example_differ(shared_search):
  images = np.full((2, *SHAPE), 0.5, np.float32)
  first, second = _start(shared_search, images, seeds.example_keys(seeds.key(1), tf.range(2))).numpy()
  assert np.mean(np.abs(first - second) > 0.01) > 0.8


# --------------------------------------------------------------------------- attack_survivors


class _Scripted(Attack):
  """Breaks image i (its pixels are i / 10) at the calls that a script names, and remembers its calls."""

  def __init__(self, broken_at, losses=lambda call: 0.0):
    self.config, self.restarts = AttackConfig(), 1
    self.broken_at = broken_at
    self.losses = losses
    self.calls = []
    self.sizes = []

  def run(self, images, labels, key, targets, restart):
    raise AssertionError("the call is scripted")

  def __call__(self, images, labels, seed=0, targets=None, restart=0):
    names = np.rint(np.asarray(images)[:, 0, 0, 0] * 10).astype(int)
    call = len(self.calls)
    self.calls.append(sorted(set(names.tolist())))
    self.sizes.append(len(images))
    success = np.array([call >= self.broken_at.get(name, np.inf) for name in names])
    count = len(images)
    return AttackResult(
      images + np.float32(0.01 * (call + 1)),
      success,
      np.full(count, self.losses(call), np.float32),
      np.full(count, 0.01 * (call + 1), np.float32),
      np.full(count, 2),
      np.full(count, 1),
    )


def _numbered(count):
  return np.tile(np.arange(count, dtype=np.float32)[:, None, None, None] / 10, [1, 2, 2, 1])


def test_restarts_attack_survivors_alone():
  attack = _Scripted({0: 0, 1: 1})
  result = attack_survivors(attack, _numbered(3), [0, 0, 0], restarts=3, batch_size=4)
  assert attack.calls == [[0, 1, 2], [1, 2], [2]]
  np.testing.assert_array_equal(result.success, [True, True, False])


def test_no_restart_once_all_are_broken():
  attack = _Scripted({0: 0, 1: 0})
  attack_survivors(attack, _numbered(2), [0, 0], restarts=5, batch_size=4)
  assert attack.calls == [[0, 1]]


@pytest.mark.parametrize(
  "count, slots", [(100, 100), (51, 100), (50, 50), (26, 50), (25, 25), (13, 25), (12, 12), (1, 12)]
)
def test_the_last_batch_is_padded_to_a_half_or_a_quarter(count, slots):
  assert batch_slots(count, 100) == slots


def test_every_batch_of_a_few_has_one_size():
  attack = _Scripted({})
  attack_survivors(attack, _numbered(7), [0] * 7, batch_size=3)
  assert attack.calls == [[0, 1, 2], [3, 4, 5], [6]]
  assert attack.sizes == [3, 3, 3]


def test_gradient_counts_are_summed_over_restarts():
  result = attack_survivors(_Scripted({0: 0}), _numbered(3), [0] * 3, restarts=3, batch_size=2)
  np.testing.assert_array_equal(result.zero_gradients, [2, 6, 6])
  np.testing.assert_array_equal(result.nonfinite_gradients, [1, 3, 3])


def test_best_restart_of_an_unbroken_image_is_kept():
  attack = _Scripted({}, losses=lambda call: [0.3, 0.9, 0.5][call])
  result = attack_survivors(attack, _numbered(1), [0], restarts=3, batch_size=1)
  np.testing.assert_allclose(result.loss, [0.9])
  np.testing.assert_allclose(result.distance, [0.02])
  np.testing.assert_allclose(result.adversarial, np.full((1, 2, 2, 1), 0.02), atol=1e-7)


def test_breaking_restart_beats_a_higher_loss():
  attack = _Scripted({0: 1}, losses=lambda call: [0.9, 0.1][call])
  result = attack_survivors(attack, _numbered(1), [0], restarts=2, batch_size=1)
  np.testing.assert_array_equal(result.success, [True])
  np.testing.assert_allclose(result.loss, [0.1])


def test_progress_counts_up_to_what_is_to_do():
  seen = []
  attack_survivors(
    _Scripted({0: 0, 1: 0}),
    _numbered(4),
    [0] * 4,
    restarts=2,
    batch_size=2,
    progress=lambda *counts: seen.append(counts),
  )
  # The first batch is broken at once, which leaves one batch to the second start.
  assert seen == [(1, 3), (2, 3), (3, 3)]


def test_survivors_of_nothing():
  attack = _Scripted({})
  result = attack_survivors(attack, np.zeros((0, *SHAPE), np.float32), np.zeros(0, int), restarts=2)
  assert attack.calls == []
  assert [field.shape for field in result] == [(0, *SHAPE), (0,), (0,), (0,), (0,), (0,)]


@pytest.mark.parametrize("labels", [[0, 0], [0, 0, 0, 0]], ids=["fewer", "more"])
def test_survivors_refuse_another_number_of_labels(labels):
  with pytest.raises(InputError, match="labels"):
    attack_survivors(_Scripted({}), _numbered(3), labels, batch_size=3)


def test_batch_size_does_not_change_results():
  """On a linear network, whose gradient has the same signs everywhere."""
  rng = np.random.default_rng(0)
  weights = (rng.uniform(0.5, 1.5, 64) * rng.choice([-1, 1], 64)).astype(np.float32)

  def score(images):
    return tf.linalg.matvec(tf.reshape(images, [-1, 64]), weights) - 0.5 * weights.sum()

  def network(images):
    return tf.stack([tf.zeros_like(score(images)), score(images)], 1)

  images = np.clip(0.5 + 0.2 * (_images(10, seed=7) - 0.5), 0, 1)
  labels = (score(images).numpy() > 0).astype(np.int32)
  attack = GradientAttack(network, presets.pgd(0.02, 0.002, 5), jit="off")
  small = attack_survivors(attack, images, labels, seed=1, restarts=2, batch_size=3)
  large = attack_survivors(attack, images, labels, seed=1, restarts=2, batch_size=7)
  assert np.abs(score(large.adversarial)).min() > 1e-4
  np.testing.assert_array_equal(small.success, large.success)
  np.testing.assert_allclose(small.loss, large.loss, rtol=1e-4)
  np.testing.assert_allclose(small.adversarial, large.adversarial, atol=1e-5)
  assert 0 < small.success.sum() < 10


def test_results_follow_example_ids_not_positions(labelled, shared_search):
  images, labels = labelled
  attack = GradientAttack(shared_search, presets.pgd(0.08, 0.02, 0))
  whole = attack_survivors(attack, images, labels, seed=1)
  part = attack_survivors(attack, images[6:], labels[6:], example_ids=np.arange(6, 10), seed=1)
  np.testing.assert_array_equal(part.adversarial, whole.adversarial[6:])


@pytest.fixture(scope="module")
def by_restarts(labelled, shared_search):
  """Results of 1 to 5 restarts of a weak attack."""
  attack = GradientAttack(shared_search, presets.pgd(0.04, 0.01, 1))
  return [attack_survivors(attack, *labelled, seed=1, restarts=count, batch_size=10) for count in range(1, 6)]


def test_more_restarts_break_more(by_restarts):
  counts = [int(result.success.sum()) for result in by_restarts]
  assert counts == sorted(counts)
  assert counts[0] < counts[-1]


def test_fewer_restarts_are_a_prefix_of_more(by_restarts):
  for fewer, more in zip(by_restarts, by_restarts[1:]):
    assert not np.any(fewer.success & ~more.success)
    np.testing.assert_array_equal(fewer.adversarial[fewer.success], more.adversarial[fewer.success])
    unbroken = ~more.success
    assert np.all(more.loss[unbroken] >= fewer.loss[unbroken])
