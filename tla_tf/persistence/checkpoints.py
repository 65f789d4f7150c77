"""Checkpoints of a run: whole or absent, checked, the last few and the best.

A checkpoint is a folder `step_000000500` with a `tf.train.Checkpoint` of all
that training changes and a `meta.json` (`records.run.CheckpointRecord`). It is
written under another name and renamed, so that a kill at any moment leaves only
whole checkpoints.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
import typing

from tla_tf import files
from tla_tf.errors import InputError
from tla_tf.lazy import lazy
from tla_tf.persistence.literal_path import literal_path
from tla_tf.recipes import ROBUST_FIRST
from tla_tf.records.run import CheckpointRecord

if typing.TYPE_CHECKING:
  import keras

# What checkpoints there are is asked by what loads none.
tf, networks = lazy("tensorflow"), lazy("tla_tf.networks")

_PREFIX = "state"


class CheckpointStore:
  """The checkpoints of one folder.

  Args:
    folder: `checkpoints/` of a run.
    keep: how many of the last checkpoints stay; the best one stays besides.
    best_by: names of the metrics that decide which is best, in order.
  """

  def __init__(self, folder: str | pathlib.Path, keep: int = 2, best_by: tuple = ROBUST_FIRST):
    self._folder = pathlib.Path(folder)
    self._keep = keep
    self._best_by = best_by

  def steps(self) -> list[int]:
    """Steps of the whole checkpoints, in increasing order."""
    names = [re.fullmatch(r"step_(\d+)", path.name) for path in self._folder.glob("step_*") if path.is_dir()]
    return sorted(int(match[1]) for match in names if match)

  def last(self) -> int | None:
    """Step of the last checkpoint, or None."""
    return max(self.steps(), default=None)

  def best(self) -> int | None:
    """Step of the best checkpoint on held-out images, or None.

    Best as it was when they were saved; the latest of equally good ones.
    """
    return max(((self.record(step).score, step) for step in self.steps()), default=(None, None))[1]

  def resolve(self, which: str | int) -> int:
    """A step from "best", "last" or a step's number.

    Raises:
      InputError: if there is no such checkpoint.
    """
    steps = self.steps()
    if not steps:
      raise InputError(f"{self._folder}: holds no checkpoint yet; train longer or wait for the first one.")
    if which in ("best", "last"):
      return (self.best() or steps[-1]) if which == "best" else steps[-1]
    if not str(which).isdigit() or int(which) not in steps:
      raise InputError(f"{self._folder}: no checkpoint {which!r}; there are 'best', 'last' and {steps}.")
    return int(which)

  def save(self, step: int, state: typing.Mapping[str, typing.Any], metrics: dict, judged: str = "network") -> None:
    """Writes a checkpoint and removes those that are neither recent nor best.

    Args:
      step: steps done.
      state: dict from name to what is saved, "network" among them; see
        `RobustModel.state`.
      metrics: dict of numbers; those named by `best_by` decide which is best.
      judged: the entry whose weights are judged.

    Raises:
      InputError: if it cannot be written.
    """
    files.make_folder(self._folder)
    files.remove_leftovers(self._folder)
    if self._path(step).exists():
      files.remove_folder(self._path(step))
    with files.new_folder(self._path(step)) as temporary:
      try:
        tf.train.Checkpoint(**state).write(str(temporary / _PREFIX))
      except tf.errors.OpError as error:
        raise InputError(f"{self._path(step)}: cannot be written ({error.message[:120]}).") from error
      record = CheckpointRecord(
        step=step,
        metrics=metrics,
        score=[float(metrics.get(name, -1.0)) for name in self._best_by],
        shapes=_shapes(state["network"]),
        files=files.digests(temporary),
        judged=judged,
        parts=sorted(state),
      )
      record.write(temporary / "meta.json")
    self._prune()

  def restore(self, step: int, state: typing.Mapping[str, typing.Any]) -> None:
    """Loads all of a checkpoint, to go on training.

    Args:
      step: the checkpoint's.
      state: dict from name to what is to be restored, as it was given to `save`.

    Raises:
      InputError: if it is damaged, of another network, or lacks an entry.
    """
    record = self._checked(step, state["network"])
    # What has no record of its parts has a network and its optimiser.
    missing = sorted(set(state) - set(record.parts or ("network", "optimizer")))
    if missing:
      raise InputError(f"{self._path(step)}: holds no {missing[0]}, which this training has; train in a new folder.")
    self._read(step, state)

  def restore_judged(self, step: int, network: keras.Model) -> None:
    """Loads the weights that are judged into a network: raw or averaged ones, as the checkpoint says.

    Raises:
      InputError: if it is damaged or of another network.
    """
    self._read(step, {self._checked(step, network).judged: network})

  def drop_after(self, step: int) -> None:
    """Removes the checkpoints of later steps, the last one first."""
    for later in reversed(self.steps()):
      if later > step:
        files.remove_folder(self._path(later))

  def _checked(self, step: int, network: keras.Model) -> CheckpointRecord:
    path, record = self._path(step), self.record(step)
    if record.shapes != _shapes(network):
      raise InputError(f"{path}: is a checkpoint of another network (its variables have other shapes).")
    damaged = files.first_damaged(path, record.files)
    if damaged is not None:
      raise InputError(
        f"{path}: file {damaged} is missing or damaged; remove this folder to go back to an earlier checkpoint."
      )
    return record

  def _read(self, step: int, state: typing.Mapping[str, typing.Any]) -> None:
    import keras

    checkpoint = tf.train.Checkpoint(**state)
    try:
      with literal_path(self._path(step) / _PREFIX) as prefix:
        checkpoint.read(prefix).assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
      raise InputError(
        f"{self._path(step)}: does not fit this network and optimiser ({str(error).splitlines()[0][:120]})."
      ) from None
    for part in state.values():
      if isinstance(part, keras.Model):
        networks.finalize(part)

  def metrics(self, step: int) -> dict[str, float]:
    """The metrics that a checkpoint was saved with."""
    return self.record(step).metrics

  def digest(self, step: int) -> str:
    """SHA-256 over the files of a checkpoint, as hex."""
    return hashlib.sha256(json.dumps(self.record(step).files, sort_keys=True).encode()).hexdigest()

  def record(self, step: int) -> CheckpointRecord:
    """What the checkpoint's `meta.json` says.

    Raises:
      InputError: if it is missing or damaged.
    """
    return CheckpointRecord.read(self._path(step) / "meta.json")

  def _path(self, step: int) -> pathlib.Path:
    return self._folder / f"step_{step:09d}"

  def _prune(self) -> None:
    steps = self.steps()
    stay = {*steps[-self._keep :], self.best()}
    for step in steps:
      if step not in stay:
        files.remove_folder(self._path(step))


def _shapes(network: keras.Model) -> list[tuple[str, list[int]]]:
  """Layer and variable names with shapes: what must agree to restore."""
  return [(v.path, list(v.shape)) for v in network.variables]
