"""Recreates the weights and inputs of the reference outputs; compares with them."""

import functools
import json
import pathlib
import zlib

import numpy as np

from tla_tf import networks
from tla_tf.persistence.tf1_names import tf1_names

FOLDER = pathlib.Path(__file__).parent / "golden"
# Our network -> the file names of its reference outputs: those of all kinds, and those of forward passes.
MODELS = {"mlp": "mlp", "lenet": "lenet_bn"}
FORWARD_MODELS = {**MODELS, "wrn_32_10": "wrn32_10", "resnet_50": "resnet50"}
# Network -> (file of its inputs, image shape, classes); MNIST for the others.
_COLOUR = {"wrn_32_10": ("cifar10_inputs", (32, 32, 3), 10), "resnet_50": ("imagenet_inputs", (64, 64, 3), 200)}
# Kernels that are scaled down (the rules that came with the reference outputs).
_GAINS = {"wrn32_10": {"/sub2/conv2/DW": 0.3}, "resnet50": {"/sub3/conv3/DW": 0.3, "/sub_add/conv1s/DW": 0.7}}


def arrays(name):
  with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
    return dict(file)


def numbers(name):
  return json.loads((FOLDER / f"{name}.json").read_text())


def inputs(name="mlp"):
  """The inputs of a network; images float32 [n, height, width, channels] in [0, 1]."""
  if name in _COLOUR:
    return {k: v if k.startswith("y_") else v / np.float32(255) for k, v in arrays(_COLOUR[name][0]).items()}
  return {k: v if k.startswith("y_") else v[..., None] for k, v in arrays("mnist_inputs").items()}


def build(name):
  """A network of the size that the reference outputs were made with."""
  _, shape, classes = _COLOUR.get(name, ("", (28, 28, 1), 10))
  return networks.build(name, shape, classes)


def reference_weight(salt, name, shape, gain=1.0):
  rng = np.random.Generator(np.random.PCG64(zlib.crc32((salt + name).encode())))
  last = name.rsplit("/", 1)[-1]
  if last == "DW":
    value = rng.standard_normal(shape) * gain * np.sqrt(2 / np.prod(shape[:-1]))
  elif last == "biases":
    value = 0.05 * rng.standard_normal(shape)
  elif last == "gamma":
    value = 1 + 0.1 * rng.standard_normal(shape)
  elif last == "moving_variance":
    value = rng.uniform(0.5, 1.5, shape)
  else:
    value = 0.1 * rng.standard_normal(shape)
  return value.astype(np.float32)


@functools.lru_cache(maxsize=2)
def reference_weights(name):
  """The authors' variable name -> its value, checked against the rule's samples."""
  info = numbers(f"{FORWARD_MODELS[name]}_names")
  weights = {}
  for entry in info["variables"]:
    gains = [gain for end, gain in _GAINS.get(info["model"], {}).items() if entry["name"].endswith(end)]
    value = reference_weight(info["salt"], entry["name"], entry["shape"], *gains)
    np.testing.assert_allclose(value.ravel()[:3], entry["first3"], rtol=1e-6)
    weights[entry["name"]] = value
  return weights


def named_variables(network):
  """The authors' variable name -> our variable."""
  return {f"main_encoder/{name}": variable for name, variable in tf1_names(network).items()}


@functools.lru_cache(maxsize=2)
def _built(name):
  network = build(name)
  return network, named_variables(network)


def golden_network(name):
  """A network of ours with the reference weights, and its variables by the authors' names.

  There is one network of a name, which every call sets to the reference
  weights again.
  """
  network, variables = _built(name)
  for key, value in reference_weights(name).items():
    variables[key].assign(value)
  return network, variables


def forget():
  """Lets go of the networks and weights that are kept."""
  _built.cache_clear()
  reference_weights.cache_clear()


def deviation(actual, expected):
  """Relative L2 deviation."""
  actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
  assert actual.shape == expected.shape, (actual.shape, expected.shape)
  return np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), 1e-12)


# Largest deviation seen of every kind, printed at the end of the session.
SEEN = {}


def assert_close(actual, expected, tolerance, what):
  """Asserts a relative L2 deviation and keeps the largest of its kind."""
  found = deviation(actual, expected)
  SEEN[what] = max(SEEN.get(what, 0.0), found)
  assert found <= tolerance, f"{what}: deviation {found:.2e} > {tolerance:.0e}"
