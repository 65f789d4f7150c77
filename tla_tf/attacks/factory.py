"""From settings to attacks on one network, sharing what is compiled."""

import typing

import numpy as np

from tla_tf import attack_configs
from tla_tf.attacks.attack import Attack
from tla_tf.attacks.auto_attack import Apgd, Fab, Square
from tla_tf.attacks.carlini_wagner import CarliniWagner
from tla_tf.attacks.deepfool import DeepFool
from tla_tf.attacks.gradient_attack import GradientAttack, GradientSearch
from tla_tf.attacks.jsma import Jsma
from tla_tf.attacks.libraries import LibraryAttack
from tla_tf.attacks.transfer import Transfer
from tla_tf.config import AttackConfig, Config
from tla_tf.errors import InputError
from tla_tf.types import Jit, Precision

_CLASSES: dict[type, typing.Callable[..., Attack]] = {
  attack_configs.ApgdConfig: Apgd,
  attack_configs.CarliniWagnerConfig: CarliniWagner,
  attack_configs.DeepFoolConfig: DeepFool,
  attack_configs.FabConfig: Fab,
  attack_configs.JsmaConfig: Jsma,
  attack_configs.LibraryConfig: LibraryAttack,
  attack_configs.SquareConfig: Square,
}


class AttackFactory:
  """Makes the attacks on one network.

  Gradient attacks of one objective, momentum rule and norm share a compiled
  loop; any other attack is made once for its settings.

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits".
    jit: "auto", "on", "off" or a bool: whether XLA compiles attacks.
    transfers: dict from TransferConfig to the images made on the source
      network, float32 [n, ...] in [0, 1], one for each example id.
    search_precision: a `types.Precision`, in which gradient attacks search; what they
      record, and all other attacks, are float32.
  """

  def __init__(
    self,
    network: typing.Any,
    jit: Jit | str | bool = "auto",
    transfers: dict[attack_configs.TransferConfig, np.ndarray] | None = None,
    search_precision: Precision | str = Precision.FLOAT32,
  ):
    self._network = network
    self._jit = jit
    self._precision = search_precision
    self._transfers = transfers or {}
    self._searches: dict = {}
    self._made: dict = {}

  def make(self, config: Config) -> Attack:
    """The `Attack` of a config.

    Raises:
      InputError: for a transfer without its images.
    """
    if isinstance(config, AttackConfig):
      shared = (config.objective, config.momentum_rule, config.norm)
      if shared not in self._searches:
        self._searches[shared] = GradientSearch(
          self._network, config.objective, config.momentum_rule, self._jit, config.norm, self._precision
        )
      return GradientAttack(self._searches[shared], config)
    if isinstance(config, attack_configs.TransferConfig):
      if config not in self._transfers:
        raise InputError("A black-box attack needs a second network: give `source`.")
      return Transfer(self._network, config, self._transfers[config], self._jit)
    if config not in self._made:
      self._made[config] = _CLASSES[type(config)](self._network, config, self._jit)
    return self._made[config]
