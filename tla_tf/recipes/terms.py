"""Parts of the loss: what a term is, and the terms that several methods share."""

from __future__ import annotations

import abc
import dataclasses
import typing

from tla_tf.lazy import lazy
from tla_tf.recipes.stateful import Stateful
from tla_tf.types import PairingTarget, Role

tf = lazy("tensorflow")
losses = lazy("tla_tf.losses")
objectives = lazy("tla_tf.ops.objectives")
sums = lazy("tla_tf.ops.sums")

# The roles of clean images, whose cross-entropy `clean_weight` weighs.
CLEAN_ROLES = (Role.TWIN, Role.NEGATIVE, Role.POSITIVE)


@dataclasses.dataclass
class Step:
  """What the terms of a step see.

  Attributes:
    outputs: dict from role to {"embedding" [n, d], "logits" [n, classes]}.
    labels: dict from role to int32 [n].
    label_smoothing: of every cross-entropy.
    key: int32 [2], the step's random key.
    number: the step's number, counted from 0.
    negatives: `negatives.Chosen`, or None where the method has no source of them.
    weights: float32 [n] of the anchors, or None where all count the same.
    loss: function (labels int32 [n], logits [n, classes]) -> [n] that takes the
      cross-entropy's place, or None.
  """

  outputs: dict
  labels: dict
  label_smoothing: float
  key: typing.Any
  number: typing.Any
  negatives: typing.Any = None
  weights: typing.Any = None
  loss: typing.Callable | None = None

  def mean(self, values: typing.Any) -> typing.Any:
    """Mean over the anchors of a step, float32 [n] -> scalar, each times its weight."""
    return tf.reduce_mean(values if self.weights is None else values * self.weights)


class Term(Stateful, abc.ABC):
  """One part of the loss: logged as its value, added as weight x value.

  A term with variables of its own makes them in `build`, by `add_variable`: they
  are trained with the network, saved and resumed.

  Args:
    name: its name in logs and schedules.
    weight: what it is multiplied by.

  Attributes:
    logged: names of further values that it logs.
    needs_embedding: whether it uses embeddings. A term that says it does not also
      serves networks that give logits alone; its `build` then gets None for
      their size.
    needs_whole_batch: whether its value is not the mean of those of equal parts of
      the batch, as of a term that compares images with each other.
  """

  logged: tuple = ()
  needs_embedding: bool = True
  needs_whole_batch: bool = False

  def __init__(self, name: str, weight: float = 1.0):
    self.name, self.weight = name, weight

  def build(self, embedding_size: typing.Any, num_classes: int, seed: int) -> None:
    """Makes the term's variables, if it has any, from a seed of its own."""

  @abc.abstractmethod
  def __call__(self, step: Step) -> tuple[typing.Any, dict]:
    """(float32 scalar, dict of the further logged values) of a step.

    What is a mean over the step's anchors takes `step.mean`, which weighs them.
    """


def mean_cross_entropy(step: Step, role: str) -> typing.Any:
  """Mean cross-entropy of one role, a float32 scalar; or of the loss that takes its place."""
  labels, logits = step.labels[role], step.outputs[role]["logits"]
  if step.loss is not None:
    return step.mean(step.loss(labels, logits))
  return step.mean(objectives.cross_entropy(logits, labels, step.label_smoothing))


class CrossEntropy(Term):
  """Mean cross-entropy of one role."""

  needs_embedding = False

  def __init__(self, role: str = Role.ADVERSARIAL):
    super().__init__("cross_entropy")
    self._role = role

  def __call__(self, step: Step) -> tuple[typing.Any, dict]:
    return mean_cross_entropy(step, self._role), {}


class CleanCrossEntropy(Term):
  """Mean over the clean roles of the step (twin, negative, class-mate) of their cross-entropies.

  As the authors' code with `train_flag_adv_only` switched off.
  """

  needs_embedding = False

  def __init__(self, weight: float):
    super().__init__("clean_cross_entropy", weight)

  def __call__(self, step: Step) -> tuple[typing.Any, dict]:
    means = [mean_cross_entropy(step, role) for role in step.outputs if role in CLEAN_ROLES]
    return sums.in_order(means) / len(means), {}


class Pairing(Term):
  """Mean squared L2 distance of A' and A in their logits or embeddings (Kannan et al. 2018; `match_l2`)."""

  def __init__(self, target: PairingTarget, weight: float):
    super().__init__("pairing", weight)
    self._output = PairingTarget(target).value
    self.needs_embedding = self._output == "embedding"

  def __call__(self, step: Step) -> tuple[typing.Any, dict]:
    pair = (step.outputs[role][self._output] for role in (Role.ADVERSARIAL, Role.TWIN))
    return step.mean(losses.pairing(*pair)), {}
