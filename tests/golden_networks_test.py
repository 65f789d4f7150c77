"""Golden: forward passes, moving averages, losses and accuracies of the networks."""

import golden_support as golden
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import losses, networks
from tla_tf.ops import objectives

FORWARD = 3e-5
LOSS = 1e-5
PAIRS = [("embedding", "x4"), ("logits", "logits")]


@pytest.mark.parametrize("name", golden.MODELS)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_forward_matches(name, mode):
  network, _ = golden.golden_network(name)
  reference = golden.arrays(f"{golden.MODELS[name]}_forward")
  outputs = network(golden.inputs()["A"], training=mode == "train")
  what = f"{name} forward, {mode}"
  for ours, theirs in PAIRS:
    golden.assert_close(outputs[ours], reference[f"{mode}/{theirs}"], FORWARD, what)
  golden.assert_close(tf.nn.softmax(outputs["logits"]), reference[f"{mode}/softmax"], FORWARD, what)


@pytest.mark.parametrize("name", golden.MODELS)
def test_one_training_pass_moves_the_averages(name):
  network, variables = golden.golden_network(name)
  reference = golden.arrays(f"{golden.MODELS[name]}_forward")
  network(golden.inputs()["A"], training=True)
  moved = [key for key in reference if key.startswith("moving_after/")]
  assert moved
  for key in moved:
    ours = variables[key.removeprefix("moving_after/")]
    golden.assert_close(ours, reference[key], FORWARD, f"{name} moving averages")


@pytest.mark.parametrize("name", golden.MODELS)
def test_inference_pass_moves_nothing(name):
  network, variables = golden.golden_network(name)
  before = {key: np.array(v) for key, v in variables.items()}
  network(golden.inputs()["A"], training=False)
  for key, value in before.items():
    np.testing.assert_array_equal(value, variables[key])


@pytest.mark.parametrize("name", golden.MODELS)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_losses_of_the_forward_pass(name, mode):
  network, _ = golden.golden_network(name)
  expected = golden.numbers(f"{golden.MODELS[name]}_forward")[mode]
  data = golden.inputs()
  logits = network(data["A"], training=mode == "train")["logits"]
  # The authors' LeNet smooths its labels by 0.1, the MLP does not.
  values = objectives.cross_entropy(logits, data["y_A"], {"mlp": 0.0, "lenet": 0.1}[name])
  golden.assert_close(tf.reduce_mean(values), expected["y_xent"], LOSS, f"{name} losses")
  decay = losses.weight_decay(network.trainable_variables)
  golden.assert_close(decay, expected["weight_decay_loss"], LOSS, f"{name} losses")
  assert tf.argmax(logits, -1).numpy().tolist() == expected["predictions"]


@pytest.mark.parametrize("name", golden.MODELS)
def test_branches_equal_separate_passes(name):
  data = golden.inputs()
  roles = {"twin": data["A"], "adversarial": data["A_adv"], "negative": data["B"]}
  together, ours = golden.golden_network(name)
  apart, theirs = golden.golden_network(name)
  outputs = networks.forward_branches(together, roles, training=True)
  for role, images in roles.items():
    expected = apart(images, training=True)
    for key in ("embedding", "logits"):
      golden.assert_close(outputs[role][key], expected[key], FORWARD, f"{name} branches against passes")
  for key, variable in ours.items():
    golden.assert_close(variable, theirs[key], FORWARD, f"{name} branches against passes")
