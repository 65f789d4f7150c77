"""Checkpoints of a run: whole or absent, checked, the last few and the best.

A checkpoint is a folder `step_000000500` with a `tf.train.Checkpoint` of all
that training changes and a `meta.json` (`records.run.CheckpointRecord`). It is
written under another name and renamed, so that a kill at any moment leaves only
whole checkpoints. None holds NaN or infinity: such a state is not written, and one that
says so all the same is not read.

A training may remove a checkpoint while another process reads it: see `opened`.
"""

from __future__ import annotations

import contextlib
import math
import pathlib
import re
import typing

import numpy as np

from tla_tf import files
from tla_tf.errors import DivergedError, InputError
from tla_tf.lazy import lazy
from tla_tf.persistence.literal_path import literal_path
from tla_tf.recipes import ROBUST_FIRST
from tla_tf.records.run import CheckpointRecord

if typing.TYPE_CHECKING:
  import keras

# What checkpoints there are is asked by what loads none.
tf, networks = lazy("tensorflow"), lazy("tla_tf.networks")
checkpoint_reader = lazy("tla_tf.persistence.checkpoint_reader")

_PREFIX = "state"
# How often a checkpoint that goes while it is read is looked for anew.
_TRIES = 100

_Found = typing.TypeVar("_Found")


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
    return best_of(self.records())

  def records(self) -> dict[int, CheckpointRecord]:
    """The records of all checkpoints, by their steps in increasing order; without those that go meanwhile.

    Raises:
      InputError: as `record`.
    """
    found = {}
    for step in self.steps():
      try:
        found[step] = self.record(step)
      except InputError:
        if self._path(step).is_dir():
          raise
    return found

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

  def opened(self, which: str | int, read: typing.Callable[[int], _Found]) -> _Found:
    """What a function reads of a checkpoint that a training may remove meanwhile: of another one then.

    Args:
      which: as for `resolve`.
      read: function of a step. Where it fails because the checkpoint is gone, "best"
        and "last" are looked for anew.

    Returns:
      What `read` returns of a checkpoint that was there until the end.

    Raises:
      InputError: if there is no such checkpoint, or it was removed; what `read` raises.
    """
    for _ in range(_TRIES):
      step = self.resolve(which)
      try:
        return read(step)
      except (InputError, OSError):
        if self._path(step).is_dir():
          raise
        if which not in ("best", "last"):
          break
    raise InputError(
      f"{self._path(step)}: was removed while it was read: the run still trains, and keeps its last checkpoints and "
      "the best one; give `checkpoint=best` or `checkpoint=last`, or wait for its end."
    )

  def save(self, step: int, state: typing.Mapping[str, typing.Any], metrics: dict, judged: str = "network") -> None:
    """Writes a checkpoint and removes those that are neither recent nor best.

    Args:
      step: steps done.
      state: dict from name to what is saved, "network" among them; see
        `RobustModel.state`.
      metrics: dict of numbers; those named by `best_by` decide which is best.
      judged: the entry whose weights are judged.

    Raises:
      DivergedError: if any of it is NaN or infinite; nothing is written then.
      InputError: if it cannot be written.
    """
    spoiled = next((v.path for part in state.values() for v in part.variables if not _is_finite(v.numpy())), None)
    if spoiled is not None:
      raise self.diverged(f"{spoiled} not finite after step {step}")
    files.make_folder(self._folder)
    if self._path(step).exists():
      files.remove_folder(self._path(step))
    with files.new_folder(self._path(step)) as temporary:
      try:
        tf.train.Checkpoint(**state).write(str(temporary / _PREFIX))
      except tf.errors.OpError as error:
        refusal = files.refused_by_disk(error.message)
        raise files.NoRoomError(refusal, self._path(step), _bytes_of(state.values())) from error
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
    self.prune()

  def diverged(self, what: str) -> DivergedError:
    """The error of a training in which something is not finite, to be raised."""
    last = self.last()
    kept = f"the last good checkpoint is that of step {last}" if last is not None else "there is no checkpoint yet"
    return DivergedError(
      f"Training stopped: {what}; {kept}. Lower the learning rate or the loss weights and start anew."
    )

  def restore(self, step: int, state: typing.Mapping[str, typing.Any]) -> None:
    """Loads all of a checkpoint, to go on training.

    Args:
      step: the checkpoint's.
      state: dict from name to what is to be restored, as it was given to `save`.

    Raises:
      InputError: if it is damaged, of another network, lacks an entry, or holds NaN or
        infinity.
    """
    record = self._checked(step, state["network"])
    # What has no record of its parts has a network and its optimiser.
    missing = sorted(set(state) - set(record.parts or ("network", "optimizer")))
    if missing:
      raise InputError(f"{self._path(step)}: holds no {missing[0]}, which this training has; train in a new folder.")
    # Before anything is overwritten.
    if not self._is_finite(step):
      raise self._not_finite(step, "remove the folders of those that are not, and training goes on from there")
    self._read(step, state)

  def restore_judged(self, step: int, network: keras.Model) -> None:
    """Loads the weights that are judged into a network: raw or averaged ones, as the checkpoint says.

    Raises:
      InputError: if it is damaged, of another network, or these weights hold NaN or
        infinity.
    """
    self._read(step, {self._checked(step, network).judged: network})
    if not all(_is_finite(variable.numpy()) for variable in network.variables):
      raise self._not_finite(step, "give `checkpoint={step}`")

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

  def _not_finite(self, step: int, how: str) -> InputError:
    """The error of a checkpoint that is not finite, to be raised; `how` to go on with the one of {step}."""
    finite = []
    for other in self.steps():
      with contextlib.suppress(InputError):  # a damaged one is no remedy
        finite += [other] * self._is_finite(other)
    remedy = (
      f"the last finite one is that of step {finite[-1]}: {how.format(step=finite[-1])}"
      if finite
      else "there is no finite one: train anew, in another folder and with a lower learning rate"
    )
    return InputError(f"{self._path(step)}: holds NaN or infinity, so that the network says nothing; {remedy}.")

  def _is_finite(self, step: int) -> bool:
    """Whether nothing in a checkpoint is NaN or infinite."""
    path = self._path(step)
    with checkpoint_reader.reading(f"{path}: cannot be read"), literal_path(path / _PREFIX) as prefix:
      reader = checkpoint_reader.open_checkpoint(prefix, path)
      kinds = reader.get_variable_to_dtype_map()
      return all(_is_finite(reader.get_tensor(name)) for name, kind in kinds.items() if kind.is_floating)

  def _read(self, step: int, state: typing.Mapping[str, typing.Any]) -> None:
    import keras

    checkpoint, path = tf.train.Checkpoint(**state), self._path(step)
    reading = checkpoint_reader.reading(f"{path}: does not fit this network and optimiser", others=(AssertionError,))
    with reading, literal_path(path / _PREFIX) as prefix:
      status = checkpoint.read(prefix).expect_partial()  # Before it is found not to fit, or TensorFlow warns of it.
      status.assert_existing_objects_matched()
    for part in state.values():
      if isinstance(part, keras.Model):
        networks.finalize(part)

  def metrics(self, step: int) -> dict[str, float]:
    """The metrics that a checkpoint was saved with."""
    return self.record(step).metrics

  def digest(self, step: int) -> str:
    """SHA-256 over the files of a checkpoint, as hex."""
    return self.record(step).digest

  def record(self, step: int) -> CheckpointRecord:
    """What the checkpoint's `meta.json` says.

    Raises:
      InputError: if it is missing or damaged.
    """
    return CheckpointRecord.read(self._path(step) / "meta.json")

  def _path(self, step: int) -> pathlib.Path:
    return self._folder / f"step_{step:09d}"

  def prune(self) -> None:
    """Removes what kills left, and checkpoints that are neither recent nor best, as `save` does unless it is killed."""
    files.remove_leftovers(self._folder, sole_writer=True)
    steps = self.steps()
    stay = {*steps[-self._keep :], self.best()}
    for step in steps:
      if step not in stay:
        files.remove_folder(self._path(step))


def best_of(records: typing.Mapping[int, CheckpointRecord]) -> int | None:
  """Step of the best of these, as `CheckpointStore.best`."""
  return max(((_rank(record), step) for step, record in records.items()), default=(None, None))[1]


def _rank(record: CheckpointRecord) -> list[float]:
  """What "best" compares: NaN, which no number is smaller or larger than, comes last."""
  return [-math.inf if math.isnan(number) else number for number in record.score]


def _is_finite(values: np.ndarray) -> bool:
  """Whether no value is NaN or infinite; what are no numbers, as the keys of random draws, hold neither."""
  try:
    return bool(np.isfinite(values).all())
  except TypeError:
    return True


def _bytes_of(parts: typing.Iterable[typing.Any]) -> int:
  """Bytes of the variables of what is saved."""
  variables = [variable for part in parts for variable in getattr(part, "variables", ())]
  return sum(checkpoint_reader.tensor_bytes(v.shape, v.dtype) for v in variables)


def _shapes(network: keras.Model) -> list[tuple[str, list[int]]]:
  """Layer and variable names with shapes: what must agree to restore."""
  return [(v.path, list(v.shape)) for v in network.variables]
