"""Inner attacks that cost less than PGD, for all of a run or until PGD takes over.

A cheap attack is the same compiled loop with other numbers: they are tensors that
follow the step, so that nothing is traced again where PGD takes over.

Sources: Wong et al. 2020, "Fast is better than free" (FGSM with a random start);
de Jorge et al. 2022, "Make Some Noise" (N-FGSM), and its code; Shafahi et al. 2019,
"Adversarial Training for Free!", Algorithm 1; Zhang et al. 2020, "Attacks Which Do
Not Kill Training Make Adversarial Learning Stronger", Algorithm 1 (early stop).
"""

from __future__ import annotations

import dataclasses
import math
import typing

from tla_tf.config import AttackConfig, Config, option, require_number, require_whole
from tla_tf.errors import InputError
from tla_tf.lazy import lazy
from tla_tf.recipes.inner_attack import InnerAttack, Search
from tla_tf.types import InnerAttackKind, Norm, PassMode

tf = lazy("tensorflow")

# Length of a step in radii, as published; of five steps ours.
_STEP = {
  InnerAttackKind.SHORT_PGD: 1 / 3,
  InnerAttackKind.FGSM_RS: 1.25,
  InnerAttackKind.N_FGSM: 1.0,
  InnerAttackKind.FREE: 1.0,
}
# More steps than any run has, or any attack.
_NEVER = 1 << 30


@dataclasses.dataclass(frozen=True)
class InnerAttackConfig(Config):
  """Which attack makes the training images, and until when.

  Attributes:
    kind: `types.InnerAttackKind`.
    until: first step of PGD after a cheaper attack; 0 for a run without.
    step: length of a step of the cheaper attack, in radii; 0 takes the published one.
    steps: of `short_pgd`.
    noise: half-width of the noise of `n_fgsm`, in radii.
    replays: steps in a row that `free` trains on one batch.
    collapse_share: share of its best that the held-out robust accuracy may fall to
      under a cheaper attack; 0 for no guard.
    friendly_tau: steps that PGD goes on with an image that is misclassified; -1
      for all.
  """

  kind: InnerAttackKind = option(
    InnerAttackKind.PGD,
    "What makes the training images. pgd: --attack_steps of --attack_step_size. Cheaper ones (docs/scaling.md), in the "
    "ball of --epsilon: short_pgd: few long steps; fgsm_rs: one step of 1.25 epsilon from a random point of the ball "
    "(Wong et al. 2020); n_fgsm: one step of epsilon from uniform noise of 2 epsilon, where the noisy and the stepped "
    "image are clipped to the pixel range alone, not to the ball (de Jorge et al. 2022, as their code does); free: "
    "every batch --free_replays times in a row, each time a training step whose gradient moves a perturbation "
    "that is kept from step to step (Shafahi et al. 2019).",
    flag="inner_attack",
  )
  until: int = option(
    0,
    "First step of PGD (--attack_steps of --attack_step_size) after a cheaper --inner_attack; 0: there is none.",
    flag="inner_attack_until",
    ours=True,
  )
  step: float = option(
    0.0,
    "Length of a step of a cheaper --inner_attack in multiples of epsilon; 0: 1.25 for fgsm_rs, 1 for n_fgsm and free, "
    "a third for short_pgd.",
    flag="inner_attack_step",
  )
  steps: int = option(5, "Steps of --inner_attack=short_pgd.", flag="short_pgd_steps", ours=True)
  noise: float = option(
    2.0, "Half-width of the noise of --inner_attack=n_fgsm in multiples of epsilon.", "n_fgsm_noise"
  )
  replays: int = option(
    8,
    "Steps in a row that --inner_attack=free trains on one batch; --train_steps counts each of them.",
    flag="free_replays",
  )
  collapse_share: float = option(
    0.5,
    "Guard of a cheaper --inner_attack: where robust accuracy on held-out images falls below this share of its best "
    "while that of the training does not, training goes back to its best checkpoint and on with PGD; 0: no guard.",
    ours=True,
  )
  friendly_tau: int = option(
    -1,
    "Steps that PGD still moves an image that is misclassified, before it leaves it (friendly adversarial training, "
    "Zhang et al. 2020); it ends when it has left all images; -1: no early stop.",
  )

  def validate(self) -> None:
    require_whole(self, "until")
    require_whole(self, "steps", "replays", low=1)
    require_whole(self, "friendly_tau", low=-1)
    require_number(self, "step", "noise")
    require_number(self, "collapse_share", high=1.0)

  @property
  def is_cheap(self) -> bool:
    """Whether another attack than PGD makes the training images, at first at least."""
    return self.kind is not InnerAttackKind.PGD

  @property
  def first_pgd_step(self) -> int:
    """The first step that PGD attacks, beyond all runs if there is none."""
    return (self.until or _NEVER) if self.is_cheap else 0

  def unused_fields(self) -> tuple[str, ...]:
    """Flags that have no effect beside the other settings."""
    unused = [] if self.is_cheap else ["inner_attack_until", "inner_attack_step", "collapse_share"]
    own = {"short_pgd_steps": "short_pgd", "n_fgsm_noise": "n_fgsm", "free_replays": "free"}
    return (*unused, *(flag for flag, kind in own.items() if kind != self.kind))

  def as_attack(self, attack: AttackConfig) -> AttackConfig:
    """The cheaper attack in the ball of an `AttackConfig`, for those who ask how far its steps go."""
    steps = {InnerAttackKind.SHORT_PGD: self.steps, InnerAttackKind.FREE: self.replays}.get(self.kind, 1)
    longest = 1.0 if attack.norm is Norm.LINF else math.inf
    return attack.replace(steps=steps, step_size=min(longest, self.step_in_radii * attack.epsilon))

  @property
  def step_in_radii(self) -> float:
    """The length of a step of the cheaper attack."""
    return self.step or _STEP[self.kind]


def make(config: InnerAttackConfig, mode: PassMode) -> InnerAttack:
  """The inner attack of a config; `mode` as in `InnerAttack`."""
  patience = None if config.friendly_tau < 0 else config.friendly_tau
  if not config.is_cheap:
    return InnerAttack(mode, patience)
  return (FreeReplay if config.kind is InnerAttackKind.FREE else CheapAttack)(config, mode, patience)


class CheapAttack(InnerAttack):
  """A cheap attack until PGD takes over; both are settings of one loop.

  Args:
    config: InnerAttackConfig of another kind than `pgd`.
    mode: as in `InnerAttack`.
    patience: of PGD.
  """

  def __init__(self, config: InnerAttackConfig, mode: PassMode, patience: int | None = None):
    super().__init__(mode, patience)
    self.config = config
    self.first_pgd_step, self.collapse_share = config.first_pgd_step, config.collapse_share

  def build(self, image_shape: tuple, batch_size: int) -> None:
    # A tensor, so that a switch traces nothing anew. It follows from settings and from what the guard found, which
    # are in files of their own: no part of the state.
    self._switch = tf.Variable(self.first_pgd_step, trainable=False, dtype=tf.int64)

  def switch_at(self, step: int) -> None:
    self.first_pgd_step = min(step, self.first_pgd_step)
    self._switch.assign(self.first_pgd_step)

  def attacks(self, attack: AttackConfig) -> dict[str, AttackConfig]:
    return {self.config.kind.value: self.config.as_attack(attack), **super().attacks(attack)}

  def _is_cheap(self, step: typing.Any) -> typing.Any:
    return tf.cast(step, tf.int64) < tf.convert_to_tensor(self._switch)

  def search(self, attack: AttackConfig, epsilon: typing.Any, step_size: typing.Any, step: typing.Any) -> Search:
    steps = self.config.steps if self.config.kind is InnerAttackKind.SHORT_PGD else 1
    start_radius, radius = epsilon, epsilon
    if self.config.kind is InnerAttackKind.N_FGSM:
      # No number is far enough from a centre to be clipped.
      start_radius, radius = self.config.noise * epsilon, math.inf
    patience = None if self.patience is None else _NEVER
    cheap = Search(start_radius, radius, self.config.step_in_radii * epsilon, steps, patience)
    pgd = super().search(attack, epsilon, step_size, step)
    return self._chosen(step, cheap, pgd._replace(start_radius=epsilon if attack.random_start else 0.0))

  def _chosen(self, step: typing.Any, cheap: Search, pgd: Search) -> Search:
    is_cheap = self._is_cheap(step)
    return Search(*(None if a is None else tf.where(is_cheap, a, b) for a, b in zip(cheap, pgd)))

  def start(
    self, images: typing.Any, ball: typing.Any, attack: AttackConfig, epsilon: typing.Any, key: typing.Any
  ) -> typing.Any:
    return ball.random_start(images, epsilon, key)


class FreeReplay(CheapAttack):
  """Attacked images cost nothing: the step that trains on them gives the gradient that moves them next.

  The perturbation moves by a step along the gradient of the whole loss at the attacked
  images and stays in the ball. It is kept from one step to the next, whether that
  replays the batch or begins another, by the image's place in the batch.
  """

  needs_gradient = True

  def __init__(self, config: InnerAttackConfig, mode: PassMode, patience: int | None = None):
    super().__init__(config, mode, patience)
    self.replays = config.replays

  def build(self, image_shape: tuple, batch_size: int) -> None:
    super().build(image_shape, batch_size)
    if not batch_size:
      raise InputError(
        "`inner_attack` 'free' keeps a perturbation for every image of a batch: give the model its `batch_size`."
      )
    if None in image_shape:
      raise InputError(f"`inner_attack` 'free' needs images of one size; the network takes {image_shape}.")
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
      raise InputError("`inner_attack` 'free' keeps one perturbation: train it on one device.")
    self._perturbation = self.add_variable("perturbation", (batch_size, *image_shape), trainable=False)

  def search(self, attack: AttackConfig, epsilon: typing.Any, step_size: typing.Any, step: typing.Any) -> Search:
    found = super().search(attack, epsilon, step_size, step)
    # No gradient steps, and the perturbation instead of a random start.
    is_cheap = self._is_cheap(step)
    return found._replace(
      steps=tf.where(is_cheap, 0, found.steps), start_radius=tf.where(is_cheap, 0.0, found.start_radius)
    )

  def begin(
    self, images: typing.Any, ball: typing.Any, attack: AttackConfig, search: Search, key: typing.Any
  ) -> typing.Any:
    kept = tf.convert_to_tensor(self._perturbation)[: tf.shape(images)[0]]
    # PGD has steps, replays have none.
    return tf.where(search.steps > 0, super().begin(images, ball, attack, search, key), images + kept)

  def update(self, gradient: typing.Any, ball: typing.Any, epsilon: typing.Any, step: typing.Any) -> None:
    kept, count = tf.convert_to_tensor(self._perturbation), tf.shape(gradient)[0]
    moved = kept[:count] + self.config.step_in_radii * epsilon * ball.steepest_step(gradient)
    moved = tf.concat([ball.project(moved, tf.zeros_like(moved), epsilon), kept[count:]], 0)
    self._perturbation.assign(tf.where(self._is_cheap(step), moved, kept))
