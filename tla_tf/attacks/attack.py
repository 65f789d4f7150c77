"""The contract of all attacks, and the record that they return."""

import abc
import typing


class AttackResult(typing.NamedTuple):
  """What an attack found, one row an example.

  Attributes:
    adversarial: float32 [n, ...] in [0, 1].
    success: bool [n], the network errs on `adversarial`.
    loss: float32 [n], the objective on `adversarial`.
    distance: float32 [n], from the clean image in the attack's norm.
    zero_gradients: int32 [n], steps at which the whole gradient was 0.
    nonfinite_gradients: int32 [n], steps at which it held NaN or infinity;
      such an example stays where it is for that step.
  """

  adversarial: typing.Any
  success: typing.Any
  loss: typing.Any
  distance: typing.Any
  zero_gradients: typing.Any
  nonfinite_gradients: typing.Any


class Attack(abc.ABC):
  """An attack on one network with fixed settings.

  A call is one start; `attack_survivors` makes `restarts` of them.
  """

  restarts = 1

  @abc.abstractmethod
  def __call__(self, images, labels, seed=0):
    """Attacks a batch.

    Args:
      images: float32 [n, ...] in [0, 1].
      labels: integer [n], the true classes.
      seed: a whole number, a key int32 [2], or one key an example [n, 2].

    Returns:
      AttackResult. The same arguments give the same result.
    """
