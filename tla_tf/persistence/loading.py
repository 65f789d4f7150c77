"""Getting a trained network back from a run folder."""

from __future__ import annotations

import typing

import keras

from tla_tf import networks
from tla_tf.persistence.checkpoints import CheckpointStore
from tla_tf.persistence.run_folder import RunFolder


class LoadedCheckpoint(typing.NamedTuple):
  """A checkpoint's network.

  Attributes:
    network: as `load_network` returns it.
    step: the checkpoint's.
    digest: SHA-256 over its files, as hex.
  """

  network: keras.Model
  step: int
  digest: str


def load_checkpoint(folder: RunFolder, which: str | int) -> LoadedCheckpoint:
  """A checkpoint of a run, which may still train: one that was pruned meanwhile does not matter any more.

  Args:
    folder: RunFolder.
    which: "best", "last" or a step.

  Raises:
    InputError: as `load_network`; if there is no such checkpoint.
  """
  store = CheckpointStore(folder.checkpoints)
  return store.opened(which, lambda step: LoadedCheckpoint(load_network(folder, step), step, store.digest(step)))


def load_network(folder: RunFolder, step: int) -> keras.Model:
  """The network of a run with the weights of a checkpoint that are judged, raw or averaged.

  Args:
    folder: RunFolder.
    step: a checkpoint's step.

  Returns:
    A `keras.Model` from images in [0, 1] to {"embedding": [n, d], "logits": [n, classes]}.

  Raises:
    InputError: if the folder or the checkpoint is damaged or they do not fit.
  """
  config, facts = folder.read_config()
  network = networks.build(config.network, facts.image_shape, facts.num_classes, seed=config.seed)
  CheckpointStore(folder.checkpoints).restore_judged(step, network)
  return network
