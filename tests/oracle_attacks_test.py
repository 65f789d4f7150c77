"""Oracles: our attacks against those of CleverHans 4.0 and Foolbox 3.3 on a trained network."""

import foolbox
import numpy as np
import oracle_support
import pytest
import tensorflow as tf
from cleverhans.tf2.attacks import projected_gradient_descent as cleverhans_pgd
from cleverhans.tf2.attacks.basic_iterative_method import basic_iterative_method
from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method
from cleverhans.tf2.attacks.momentum_iterative_method import momentum_iterative_method

from tla_tf.attacks import GradientAttack, GradientSearch, attack_survivors, presets
from tla_tf.ops import seeds

EPSILON, STEP_SIZE, STEPS = 0.15, 0.02, 10
# Enough to converge: with 5 starts luck decides about 2% of the images, in both libraries (82 to 86 of 200).
LONG, RESTARTS = 40, 20
# Pixels agree where they differ by less; some gradients are so near 0 that rounding decides their sign.
PIXEL, SHARE = 1e-5, 0.999


@pytest.fixture(scope="module")
def network():
  return oracle_support.network()


@pytest.fixture(scope="module")
def logits():
  return oracle_support.logits()


@pytest.fixture(scope="module")
def right():
  return oracle_support.right()


@pytest.fixture(scope="module")
def search(network):
  return GradientSearch(network, jit="off")


def _last_point(search, config, images, labels, start=None):
  """Where our search ends; its record would keep the best point met instead."""
  found = search.run(tf.constant(images), tf.constant(labels), seeds.key(0), config, start=start, record=False)
  return found.adversarial.numpy()


def _assert_same(ours, theirs, images):
  agree = np.abs(ours - np.asarray(theirs)) <= PIXEL
  assert agree.mean() >= SHARE, f"only {agree.mean():.4%} of the pixels agree"
  # Neither stands still: that would agree, too.
  assert np.abs(ours - images).max() > 0.99 * EPSILON


def test_fgsm_equals_cleverhans(logits, right, search):
  images, labels = right
  theirs = fast_gradient_method(logits, images, EPSILON, np.inf, clip_min=0.0, clip_max=1.0, y=labels)
  _assert_same(_last_point(search, presets.fgsm(EPSILON), images, labels), theirs, images)


def test_bim_equals_cleverhans(logits, right, search):
  images, labels = right
  theirs = basic_iterative_method(
    logits, images, EPSILON, STEP_SIZE, STEPS, np.inf, clip_min=0.0, clip_max=1.0, y=labels, sanity_checks=False
  )
  _assert_same(_last_point(search, presets.bim(EPSILON, STEP_SIZE, STEPS), images, labels), theirs, images)


def test_pgd_from_the_same_start_equals_cleverhans(logits, right, search, monkeypatch):
  images, labels = right
  noise = np.random.default_rng(0).uniform(-EPSILON, EPSILON, images.shape).astype(np.float32)
  # CleverHans draws its start here; the ball stays around the clean image in both.
  monkeypatch.setattr(cleverhans_pgd, "random_lp_vector", lambda *args, **kwargs: tf.constant(noise))
  theirs = cleverhans_pgd.projected_gradient_descent(
    logits, images, EPSILON, STEP_SIZE, STEPS, np.inf, clip_min=0.0, clip_max=1.0, y=labels, rand_init=True
  )
  ours = _last_point(search, presets.pgd(EPSILON, STEP_SIZE, STEPS), images, labels, start=images + noise)
  _assert_same(ours, theirs, images)
  # The start mattered.
  bim = _last_point(search, presets.bim(EPSILON, STEP_SIZE, STEPS), images, labels)
  assert np.mean(np.abs(ours - bim) > PIXEL) > 0.05


@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_mim_equals_cleverhans(logits, right, search, decay):
  images, labels = right
  theirs = momentum_iterative_method(
    logits,
    images,
    EPSILON,
    STEP_SIZE,
    STEPS,
    np.inf,
    clip_min=0.0,
    clip_max=1.0,
    y=labels,
    decay_factor=decay,
    sanity_checks=False,
  )
  ours = _last_point(search, presets.mim(EPSILON, STEP_SIZE, STEPS, momentum=decay), images, labels)
  _assert_same(ours, theirs, images)


@pytest.fixture(scope="module")
def fooled(logits):
  """A function from (Foolbox attack, images, labels, epsilon) to the images that it breaks, bool [n]."""
  model = oracle_support.foolbox_model(logits)

  def run(attack, images, labels, epsilon=EPSILON):
    _, _, success = attack(model, tf.constant(images), tf.constant(labels, tf.int64), epsilons=epsilon)
    return success.numpy()

  return run


def test_fgsm_breaks_what_foolbox_breaks(right, search, fooled):
  images, labels = right
  theirs = fooled(foolbox.attacks.LinfFastGradientAttack(), images, labels)
  ours = GradientAttack(search, presets.fgsm(EPSILON))(images, labels).success.numpy()
  assert np.sum(ours != theirs) <= 1
  assert 0 < ours.sum() < len(images)


@pytest.mark.parametrize(
  "norm, epsilon, step_size, theirs",
  [("linf", EPSILON, STEP_SIZE, foolbox.attacks.LinfPGD), ("l2", 0.7, 0.1, foolbox.attacks.L2PGD)],
)
def test_pgd_leaves_nothing_to_foolbox(right, network, fooled, norm, epsilon, step_size, theirs):
  images, labels = right
  attack = theirs(abs_stepsize=step_size, steps=LONG, random_start=True)
  tf.random.set_seed(0)
  # All starts in one batch: Foolbox steps in Python.
  starts = np.tile(images, [RESTARTS, 1, 1, 1]), np.tile(labels, RESTARTS)
  broken = fooled(attack, *starts, epsilon).reshape(RESTARTS, -1).any(0)
  ours = attack_survivors(
    GradientAttack(network, presets.pgd(epsilon, step_size, LONG, norm=norm), jit="off"),
    images,
    labels,
    restarts=RESTARTS,
    batch_size=100,
  ).success
  missed, extra = np.sum(broken & ~ours), np.sum(ours & ~broken)
  assert missed <= 0.01 * len(images), f"Foolbox alone breaks {missed} images, we alone {extra}, of {len(images)}"
  # A test that tells: some images are broken, some are not.
  assert 0.02 * len(images) < ours.sum() < 0.98 * len(images)
