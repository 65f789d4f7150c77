"""Networks: images in [0, 1] -> {"embedding", "logits"}, one architecture a file.

Names: `mlp` (1,024 units; `mlp_256` for other widths), `lenet` (32 filters;
`lenet_8` for other widths).
"""

import re

from tla_tf.errors import InputError
from tla_tf.networks.batch_norm import BranchBatchNormalization, branches
from tla_tf.networks.compilation import prefers_xla, resolve_jit
from tla_tf.networks.forward import forward_branches, has_foreign_statistics, logits_function
from tla_tf.networks.lenet import lenet
from tla_tf.networks.mlp import mlp
from tla_tf.networks.wrapping import from_keras

__all__ = ["NAMES", "BranchBatchNormalization", "branches", "build", "forward_branches", "from_keras",
           "has_foreign_statistics", "lenet", "logits_function", "mlp", "prefers_xla", "resolve_jit"]

_BUILDERS = {"mlp": mlp, "lenet": lenet}
NAMES = tuple(_BUILDERS)


def build(name, input_shape, num_classes, seed=0):
  """Builds a network by its name.

  Args:
    name: "mlp", "lenet", or either with a width: "mlp_256", "lenet_8".
    input_shape: (height, width, channels).
    num_classes: number of classes.
    seed: seed of the initial weights.

  Returns:
    A functional `keras.Model` from float32 images [n, height, width,
    channels] in [0, 1] to {"embedding": [n, d], "logits": [n, classes]}.

  Raises:
    InputError: for an unknown name.
  """
  match = re.fullmatch(r"([a-z]+)(?:_([1-9][0-9]*))?", name)
  if not match or match[1] not in _BUILDERS:
    raise InputError(f"Unknown network {name!r}: expected one of {list(NAMES)}, optionally with a width as in "
                     "'mlp_256'.")
  width = {"width": int(match[2])} if match[2] else {}
  return _BUILDERS[match[1]](tuple(input_shape), num_classes, seed=seed, **width)
