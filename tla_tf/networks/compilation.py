"""Whether XLA pays for a network on the device at hand."""

import typing

import keras
import tensorflow as tf

from tla_tf.types import Jit, Precision

# Packages whose layers say by their names what they do.
_KNOWN = ("keras", "tla_tf")


def prefers_xla(network: typing.Any, precision: Precision | str = "float32") -> bool:
  """True on an accelerator, and on a CPU for networks of known layers without convolutions.

  False where a CPU would run layers of others, which may hold convolutions or
  what XLA cannot compile, and on several replicas: a step compiled by XLA cannot add up their
  gradients.

  Measured by `benchmarks/attacks.py`: XLA halves the time of an MLP on a CPU,
  while convolutions in a compiled loop there become several times slower, and
  products of matrices in bfloat16.

  Args:
    network: a `keras.Model`; any other callable gets False.
    precision: a `types.Precision`, of what is to be compiled.
  """
  if not isinstance(network, keras.Model) or tf.distribute.get_strategy().num_replicas_in_sync > 1:
    return False
  if tf.config.list_logical_devices("GPU"):
    return True
  if Precision(precision) is not Precision.FLOAT32:
    return False
  kinds = {type(layer) for layer in network._flatten_layers()}  # noqa: SLF001
  return all(kind.__module__.partition(".")[0] in _KNOWN and "Conv" not in kind.__name__ for kind in kinds)


def resolve_jit(jit: Jit | str | bool, network: typing.Any, precision: Precision | str = "float32") -> bool:
  """Turns a `types.Jit`, a bool or "auto" into a bool for this network, in this `types.Precision`."""
  if isinstance(jit, bool):
    return jit
  jit = Jit(jit)
  return prefers_xla(network, precision) if jit is Jit.AUTO else jit is Jit.ON
