"""SavedModel export: loads in plain TensorFlow, without tla_tf."""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tla_tf import files
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.ops.predictions import predicted_classes

# Pixels may leave [0, 1] by the rounding of a resize; half a grey level and more is an image of another range.
PIXEL_TOLERANCE = 1e-3
# Where TensorFlow Serving lets models carry files of their own.
ABOUT = pathlib.Path("assets.extra") / "about.json"

# float32 images [n, height, width, channels] -> named tensors.
_Endpoint = Callable[[tf.Tensor], dict[str, tf.Tensor]]


def export_saved_model(
  network: Any,
  image_shape: Sequence[int],
  output: AnyPath,
  detect: tf.Module | None = None,
  *,
  class_names: Sequence[str] = (),
  uint8: bool = False,
  facts: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
  """Writes a SavedModel with the endpoints `serve`, `embed` and, where there is a detector, `detect`.

  `serve` (also the default signature): images float32 [n, ...] in [0, 1] ->
  {"logits" [n, classes], "probabilities" [n, classes], "label" int32 [n], -1 where a
  logit is NaN}.
  `embed`: images -> {"embedding" [n, d]}, where the network gives one.
  `detect`: images -> {"score" float64 [n], "is_suspect" bool [n], "label" int32 [n]}.
  An image is also suspect if a pixel is NaN or outside [0, 1], or an embedding or a
  logit NaN or infinite.
  `class_names`: nothing -> {"class_names" string [classes]}, where names are given.
  `serve_uint8` and `detect_uint8`, where asked for: the same of uint8 images in 0..255.

  Args:
    network: maps images to {"embedding", "logits"}, or to {"logits"}.
    image_shape: (height, width, channels).
    output: the folder to make; must not exist.
    detect: a `tf.Module` from embeddings to tensors (score, is_suspect), as
      `detection.GraphDetector` is, or None.
    class_names: names of the classes in the order of labels, or none.
    uint8: whether to add the endpoints of uint8 images.
    facts: JSON values to write into `assets.extra/about.json` besides.

  Returns:
    Names of the endpoints.

  Raises:
    InputError: if it exists or cannot be written.
  """
  output = pathlib.Path(output)
  if output.exists():
    raise InputError(f"{output}: exists already; remove it or choose another `output`.")

  def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
    logits = network(images, training=False)["logits"]
    return {"logits": logits, "probabilities": tf.nn.softmax(logits), "label": predicted_classes(logits)}

  def embed(images: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"embedding": network(images, training=False)["embedding"]}

  def detection(detector: tf.Module, images: tf.Tensor) -> dict[str, tf.Tensor]:
    outputs = network(images, training=False)
    score, unlikely = detector(outputs["embedding"])
    # The network may hide what is wrong with an image: ReLU and maxima pass over NaN on some processors.
    is_suspect = tf.math.reduce_any(
      [unlikely, _outside(images), _not_finite(outputs["embedding"]), _not_finite(outputs["logits"])], 0
    )
    return {"score": score, "is_suspect": is_suspect, "label": predicted_classes(outputs["logits"])}

  endpoints: dict[str, _Endpoint] = {"serve": serve}
  if "embedding" in network(tf.zeros([1, *image_shape]), training=False):
    endpoints["embed"] = embed
  elif detect is not None:
    raise InputError(f"{output}: a detector needs embeddings, and the network gives logits alone.")
  if detect is not None:
    endpoints["detect"] = functools.partial(detection, detect)

  archive = keras.export.ExportArchive()
  archive.track(network)
  if detect is not None:
    archive.track(detect)
  specs = {tf.float32: endpoints}
  if uint8:
    # As the data are read for training.
    specs[tf.uint8] = {
      f"{name}_uint8": functools.partial(_of_grey_levels, endpoint)
      for name, endpoint in endpoints.items()
      if name != "embed"
    }
  for dtype, functions in specs.items():
    for name, function in functions.items():
      archive.add_endpoint(name, function, [tf.TensorSpec([None, *image_shape], dtype, name="images")])
  names = tuple(name for functions in specs.values() for name in functions)
  if class_names:
    archive.add_endpoint("class_names", lambda: {"class_names": tf.constant(list(class_names))}, [])
    names += ("class_names",)
  about = {
    **(facts or {}),
    "image_shape": list(image_shape),
    "pixel_range": [0.0, 1.0],
    "endpoints": list(names),
    "class_names": list(class_names),
  }
  with files.new_folder(output) as temporary:
    try:
      archive.write_out(str(temporary), verbose=False)
    except tf.errors.OpError as error:
      raise files.refused_by_disk(error.message) from error
    (temporary / ABOUT).parent.mkdir(exist_ok=True)
    (temporary / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
  return names


def nonfinite_answers(network: Any, image_shape: Sequence[int]) -> tuple[int, int]:
  """Looks at what a network says of a black, a grey, a white image and noise.

  Args:
    network: as for `export_saved_model`.
    image_shape: (height, width, channels).

  Returns:
    (For how many NaN or infinity is among the logits, how many images were tried.)
  """
  levels = [np.full(image_shape, level, np.float32) for level in (0.0, 0.5, 1.0)]
  tried = np.stack([*levels, np.random.default_rng(0).random(image_shape, np.float32)])
  logits = np.asarray(network(tried, training=False)["logits"])
  return int((~np.isfinite(logits).all(1)).sum()), len(tried)


def _of_grey_levels(endpoint: _Endpoint, images: tf.Tensor) -> dict[str, tf.Tensor]:
  return endpoint(tf.cast(images, tf.float32) / 255.0)


def _outside(images: tf.Tensor) -> tf.Tensor:
  """Whether a pixel is NaN or outside [0, 1]: float32 [n, ...] -> bool [n].

  Nothing is negated here: TensorFlow's graph optimiser writes `not (x >= y)` as `x < y`, which is wrong for NaN.
  """
  pixels = _rows(images)
  wrong = tf.math.is_nan(pixels) | (pixels < -PIXEL_TOLERANCE) | (pixels > 1.0 + PIXEL_TOLERANCE)
  return tf.reduce_any(wrong, -1)


def _not_finite(values: tf.Tensor) -> tf.Tensor:
  """Whether a value is NaN or infinite: float [n, ...] -> bool [n]."""
  flat = _rows(values)
  return tf.reduce_any(tf.math.is_nan(flat) | tf.math.is_inf(flat), -1)


def _rows(values: tf.Tensor) -> tf.Tensor:
  # The width is said, so that a batch of none has rows, too.
  return tf.reshape(values, [tf.shape(values)[0], values.shape[1:].num_elements()])
