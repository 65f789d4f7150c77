"""Checkpoints of a run: whole or absent, checked, the last few and the best.

A checkpoint is a folder `step_000000500` with a `tf.train.Checkpoint` and a
`meta.json` of step, metrics, variable shapes and file digests. It is written
under another name and renamed, so that a kill at any moment leaves only whole
checkpoints.
"""

import hashlib
import json
import pathlib
import re

import tensorflow as tf

from tla_tf import files
from tla_tf.errors import InputError
from tla_tf.persistence.run_folder import read_json

_PREFIX = "state"
# What "best" means, in order; the later of equally good checkpoints.
ROBUST_FIRST = ("val_robust_accuracy", "val_accuracy")
CLEAN_FIRST = ("val_accuracy", "val_robust_accuracy")


class CheckpointStore:
  """The checkpoints of one folder.

  Args:
    folder: `checkpoints/` of a run.
    keep: how many of the last checkpoints stay; the best one stays besides.
    best_by: names of the metrics that decide which is best, in order.
  """

  def __init__(self, folder, keep=2, best_by=ROBUST_FIRST):
    self._folder = pathlib.Path(folder)
    self._keep = keep
    self._best_by = best_by

  def steps(self):
    """Steps of the whole checkpoints, in increasing order."""
    names = [re.fullmatch(r"step_(\d+)", path.name) for path in self._folder.glob("step_*") if path.is_dir()]
    return sorted(int(match[1]) for match in names if match)

  def last(self):
    """Step of the last checkpoint, or None."""
    return max(self.steps(), default=None)

  def best(self):
    """Step of the best checkpoint on held-out images, or None.

    Best as it was when they were saved; the latest of equally good ones.
    """
    return max(((self._meta(step)["score"], step) for step in self.steps()), default=(None, None))[1]

  def resolve(self, which):
    """A step from "best", "last" or a step's number.

    Raises:
      InputError: if there is no such checkpoint.
    """
    steps = self.steps()
    if not steps:
      raise InputError(f"{self._folder}: holds no checkpoint yet; train longer or wait for the first one.")
    if which in ("best", "last"):
      return self.best() if which == "best" else steps[-1]
    if not str(which).isdigit() or int(which) not in steps:
      raise InputError(f"{self._folder}: no checkpoint {which!r}; there are 'best', 'last' and {steps}.")
    return int(which)

  def save(self, step, network, optimizer, metrics):
    """Writes a checkpoint and removes those that are neither recent nor best.

    Args:
      step: steps done.
      network: `keras.Model`.
      optimizer: its optimiser, or None.
      metrics: dict of numbers; those named by `best_by` decide which is best.

    Raises:
      InputError: if it cannot be written.
    """
    files.make_folder(self._folder)
    files.remove_leftovers(self._folder)
    if self._path(step).exists():
      files.remove_folder(self._path(step))
    with files.new_folder(self._path(step)) as temporary:
      try:
        parts = {"network": network} if optimizer is None else {"network": network, "optimizer": optimizer}
        tf.train.Checkpoint(**parts).write(str(temporary / _PREFIX))
      except tf.errors.OpError as error:
        raise InputError(f"{self._path(step)}: cannot be written ({error.message[:120]}).") from error
      score = [metrics.get(name, -1.0) for name in self._best_by]
      meta = {
        "step": step,
        "metrics": metrics,
        "score": score,
        "shapes": _shapes(network),
        "files": {path.name: files.digest(path) for path in sorted(temporary.iterdir())},
      }
      (temporary / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    self._prune()

  def restore(self, step, network, optimizer=None):
    """Loads a checkpoint into a network and, where given, its optimiser.

    Raises:
      InputError: if it is damaged or of another network.
    """
    path, meta = self._path(step), self._meta(step)
    if meta["shapes"] != _shapes(network):
      raise InputError(f"{path}: is a checkpoint of another network (its variables have other shapes).")
    for name, digest in meta["files"].items():
      if not (path / name).is_file() or files.digest(path / name) != digest:
        raise InputError(
          f"{path}: file {name} is missing or damaged; remove this folder to go back to an earlier checkpoint."
        )
    parts = {"network": network} if optimizer is None else {"network": network, "optimizer": optimizer}
    checkpoint = tf.train.Checkpoint(**parts)
    try:
      checkpoint.read(str(path / _PREFIX)).assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
      raise InputError(
        f"{path}: does not fit this network and optimiser ({str(error).splitlines()[0][:120]})."
      ) from None

  def metrics(self, step):
    """The metrics that a checkpoint was saved with."""
    return self._meta(step)["metrics"]

  def digest(self, step):
    """SHA-256 over the files of a checkpoint, as hex."""
    return hashlib.sha256(json.dumps(self._meta(step)["files"], sort_keys=True).encode()).hexdigest()

  def _path(self, step):
    return self._folder / f"step_{step:09d}"

  def _meta(self, step):
    path = self._path(step) / "meta.json"
    meta = read_json(path)
    if not {"metrics", "score", "shapes", "files"} <= set(meta):
      raise InputError(f"{path}: damaged; remove its folder to go back to an earlier checkpoint.")
    return meta

  def _prune(self):
    steps = self.steps()
    stay = {*steps[-self._keep :], self.best()}
    for step in steps:
      if step not in stay:
        files.remove_folder(self._path(step))


def _shapes(network):
  """Layer and variable names with shapes: what must agree to restore."""
  return [[v.path, list(v.shape)] for v in network.variables]
