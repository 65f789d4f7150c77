"""Operations of networks, steps and trainings against counts by hand."""

import keras
import pytest
import tensorflow as tf

from tla_tf import networks, published
from tla_tf.errors import InputError
from tla_tf.networks.flops import flops
from tla_tf.recipes.cheap_attack import InnerAttackConfig
from tla_tf.training import cost

# mlp_8 on 64 pixels: 64 x 8, 8 x 8, 8 x 8, 8 x 10 multiplications.
FORWARD, FIRST = 2 * (512 + 64 + 64 + 80), 2 * 512


@pytest.fixture(scope="module")
def network():
  return networks.build("mlp_8", (8, 8, 1), 10)


def test_products_of_known_layers_are_counted():
  layers = [
    keras.Input((6, 6, 3)),
    keras.layers.Conv2D(4, 5, padding="same"),  # 36 places, 5 x 5 x 3 x 4
    keras.layers.ReLU(),
    keras.layers.DepthwiseConv2D(3, padding="valid"),  # 16 places, 3 x 3 x 4
    keras.layers.Conv2D(8, 1, strides=2, groups=2),  # 4 places, 2 x 8
    keras.layers.Flatten(),
    keras.layers.Dense(10, activation="softmax"),  # 32 x 10
  ]
  model = keras.Sequential(layers)
  found = flops(model)
  assert list(found.layers.values()) == [2 * 36 * 300, 2 * 16 * 36, 2 * 4 * 16, 2 * 320]
  assert found.forward == 2 * (10800 + 576 + 64 + 320)
  assert found.attack == 2 * found.forward and found.training == 3 * found.forward - 2 * 10800
  assert flops(lambda x: tf.reshape(x, [-1, 8]) @ tf.ones([8, 2]), (2, 4)).forward == 2 * 16


def test_a_network_without_products_is_refused():
  with pytest.raises(InputError, match="no matrix product and no convolution"):
    flops(tf.identity, (8,))


@pytest.mark.parametrize(
  "method, settings, attack, mining, roles",
  [
    ("um", {}, 0, 0, 1),
    ("at", {}, 50 * 40 * 2 * FORWARD, 0, 1),
    ("tla", {}, 50 * 40 * 2 * FORWARD, 100 * FORWARD + 2 * 50 * 50 * 8, 3),
    ("tla", {"negative_pool": "memory_bank"}, 50 * 40 * 2 * FORWARD, 2 * 50 * 8192 * 8, 2),
    ("tla_rn", {"triplet": {"negatives": "random"}}, 50 * 40 * 2 * FORWARD, 0, 3),
  ],
)
def test_a_step_is_its_attack_its_mining_and_its_training_pass(network, method, settings, attack, mining, roles):
  config = published.setting("mnist", method, "mlp")
  own = {name: value for name, value in settings.items() if name != "triplet"}
  if "triplet" in settings:
    own["triplet"] = config.recipe.triplet.replace(**settings["triplet"])
  found = cost.step_cost(config.replace(recipe=config.recipe.replace(**own)), network)
  assert found == (attack, mining, 50 * roles * (3 * FORWARD - FIRST))
  assert found.total == sum(found)


def test_a_training_is_its_steps_and_its_looks_at_held_out_images(network):
  config = published.setting("mnist", "at", "mlp").replace(train_steps=100, checkpoint_every=40, validation_examples=7)
  looks = 3 * 7 * (100 * 2 + 2) * FORWARD
  assert cost.run_cost(config, network) == 100 * cost.step_cost(config, network).total + looks
  cheap = config.replace(recipe=config.recipe.replace(inner_attack=InnerAttackConfig(kind="fgsm_rs", until=60)))
  first, last = (cost.step_cost(cheap, network, step) for step in (59, 60))
  assert (first.attack, last.attack) == (50 * 2 * FORWARD, 50 * 40 * 2 * FORWARD)
  assert cost.run_cost(cheap, network) == 60 * first.total + 40 * last.total + looks


def test_the_rate_of_this_machine_is_measured(network):
  assert 0 < cost.measured_rate(network, 10, seconds=0.0) < float("inf")
