"""Atomic writing, checkpoints and run folders."""

import json

import keras
import numpy as np
import pytest

from tla_tf import files, networks
from tla_tf.config import AttackConfig, TrainingConfig
from tla_tf.errors import InputError
from tla_tf.persistence import CheckpointStore, RunFolder
from tla_tf.recipes import CLEAN_FIRST
from tla_tf.records.run import DataFacts

FACTS = DataFacts(digest="d", image_shape=(8, 8, 1), num_classes=10, class_names=tuple("0123456789"), data_dir=None)


def _state(width=4, seed=0):
  """What training of a small network changes."""
  network = networks.build(f"mlp_{width}", (8, 8, 1), 10, seed=seed)
  optimizer = keras.optimizers.Adam()
  optimizer.build(network.trainable_variables)
  return {"network": network, "optimizer": optimizer}


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

  def test_an_unwritable_place_is_named(self):
    with pytest.raises(InputError, match="/proc/nowhere/file"):
      files.write_text("/proc/nowhere/file", "x")


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

  def test_a_killed_writers_leftovers_are_no_checkpoint_and_go_away(self, tmp_path):
    state = _state()
    (tmp_path / ".step_000000010.abc123").mkdir()
    (tmp_path / ".step_000000010.abc123" / "state.index").write_text("half")
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
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 3}))
    with pytest.raises(InputError, match="format 3 of meta.json is newer"):
      store.restore(10, _state())

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

  def test_damaged_metrics_are_named(self, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    with pytest.raises(InputError, match="damaged line 2"):
      RunFolder(tmp_path).read_metrics()

  def test_only_one_training_at_a_time(self, tmp_path):
    refused = pytest.raises(InputError, match="another process trains")
    with RunFolder(tmp_path).lock(), refused, RunFolder(tmp_path).lock():
      pass
    (tmp_path / ".metrics.jsonl.half").write_text("left by a kill")
    with RunFolder(tmp_path).lock():
      assert [path.name for path in tmp_path.iterdir()] == [".lock"]

  def test_another_format_is_refused(self, tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_config(TrainingConfig(), FACTS, {})
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**content, "format": 9}))
    with pytest.raises(InputError, match="format 9 of config.json is newer"):
      folder.read_config()
