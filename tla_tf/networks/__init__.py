"""Networks: images in [0, 1] -> {"embedding", "logits"}, one architecture a file; those of others may lack the first.

Names: `mlp` (1,024 units; `mlp_256` for other widths), `lenet` (32 filters;
`lenet_8`), `convnet` (32 filters; `convnet_8`), `resnet_50` (64 filters;
`resnet_50_8`), `wrn_D_W` (depth, width; the paper's is `wrn_32_10`), or
`module:function` of the user's own.
"""

import re
import typing

import keras

from tla_tf import user_code
from tla_tf.errors import InputError
from tla_tf.networks.batch_norm import BranchBatchNormalization, branches, synchronised
from tla_tf.networks.compilation import Compiler, prefers_xla, resolve_jit
from tla_tf.networks.convnet import convnet
from tla_tf.networks.foreign import ForeignNetwork
from tla_tf.networks.forward import (
  finalize,
  forward_branches,
  has_foreign_statistics,
  logits_function,
  mixes_rows,
  outputs_of,
  prepared,
  reseed,
)
from tla_tf.networks.lenet import lenet
from tla_tf.networks.mlp import mlp
from tla_tf.networks.own import own_network
from tla_tf.networks.precision import computing_in
from tla_tf.networks.resnet import resnet_50
from tla_tf.networks.wide_resnet import wide_resnet
from tla_tf.networks.wrapping import from_keras

__all__ = [
  "NAMES",
  "BranchBatchNormalization",
  "Compiler",
  "ForeignNetwork",
  "branches",
  "build",
  "computing_in",
  "convnet",
  "finalize",
  "forward_branches",
  "from_keras",
  "has_foreign_statistics",
  "lenet",
  "logits_function",
  "mixes_rows",
  "mlp",
  "outputs_of",
  "prefers_xla",
  "prepared",
  "reseed",
  "resnet_50",
  "resolve_jit",
  "synchronised",
  "wide_resnet",
]

_NUMBER = "[1-9][0-9]{0,4}"
# Pattern of a name -> builder; named groups are the builder's arguments.
_BUILDERS: dict[str, typing.Callable[..., keras.Model]] = {
  rf"mlp(?:_(?P<width>{_NUMBER}))?": mlp,
  rf"lenet(?:_(?P<width>{_NUMBER}))?": lenet,
  rf"convnet(?:_(?P<width>{_NUMBER}))?": convnet,
  rf"resnet_50(?:_(?P<width>{_NUMBER}))?": resnet_50,
  rf"wrn_(?P<depth>{_NUMBER})_(?P<width>{_NUMBER})": wide_resnet,
}
NAMES = ("mlp", "lenet", "convnet", "resnet_50", "wrn_32_10")


def build(name: str, input_shape: tuple[int, ...], num_classes: int, seed: int = 0) -> keras.Model:
  """Builds a network by its name.

  Args:
    name: one of `NAMES`, or another size: "mlp_256", "lenet_8", "convnet_8",
      "resnet_50_8", "wrn_28_10"; or "module:function", see `own_network`.
    input_shape: (height, width, channels).
    num_classes: number of classes.
    seed: seed of the initial weights.

  Returns:
    A functional `keras.Model` from float32 images [n, height, width,
    channels] in [0, 1] to {"embedding": [n, d], "logits": [n, classes]}.

  Raises:
    InputError: for an unknown name, and a function that is missing or returns
      no network.
  """
  if user_code.is_reference(name):
    return own_network(name, tuple(input_shape), num_classes, seed)
  for pattern, builder in _BUILDERS.items():
    if match := re.fullmatch(pattern, name):
      sizes = {size: int(value) for size, value in match.groupdict().items() if value}
      return builder(tuple(input_shape), num_classes, seed=seed, **sizes)
  raise InputError(
    f"Unknown network {name!r}: expected one of {list(NAMES)}, or another size as in 'mlp_256', "
    "'resnet_50_16', 'wrn_28_10', or module:function of your own."
  )
