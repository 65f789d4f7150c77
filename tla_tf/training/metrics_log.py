"""Metrics of every interval: `metrics.jsonl` and TensorBoard scalars."""

from __future__ import annotations

import time

import keras
import tensorflow as tf

from tla_tf.persistence.run_folder import RunFolder


class MetricsLog(keras.callbacks.Callback):
  """Logs every loss part, accuracies and the learning rate at each epoch's end.

  The lines are written before the checkpoint of the same step, and lines after
  the restored step are dropped: a resumed log equals an uninterrupted one.

  Args:
    folder: RunFolder.
    start: the step that the run starts or resumes at.
  """

  def __init__(self, folder: RunFolder, start: int):
    super().__init__()
    self._folder = folder
    self._rows = folder.read_metrics(up_to=start)
    self._writer = tf.summary.create_file_writer(str(folder.tensorboard))
    self._since = time.monotonic()

  def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
    self._since = time.monotonic()

  def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
    optimizer = self.model.optimizer
    step = int(optimizer.iterations)
    values = {name: float(value) for name, value in logs.items()}
    values["learning_rate"] = float(optimizer.learning_rate)
    self._rows.append({"step": step, **values, "seconds": round(time.monotonic() - self._since, 3)})
    self._folder.write_metrics(self._rows)
    with self._writer.as_default(step=step):
      for name, value in values.items():
        group, _, rest = name.partition("val_")
        tf.summary.scalar(f"heldout/{rest}" if rest and not group else f"train/{name}", value)
    self._writer.flush()

  def last(self) -> dict[str, float]:
    """The metrics of the last interval."""
    return {name: value for name, value in self._rows[-1].items() if name not in ("step", "seconds")}

  def close(self) -> None:
    """Closes the TensorBoard file."""
    self._writer.close()
