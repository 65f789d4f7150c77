"""Starting a run from the weights of another: fine-tuning."""

from __future__ import annotations

import contextlib
import os
import pathlib
import typing

import keras

from tla_tf.config import InitConfig
from tla_tf.errors import InputError
from tla_tf.persistence import CheckpointStore, RunFolder
from tla_tf.persistence.loading import load_network


def find_init(
  run_dir: str | os.PathLike, checkpoint: str | int = "best", output_dir: str | os.PathLike | None = None
) -> InitConfig:
  """The InitConfig of a checkpoint of another run.

  Args:
    run_dir: its run folder.
    checkpoint: "best", "last" or a step.
    output_dir: the run that is to begin there. If it has begun already, what
      it began with is the answer, even if the other run is gone.

  Raises:
    InputError: if there is no such run or checkpoint.
  """
  if not run_dir:
    raise InputError("`init_from`: give the run folder whose network to begin with.")
  if output_dir and (pathlib.Path(output_dir) / "config.json").is_file():
    before = RunFolder.open(output_dir).read_config()[0].init
    if before.run_dir == os.path.abspath(run_dir) and str(checkpoint) in ("best", "last", str(before.checkpoint)):
      return before
  store = CheckpointStore(_open(run_dir).checkpoints)
  with _named():
    step, digest = store.opened(checkpoint, lambda step: (step, store.digest(step)))
  return InitConfig(run_dir=os.path.abspath(run_dir), checkpoint=step, digest=digest)


def initialise(network: keras.Model, init: InitConfig) -> None:
  """Gives a network the weights and statistics of another run's checkpoint.

  Args:
    network: a network of the same kind and size.
    init: InitConfig.

  Raises:
    InputError: if the networks differ, or the checkpoint has changed.
  """
  folder = _open(init.run_dir)
  store = CheckpointStore(folder.checkpoints)
  if store.digest(store.resolve(init.checkpoint)) != init.digest:
    raise InputError(
      f"{init.run_dir}: its checkpoint of step {init.checkpoint} is not the one that this run began "
      "with; give another `output_dir` to start anew."
    )
  with _named():
    source = load_network(folder, init.checkpoint)
  name_of_source = folder.read_config()[0].network
  ours, theirs = ([(v.path, tuple(v.shape)) for v in n.variables] for n in (network, source))
  for (name, shape), other in zip(ours, theirs):
    if (name, shape) != other:
      raise InputError(
        f"{init.run_dir}: its network {name_of_source} does not fit (variable {other[0]} of shape "
        f"{other[1]} in place of {name} of {shape}); give the `network`, image size and classes that "
        "it was trained with."
      )
  if len(ours) != len(theirs):
    raise InputError(
      f"{init.run_dir}: its network has {len(theirs)} variables, this one {len(ours)}; give the "
      "`network` that it was trained with."
    )
  for variable, value in zip(network.variables, source.variables):
    variable.assign(value)


@contextlib.contextmanager
def _named() -> typing.Iterator[None]:
  """Makes errors of the other run's checkpoints name the arguments of a training."""
  try:
    yield
  except InputError as error:
    raise InputError(f"`init_from`: {str(error).replace('`checkpoint=', '`init_checkpoint=')}") from None


def _open(run_dir):
  try:
    return RunFolder.open(run_dir)
  except InputError as error:
    raise InputError(f"`init_from`: {error}") from None
