"""NaN decides the same in a graph as eagerly: an image on which the network says NaN is one on which it errs.

TensorFlow's graph optimiser writes `not (x >= y)` as `x < y`, and XLA's `argmax` passes over NaN.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import models, networks
from tla_tf.attack_configs import (
  ApgdConfig,
  CarliniWagnerConfig,
  DeepFoolConfig,
  FabConfig,
  JsmaConfig,
  SquareConfig,
  TransferConfig,
)
from tla_tf.attacks import AttackFactory, presets
from tla_tf.config import AttackConfig
from tla_tf.evaluation.judge import predicted_classes as judged_classes
from tla_tf.ops import mining
from tla_tf.ops.predictions import predicted_classes
from tla_tf.types import Norm

NAN = float("nan")
IMAGES = np.full((3, 2, 2, 1), 0.5, np.float32)
SHOWN = IMAGES + np.float32(0.1)


def _holed(images):
  """Class 0 leads everywhere; where the first pixel is above 0.55, the logits are NaN."""
  first = tf.reshape(images, [-1, 4])[:, 0]
  logits = tf.stack([tf.zeros_like(first), first - 2.0, first - 3.0, first - 4.0], 1)
  return tf.where(first[:, None] > 0.55, NAN, logits)


ATTACKS = {
  "fgsm": presets.fgsm(0.3),
  "pgd": presets.pgd(0.3, 0.1, 5),
  "margin": presets.cw_pgd(0.3, 0.1, 5),
  "apgd": ApgdConfig(steps=5),
  "fab": FabConfig(epsilon=0.6, steps=5),
  "square": SquareConfig(steps=20),
  "carlini_wagner": CarliniWagnerConfig(steps=100, binary_search_steps=3, initial_constant=1.0),
  "deepfool": DeepFoolConfig(steps=3),
  "jsma": JsmaConfig(epsilon=0.5),
  "transfer": TransferConfig(),
}


# The two ways of deciding, `missed` and `lead`, compiled by XLA, too.
@pytest.mark.parametrize("name, jit", [*((name, "off") for name in ATTACKS), ("pgd", "on"), ("deepfool", "on")])
def test_an_attack_succeeds_where_the_network_says_nan(name, jit):
  config = ATTACKS[name]
  attack = AttackFactory(_holed, jit, {config: SHOWN} if name == "transfer" else {}).make(config)
  attack = attack.bound(np.arange(3))
  found = attack(IMAGES, [0, 0, 0], seed=1)
  np.testing.assert_array_equal(found.success, [True] * 3)
  np.testing.assert_array_equal(judged_classes(_holed(found.adversarial).numpy()), [-1] * 3)
  targeted = attack(IMAGES, [0, 0, 0], targets=[1, 2, 3], seed=1)
  np.testing.assert_array_equal(targeted.success, [False] * 3)


def test_no_class_is_said_where_a_logit_is_nan(compiler):
  logits = np.array([[0, 1, 2], [NAN, 1, 2], [2, NAN, 1], [2, 1, NAN], [NAN, NAN, NAN], [3, np.inf, 0]], np.float32)
  said = tf.function(predicted_classes, jit_compile=compiler == "on")(logits)
  np.testing.assert_array_equal(said, [2, -1, -1, -1, -1, 1])
  np.testing.assert_array_equal(judged_classes(logits), said)


@pytest.fixture(scope="module")
def spoiled():
  """A model whose network says NaN of every image."""
  network = networks.build("mlp_4", (2, 2, 1), 3, seed=1)
  model = models.AdversarialTraining(network, attack=AttackConfig(epsilon=0.1, step_size=0.1, steps=1))
  model.compile(keras.optimizers.SGD(0.1))
  network.layers[-1].bias.assign([0.0, NAN, 0.0])
  return model


def test_a_network_that_says_nan_is_right_about_nothing(spoiled):
  found = spoiled.evaluate(IMAGES, np.array([0, 1, 2]), return_dict=True, verbose=0)
  assert (found["accuracy"], found["robust_accuracy"]) == (0.0, 0.0)
  assert np.isnan(found["loss"]) and np.isnan(found["robust_loss"])


def test_a_negative_that_is_nan_is_taken_so_that_the_loss_shows_it(compiler):
  anchors = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
  pool = np.array([[1, 0], [1, 0.1], [NAN, 0], [1, 0.2]], np.float32)
  nearest = tf.function(mining.nearest_negative, jit_compile=compiler == "on")
  # The third is of another class for the first two anchors, and of the last one's own.
  np.testing.assert_array_equal(nearest(anchors, pool, np.array([0, 1, 2]), np.array([3, 3, 2, 0])), [2, 2, 3])


class Hole(keras.layers.Layer):
  """NaN where the first value is above 0.55."""

  def call(self, images):
    return tf.where(images[:, :1] > 0.55, NAN, images)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
@pytest.mark.parametrize("jit", [False, True])
def test_the_loss_shows_nan_that_only_the_attack_meets(norm, jit):
  inputs = keras.Input((2, 2, 1))
  embedding = Hole()(keras.layers.Flatten()(inputs))
  network = keras.Model(inputs, {"embedding": embedding, "logits": keras.layers.Dense(2)(embedding)})
  network.layers[-1].kernel.assign([[-1.0, 1.0]] + [[0.0, 0.0]] * 3)
  model = models.AdversarialTraining(
    network, attack=AttackConfig(epsilon=0.2, step_size=0.1, steps=2, norm=norm, random_start=False)
  )
  model.compile(keras.optimizers.SGD(0.0), jit_compile=jit)
  clean = model.network(IMAGES)["logits"].numpy()
  assert np.isfinite(clean).all()
  assert np.isnan(model.train_on_batch(IMAGES, np.zeros(3, np.int32), return_dict=True)["loss"])
