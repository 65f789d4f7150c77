"""Atomic writing, checkpoints and run folders."""

import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from tla_tf import files, networks
from tla_tf.config import AttackConfig, TrainingConfig
from tla_tf.errors import DivergedError, InputError
from tla_tf.persistence import CheckpointStore, RunFolder, checkpoints
from tla_tf.recipes import CLEAN_FIRST
from tla_tf.records import metrics
from tla_tf.records.run import DataFacts
from tla_tf.training import train

FACTS = DataFacts(digest="d", image_shape=(8, 8, 1), num_classes=10, class_names=tuple("0123456789"), data_dir=None)


def _state(width=4, seed=0):
  """What training of a small network changes."""
  network = networks.build(f"mlp_{width}", (8, 8, 1), 10, seed=seed)
  optimizer = keras.optimizers.Adam()
  optimizer.build(network.trainable_variables)
  return {"network": network, "optimizer": optimizer}


def _normalised(seed=0):
  """As `_state`, of a network with moving averages."""
  keras.utils.set_random_seed(seed)
  inputs = keras.Input((3,))
  network = keras.Model(inputs, keras.layers.Dense(2, name="dense")(keras.layers.BatchNormalization(name="bn")(inputs)))
  optimizer = keras.optimizers.SGD(momentum=0.9)
  optimizer.build(network.trainable_variables)
  return {"network": network, "optimizer": optimizer}


def _spoil(part, name, value):
  """Puts a value that is not finite into the last place of a variable."""
  variable = next(v for v in part.variables if name in v.path)
  content = np.array(variable)
  content.flat[-1] = value
  variable.assign(content)


def _with_a_spoiled_one(folder, monkeypatch, part, name):
  """A store with a checkpoint of step 10, and a better one of step 20 that is not finite; digests are right."""
  state, store = _normalised(), CheckpointStore(folder)
  store.save(10, state, {"val_robust_accuracy": 0.1})
  _spoil(state[part], name, np.nan)
  with monkeypatch.context() as patch:
    patch.setattr(checkpoints, "_is_finite", lambda values: True)
    store.save(20, state, {"val_robust_accuracy": 0.2})
  return store


def _variables(state):
  return [variable for part in state.values() for variable in part.variables]


def _killed(*args, **kwargs):
  raise KeyboardInterrupt


class TestAtomic:
  def test_text_is_replaced_whole(self, tmp_path):
    path = tmp_path / "file"
    files.write_text(path, "first")
    files.write_text(path, "second")
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]

  def test_a_failing_writer_leaves_the_old_text_and_nothing_else(self, tmp_path):
    path = tmp_path / "file"
    files.write_text(path, "old")
    with pytest.raises(TypeError):
      files.write_bytes(path, 7)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]

  def test_a_folder_appears_only_when_complete(self, tmp_path):
    with files.new_folder(tmp_path / "new") as folder:
      (folder / "file").write_text("x")
      assert not (tmp_path / "new").exists()
    assert (tmp_path / "new" / "file").read_text() == "x"
    with pytest.raises(ZeroDivisionError), files.new_folder(tmp_path / "failed") as folder:
      (folder / "file").write_text(str(1 / 0))
    assert [path.name for path in tmp_path.iterdir()] == ["new"]

  def test_what_cannot_be_read_while_a_folder_is_made_is_named_and_not_the_folder(self, tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), files.new_folder(tmp_path / "new"):
      os.stat("/nowhere/elsewhere")
    assert not list(tmp_path.iterdir())

  def test_an_array_takes_the_place_of_no_file(self, tmp_path):
    (tmp_path / "dear.npy").write_text("text")
    with pytest.raises(FileExistsError):
      files.new_array(tmp_path / "dear.npy", np.float32, (2,))
    assert (tmp_path / "dear.npy").read_text() == "text"

  def test_an_unwritable_place_is_named(self):
    with pytest.raises(InputError, match="/proc/nowhere/file"):
      files.write_text("/proc/nowhere/file", "x")


def _die_in(body):
  """Runs a body with `files` and `place`, a folder, in a process of its own that is killed in the end."""
  code = f"import os, pathlib, sys\nfrom tla_tf import files\nplace = pathlib.Path(sys.argv[1])\n{body}"
  return lambda place: subprocess.run([sys.executable, "-c", code, str(place)], check=False, timeout=60).returncode


class TestLeftovers:
  """Temporary entries: what a killed process left goes, what another one writes stays."""

  @pytest.mark.parametrize(
    "killed",
    [
      "with files.new_folder(place / 'made') as new:\n (new / 'file').write_text('half')\n os.kill(os.getpid(), 9)",
      "files.put_in_place = lambda *_: os.kill(os.getpid(), 9)\nfiles.write_text(place / 'file', 'half')",
      "files.shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), 9)\n(place / 'old').mkdir()\n"
      "files.remove_folder(place / 'old')",
    ],
    ids=["folder", "file", "trash"],
  )
  @pytest.mark.parametrize("then", ["text", "folder"])
  def test_the_next_writer_removes_what_a_killed_one_left(self, tmp_path, killed, then):
    assert _die_in(killed)(tmp_path) == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".")
    if then == "text":
      files.write_text(tmp_path / "other", "text")
    else:
      with files.new_folder(tmp_path / "other"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["other"]

  def test_what_is_being_written_and_what_is_others_stays(self, tmp_path):
    strange = [tmp_path / name for name in (".config.json.swp", ".vimrc.settings", ".a.b", "a.tmp-12345678")]
    for path in strange:
      path.write_text("of somebody else")
    os.symlink(tmp_path / ".a.b", tmp_path / ".link.tmp-12345678")
    with files.new_folder(tmp_path / "new") as folder:
      files.write_text(tmp_path / "file", "text")
      assert _die_in("files.write_text(place / 'file', 'text of another process')")(tmp_path) == 0
      (folder / "file").write_text("x")
    assert (tmp_path / "new" / "file").read_text() == "x"
    names = {"file", "new", ".link.tmp-12345678", *(path.name for path in strange)}
    assert {path.name for path in tmp_path.iterdir()} == names

  def test_an_entry_that_was_taken_for_a_leftover_before_it_was_locked_is_made_anew(self, tmp_path, monkeypatch):
    lock, taken = files.fcntl.flock, []

    def slow(descriptor, kind):
      if not taken:
        taken.extend(tmp_path.iterdir())
        taken[0].rmdir()
      lock(descriptor, kind)

    monkeypatch.setattr(files.fcntl, "flock", slow)
    with files.new_folder(tmp_path / "new") as folder:
      (folder / "file").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]

  @pytest.mark.parametrize("sole_writer", [True, False])
  def test_without_locks_only_a_sole_writer_removes(self, tmp_path, monkeypatch, sole_writer):
    def none(descriptor, kind):
      raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", none)
    (tmp_path / ".state.tmp-12345678").write_text("half")
    files.write_text(tmp_path / "file", "text")
    files.remove_leftovers(tmp_path, sole_writer=sole_writer)
    assert [path.name for path in tmp_path.glob(".*")] == [] if sole_writer else [".state.tmp-12345678"]
    assert (tmp_path / "file").read_text() == "text"

  def test_a_folder_that_may_not_be_listed_is_written(self, tmp_path, monkeypatch):
    def unlisted(path):
      raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(pathlib.Path, "iterdir", unlisted)
    files.write_text(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


class TestCheckpoints:
  def test_round_trip_of_network_and_optimizer(self, tmp_path):
    state = _state(seed=1)
    state["optimizer"].apply([np.ones(v.shape, np.float32) for v in state["network"].trainable_variables])
    store = CheckpointStore(tmp_path)
    store.save(1, state, {"val_robust_accuracy": 0.5})
    other = _state(seed=2)
    store.restore(1, other)
    for ours, theirs in zip(_variables(state), _variables(other), strict=True):
      np.testing.assert_array_equal(ours, theirs)
    assert int(other["optimizer"].iterations) == 1
    assert store.metrics(1) == {"val_robust_accuracy": 0.5}

  def test_keeps_the_last_and_the_best(self, tmp_path):
    state = _state()
    store = CheckpointStore(tmp_path, keep=2)
    for step, score in [(10, 0.1), (20, 0.7), (30, 0.7), (40, 0.3), (50, 0.2)]:
      store.save(step, state, {"val_robust_accuracy": score})
    assert store.steps() == [30, 40, 50]
    assert store.best() == 30
    assert store.last() == 50
    assert [store.resolve(which) for which in ("best", "last", "40")] == [30, 50, 40]

  def test_an_undefended_model_is_chosen_by_clean_accuracy(self, tmp_path):
    state = _state()
    store = CheckpointStore(tmp_path, keep=1, best_by=CLEAN_FIRST)
    for step, clean, robust in [(10, 0.8, 0.02), (20, 0.9, 0.0), (30, 0.7, 0.01)]:
      store.save(step, state, {"val_accuracy": clean, "val_robust_accuracy": robust})
    assert CheckpointStore(tmp_path).best() == 20

  def test_a_kill_while_an_old_checkpoint_goes_leaves_the_run_whole(self, tmp_path, monkeypatch):
    """Stops where the renamed folder is about to be deleted, file by file."""
    state = _state()
    store = CheckpointStore(tmp_path, keep=1)
    store.save(10, state, {"val_robust_accuracy": 0.1})
    with monkeypatch.context() as patch:
      patch.setattr(files.shutil, "rmtree", _killed)
      with pytest.raises(KeyboardInterrupt):
        store.save(20, state, {"val_robust_accuracy": 0.2})
    assert (store.steps(), store.best()) == ([20], 20)
    store.restore(20, state)
    store.save(30, state, {"val_robust_accuracy": 0.3})
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000030"]

  def test_what_a_killed_save_did_not_remove_goes_when_the_training_begins_again(self, tmp_path, monkeypatch):
    config = TrainingConfig(
      dataset="digits", method="um", network="mlp_4", train_steps=4, checkpoint_every=1, validation_examples=10
    )
    run = train(config, tmp_path / "run", say=lambda _: None)
    store = CheckpointStore(run.checkpoints)
    left = store.steps()
    assert len(left) < 4
    shutil.copytree(run.checkpoints / f"step_{left[-1]:09d}", run.checkpoints / "step_000000001", dirs_exist_ok=True)
    record = store.record(1).replace(step=1, score=[-1.0, -1.0])
    record.write(run.checkpoints / "step_000000001" / "meta.json")
    (run.checkpoints / ".step_000000002.tmp-abcdefgh").mkdir()
    assert store.steps() == [1, *left]
    train(config, tmp_path / "run", say=lambda _: None)
    assert store.steps() == left and len(list(run.checkpoints.iterdir())) == len(left)

  def test_a_killed_writers_leftovers_are_no_checkpoint_and_go_away(self, tmp_path):
    state = _state()
    (tmp_path / ".step_000000010.abc123_4").mkdir()
    (tmp_path / ".step_000000010.abc123_4" / "state.index").write_text("half")
    store = CheckpointStore(tmp_path)
    assert store.last() is None
    store.save(10, state, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000010"]

  @pytest.mark.parametrize("pattern", ["state.data*", "state.index", "meta.json"])
  @pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
  def test_any_damage_is_found(self, tmp_path, pattern, damage):
    state = _state()
    store = CheckpointStore(tmp_path)
    store.save(10, state, {"val_robust_accuracy": 0.5})
    path = next(tmp_path.glob(f"step_*/{pattern}"))
    content = path.read_bytes()
    path.unlink()
    if damage == "truncate":
      path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
      path.write_bytes(bytes([content[0] ^ 255]) + content[1:])
    before = [np.array(v) for v in _variables(state)]
    with pytest.raises(InputError, match=path.name.replace(".", r"\.")):
      store.restore(10, state)
    for old, new in zip(before, _variables(state)):
      np.testing.assert_array_equal(old, new)

  def test_a_checkpoint_of_another_network_is_refused(self, tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(10, _state(4), {})
    for restore in (store.restore, lambda step, state: store.restore_judged(step, state["network"])):
      with pytest.raises(InputError, match="another network"):
        restore(10, _state(5))

  @pytest.mark.parametrize("judged, seed", [("network", 1), ("average", 2)])
  def test_the_judged_weights_are_those_that_the_checkpoint_names(self, tmp_path, judged, seed):
    state = {**_state(seed=1), "average": _state(seed=2)["network"]}
    store = CheckpointStore(tmp_path)
    store.save(10, state, {}, judged)
    assert store.record(10).judged == judged
    found = _state(seed=3)["network"]
    store.restore_judged(10, found)
    for ours, theirs in zip(_state(seed=seed)["network"].variables, found.variables, strict=True):
      np.testing.assert_array_equal(ours, theirs)

  def test_a_checkpoint_without_a_part_of_the_state_is_refused(self, tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(10, _state(), {})
    with pytest.raises(InputError, match="holds no average"):
      store.restore(10, {**_state(), "average": _state()["network"]})

  def test_a_checkpoint_of_a_newer_release_is_refused(self, tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(10, _state(), {})
    path = tmp_path / "step_000000010" / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 4}))
    with pytest.raises(InputError, match="format 4 of meta.json is newer"):
      store.restore(10, _state())

  @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
  @pytest.mark.parametrize(
    "part, name", [("network", "gamma"), ("network", "moving_variance"), ("optimizer", "kernel")]
  )
  def test_what_is_not_finite_is_never_written(self, tmp_path, part, name, value):
    state, store = _normalised(), CheckpointStore(tmp_path)
    store.save(10, state, {})
    _spoil(state[part], name, value)
    with pytest.raises(
      DivergedError, match=rf"{name}\w* not finite after step 20; .* good checkpoint is that of step 10"
    ):
      store.save(20, state, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000010"]

  @pytest.mark.parametrize(
    "part, name", [("network", "gamma"), ("network", "moving_variance"), ("optimizer", "kernel")]
  )
  def test_what_is_not_finite_is_never_gone_on_with(self, tmp_path, monkeypatch, part, name):
    store = _with_a_spoiled_one(tmp_path, monkeypatch, part, name)
    state = _normalised(seed=2)
    before = [np.array(v) for v in _variables(state)]
    with pytest.raises(InputError, match="step_000000020: holds NaN or infinity.*step 10: .*remove"):
      store.restore(20, state)
    for old, new in zip(before, _variables(state), strict=True):
      np.testing.assert_array_equal(old, new)
    store.restore(10, state)

  def test_only_what_is_judged_must_be_finite_to_be_judged(self, tmp_path, monkeypatch):
    store = _with_a_spoiled_one(tmp_path / "a", monkeypatch, "network", "moving_mean")
    with pytest.raises(InputError, match="holds NaN or infinity.*`checkpoint=10`"):
      store.restore_judged(20, _normalised()["network"])
    store.drop_after(10)
    store = _with_a_spoiled_one(tmp_path / "b", monkeypatch, "optimizer", "kernel")
    store.restore_judged(20, _normalised()["network"])

  def test_where_no_checkpoint_is_finite_the_run_is_to_be_trained_anew(self, tmp_path, monkeypatch):
    store = _with_a_spoiled_one(tmp_path, monkeypatch, "network", "gamma")
    files.remove_folder(tmp_path / "step_000000010")
    with pytest.raises(InputError, match="there is no finite one: train anew"):
      store.restore(20, _normalised())

  def test_a_score_that_is_no_number_is_not_the_best(self, tmp_path):
    state, store = _state(), CheckpointStore(tmp_path, keep=3)
    for step, score in ((10, float("nan")), (20, 0.2), (30, float("nan"))):
      store.save(step, state, {"val_robust_accuracy": score})
    assert store.best() == 20

  def test_a_reader_of_what_is_pruned_gets_the_one_that_is_there(self, tmp_path):
    """A training saves its next checkpoint while this process reads the last, or the best."""
    state, store = _state(), CheckpointStore(tmp_path, keep=1)
    store.save(10, state, {"val_robust_accuracy": 0.1})
    for which in ("last", "best"):
      read: list[int] = []

      def reading(step, read=read):
        read.append(step)
        if len(read) < 3:
          CheckpointStore(tmp_path, keep=1).save(step + 10, state, {"val_robust_accuracy": 0.1 + step / 1000})
        network = _state(seed=3)["network"]
        store.restore_judged(step, network)
        return store.digest(step), network

      digest, network = store.opened(which, reading)
      assert read == list(range(read[0], read[0] + 30, 10))
      assert digest == store.digest(read[-1])
      for ours, theirs in zip(state["network"].variables, network.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)

  def test_a_reader_of_one_checkpoint_hears_that_it_was_pruned(self, tmp_path):
    state, store = _state(), CheckpointStore(tmp_path, keep=1)
    store.save(10, state, {"val_robust_accuracy": 0.1})

    def reading(step):
      CheckpointStore(tmp_path, keep=1).save(20, state, {"val_robust_accuracy": 0.2})
      store.restore_judged(step, state["network"])

    with pytest.raises(InputError, match="step_000000010: was removed while it was read: .* `checkpoint=last`"):
      store.opened("10", reading)

  def test_checkpoints_that_go_while_they_are_listed_are_left_out(self, tmp_path, monkeypatch):
    state, store = _state(), CheckpointStore(tmp_path, keep=2)
    for step in (10, 20, 30):
      store.save(step, state, {"val_robust_accuracy": step / 100})
    before = [*store.steps(), 25]  # 25 was there, and went.
    monkeypatch.setattr(store, "steps", lambda: sorted(before))
    assert list(store.records()) == [20, 30]
    assert store.best() == 30
    (tmp_path / "step_000000020" / "meta.json").unlink()
    with pytest.raises(InputError, match="step_000000020"):
      store.records()

  def test_nothing_to_resolve(self, tmp_path):
    with pytest.raises(InputError, match="no checkpoint yet"):
      CheckpointStore(tmp_path).resolve("best")


class TestRunFolder:
  def test_config_round_trip(self, tmp_path):
    folder, resumed = RunFolder.create(tmp_path / "deep" / "run")
    assert not resumed
    assert not folder.path.exists()
    config = TrainingConfig(attack=AttackConfig(epsilon=8 / 255), learning_rate_drops=((5, 0.1), (9, 0.01)))
    folder.write_config(config, FACTS, {})
    assert RunFolder.open(folder.path).read_config() == (config, FACTS)
    assert RunFolder.create(folder.path)[1]

  def test_metrics_after_the_restored_step_are_dropped(self, tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_metrics([{"step": step} for step in (10, 20, 30)])
    assert folder.read_metrics(up_to=20) == [{"step": 10}, {"step": 20}]
    assert len(folder.read_metrics()) == 3

  def test_metrics_that_end_early_are_named_where_they_carry_checksums(self, tmp_path):
    path, rows = tmp_path / "metrics.jsonl", [{"step": 10}, {"step": 20}]
    metrics.write_rows(path, rows)
    assert metrics.read_rows(path, reaches=20) == rows
    with pytest.raises(InputError, match="ends at step 20 and not at step 30"):
      metrics.read_rows(path, reaches=30)
    # Older releases may have written none of the last steps.
    path.write_text('{"step": 10}\n')
    assert metrics.read_rows(path, reaches=30) == rows[:1]
    path.write_text("")
    with pytest.raises(InputError, match="ends at step 0"):
      metrics.read_rows(path, reaches=30)

  def test_damaged_metrics_are_named(self, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    with pytest.raises(InputError, match="damaged, line 2 is no JSON object"):
      RunFolder(tmp_path).read_metrics()

  def test_only_one_training_at_a_time(self, tmp_path):
    refused = pytest.raises(InputError, match="another process trains")
    with RunFolder(tmp_path).lock(), refused, RunFolder(tmp_path).lock():
      pass
    (tmp_path / ".metrics.jsonl.a1b2c3d4").write_text("left by a kill")
    with RunFolder(tmp_path).lock():
      assert [path.name for path in tmp_path.iterdir()] == [".lock"]

  def test_another_format_is_refused(self, tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_config(TrainingConfig(), FACTS, {})
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**content, "format": 9}))
    with pytest.raises(InputError, match="format 9 of config.json is newer"):
      folder.read_config()
