"""How a training step makes its adversarial images."""

from __future__ import annotations

import typing

from tla_tf.config import AttackConfig
from tla_tf.lazy import lazy
from tla_tf.recipes.stateful import Stateful
from tla_tf.types import PassMode

objectives = lazy("tla_tf.ops.objectives")


class Search(typing.NamedTuple):
  """The numbers of a step's search, each a number or a scalar tensor.

  Attributes:
    start_radius: of the ball that the random start is drawn from; 0 for the image itself.
    radius: of the ball that is searched; infinite for none.
    step_size: of a gradient step.
    steps: how many.
    patience: see `gradient_loop`; None never stops early.
  """

  start_radius: typing.Any
  radius: typing.Any
  step_size: typing.Any
  steps: typing.Any
  patience: typing.Any = None


class InnerAttack(Stateful):
  """Gradient steps that increase the objective of the `AttackConfig`, as AT has them.

  Subclasses choose another start, another objective or other numbers at some steps.

  Args:
    mode: whether the attack sees the network in inference or in training mode.
    patience: see `Search`.

  Attributes:
    replays: steps in a row that train on one batch.
    needs_gradient: whether `update` gets the gradient of the step's loss.
    first_pgd_step: first step that the steps of the `AttackConfig` attack.
    collapse_share: see `cheap_attack.InnerAttackConfig`; 0 for no guard.
  """

  replays: int = 1
  needs_gradient: bool = False
  first_pgd_step: int = 0
  collapse_share: float = 0.0

  def __init__(self, mode: PassMode = PassMode.INFERENCE, patience: int | None = None):
    self.mode, self.patience = mode, patience

  def build(self, image_shape: tuple, batch_size: int) -> None:
    """Makes the attack's variables, if it has any.

    Args:
      image_shape: (height, width, channels).
      batch_size: images of a step at most; 0 if that is not known.
    """

  def switch_at(self, step: int) -> None:
    """Lets the steps of the `AttackConfig` attack from a step on, unless they do so anyway."""

  def attacks(self, attack: AttackConfig) -> dict[str, AttackConfig]:
    """What the training attacks with at one step or another, by the name of what to set."""
    return {"attack": attack}

  def search(self, attack: AttackConfig, epsilon: typing.Any, step_size: typing.Any, step: typing.Any) -> Search:
    """The numbers of the search at a step.

    Args:
      attack: AttackConfig of the training attack.
      epsilon: radius at this step, a number or scalar tensor.
      step_size: of the training attack at this step.
      step: the step's number.
    """
    del step
    return Search(epsilon, epsilon, step_size, attack.steps, self.patience)

  def begin(
    self, images: typing.Any, ball: typing.Any, attack: AttackConfig, search: Search, key: typing.Any
  ) -> typing.Any:
    """Where the search of a step starts; arguments and result as in `start`."""
    return self.start(images, ball, attack, search.start_radius, key)

  def start(
    self, images: typing.Any, ball: typing.Any, attack: AttackConfig, epsilon: typing.Any, key: typing.Any
  ) -> typing.Any:
    """Where the search starts.

    Args:
      images: float32 [n, ...] in [0, 1].
      ball: a ball of `tla_tf.balls`.
      attack: AttackConfig of the training attack.
      epsilon: radius at this step, a number or scalar tensor.
      key: int32 [2].

    Returns:
      float32 [n, ...]; the loop projects it into the ball and the pixel range.
    """
    return ball.random_start(images, epsilon, key) if attack.random_start else images

  def objective(
    self, forward: typing.Callable, images: typing.Any, attack: AttackConfig, label_smoothing: float
  ) -> typing.Callable:
    """What the search increases.

    Args:
      forward: float32 [n, ...] -> logits [n, classes].
      images: float32 [n, ...] in [0, 1], the clean ones.
      attack: AttackConfig of the training attack.
      label_smoothing: of the training step's cross-entropies.

    Returns:
      Function (logits [n, classes], labels int32 [n]) -> float32 [n].
    """
    del forward, images
    measure = objectives.get(attack.objective)
    return lambda logits, labels: measure(logits, labels, label_smoothing)

  def update(self, gradient: typing.Any, ball: typing.Any, epsilon: typing.Any, step: typing.Any) -> None:
    """Takes in the gradient of a step's loss, if the attack needs it.

    Args:
      gradient: float32 [n, ...], with respect to the attacked images.
      ball: a ball of `tla_tf.balls`.
      epsilon: radius at this step.
      step: the step's number.
    """
