"""Disks without room: nothing half-written, no signal, and a sentence with the file, what it needs, and the remedy."""

import contextlib
import errno
import os
import pathlib
import resource

import keras
import numpy as np
import pytest
import tensorflow as tf

import tla_tf
from tla_tf import data, files, networks
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.evaluation.journal import Journal
from tla_tf.evaluation.transfer_images import transfer_images
from tla_tf.persistence import CheckpointStore, export_saved_model
from tla_tf.training import event_files

ROOM = r"are needed, \d\S* \w+ are free\); (make room there|allow files of that size)"


@contextlib.contextmanager
def small_files(most):
  """No file may be longer, as on a disk that is full; what is read and removed stays allowed."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def network():
  return networks.build("mlp_16", (8, 8, 1), 10)


@pytest.mark.parametrize("dtype, shape", [(np.uint8, (300, 40, 40, 3)), (np.float32, ()), (np.int64, (0, 3))])
def test_a_mapped_array_has_its_room_from_the_beginning(tmp_path, dtype, shape):
  array = files.new_array(tmp_path / "x.npy", dtype, shape)
  found = os.stat(tmp_path / "x.npy")
  assert found.st_blocks * 512 >= found.st_size >= array.nbytes
  assert (array.dtype, array.shape) == (dtype, shape) and not array.any()
  array[...] = 7
  array.flush()
  np.save(tmp_path / "same.npy", np.full(shape, 7, dtype))
  assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "same.npy").read_bytes()


def test_an_array_without_room_leaves_nothing(tmp_path):
  def make(place):
    files.new_array(place / "x.npy", np.float32, (100_000,))

  with small_files(100_000), pytest.raises(InputError, match=f"kept: cannot be written .*: at least 400 kB {ROOM}"):
    files.kept_arrays(tmp_path / "kept", {}, make, lock=tmp_path / "lock")
  assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_images_for_transfer_are_refused_before_an_attack_is_made(tmp_path, network):
  images = data.ImageData(np.zeros((2000, 8, 8, 1), np.uint8), np.zeros(2000, np.int32), tuple("0123456789"))
  with small_files(100_000), pytest.raises(InputError, match=f"cannot be written .*: at least 512 kB {ROOM}"):
    transfer_images(tmp_path, network, "digest", images, AttackConfig(epsilon=0.1, step_size=0.1, steps=1))
  assert [path.name for path in tmp_path.iterdir()] == [".kept.lock"]


def test_the_reason_of_a_refused_checkpoint_is_told(tmp_path, network):
  state = {"network": network, "optimizer": keras.optimizers.Adam()}
  state["optimizer"].build(network.trainable_variables)
  store = CheckpointStore(tmp_path / ("a_folder_of_a_long_name" * 5))
  store.save(1, state, {})
  with (
    small_files(1000),
    pytest.raises(InputError, match=rf"step_000000002: cannot be written .*: at least \d\S* kB {ROOM}"),
  ):
    store.save(2, state, {})
  assert store.steps() == [1] and len(list(tmp_path.rglob("step*"))) == 1
  store.restore(1, state)


def test_the_reason_of_a_refused_export_is_told(tmp_path, network):
  with small_files(1000), pytest.raises(InputError, match="model: cannot be written .File too large: .* are free"):
    export_saved_model(network, (8, 8, 1), tmp_path / "model")
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  "text, code, reason",
  [
    (
      "{{function_node __wrapped__SaveV2_dtypes_2_device_/job:localhost/replica:0/task:0/device:CPU:0}} /runs/.run.f7fd"
      "m97r/state_temp/part-00000-of-00001.data-00000-of-00001.tempstate11325946965784022582; No space left on device "
      "[Op:SaveV2]",
      errno.ENOSPC,
      "No space left on device",
    ),
    ("x; Disk quota exceeded", errno.EDQUOT, "Disk quota exceeded"),
    ("x; Permission denied", errno.EACCES, "Permission denied"),
    ("long " * 99 + "\nends with a reason", errno.EIO, "ends with a reason"),
  ],
)
def test_the_reason_in_another_library_s_words_is_found(text, code, reason):
  found = files.refused_by_disk(text)
  assert found.errno == code and found.strerror.endswith(reason) and len(found.strerror) < 220
  assert reason in str(files.unwritable("x", found))


def test_a_journal_without_room_says_so_and_goes_on_behind_what_it_has(tmp_path):
  journal = Journal(tmp_path, "facts")
  refused = pytest.raises(InputError, match=f"jsonl: cannot be written .*: at least [0-9.]+ kB {ROOM}")
  with small_files(1000), refused, journal.open():
    journal.recall(["a"], lambda: 1)
    journal.recall(["b"], lambda: "long" * 1000)
  again = Journal(tmp_path, "facts")
  with again.open():
    assert len(again) == 1 and again.recall(["a"], lambda: 2) == 1


def test_event_files_without_room_stay_as_they_are(tmp_path):
  writer = tf.summary.create_file_writer(str(tmp_path))
  with writer.as_default():
    for step in (1, 2):
      tf.summary.text("x", "long" * 1000, step)
  writer.close()
  (path,) = tmp_path.iterdir()
  before = path.read_bytes()
  with small_files(2000), pytest.raises(InputError, match=f"tfevents.*: cannot be written .* {ROOM}"):
    event_files.drop_after(tmp_path, 1)
  assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == before


def test_no_array_is_mapped_for_writing_in_another_way():
  package = pathlib.Path(tla_tf.__file__).parent
  found = [path.name for path in package.rglob("*.py") if "memmap(" in path.read_text("utf-8")]
  assert found == ["files.py"]
