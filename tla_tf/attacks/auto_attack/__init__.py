"""The parts of AutoAttack (Croce and Hein 2020): Auto-PGD, FAB-T and Square, and its standard version."""

from tla_tf.attack_configs import ApgdConfig, FabConfig, SquareConfig
from tla_tf.attacks.auto_attack.apgd import Apgd
from tla_tf.attacks.auto_attack.fab import Fab
from tla_tf.attacks.auto_attack.square import Square
from tla_tf.types import ApgdLoss, Norm

__all__ = ["Apgd", "Fab", "Square", "standard"]


def standard(epsilon, norm=Norm.LINF):
  """The four attacks of the standard version, in their order, with its settings.

  Args:
    epsilon: radius of the ball.
    norm: L-infinity or L2.

  Returns:
    A tuple of pairs (name, config).
  """
  return (
    ("APGD-CE", ApgdConfig(epsilon=epsilon, steps=100, loss=ApgdLoss.CROSS_ENTROPY, restarts=1, norm=norm)),
    ("APGD-T", ApgdConfig(epsilon=epsilon, steps=100, loss=ApgdLoss.TARGETED_DLR, restarts=9, norm=norm)),
    ("FAB-T", FabConfig(epsilon=epsilon, steps=100, restarts=9, norm=norm)),
    ("Square", SquareConfig(epsilon=epsilon, steps=5000, rescale_schedule=False, restarts=1, norm=norm)),
  )
