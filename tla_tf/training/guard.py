"""Stops a run whose loss is no longer finite, before it spoils a checkpoint."""

from __future__ import annotations

import math

import keras

from tla_tf.persistence.checkpoints import CheckpointStore


class NonFiniteGuard(keras.callbacks.Callback):
  """Raises DivergedError at the first step whose loss is NaN or infinite.

  Args:
    store: CheckpointStore of the run, to name the last good checkpoint.
  """

  def __init__(self, store: CheckpointStore):
    super().__init__()
    self._store = store

  def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
    # The logged loss is the epoch's running mean: one bad step shows at once.
    if not math.isfinite(logs["loss"]):
      bad = [name for name, value in logs.items() if not math.isfinite(value)]
      step = int(self.model.optimizer.iterations.numpy())
      raise self._store.diverged(f"{', '.join(bad)} not finite at step {step}")
