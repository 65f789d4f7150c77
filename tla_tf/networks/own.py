"""A network of the user's own, by the function that makes it: `module:function`."""

from __future__ import annotations

import typing

import keras
import numpy as np

from tla_tf import user_code
from tla_tf.errors import InputError


def own_network(reference: str, image_shape: tuple[int, ...], num_classes: int, seed: int) -> keras.Model:
  """Calls a user's function (image_shape, num_classes, seed) for a network.

  Args:
    reference: "module:function".
    image_shape: (height, width, channels).
    num_classes: number of classes.
    seed: seed of the initial weights.

  Returns:
    A `keras.Model` from float32 images [n, height, width, channels] in [0, 1] to
    {"embedding": [n, d], "logits": [n, classes]}.

  Raises:
    InputError: if the function is missing or fails, or returns anything else.
  """
  about = f"`network={reference}`"
  function = user_code.imported(reference, "network")
  try:
    network = function(tuple(image_shape), num_classes, seed)
    if not isinstance(network, keras.Model):
      raise InputError(f"{about}: returned a {type(network).__name__}, expected a keras.Model.")
    outputs: typing.Any = network(np.zeros((2, *image_shape), np.float32), training=False)
  except InputError:
    raise
  except Exception as error:  # noqa: BLE001  Code of the user's raises whatever it likes.
    line = (str(error).splitlines() or [""])[0][:160]
    raise InputError(
      f"{about}: failed for images {tuple(image_shape)} of {num_classes} classes ({type(error).__name__}: {line})."
    ) from error
  shapes = {name: tuple(part.shape) for name, part in outputs.items()} if isinstance(outputs, dict) else {}
  if shapes.get("logits") != (2, num_classes) or len(shapes.get("embedding", ())) != 2:
    found = shapes or f"{type(outputs).__name__} of shape {getattr(outputs, 'shape', None)}"
    raise InputError(
      f"{about}: expected outputs 'embedding' [n, d] and 'logits' [n, {num_classes}], found {found} for 2 images; "
      "return networks.from_keras(model)."
    )
  return network
