"""Picture grids of what a step trains on, for TensorBoard."""

from __future__ import annotations

import typing

import keras
import tensorflow as tf

from tla_tf.data.stream import BatchStream
from tla_tf.persistence.run_folder import RunFolder
from tla_tf.records.shown import pixels
from tla_tf.types import Role

_COUNT = 16
_COLUMNS = 8
_LEAST_PIXELS = 32


class Pictures(keras.callbacks.Callback):
  """Writes grids of clean, adversarial, difference, positive and negative.

  The difference is mid-grey where nothing changed, white at +scale and black at
  -scale; the scale is the largest change that the training attack may make, so that
  none is cut off, and stands beside the picture.

  Args:
    folder: RunFolder.
    stream: BatchStream; the pictures show the batch of the step.
  """

  def __init__(self, folder: RunFolder, stream: BatchStream):
    super().__init__()
    self._writer = tf.summary.create_file_writer(str(folder.tensorboard), filename_suffix=".pictures")
    self._stream = stream
    self._examples: typing.Callable | None = None

  def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
    step = self.model.optimizer.iterations
    if self._examples is None:
      self._examples = tf.function(self._make, autograph=False)
    with self._writer.as_default(step=int(step.numpy())):
      for name, images in self._examples(tf.convert_to_tensor(step)).items():
        tf.summary.image(f"pictures/{name}", grid(images)[None], description=self._description(name))
    self._writer.flush()

  def close(self) -> None:
    """Closes the TensorBoard file."""
    self._writer.close()

  @property
  def _scale(self) -> float:
    """The largest change of a pixel: epsilon, in L2, too, at its schedule's highest."""
    points = dict(self.model.schedules).get("epsilon", ((0, 1.0),))
    return min(1.0, self.model.attack.epsilon * max(factor for _, factor in points)) or 1.0

  def _description(self, name: str) -> str | None:
    if name != "difference":
      return None
    scale = pixels(self._scale)
    return f"adversarial - clean: grey is no change, white +{scale}, black -{scale}"

  def _make(self, step):
    batch = {
      name: value[:_COUNT] if not name.startswith("pool") else value for name, value in self._stream.batch(step).items()
    }
    shown = dict(self.model.step_examples(batch, step))
    clean = batch["image"]
    if Role.ADVERSARIAL not in shown:
      shown[Role.ADVERSARIAL] = self.model.perturb(batch["image"], batch["label"], self.model.step_seed(step), step)
    difference = 0.5 + 0.5 / self._scale * (shown[Role.ADVERSARIAL] - clean)
    names = {Role.POSITIVE: "positive", Role.NEGATIVE: "negative"}
    return {
      "clean": clean,
      "adversarial": shown[Role.ADVERSARIAL],
      "difference": difference,
      **{name: shown[role] for role, name in names.items() if role in shown},
    }


def grid(images: tf.Tensor, columns: int = _COLUMNS) -> tf.Tensor:
  """Tiles images into one: float32 [n, h, w, c] -> [rows h s, columns w s, c].

  Small images are enlarged by a whole factor s; missing ones stay black.
  """
  count, height, width, channels = images.shape
  enlarge = max(1, _LEAST_PIXELS // height)
  images = tf.repeat(tf.repeat(tf.clip_by_value(images, 0.0, 1.0), enlarge, 1), enlarge, 2)
  rows = -(-count // columns)
  images = tf.pad(images, [[0, rows * columns - count], [0, 0], [0, 0], [0, 0]])
  images = tf.reshape(images, [rows, columns, height * enlarge, width * enlarge, channels])
  images = tf.transpose(images, [0, 2, 1, 3, 4])
  return tf.reshape(images, [rows * height * enlarge, columns * width * enlarge, channels])
