"""Metrics of a run: `metrics.jsonl`, a line an interval, and TensorBoard's scalars."""

from __future__ import annotations

import time

import keras
import tensorflow as tf
from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.scalar import summary_v2

from tla_tf.persistence.run_folder import RunFolder


class MetricsLog(keras.callbacks.Callback):
  """Logs every loss part, accuracies and the learning rate.

  `metrics.jsonl` has a line at each epoch's end, of the epoch's means; the lines are
  written before the checkpoint of the same step, and lines after the restored step
  are dropped: a resumed log equals an uninterrupted one. TensorBoard has the
  held-out accuracies of these steps, and the means of every `log_every` steps of an
  epoch and of those that are left at its end.

  Args:
    folder: RunFolder.
    start: the step that the run starts or resumes at.
    log_every: steps between TensorBoard's scalars of the training.
  """

  def __init__(self, folder: RunFolder, start: int, log_every: int):
    super().__init__()
    self._folder = folder
    self._rows = folder.read_metrics(up_to=start)
    self._writer = tf.summary.create_file_writer(str(folder.tensorboard), flush_millis=10_000)
    self._since = time.monotonic()
    self._begin, self._log_every = start, log_every
    # Steps of the epoch, which began at `_begin`, and how many of them had been logged with which means.
    self._done = 0
    self._logged: tuple[int, dict[str, float]] = (0, {})

  def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
    self._since = time.monotonic()
    self._begin += self._done
    self._done, self._logged = 0, (0, {})

  def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
    self._done = batch + 1  # An execution may have had several steps.
    if self._step % self._log_every == 0:
      self._log_training(logs)

  def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
    values = {name: float(value) for name, value in logs.items()}
    rate = float(self.model.optimizer.learning_rate.numpy())
    step = int(self.model.optimizer.iterations.numpy())
    self._rows.append(
      {"step": step, **values, "learning_rate": rate, "seconds": round(time.monotonic() - self._since, 3)}
    )
    self._folder.write_metrics(self._rows)
    self._log_training({name: value for name, value in values.items() if not name.startswith("val_")})
    self._log({f"heldout/{name[4:]}": value for name, value in values.items() if name.startswith("val_")})
    self._writer.flush()

  def _log_training(self, logs: dict[str, float]) -> None:
    """Logs the means since they were logged last, of those of the epoch so far."""
    done, before = self._logged
    if done == self._done:
      return
    means = {name: float(value) for name, value in logs.items()}
    recent = {
      name: (mean * self._done - before.get(name, 0.0) * done) / (self._done - done) for name, mean in means.items()
    }
    recent["learning_rate"] = float(self.model.optimizer.learning_rate.numpy())
    self._log({f"train/{name}": value for name, value in recent.items()})
    self._logged = self._done, means

  def _log(self, values: dict[str, float]) -> None:
    # One event instead of one a value: an eighth of the time.
    content = summary_pb2.Summary()
    for name, value in values.items():
      content.MergeFrom(summary_v2.scalar_pb(name, value))
    with self._writer.as_default(step=self._step):
      tf.summary.experimental.write_raw_pb(content.SerializeToString())

  @property
  def rows(self) -> list[dict]:
    """The lines so far, as dicts."""
    return self._rows

  @property
  def _step(self) -> int:
    return self._begin + self._done

  def last(self) -> dict[str, float]:
    """The metrics of the last interval."""
    return {name: value for name, value in self._rows[-1].items() if name not in ("step", "seconds")}

  def close(self) -> None:
    """Closes the TensorBoard file."""
    self._writer.close()
