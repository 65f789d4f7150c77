"""Saves a checkpoint at the end of every interval."""

from __future__ import annotations

import keras

from tla_tf.persistence.checkpoints import CheckpointStore
from tla_tf.training.metrics_log import MetricsLog


class Checkpointing(keras.callbacks.Callback):
  """Saves all that training changes, and the interval's metrics.

  Args:
    store: CheckpointStore.
    metrics: MetricsLog, called before this callback.
  """

  def __init__(self, store: CheckpointStore, metrics: MetricsLog):
    super().__init__()
    self._store = store
    self._metrics = metrics

  def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
    state, step = self.model.state(), int(self.model.optimizer.iterations.numpy())
    # The last step of an interval can spoil the weights after a finite loss: the store refuses them.
    self._store.save(step, state, self._metrics.last(), self.model.judged)
