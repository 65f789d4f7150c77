"""Recreates the weights and inputs of the reference outputs; compares with them."""

import json
import pathlib
import zlib

import numpy as np

from tla_tf import networks

FOLDER = pathlib.Path(__file__).parent / "golden"
# Our network -> the file names of its reference outputs.
MODELS = {"mlp": "mlp", "lenet": "lenet_bn"}
# Order of the variables of a layer in the authors' graph.
_VARIABLE_ORDER = ("kernel", "bias", "beta", "gamma", "moving_mean", "moving_variance")


def arrays(name):
  with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
    return dict(file)


def numbers(name):
  return json.loads((FOLDER / f"{name}.json").read_text())


def inputs():
  """The MNIST inputs; images float32 [8, 28, 28, 1]."""
  return {k: v if k.startswith("y_") else v[..., None] for k, v in arrays("mnist_inputs").items()}


def reference_weight(salt, name, shape):
  rng = np.random.Generator(np.random.PCG64(zlib.crc32((salt + name).encode())))
  last = name.rsplit("/", 1)[-1]
  if last == "DW":
    value = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
  elif last == "biases":
    value = 0.05 * rng.standard_normal(shape)
  elif last == "gamma":
    value = 1 + 0.1 * rng.standard_normal(shape)
  elif last == "moving_variance":
    value = rng.uniform(0.5, 1.5, shape)
  else:
    value = 0.1 * rng.standard_normal(shape)
  return value.astype(np.float32)


def named_variables(network, model):
  """The authors' variable name -> our variable."""
  ours = []
  for layer in network.layers:
    weights = {v.name: v for v in layer.weights}
    ours += [weights[name] for name in _VARIABLE_ORDER if name in weights]
  entries = numbers(f"{model}_names")["variables"]
  assert [tuple(v.shape) for v in ours] == [tuple(e["shape"]) for e in entries]
  return {entry["name"]: variable for entry, variable in zip(entries, ours, strict=True)}


def golden_network(name):
  """A network of ours with the reference weights, and its variables by the authors' names."""
  network = networks.build(name, (28, 28, 1), 10)
  variables = named_variables(network, MODELS[name])
  info = numbers(f"{MODELS[name]}_names")
  for entry in info["variables"]:
    value = reference_weight(info["salt"], entry["name"], entry["shape"])
    np.testing.assert_allclose(value.ravel()[:3], entry["first3"], rtol=1e-6)
    variables[entry["name"]].assign(value)
  return network, variables


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
