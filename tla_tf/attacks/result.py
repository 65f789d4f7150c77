"""The record that all attacks return."""

import typing

import numpy as np
import tensorflow as tf


class AttackResult(typing.NamedTuple):
  """What an attack found, one row an example.

  Attributes:
    adversarial: float32 [n, ...] in [0, 1]. Attacks that minimise the distance
      return the nearest adversarial image, however far it is, and the clean
      one where they found none.
    success: bool [n]: the network errs on `adversarial` (targeted: says the
      target), within epsilon.
    loss: float32 [n], the objective on `adversarial`: the larger, the better
      for the attack. Of attacks that minimise the distance, minus the distance.
    distance: float32 [n], from the clean image in the attack's norm.
    zero_gradients: int32 [n], steps at which the whole gradient was 0.
    nonfinite_gradients: int32 [n], steps at which it held NaN or infinity;
      such an example stays where it is for that step.
  """

  adversarial: tf.Tensor | np.ndarray
  success: tf.Tensor | np.ndarray
  loss: tf.Tensor | np.ndarray
  distance: tf.Tensor | np.ndarray
  zero_gradients: tf.Tensor | np.ndarray
  nonfinite_gradients: tf.Tensor | np.ndarray
