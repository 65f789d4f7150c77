"""Power is cut after a file was written: what a simulated disk must hold, with every luck."""

import contextlib
import os
import random
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from campaigns.power_cut import Disk, Luck
from tensorflow.python.summary.summary_iterator import summary_iterator

from tla_tf import files, networks
from tla_tf.persistence import CheckpointStore
from tla_tf.training import event_files


class PowerCutError(BaseException):
  """The process has gone."""


@pytest.fixture
def cut(tmp_path, monkeypatch):
  """(a folder, a context that watches what is written there and gives where it puts what cuts can leave of it)."""
  root = tmp_path / "disk"
  root.mkdir()

  @contextlib.contextmanager
  def record(always=None):
    disk, synchronise = Disk(root), os.fsync

    def remembered(descriptor):
      for number, luck in enumerate(Luck if always else ()):
        place = tmp_path / f"meanwhile_{number}"
        disk.cut(place, luck, random.Random(number))
        always(place)
        shutil.rmtree(place)
      synchronise(descriptor)
      disk.keep(descriptor)

    monkeypatch.setattr(os, "fsync", remembered)
    cuts = {tmp_path / f"{luck.value}_{seed}": (luck, random.Random(seed)) for luck in Luck for seed in range(4)}
    yield list(cuts)
    for place, with_luck in cuts.items():
      disk.cut(place, *with_luck)

  return root, record


def test_the_simulation_loses_what_was_not_synchronised(cut):
  """As POSIX allows: a name without content, content without a name, both old."""
  root, record = cut
  (root / "old").write_text("old")
  with record() as places:
    (root / "new").write_text("new")
    (root / "beside").write_text("whole")
    os.replace(root / "beside", root / "old")
  left = [{path.name: path.read_text() for path in place.iterdir()} for place in places]
  assert {"old": "old"} in left and {"old": "", "new": ""} in left
  assert any(found.get("old") not in ("old", "", "whole") for found in left)


def test_what_was_written_is_there(cut):
  root, record = cut
  files.write_text(root / "replaced.json", "old")
  with record() as places:
    files.make_folder(root / "runs" / "deep")
    files.write_text(root / "runs" / "deep" / "config.json", "text")
    files.write_text(root / "replaced.json", "new")
    with files.new_folder(root / "export" / "model") as temporary:
      (temporary / "variables").mkdir()
      (temporary / "variables" / "data").write_bytes(b"12345")
    made = files.kept_arrays(
      root / "kept" / "a", {"of": 1}, lambda place: np.save(place / "a.npy", np.arange(3)), lock=root / "lock"
    )
    assert made["a"].tolist() == [0, 1, 2]
  for place in places:
    assert (place / "runs/deep/config.json").read_text() == "text"
    assert (place / "replaced.json").read_text() == "new"
    assert (place / "export/model/variables/data").read_bytes() == b"12345"
    assert files.kept_arrays(place / "kept" / "a", {"of": 1}, pytest.fail, lock=place / "lock")["a"].tolist() == [
      0,
      1,
      2,
    ]


def test_what_is_being_replaced_is_old_or_new(cut):
  root, record = cut
  files.write_text(root / "a.json", "old")

  def then_cut(*paths, replace=os.replace):
    replace(*paths)
    raise PowerCutError

  with record() as places, pytest.MonkeyPatch.context() as patch, contextlib.suppress(PowerCutError):
    patch.setattr(os, "replace", then_cut)
    files.write_text(root / "a.json", "new")
  assert {(place / "a.json").read_text() for place in places} == {"old", "new"}


def test_a_removed_folder_is_whole_or_gone(cut):
  root, record = cut
  with files.new_folder(root / "folder") as temporary:
    (temporary / "a").write_text("whole")

  def whole_or_gone(place):
    assert not (place / "folder").exists() or (place / "folder" / "a").read_text() == "whole"

  with record(whole_or_gone) as places:
    files.remove_folder(root / "folder")
  for place in places:
    assert not (place / "folder").exists()


def test_checkpoints_are_whole_or_absent(cut):
  root, record = cut
  network = networks.build("mlp_4", (2, 2, 1), 3, seed=1)
  state = {"network": network, "optimizer": keras.optimizers.SGD()}
  state["optimizer"].build(network.trainable_variables)
  folder, cuts = root / "run" / "checkpoints", []

  def save(step):
    CheckpointStore(folder, keep=1).save(step, state, {"val_robust_accuracy": 0.1 * step})

  def one_is_there(place):
    store = CheckpointStore(place / "run" / "checkpoints")
    cuts.append(store.steps())
    assert cuts[-1]
    for step in cuts[-1]:
      store.restore(step, state)

  save(1)
  with record(one_is_there) as places:
    save(2)
    save(3)
  assert [1] in cuts and [1, 2] in cuts and [2] in cuts
  for place in places:
    store = CheckpointStore(place / "run" / "checkpoints")
    assert store.steps() == [3]
    store.restore(3, state)


def test_a_pipe_among_events_is_not_waited_for(tmp_path):
  os.mkfifo(tmp_path / "events.out.tfevents.1")
  with pytest.raises(OSError, match="not a regular file"):
    event_files.drop_after(tmp_path, 1)


def test_events_of_tensorboard_are_not_lost_where_a_run_goes_on(cut):
  root, record = cut
  with tf.summary.create_file_writer(str(root)).as_default():
    for step in (1, 2):
      tf.summary.scalar("loss", 1.0, step=step)
  with record() as places:
    event_files.drop_after(root, 1)
  for place in places:
    (path,) = place.glob("events.*")
    assert [event.step for event in summary_iterator(str(path))] == [0, 1]
