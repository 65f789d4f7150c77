"""The sets that attacks search, one norm a file."""

import typing

from tla_tf.balls.l0 import L0Ball
from tla_tf.balls.l2 import L2Ball
from tla_tf.balls.linf import LinfBall
from tla_tf.balls.starts import gaussian_start
from tla_tf.types import Norm

__all__ = ["L0Ball", "L2Ball", "LinfBall", "gaussian_start", "get"]


def get(norm: Norm | str) -> typing.Any:
  """The ball of a `types.Norm` or of its value."""
  return {Norm.LINF: LinfBall, Norm.L2: L2Ball, Norm.L0: L0Ball}[Norm(norm)]()
