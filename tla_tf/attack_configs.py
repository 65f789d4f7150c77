"""Frozen settings of the attacks that are not gradient steps in a ball.

`config.AttackConfig` holds FGSM, BIM, PGD, MIM and C&W-margin PGD. Pixels are
in [0, 1]; `epsilon` is the radius within which a found image counts, in the
attack's norm. No TensorFlow here.
"""

import dataclasses
import importlib.metadata
import typing

from tla_tf import types
from tla_tf.config import AttackConfig, Config, require, require_number, require_whole
from tla_tf.errors import InputError


def _require_norm(config, *norms):
  require(config.norm in norms, "norm", f"one of {[norm.value for norm in norms]}", config.norm.value)
  require_number(config, "epsilon", high=float("inf") if config.norm is types.Norm.L2 else 1.0)


@dataclasses.dataclass(frozen=True)
class CarliniWagnerConfig(Config):
  """C&W in L2: the nearest adversarial image, by Adam (Carlini and Wagner 2017).

  Attributes:
    epsilon: an image found further away does not count as a success.
    steps: most Adam steps for one constant.
    step_size: Adam's learning rate, in the space of arctanh(2x - 1).
    binary_search_steps: constants tried.
    initial_constant: the first weight of the margin against the distance.
    confidence: kappa, by how much logits must differ.
    restarts: 1; the attack draws nothing.
    norm: L2.
  """

  epsilon: float = 3.0
  steps: int = 1000
  step_size: float = 0.01
  binary_search_steps: int = 9
  initial_constant: float = 1e-3
  confidence: float = 0.0
  restarts: int = 1
  norm: types.Norm = types.Norm.L2

  def validate(self) -> None:
    _require_norm(self, types.Norm.L2)
    require_number(self, "step_size", "initial_constant", above=0.0)
    require_number(self, "confidence")
    require_whole(self, "steps", "binary_search_steps", "restarts", low=1)


@dataclasses.dataclass(frozen=True)
class DeepFoolConfig(Config):
  """DeepFool in L2 (Moosavi-Dezfooli et al. 2016).

  Attributes:
    epsilon: an image found further away does not count as a success.
    steps: most linearisations.
    overshoot: eta, by what share the step goes beyond the boundary.
    candidates: how many of the likeliest other classes are looked at.
    restarts: 1; the attack draws nothing.
    norm: L2.
  """

  epsilon: float = 3.0
  steps: int = 50
  overshoot: float = 0.02
  candidates: int = 9
  restarts: int = 1
  norm: types.Norm = types.Norm.L2

  def validate(self) -> None:
    _require_norm(self, types.Norm.L2)
    require_number(self, "overshoot")
    require_whole(self, "steps", "candidates", "restarts", low=1)


@dataclasses.dataclass(frozen=True)
class JsmaConfig(Config):
  """Jacobian saliency map attack in L0, over pairs of pixels (Papernot et al. 2016).

  Attributes:
    epsilon: gamma, the largest share of an image's pixel values (height x
      width x channels) that may change.
    theta: by how much a chosen pixel changes; below 0 it is darkened.
    restarts: untargeted, the attack aims at the likeliest other class, then at
      the next, ...: so many of them.
    norm: L0.
  """

  epsilon: float = 0.1
  theta: float = 1.0
  restarts: int = 9
  norm: types.Norm = types.Norm.L0

  def validate(self) -> None:
    _require_norm(self, types.Norm.L0)
    require_number(self, "theta", low=-1.0, high=1.0)
    require(self.theta != 0, "theta", "another number than 0", self.theta)
    require_whole(self, "restarts", low=1)


@dataclasses.dataclass(frozen=True)
class ApgdConfig(Config):
  """Auto-PGD (Croce and Hein 2020, Section 3 and Algorithm 1).

  Attributes:
    epsilon: radius of the ball.
    steps: gradient steps.
    loss: what is increased.
    restarts: number of starts; with the targeted loss, of classes aimed at,
      the likeliest other class first.
    norm: L-infinity or L2.
  """

  epsilon: float = 0.3
  steps: int = 100
  loss: types.ApgdLoss = types.ApgdLoss.CROSS_ENTROPY
  restarts: int = 1
  norm: types.Norm = types.Norm.LINF

  def validate(self) -> None:
    _require_norm(self, types.Norm.LINF, types.Norm.L2)
    require_whole(self, "steps", "restarts", low=1)


@dataclasses.dataclass(frozen=True)
class FabConfig(Config):
  """FAB-T, the targeted fast adaptive boundary attack (Croce and Hein 2020b).

  Attributes:
    epsilon: an image found further away does not count as a success.
    steps: iterations.
    alpha_max: largest weight of the projection from the clean image.
    eta: extrapolation beyond the boundary.
    beta: how far back towards the clean image after a success.
    restarts: number of classes aimed at, the likeliest other class first; the
      attack draws nothing.
    norm: L-infinity or L2.
  """

  epsilon: float = 0.3
  steps: int = 100
  alpha_max: float = 0.1
  eta: float = 1.05
  beta: float = 0.9
  restarts: int = 9
  norm: types.Norm = types.Norm.LINF

  def validate(self) -> None:
    _require_norm(self, types.Norm.LINF, types.Norm.L2)
    require_number(self, "alpha_max", "beta", high=1.0)
    require_number(self, "eta", low=1.0)
    require_whole(self, "steps", "restarts", low=1)


@dataclasses.dataclass(frozen=True)
class SquareConfig(Config):
  """Square attack: random search by queries, no gradients (Andriushchenko et al. 2020).

  Attributes:
    epsilon: radius of the ball.
    steps: queries, the initial pattern's included.
    initial_share: p, the share of the image that the first squares cover.
    rescale_schedule: squares shrink as in the paper's 10,000 queries, whatever
      `steps`; False counts queries as they are, as the standard version of
      AutoAttack does with its 5,000.
    restarts: number of starts.
    norm: L-infinity or L2.
  """

  epsilon: float = 0.3
  steps: int = 5000
  initial_share: float = 0.8
  rescale_schedule: bool = True
  restarts: int = 1
  norm: types.Norm = types.Norm.LINF

  def validate(self) -> None:
    _require_norm(self, types.Norm.LINF, types.Norm.L2)
    require_number(self, "initial_share", above=0.0, high=1.0)
    require_whole(self, "steps", "restarts", low=1)


@dataclasses.dataclass(frozen=True)
class TransferConfig(Config):
  """Black box: images made by PGD on another network, saved and replayed.

  Attributes:
    attack: how the images are made on the source network.
  """

  attack: AttackConfig = AttackConfig(steps=100)

  restarts: typing.ClassVar[int] = 1

  def validate(self) -> None:
    require(self.attack.restarts == 1, "restarts", "1, since one image is kept of each", self.attack.restarts)

  @property
  def epsilon(self) -> float:
    return self.attack.epsilon

  @property
  def norm(self) -> types.Norm:
    return self.attack.norm


class LibraryAttackFacts(typing.NamedTuple):
  """An attack of another library.

  Attributes:
    library: its module's name here.
    name: of the attack, in the library's adapter.
    norms: that it searches in.
    steps: what a cross-check gives it.
    restarts: the same.
    by_decisions: whether it sees the network's decisions alone, and so takes long.
  """

  library: str
  name: str
  norms: tuple[types.Norm, ...]
  steps: int
  restarts: int = 1
  by_decisions: bool = False

  @property
  def distribution(self) -> str:
    """The package that holds it."""
    return {"art": "adversarial-robustness-toolbox"}.get(self.library, self.library)

  @property
  def installed(self) -> bool:
    """Whether the library is there."""
    try:
      importlib.metadata.version(self.distribution)
    except importlib.metadata.PackageNotFoundError:
      return False
    return True


# What brings them.
GET_LIBRARIES = "pip install 'tla_tf[crosscheck]' brings it"
_BOTH, _L2 = (types.Norm.LINF, types.Norm.L2), (types.Norm.L2,)
# Lists of attacks by name, see `evaluation.suites`.
SUITES = ("quick", "table1", "table3", "auto_attack", "auto_attack_l2", "auto_attack_plus")
LIBRARY_ATTACKS = {
  f"{facts.library}_{facts.name}": facts
  for facts in (
    LibraryAttackFacts("cleverhans", "pgd", _BOTH, 100, 5),
    LibraryAttackFacts("cleverhans", "mim", _BOTH, 100),
    LibraryAttackFacts("foolbox", "pgd", _BOTH, 100, 5),
    LibraryAttackFacts("foolbox", "carlini_wagner", _L2, 500),
    LibraryAttackFacts("foolbox", "ddn", _L2, 200),
    LibraryAttackFacts("foolbox", "boundary", _L2, 5000, by_decisions=True),
    LibraryAttackFacts("foolbox", "hop_skip_jump", _BOTH, 40, by_decisions=True),
    LibraryAttackFacts("art", "apgd_ce", _BOTH, 100, 3),
    LibraryAttackFacts("art", "apgd_dlr", _BOTH, 100, 3),
    LibraryAttackFacts("art", "square", _BOTH, 2000),
    LibraryAttackFacts("art", "boundary", _L2, 1000, by_decisions=True),
    LibraryAttackFacts("art", "hop_skip_jump", _BOTH, 40, by_decisions=True),
  )
}


@dataclasses.dataclass(frozen=True)
class LibraryConfig(Config):
  """An attack of another library, as a check of ours.

  Attributes:
    attack: one of `LIBRARY_ATTACKS`.
    epsilon: radius of the ball; of attacks that look for the nearest image, that
      within which it counts.
    steps: what the library calls steps or iterations.
    restarts: number of starts.
    norm: L-infinity or L2.
  """

  attack: str = "cleverhans_pgd"
  epsilon: float = 0.3
  steps: int = 100
  restarts: int = 1
  norm: types.Norm = types.Norm.LINF

  def validate(self) -> None:
    require(self.attack in LIBRARY_ATTACKS, "attack", f"one of {list(LIBRARY_ATTACKS)}", self.attack)
    _require_norm(self, *self.facts.norms)
    require_whole(self, "steps", "restarts", low=1)

  @property
  def facts(self) -> LibraryAttackFacts:
    """What is known of the attack."""
    return LIBRARY_ATTACKS[self.attack]

  @property
  def step_size(self) -> float:
    """Of gradient steps: they could cross the ball, once there and a quarter back."""
    return 2.5 * self.epsilon / self.steps


# By the names that suites and result files use.
KINDS = {
  "gradient": AttackConfig,
  "carlini_wagner": CarliniWagnerConfig,
  "deepfool": DeepFoolConfig,
  "jsma": JsmaConfig,
  "apgd": ApgdConfig,
  "fab": FabConfig,
  "square": SquareConfig,
  "transfer": TransferConfig,
  "library": LibraryConfig,
}


def kind(config: Config) -> str:
  """The name of a config's class in `KINDS`."""
  return next(name for name, cls in KINDS.items() if type(config) is cls)


# Of how many classes at least the losses of Auto-PGD are no constants (the check of AutoAttack's authors), and what
# takes their place below.
_FEWEST_CLASSES = {types.ApgdLoss.DLR: 3, types.ApgdLoss.TARGETED_DLR: 4}


def for_classes(config: Config, num_classes: int | None) -> Config:
  """An attack's settings with a loss that is one for so many classes; None for enough of them.

  With three classes the ratio without targets stands for the targeted one, as the
  authors advise. With two they have the cross-entropy alone; the margin goes with it,
  which saturated logits do not flatten.
  """
  if num_classes is None or not isinstance(config, ApgdConfig) or num_classes >= _FEWEST_CLASSES.get(config.loss, 2):
    return config
  return config.replace(loss=types.ApgdLoss.DLR if num_classes == 3 else types.ApgdLoss.MARGIN)


def require_classes(config: Config, num_classes: int | None, targeted: bool = False) -> None:
  """Raises InputError for a loss that is constant with so few classes; with explicit targets every ratio needs four."""
  if num_classes is None or not isinstance(config, ApgdConfig) or config.loss not in _FEWEST_CLASSES:
    return
  needed = _FEWEST_CLASSES[types.ApgdLoss.TARGETED_DLR if targeted else config.loss]
  if num_classes < needed:
    usable = types.ApgdLoss.DLR if num_classes == 3 and not targeted else types.ApgdLoss.MARGIN
    raise InputError(
      f"`loss={config.loss}` is constant with {num_classes} classes, it needs {needed}: give `loss={usable}`."
    )


# Attacks whose result does not depend on a seed.
_WITHOUT_DRAWS = (CarliniWagnerConfig, DeepFoolConfig, JsmaConfig, FabConfig, TransferConfig)


def draws(config: Config) -> bool:
  """Whether another seed gives another result. An attack of the user's own is taken to be random."""
  return config.random_start if isinstance(config, AttackConfig) else not isinstance(config, _WITHOUT_DRAWS)


def aims(config: Config) -> bool:
  """Whether every start of the untargeted attack aims at another class."""
  targeted = isinstance(config, ApgdConfig) and config.loss is types.ApgdLoss.TARGETED_DLR
  return targeted or isinstance(config, (JsmaConfig, FabConfig))


def starts(config: typing.Any, num_classes: int | None = None, targeted: bool = False) -> int:
  """How many of an attack's `restarts` differ from each other.

  Args:
    config: its settings.
    num_classes: number of classes; None where unknown.
    targeted: whether it is given the classes to aim at.
  """
  if draws(config):
    return config.restarts
  if targeted or not aims(config):
    return 1
  return config.restarts if num_classes is None else min(config.restarts, num_classes - 1)


def require_useful_restarts(config: typing.Any) -> None:
  """Raises InputError for restarts of an attack that would do the same again."""
  useful = config.restarts == 1 or draws(config) or aims(config)
  require(useful, "restarts", "1, since the attack draws nothing and every start is the same", config.restarts)


def contains(config: Config, earlier: Config) -> bool:
  """Whether a gradient attack does all that an earlier one did from the same starts, and more.

  Both keep the best point that they meet: what the earlier one broke, the later
  one breaks, too.
  """
  if not (isinstance(config, AttackConfig) and isinstance(earlier, AttackConfig)):
    return False
  longer = config.steps >= earlier.steps and config.restarts >= earlier.restarts
  return longer and config.replace(steps=earlier.steps, restarts=earlier.restarts) == earlier


def fixed_steps(config: Config) -> AttackConfig | None:
  """The settings of an attack with steps of a fixed length, those of replayed images included; None of another kind."""
  config = config.attack if isinstance(config, TransferConfig) else config
  return config if isinstance(config, AttackConfig) else None


def falls_short(config: Config) -> bool:
  """Whether an attack's steps cannot go from the centre of its ball to the edge.

  Such an attack searches a smaller ball than it says, and flatters. Random points
  (no steps at all) claim nothing; attacks that choose their own step sizes have no
  such limit.
  """
  stepped = fixed_steps(config)
  # Rounding: 40 steps of 0.0075 do reach 0.3.
  return stepped is not None and stepped.steps > 0 and stepped.reach < 1 - 1e-6
