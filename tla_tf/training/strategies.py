"""Distribution strategies of a training, and what it may not be under several replicas.

N replicas train what one device trains: each has every N-th part of the batch, the
same random draws, and a share of the mean over the whole batch as its loss, so that
the sums of their gradients are the whole batch's.
"""

from __future__ import annotations

import functools
import typing

import tensorflow as tf

from tla_tf.config import TrainingConfig
from tla_tf.errors import InputError
from tla_tf.models.robust_model import RobustModel
from tla_tf.training.workers import Workers, join
from tla_tf.types import DistributionStrategy

# What is refused, and why.
_REFUSED = {
  DistributionStrategy.PARAMETER_SERVER: "its workers read weights that others are changing, so that no two runs are "
  "alike and no batch statistics belong together; give mirrored for several devices of one machine, "
  "multi_worker_mirrored for several machines",
  DistributionStrategy.TPU: "an attack's loop, its draws and the mining of negatives have not been tried on TPUs; give "
  "mirrored for several GPUs, or one_device",
}


def meet(config: TrainingConfig) -> Workers:
  """This process among those that train together, with their strategy; alone but for multi_worker_mirrored.

  Raises:
    InputError: as `make`, and as `workers.join`.
  """
  if config.distribution_strategy is DistributionStrategy.MULTI_WORKER_MIRRORED:
    return join(config.worker_timeout)
  return Workers(strategy=make(config.distribution_strategy))


def make(kind: DistributionStrategy | str) -> tf.distribute.Strategy:
  """The strategy of a training in one process.

  Raises:
    InputError: for one that is refused, or for mirrored with a single device.
  """
  kind = DistributionStrategy(kind)
  if kind in _REFUSED:
    raise InputError(f"`distribution_strategy={kind.value}` is not supported: {_REFUSED[kind]}.")
  if kind is DistributionStrategy.ONE_DEVICE:
    return tf.distribute.get_strategy()
  devices = [device.name for device in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]
  if len(devices) < 2:
    raise InputError("`distribution_strategy=mirrored` is for several GPUs, and there is one device: give one_device.")
  return _mirrored(tuple(devices))


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
  # One for all trainings of a process: the collective operations of a second one would meet those of the first.
  return tf.distribute.MirroredStrategy(devices)


def require_even(config: TrainingConfig, pool_size: int) -> None:
  """Raises InputError unless the batch and the pool of negatives can be divided evenly over the config's replicas."""
  replicas = config.replicas
  if pool_size % replicas:
    raise InputError(
      f"`negative_pool_size={pool_size}` is not divisible by the {replicas} replicas: give a multiple of {replicas}."
    )
  if config.batch_size % replicas:
    raise InputError(
      f"`batch_size={config.batch_size}` is not divisible by the {replicas} replicas: give a multiple of {replicas}."
    )
  if config.accumulate_steps > 1 and config.batch_size // replicas % config.accumulate_steps:
    raise InputError(
      f"`accumulate_steps={config.accumulate_steps}` does not divide the {config.batch_size // replicas} images of a "
      "replica: give a divisor of them."
    )


def require_splittable(model: RobustModel, replicas: int) -> None:
  """Raises InputError for what several replicas would train otherwise than one device."""
  if replicas == 1:
    return
  reason = model.not_for_replicas()
  if reason:
    raise InputError(f"On {replicas} replicas {reason}; or train with `distribution_strategy=one_device`.")


def deal(strategy: tf.distribute.Strategy, parts: typing.Callable[[int, int, int], tf.data.Dataset]) -> typing.Any:
  """The batches of a training as a strategy's replicas take them.

  Args:
    strategy: a `tf.distribute.Strategy`.
    parts: function (first, local, replicas) -> data set of the parts of the batches that
      the replicas first, ..., first + local - 1 of all have, replica by replica, batch by batch.

  Returns:
    A distributed data set; of one replica the data set itself.
  """
  replicas = strategy.num_replicas_in_sync
  if replicas == 1:
    return parts(0, 1, 1)

  def of_worker(context):
    local = replicas // context.num_input_pipelines
    return parts(context.input_pipeline_id * local, local, replicas)

  return strategy.distribute_datasets_from_function(of_worker)
