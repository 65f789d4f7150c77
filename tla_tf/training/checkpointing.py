"""Saves a checkpoint at the end of every interval."""

from __future__ import annotations

import keras
import numpy as np

from tla_tf.errors import DivergedError
from tla_tf.persistence.checkpoints import CheckpointStore
from tla_tf.training.guard import describe
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
    for variable in (v for name, part in state.items() if name != "optimizer" for v in part.variables):
      # The last step of an interval can spoil the weights after a finite loss.
      if not np.all(np.isfinite(variable.numpy())):
        raise DivergedError(describe(self._store, f"{variable.path} not finite after step {step}"))
    self._store.save(step, state, self._metrics.last(), self.model.judged)
