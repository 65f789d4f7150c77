"""A TensorBoard profile of some steps of a training."""

from __future__ import annotations

import typing

import keras
import tensorflow as tf

from tla_tf.persistence.run_folder import RunFolder


class Profile(keras.callbacks.Callback):
  """Writes where the time of steps goes into the run's TensorBoard folder.

  It looks on: the bits of the training stay the same.

  Args:
    folder: RunFolder.
    first: the first step that is profiled, counted from 1.
    last: the last one. Steps that were done before the run goes on are not done again.
    start: the step that the run starts or resumes at.
    say: receives a line for people when the profile is written.
    steps_per_execution: steps that one call into TensorFlow makes; those around the
      first and the last are in the profile, too.
  """

  def __init__(
    self,
    folder: RunFolder,
    first: int,
    last: int,
    start: int,
    say: typing.Callable[[str], object] = print,
    steps_per_execution: int = 1,
  ):
    super().__init__()
    self._folder, self._say, self._longest = folder, say, steps_per_execution
    self._first, self._last = max(first, start + 1), last
    self._runs, self._over = False, self._first > last
    if self._over:
      say(f"note: steps {first} to {last} are done already; there is no profile of them.")

  def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
    if self._over or self._runs or self._done() + self._longest < self._first:
      return
    self._first = self._done() + 1
    tf.profiler.experimental.start(str(self._folder.tensorboard))
    self._runs = True

  def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
    if self._runs and self._done() >= self._last:
      self.close()

  def close(self) -> None:
    """Ends a profile that runs, and writes it."""
    if self._runs:
      self._runs, self._over = False, True
      tf.profiler.experimental.stop()
      self._say(
        f"profile      of steps {self._first} to {self._done()}: tensorboard --logdir {self._folder.tensorboard} shows "
        "it in its tab PROFILE, with the package tensorboard-plugin-profile"
      )

  def _done(self) -> int:
    return int(self.model.optimizer.iterations.numpy())
