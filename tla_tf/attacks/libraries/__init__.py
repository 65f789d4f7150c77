"""Attacks of other libraries on our networks, as an independent check of ours: cleverhans, Foolbox, ART.

`attack_configs.LIBRARY_ATTACKS` lists them. Each library has an adapter, a function
(logits, images, labels, config, rng) -> adversarial images, and is loaded when it is used.
"""

from tla_tf.attacks.libraries.library_attack import LibraryAttack

__all__ = ["LibraryAttack"]
