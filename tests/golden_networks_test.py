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


@pytest.mark.parametrize("name", golden.FORWARD_MODELS)
def test_variables_have_the_authors_names_and_shapes(name):
  network = golden.build(name)
  variables = golden.named_variables(network)
  info = golden.numbers(f"{golden.FORWARD_MODELS[name]}_names")
  assert {key: tuple(v.shape) for key, v in variables.items()} == {
    entry["name"]: tuple(entry["shape"]) for entry in info["variables"]
  }
  assert {key for key, v in variables.items() if v.trainable} == {
    entry["name"] for entry in info["variables"] if entry["trainable"]
  }
  assert {id(v) for v in variables.values()} == {id(v) for v in network.variables}
  assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == info["trainable_parameters"]


@pytest.mark.parametrize("name", golden.FORWARD_MODELS)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_forward_matches(name, mode):
  network, _ = golden.golden_network(name)
  reference = golden.arrays(f"{golden.FORWARD_MODELS[name]}_forward")
  outputs = network(golden.inputs(name)["A"], training=mode == "train")
  what = f"{name} forward, {mode}"
  for ours, theirs in PAIRS:
    golden.assert_close(outputs[ours], reference[f"{mode}/{theirs}"], FORWARD, what)
  golden.assert_close(tf.nn.softmax(outputs["logits"]), reference[f"{mode}/softmax"], FORWARD, what)


@pytest.mark.parametrize("name", golden.FORWARD_MODELS)
def test_one_training_pass_moves_the_averages(name):
  network, variables = golden.golden_network(name)
  reference = golden.arrays(f"{golden.FORWARD_MODELS[name]}_forward")
  network(golden.inputs(name)["A"], training=True)
  moved = [key for key in reference if key.startswith("moving_after/")]
  assert moved
  for key in moved:
    ours = variables[key.removeprefix("moving_after/")]
    golden.assert_close(ours, reference[key], FORWARD, f"{name} moving averages")


@pytest.mark.parametrize("name", golden.FORWARD_MODELS)
def test_inference_pass_moves_nothing(name):
  network, variables = golden.golden_network(name)
  before = {key: np.array(v) for key, v in variables.items()}
  network(golden.inputs(name)["A"], training=False)
  for key, value in before.items():
    np.testing.assert_array_equal(value, variables[key])


@pytest.mark.parametrize("name", golden.FORWARD_MODELS)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_losses_of_the_forward_pass(name, mode):
  network, _ = golden.golden_network(name)
  expected = golden.numbers(f"{golden.FORWARD_MODELS[name]}_forward")[mode]
  data = golden.inputs(name)
  logits = network(data["A"], training=mode == "train")["logits"]
  # The authors' LeNet smooths its labels by 0.1, the others do not.
  values = objectives.cross_entropy(logits, data["y_A"], 0.1 if name == "lenet" else 0.0)
  golden.assert_close(tf.reduce_mean(values), expected["mean_xent"], LOSS, f"{name} losses")
  decay = losses.weight_decay(network.trainable_variables)
  golden.assert_close(decay, expected["weight_decay_loss"], LOSS, f"{name} losses")
  assert tf.argmax(logits, -1).numpy().tolist() == expected["predictions"]


@pytest.mark.parametrize("name", golden.FORWARD_MODELS)
def test_branches_equal_separate_passes(name):
  data = golden.inputs(name)
  roles = {"twin": data["A"], "adversarial": 1 - data["A"], "negative": data["A"][::-1] ** 2}
  together, ours = golden.golden_network(name)
  apart, theirs = golden.golden_network(name)
  outputs = networks.forward_branches(together, roles, training=True)
  for role, images in roles.items():
    expected = apart(images, training=True)
    for key in ("embedding", "logits"):
      golden.assert_close(outputs[role][key], expected[key], FORWARD, f"{name} branches against passes")
  for key, variable in ours.items():
    golden.assert_close(variable, theirs[key], FORWARD, f"{name} branches against passes")
