"""The parts of AutoAttack (Croce and Hein 2020): Auto-PGD, FAB-T and Square, and its two versions."""

from tla_tf.attack_configs import ApgdConfig, FabConfig, SquareConfig
from tla_tf.attacks.auto_attack.apgd import Apgd
from tla_tf.attacks.auto_attack.fab import Fab
from tla_tf.attacks.auto_attack.square import Square
from tla_tf.config import Config
from tla_tf.types import ApgdLoss, Norm

__all__ = ["Apgd", "Fab", "Square", "plus", "standard"]


def standard(epsilon: float, norm: Norm | str = Norm.LINF) -> tuple[tuple[str, Config], ...]:
  """The four attacks of the standard version, in their order, with its settings.

  Args:
    epsilon: radius of the ball.
    norm: L-infinity or L2.

  Returns:
    A tuple of pairs (name, config).
  """
  norm = Norm(norm)
  return (
    ("APGD-CE", ApgdConfig(epsilon=epsilon, steps=100, loss=ApgdLoss.CROSS_ENTROPY, restarts=1, norm=norm)),
    ("APGD-T", ApgdConfig(epsilon=epsilon, steps=100, loss=ApgdLoss.TARGETED_DLR, restarts=9, norm=norm)),
    ("FAB-T", FabConfig(epsilon=epsilon, steps=100, restarts=9, norm=norm)),
    ("Square", SquareConfig(epsilon=epsilon, steps=5000, rescale_schedule=False, restarts=1, norm=norm)),
  )


def plus(epsilon: float, norm: Norm | str = Norm.LINF) -> tuple[tuple[str, Config], ...]:
  """The stronger version: more starts, and the DLR without targets.

  The published one also has FAB without targets, which FAB-T stands in for
  here.

  Args:
    epsilon: radius of the ball.
    norm: L-infinity or L2.

  Returns:
    A tuple of pairs (name, config); names are not those of `standard`.
  """
  (_, first), (_, targeted), (_, fab), (_, square) = standard(epsilon, norm)
  return (
    ("5xAPGD-CE", first.replace(restarts=5)),
    ("5xAPGD-DLR", first.replace(restarts=5, loss=ApgdLoss.DLR)),
    ("Square+", square),
    ("APGD-T+", targeted),
    ("FAB-T+", fab),
  )
