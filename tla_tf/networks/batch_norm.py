"""Batch normalisation that keeps one set of statistics per branch.

One forward pass over several images of a triplet, concatenated on the batch
axis, must equal one pass each. `branches(k)` says how many equal parts the
batch has; each part is normalised by its own statistics, and the moving
averages are updated part by part, in order, as separate passes would. Outside
the scope there is one branch: ordinary batch normalisation.
"""

import contextlib
import threading
import typing

import keras
import tensorflow as tf

from tla_tf.ops import replicas, sums


class _Scope(threading.local):
  count = 1
  update = True
  synchronised = False
  prepared: typing.Mapping[int, tuple[tf.Tensor | None, tf.Tensor | None]] = {}


_SCOPE = _Scope()


@contextlib.contextmanager
def branches(count: int = 1, update_moving_averages: bool = True) -> typing.Iterator[None]:
  """Sets the number of branches for the calls inside the scope.

  Args:
    count: number of equal parts of the batch axis.
    update_moving_averages: False leaves the moving averages alone, for an
      attack that looks at the network in training mode.
  """
  before = _SCOPE.count, _SCOPE.update
  _SCOPE.count, _SCOPE.update = count, update_moving_averages
  try:
    yield
  finally:
    _SCOPE.count, _SCOPE.update = before


@contextlib.contextmanager
def prepared(normalisations: typing.Mapping[int, tuple[tf.Tensor | None, tf.Tensor | None]]) -> typing.Iterator[None]:
  """Lets layers in inference mode use a scale and shift that were computed before.

  Args:
    normalisations: dict from a layer's id to (scale, shift), [channels] each; None for what the
      layer before it does already.
  """
  before, _SCOPE.prepared = _SCOPE.prepared, normalisations
  try:
    yield
  finally:
    _SCOPE.prepared = before


@contextlib.contextmanager
def synchronised(on: bool) -> typing.Iterator[None]:
  """Whether, within the scope, batch statistics are those of all replicas' images."""
  before = _SCOPE.synchronised
  _SCOPE.synchronised = on
  try:
    yield
  finally:
    _SCOPE.synchronised = before


@keras.saving.register_keras_serializable(package="tla_tf")
class BranchBatchNormalization(keras.layers.Layer):
  """Batch normalisation over the last axis, branch by branch.

  As in the authors' code: scale and centre, decay 0.9, epsilon 0.001; the
  moving variance averages *unbiased* batch variances, as TF1's fused kernel
  computes them. Variables and statistics are float32, whatever the inputs.

  Args:
    momentum: decay of the moving averages.
    epsilon: added to the variance.
    **kwargs: as in `keras.layers.Layer`.
  """

  def __init__(self, momentum: float = 0.9, epsilon: float = 1e-3, **kwargs: typing.Any):
    super().__init__(**kwargs)
    self.momentum = momentum
    self.epsilon = epsilon

  def build(self, input_shape: tuple[int | None, ...]) -> None:
    def weight(name, initializer, trainable):
      return self.add_weight(
        name=name,
        shape=(input_shape[-1],),
        initializer=initializer,
        trainable=trainable,
        aggregation="mean",
        autocast=False,
      )

    self.gamma = weight("gamma", "ones", True)
    self.beta = weight("beta", "zeros", True)
    self.moving_mean = weight("moving_mean", "zeros", False)
    self.moving_variance = weight("moving_variance", "ones", False)

  def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    # As in Keras, a frozen layer keeps its statistics.
    if not training or not self.trainable:
      scale, shift = _SCOPE.prepared.get(id(self)) or self.affine()
      scaled = inputs if scale is None else inputs * tf.cast(scale, inputs.dtype)
      return scaled if shift is None else scaled + tf.cast(shift, inputs.dtype)
    gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
    parts = tf.split(inputs, _SCOPE.count) if _SCOPE.count > 1 else [inputs]
    gammas, betas = sums.copies(gamma, len(parts)), sums.copies(beta, len(parts))
    if _SCOPE.synchronised and replicas.count() > 1:
      outputs, means, variances = zip(*self._of_all_replicas(parts, gammas, betas))
    else:
      normalise = self._fused if inputs.shape.rank == 4 else self._plain
      outputs, means, variances = zip(*map(normalise, parts, gammas, betas))
    if _SCOPE.update:
      self._update(self.moving_mean, means)
      self._update(self.moving_variance, variances)
    return tf.concat(outputs, 0) if len(outputs) > 1 else outputs[0]

  def affine(self) -> tuple[tf.Tensor, tf.Tensor]:
    """(scale, shift), float32 [channels] each, that inference mode applies."""
    gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
    scale = gamma * tf.math.rsqrt(tf.convert_to_tensor(self.moving_variance) + self.epsilon)
    return scale, beta - tf.convert_to_tensor(self.moving_mean) * scale

  def _fused(self, inputs, gamma, beta):
    return tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=self.epsilon, is_training=True)

  def _plain(self, inputs, gamma, beta):
    exact = tf.cast(inputs, gamma.dtype)
    mean, variance = _moments(exact)
    return self._normalised(exact, gamma, beta, mean, variance, inputs.dtype)

  def _normalised(self, exact, gamma, beta, mean, variance, dtype, parts=1):
    """(outputs of `dtype`, mean, unbiased variance) from the moments of `parts` times as many images."""
    scale = gamma * tf.math.rsqrt(variance + self.epsilon)
    count = tf.cast(parts * (tf.size(exact) // tf.shape(exact)[-1]), exact.dtype)
    unbiased = variance * count / tf.maximum(count - 1.0, 1.0)
    return tf.cast(exact * scale + (beta - mean * scale), dtype), mean, unbiased

  def _of_all_replicas(self, parts, gammas, betas):
    """Every part by the moments of all replicas' images, of which each has as many; they are sent at once."""
    exact = [tf.cast(part, gammas[0].dtype) for part in parts]
    own = tf.stack([tf.stack(_moments(part)) for part in exact])
    means, variances = tf.unstack(replicas.all_rows(own[None]), axis=2)  # [replicas, parts, channels] each
    mean = tf.reduce_mean(means, 0)
    variance = tf.reduce_mean(variances + tf.square(means - mean), 0)
    return [
      self._normalised(part, gammas[i], betas[i], mean[i], variance[i], parts[i].dtype, replicas.count())
      for i, part in enumerate(exact)
    ]

  def _update(self, variable, batch_values):
    value = tf.convert_to_tensor(variable)
    for batch_value in batch_values:
      value = value * self.momentum + tf.stop_gradient(batch_value) * (1.0 - self.momentum)
    variable.assign(value)

  def get_config(self) -> dict[str, typing.Any]:
    return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}


def _moments(inputs):
  """Mean and variance over all axes but the last."""
  return tf.nn.moments(inputs, list(range(inputs.shape.rank - 1)))
