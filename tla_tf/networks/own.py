"""A network of the user's own, by the function that makes it: `module:function`."""

from __future__ import annotations

import typing

import keras
import numpy as np

from tla_tf import user_code
from tla_tf.errors import InputError, first_line
from tla_tf.networks.wrapping import from_keras


def own_network(reference: str, image_shape: tuple[int, ...], num_classes: int, seed: int) -> keras.Model:
  """Calls a user's function (image_shape, num_classes, seed) for a network.

  Args:
    reference: "module:function".
    image_shape: (height, width, channels).
    num_classes: number of classes.
    seed: seed of the initial weights.

  Returns:
    A `keras.Model` from float32 images [n, height, width, channels] in [0, 1] to
    {"logits": [n, classes]} and, as `from_keras` finds it, "embedding": [n, d].

  Raises:
    InputError: if the function is missing or fails, or returns anything else.
  """
  about = f"`network={reference}`"
  function = user_code.imported(reference, "network")
  try:
    network = from_keras(function(tuple(image_shape), num_classes, seed), image_shape=image_shape)
    outputs: typing.Any = network(np.zeros((2, *image_shape), np.float32), training=False)
  except InputError as error:
    raise InputError(f"{about}: {error}") from None
  except Exception as error:  # noqa: BLE001  Code of the user's raises whatever it likes.
    raise InputError(
      f"{about}: failed for images {tuple(image_shape)} of {num_classes} classes "
      f"({type(error).__name__}: {first_line(error)})."
    ) from error
  found = outputs["logits"].shape[-1]
  if found != num_classes:
    raise InputError(f"{about}: returned a model of {found} classes, the data have {num_classes}.")
  return network
