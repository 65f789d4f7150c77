"""Golden: forward passes, moving averages, losses and accuracies of the networks."""

import typing

import golden_support as golden
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import losses, networks
from tla_tf.ops import objectives

FORWARD = 3e-5
LOSS = 1e-5
PAIRS = [("embedding", "x4"), ("logits", "logits")]


class Passes(typing.NamedTuple):
  """A network with the reference weights, and what a pass of each mode gives and moves."""

  name: str
  network: typing.Any
  variables: dict
  outputs: dict  # by mode
  moved: dict  # by mode, the new values of the variables that are no longer those of before


# One network at a time: the large ones take hundreds of megabytes and seconds.
@pytest.fixture(scope="module", params=golden.FORWARD_MODELS)
def passes(request):
  name = request.param
  outputs, moved = {}, {}
  for mode in ("eval", "train"):
    network, variables = golden.golden_network(name)
    outputs[mode] = network(golden.inputs(name)["A"], training=mode == "train")
    before = golden.reference_weights(name)
    moved[mode] = {key: v.numpy() for key, v in variables.items() if not np.array_equal(v, before[key])}
  yield Passes(name, network, variables, outputs, moved)
  golden.forget()


def test_variables_have_the_authors_names_and_shapes(passes):
  info = golden.numbers(f"{golden.FORWARD_MODELS[passes.name]}_names")
  variables = passes.variables
  assert {key: tuple(v.shape) for key, v in variables.items()} == {
    entry["name"]: tuple(entry["shape"]) for entry in info["variables"]
  }
  assert {key for key, v in variables.items() if v.trainable} == {
    entry["name"] for entry in info["variables"] if entry["trainable"]
  }
  assert {id(v) for v in variables.values()} == {id(v) for v in passes.network.variables}
  assert sum(int(np.prod(v.shape)) for v in passes.network.trainable_variables) == info["trainable_parameters"]


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_forward_matches(passes, mode):
  reference = golden.arrays(f"{golden.FORWARD_MODELS[passes.name]}_forward")
  outputs, what = passes.outputs[mode], f"{passes.name} forward, {mode}"
  for ours, theirs in PAIRS:
    golden.assert_close(outputs[ours], reference[f"{mode}/{theirs}"], FORWARD, what)
  golden.assert_close(tf.nn.softmax(outputs["logits"]), reference[f"{mode}/softmax"], FORWARD, what)


def test_one_training_pass_moves_the_averages(passes):
  reference = golden.arrays(f"{golden.FORWARD_MODELS[passes.name]}_forward")
  expected = {key.removeprefix("moving_after/"): value for key, value in reference.items() if "moving_after/" in key}
  assert expected
  for key, value in expected.items():
    golden.assert_close(passes.moved["train"][key], value, FORWARD, f"{passes.name} moving averages")


def test_inference_pass_moves_nothing(passes):
  assert not passes.moved["eval"]


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_losses_of_the_forward_pass(passes, mode):
  expected = golden.numbers(f"{golden.FORWARD_MODELS[passes.name]}_forward")[mode]
  labels, logits = golden.inputs(passes.name)["y_A"], passes.outputs[mode]["logits"]
  # The authors' LeNet smooths its labels by 0.1, the others do not.
  values = objectives.cross_entropy(logits, labels, 0.1 if passes.name == "lenet" else 0.0)
  golden.assert_close(tf.reduce_mean(values), expected["mean_xent"], LOSS, f"{passes.name} losses")
  decay = losses.weight_decay(passes.network.trainable_variables)
  golden.assert_close(decay, expected["weight_decay_loss"], LOSS, f"{passes.name} losses")
  assert tf.argmax(logits, -1).numpy().tolist() == expected["predictions"]


def test_branches_equal_separate_passes(passes):
  images, what = golden.inputs(passes.name)["A"], f"{passes.name} branches against passes"
  roles = {"twin": images, "adversarial": 1 - images, "negative": images[::-1] ** 2}
  network, variables = golden.golden_network(passes.name)
  # As a graph, which lets go of what it has used: all inner outputs of the large networks are a gigabyte.
  together = tf.function(lambda: networks.forward_branches(network, roles, training=True), autograph=False)()
  after = {key: variable.numpy() for key, variable in variables.items()}
  golden.golden_network(passes.name)
  for role, x in roles.items():
    apart = network(x, training=True)
    for key in ("embedding", "logits"):
      golden.assert_close(together[role][key], apart[key], FORWARD, what)
  for key, variable in variables.items():
    golden.assert_close(after[key], variable, FORWARD, what)
