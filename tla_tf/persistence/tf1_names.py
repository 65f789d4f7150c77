"""The names that a network's variables have in the authors' TF1 checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tla_tf.errors import InputError

# Layer -> scopes of its kernel and bias, in the order of the graph.
_MLP = {"fc1": ("w1", "b1"), "fc2": ("conv_w11", "b11"), "fc3": ("fcw1", "fcb1"), "logits": ("fcw2", "fcb2")}
_LENET = {
  "conv1": ("conv_w1", "b1"),
  "conv2": ("conv_w11", "b11"),
  "conv3": ("conv_w2", "b2"),
  "conv4": ("conv_w21", "b21"),
  "fc1": ("fcw1", "fcb1"),
  "logits": ("fcw2", "fcb2"),
}
# Family of networks -> the variables of the last layer, whose last side is the number of classes.
_LAST = {
  "mlp": ("fcb2/biases", "fcw2/DW"),
  "lenet": ("fcb2/biases", "fcw2/DW"),
  "wrn": ("logit/biases", "logit/DW"),
  "resnet": ("logit/biases", "logit/DW"),
}
_STATISTICS = ("beta", "gamma", "moving_mean", "moving_variance")


def tf1_names(network: Any) -> dict[str, Any]:
  """Maps TF1 names, without the scope `main_encoder/`, to a network's variables.

  Args:
    network: an `mlp`, `lenet`, `resnet_50` or `wrn_D_W` of `networks.build`.

  Returns:
    Dict from name to `keras.Variable`, of all variables.

  Raises:
    InputError: for a network whose names in the authors' code are not known.
  """
  if network.name in ("mlp", "lenet"):
    return _numbered(network, _MLP if network.name == "mlp" else _LENET)
  if network.name not in ("wide_resnet", "resnet_50"):
    raise _unknown(network.name)
  kinds = {"kernel": "DW", "bias": "biases"}
  return {
    f"{layer.name.replace('.', '/')}/{kinds.get(v.name, v.name)}": v for layer in network.layers for v in layer.weights
  }


def last_layer(network_name: str) -> tuple[str, str]:
  """The TF1 names of the last layer's biases and kernel, by a name of `networks.build`.

  Raises:
    InputError: for a network whose names in the authors' code are not known.
  """
  family = network_name.partition("_")[0]
  if family not in _LAST:
    raise _unknown(network_name)
  return _LAST[family]


def _unknown(name: str) -> InputError:
  return InputError(
    f"The authors' variable names of network {name!r} are not known: import mlp, lenet, resnet_50 or wrn_32_10."
  )


def _numbered(network: Any, scopes: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
  """The MNIST networks: a scope for each weight, batch normalisations by number."""
  names = {}
  for number, (layer, (kernel, bias)) in enumerate(scopes.items()):
    names[f"{kernel}/DW"] = network.get_layer(layer).kernel
    names[f"{bias}/biases"] = network.get_layer(layer).bias
    if layer != "logits":
      scope = f"BatchNorm_{number}" if number else "BatchNorm"
      names.update({f"{scope}/{kind}": getattr(network.get_layer(f"{layer}_bn"), kind) for kind in _STATISTICS})
  return names
