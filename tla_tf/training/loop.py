"""The one training loop, whatever the strategy.

It takes the place of `keras.Model.fit`, which cannot train under every strategy: one
`tf.function` runs a few steps (an *execution*) of `RobustModel` on every replica, with
the batches of a distributed iterator. Callbacks are Keras's, called as `fit` would.
"""

from __future__ import annotations

import functools
import itertools
import typing

import keras
import tensorflow as tf

from tla_tf.models.robust_model import RobustModel

# A distributed data set of batches; on one device a `tf.data.Dataset`.
Batches = typing.Any


def epochs(start: int, stop: int, every: int) -> typing.Iterator[tuple[int, int]]:
  """Cuts the steps into epochs that end at the multiples of `every`, where checkpoints are due, and at `stop`.

  Yields:
    (first step, step after the last).
  """
  while start < stop:
    end = min(start - start % every + every, stop)
    yield start, end
    start = end


def executions(start: int, stop: int, longest: int, every: int) -> typing.Iterator[int]:
  """Cuts the steps of an epoch into executions of at most `longest` steps that end at the multiples of `every`, too.

  Yields:
    Numbers of steps.
  """
  for begin, end in epochs(start, stop, every):
    whole, rest = divmod(end - begin, longest)
    yield from [longest] * whole + [rest] * bool(rest)


class TrainingLoop:
  """Trains a compiled model and looks at held-out images at the end of every epoch.

  Args:
    model: RobustModel, compiled, of `strategy`'s scope.
    strategy: a `tf.distribute.Strategy`; None for the one that is in force.
    steps_per_execution: training steps that one call into TensorFlow runs; callbacks
      are called once for all of them. The weights do not depend on it.
    log_every: executions end at the multiples of this step, too, where logs are due.
  """

  def __init__(
    self,
    model: RobustModel,
    strategy: tf.distribute.Strategy | None = None,
    steps_per_execution: int = 1,
    log_every: int = 1,
  ):
    self.model = model
    self.strategy = strategy or tf.distribute.get_strategy()
    self._longest = steps_per_execution
    self._log_every = log_every
    # One trace each for the whole run: the iterator and the number of steps are arguments. As partials, because
    # TensorFlow warns of one method that many objects have traced.
    self._graphs: dict[typing.Callable, typing.Callable] = {}

  def run(
    self,
    batches: Batches,
    heldout: Batches,
    start: int,
    stop: int,
    epoch_length: int,
    callbacks: typing.Sequence[keras.callbacks.Callback],
  ) -> None:
    """Trains the steps start, ..., stop - 1.

    Args:
      batches: the batches of these steps, in their order, as the strategy deals them.
      heldout: batches of held-out images, all of them, as the strategy deals them; None for none.
      start: number of steps that are done.
      stop: number of steps that are then done.
      epoch_length: epochs end at its multiples and at `stop`.
      callbacks: Keras's; one of them must end a run whose loss is not finite, at
        which an execution ends early. `on_train_batch_end` gets the place in the
        epoch of an execution's last step.
    """
    every = keras.callbacks.CallbackList(list(callbacks), model=self.model)
    iterator = None
    self.model.stop_training = False
    every.on_train_begin()
    logs: dict[str, float] = {}
    for epoch, (begin, end) in enumerate(epochs(start, stop, epoch_length)):
      self.model.reset_metrics()
      every.on_epoch_begin(epoch)
      done = 0
      for count in executions(begin, end, self._longest, self._log_every):
        every.on_train_batch_begin(done)
        values, iterator = self._call(self._execution, batches, iterator, tf.constant(count))
        logs = self._named(values)
        done += count
        every.on_train_batch_end(done - 1, logs)
        if self.model.stop_training:
          break
      if heldout is not None:
        logs = {**logs, **{f"val_{name}": value for name, value in self.evaluate(heldout, every).items()}}
      every.on_epoch_end(epoch, logs)
      if self.model.stop_training:
        break
    every.on_train_end(logs)

  def evaluate(self, heldout: Batches, callbacks: typing.Any = None) -> dict[str, float]:
    """Clean and robust loss and accuracy, by the names of `RobustModel.evaluate`.

    Args:
      heldout: as in `run`.
      callbacks: a Keras `CallbackList`, or None.
    """
    every = callbacks or keras.callbacks.CallbackList(model=self.model)
    self.model.reset_metrics()
    every.on_test_begin()
    means: dict[str, float] = {}
    iterator = None
    for place in itertools.count():
      try:
        sums, iterator = self._call(self._evaluation, heldout, iterator)
      except tf.errors.OutOfRangeError:
        break
      means = self._means(sums.numpy())
      every.on_test_batch_end(place, means)
    every.on_test_end(means)
    return means

  # ------------------------------------------------------------- graphs

  def _call(self, steps, batches, iterator, *arguments):
    """Runs the graph of some steps; gives its result and the iterator, a new one where there was none.

    Where XLA was preferred and cannot compile the graph at its first call, the steps begin anew without it.
    """
    if steps in self._graphs:
      iterator = iter(batches) if iterator is None else iterator
      return self._graphs[steps](iterator, *arguments), iterator

    def first():
      graph, begun = tf.function(functools.partial(steps), autograph=False), iter(batches)
      found = graph(begun, *arguments)
      self._graphs[steps] = graph
      return found, begun

    return self.model.first_call(first, f"the {'training' if steps == self._execution else 'held-out'} step")

  def _execution(self, iterator, count):
    """Runs `count` steps, fewer if a loss is not finite; gives what is logged, float32 [names]."""

    def step():
      values = self.strategy.run(self._step, args=(next(iterator),))
      return self.strategy.reduce("MEAN", values, axis=None)

    if self._longest == 1:
      return step()
    names = self.model.logged_names
    loss = names.index("loss")
    _, logged = tf.while_loop(
      # The step that spoils a run is the last one, so that it can be named.
      lambda i, logged: (i < count) & tf.math.is_finite(logged[loss]),
      lambda i, logged: (i + 1, step()),
      (0, tf.zeros([len(names)])),
      parallel_iterations=1,
    )
    return logged

  def _step(self, batch):
    logged = self.model.stream_train_step(batch)
    # One vector instead of a dict: it is fetched at once.
    return tf.stack([logged[name] for name in self.model.logged_names])

  def _evaluation(self, iterator):
    """Looks at the next batch; gives totals and counts of all so far, float32 [names, 2]."""
    return self.strategy.reduce("SUM", self.strategy.run(self._look, args=(next(iterator),)), axis=None)

  def _look(self, batch):
    self.model.stream_test_step(batch)
    sums = [[metric.total, metric.count] for metric in self.model.test_means]
    return tf.stack([tf.stack([tf.convert_to_tensor(variable) for variable in pair]) for pair in sums])

  def _named(self, values):
    return {name: float(value) for name, value in zip(self.model.logged_names, values.numpy())}

  def _means(self, sums):
    names = [metric.name for metric in self.model.test_means]
    return {name: float(total / count) if count else 0.0 for name, (total, count) in zip(names, sums)}
