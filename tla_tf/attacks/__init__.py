"""Attacks: objective x ball x loop.

`GradientAttack(network, config)` runs FGSM, BIM, PGD, MIM or C&W-margin PGD,
which `presets` names; `attack_survivors` runs any attack over a whole array
with restarts. Every attack returns an `AttackResult`.
"""

from tla_tf.attacks import presets
from tla_tf.attacks.attack import Attack, AttackResult
from tla_tf.attacks.gradient_attack import GradientAttack, GradientSearch
from tla_tf.attacks.gradient_loop import gradient_loop
from tla_tf.attacks.survivors import attack_survivors

__all__ = ["Attack", "AttackResult", "GradientAttack", "GradientSearch", "attack_survivors", "gradient_loop",
           "presets"]
