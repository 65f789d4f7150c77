"""Attacks of other libraries on our networks, as an independent check of ours: cleverhans, Foolbox, ART.

`attack_configs.LIBRARY_ATTACKS` lists them. Each library has an adapter with two functions, `wrapped`
(logits, image_shape, classes) -> the network as the library takes it, and `attack` (that, logits, images,
labels, config) -> adversarial images; it is loaded when it is used.
"""

from tla_tf.attacks.libraries.library_attack import LibraryAttack

__all__ = ["LibraryAttack"]
