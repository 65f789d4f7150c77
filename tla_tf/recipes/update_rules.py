"""What a training step does with its gradients."""

from __future__ import annotations

import typing

from tla_tf.lazy import lazy
from tla_tf.recipes.stateful import Stateful

replicas = lazy("tla_tf.ops.replicas")


class UpdateRule(Stateful):
  """One optimiser step with the gradients at the present weights.

  Subclasses may compute gradients elsewhere, for instance at perturbed weights.

  Attributes:
    for_replicas: whether `apply` serves several replicas, on which `compute` gives
      each one's share of the gradients and the optimiser sums them: what else uses
      them needs `ops.replicas.all_sum`. A subclass with an `apply` of its own says it.
  """

  for_replicas: bool = True

  def __init_subclass__(cls) -> None:
    if "apply" in vars(cls) and "for_replicas" not in vars(cls):
      cls.for_replicas = False

  def build(self, network: typing.Any, seed: int) -> None:
    """Makes the rule's variables, if it has any, by `add_variable`."""

  def apply(self, compute: typing.Callable, optimizer: typing.Any, variables: list) -> typing.Any:
    """Changes the variables.

    Args:
      compute: function without arguments: one forward and backward pass at the
        present weights; returns an object with `gradients`, one a variable.
      optimizer: Keras optimiser.
      variables: what is trained.

    Returns:
      What `compute` returned for the gradients that were used.
    """
    found = compute()
    replicas.apply_gradients(optimizer, found.gradients, variables)
    return found
