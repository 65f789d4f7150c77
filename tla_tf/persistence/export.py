"""SavedModel export: loads in plain TensorFlow, without tla_tf."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tla_tf import files
from tla_tf.errors import InputError
from tla_tf.files import AnyPath


def export_saved_model(
  network: Any, image_shape: Sequence[int], output: AnyPath, detect: tf.Module | None = None
) -> None:
  """Writes a SavedModel with the endpoints `serve`, `embed` and, where there is a detector, `detect`.

  `serve` (also the default signature): images float32 [n, ...] in [0, 1] ->
  {"logits" [n, classes], "probabilities" [n, classes], "label" int32 [n]}.
  `embed`: images -> {"embedding" [n, d]}.
  `detect`: images -> {"score" float64 [n], "is_suspect" bool [n], "label" int32 [n]}.

  Args:
    network: maps images to {"embedding", "logits"}.
    image_shape: (height, width, channels).
    output: the folder to make; must not exist.
    detect: a `tf.Module` from embeddings to tensors (score, is_suspect), as
      `detection.GraphDetector` is, or None.

  Raises:
    InputError: if it exists or cannot be written.
  """
  output = pathlib.Path(output)
  if output.exists():
    raise InputError(f"{output}: exists already; remove it or choose another `output`.")
  signature = [tf.TensorSpec([None, *image_shape], tf.float32, name="images")]

  def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
    logits = network(images, training=False)["logits"]
    return {
      "logits": logits,
      "probabilities": tf.nn.softmax(logits),
      "label": tf.argmax(logits, -1, output_type=tf.int32),
    }

  def embed(images: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"embedding": network(images, training=False)["embedding"]}

  archive = keras.export.ExportArchive()
  archive.track(network)
  archive.add_endpoint("serve", serve, input_signature=signature)
  archive.add_endpoint("embed", embed, input_signature=signature)
  if detect is not None:

    def detection(images: tf.Tensor) -> dict[str, tf.Tensor]:
      outputs = network(images, training=False)
      score, is_suspect = detect(outputs["embedding"])
      label = tf.argmax(outputs["logits"], -1, output_type=tf.int32)
      return {"score": score, "is_suspect": is_suspect, "label": label}

    archive.track(detect)
    archive.add_endpoint("detect", detection, input_signature=signature)
  with files.new_folder(output) as temporary:
    try:
      archive.write_out(str(temporary), verbose=False)
    except tf.errors.OpError as error:
      raise InputError(f"{output}: cannot be written ({error.message[:120]}).") from error
