"""Attacks, each a call (images, labels, seed) -> `AttackResult` on one network.

`GradientAttack` runs FGSM, BIM, PGD, MIM or C&W-margin PGD (objective x ball x
loop), which `presets` names. `CarliniWagner`, `DeepFool` and `Jsma` look for
the smallest change. `auto_attack` has Auto-PGD, FAB-T and Square. `Transfer`
replays images made on another network. `AttackFactory` makes any of them from
its settings; `attack_survivors` runs one over a whole array, with restarts.
"""

from tla_tf.attacks import auto_attack, presets
from tla_tf.attacks.attack import Attack
from tla_tf.attacks.auto_attack import Apgd, Fab, Square
from tla_tf.attacks.carlini_wagner import CarliniWagner
from tla_tf.attacks.deepfool import DeepFool
from tla_tf.attacks.factory import AttackFactory
from tla_tf.attacks.gradient_attack import GradientAttack, GradientSearch
from tla_tf.attacks.gradient_loop import gradient_loop
from tla_tf.attacks.jsma import Jsma
from tla_tf.attacks.result import AttackResult
from tla_tf.attacks.survivors import attack_survivors, batch_slots, survivor_batches
from tla_tf.attacks.transfer import Transfer

__all__ = [
  "Apgd",
  "Attack",
  "AttackFactory",
  "AttackResult",
  "CarliniWagner",
  "DeepFool",
  "Fab",
  "GradientAttack",
  "GradientSearch",
  "Jsma",
  "Square",
  "Transfer",
  "attack_survivors",
  "auto_attack",
  "batch_slots",
  "gradient_loop",
  "presets",
  "survivor_batches",
]
