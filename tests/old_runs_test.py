"""A run folder that version 0.1.0 wrote is reported on, evaluated, analysed, exported, begun with and gone on with."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tla_tf
from tla_tf import published, records, training
from tla_tf.persistence import CheckpointStore, RunFolder
from tla_tf.persistence.loading import load_network
from tla_tf.recipes.triplet import TripletConfig, TripletTrainingConfig

FIXTURE = pathlib.Path(__file__).parent / "fixtures" / "run_of_0_1"
# What it was trained with, as its command line said.
CONFIG = published.setting("digits", "tla").replace(
  network="mlp_8",
  validation_examples=50,
  batch_size=20,
  negative_pool_size=20,
  train_steps=20,
  checkpoint_every=10,
  keep_checkpoints=1,
)
CONFIG = CONFIG.replace(
  attack=CONFIG.attack.replace(steps=2), validation_attack=CONFIG.validation_attack.replace(steps=2)
)


@pytest.fixture
def old(tmp_path, without_xla):
  return shutil.copytree(FIXTURE, tmp_path / "old")


def test_its_files_have_the_first_format():
  for name in ("config.json", "evaluation.json", "analysis.json", "checkpoints/step_000000020/meta.json"):
    assert json.loads((FIXTURE / name).read_text()).get("format", 1) == 1


def test_its_settings_become_those_of_the_recipe():
  config, facts = RunFolder.open(FIXTURE).read_config()
  assert config == CONFIG
  assert config.recipe == TripletTrainingConfig(negative_pool_size=20, triplet=TripletConfig())
  assert (facts.image_shape, facts.num_classes, facts.class_names) == ((8, 8, 1), 10, tuple("0123456789"))


@pytest.mark.parametrize(
  "method, own",
  [("um", {}), ("at", {"attack_mode": "training"}), ("alp", {"pairing": "logits", "pairing_weight": 0.25})],
)
def test_settings_that_were_not_the_methods_own_are_left_behind(old, method, own):
  content = json.loads((old / "config.json").read_text())
  content["settings"] |= {"method": method, "clean_weight": 0.0, **own}
  (old / "config.json").write_text(json.dumps(content))
  config, _ = RunFolder.open(old).read_config()
  assert config == CONFIG.replace(method=method).replace(**own)


def test_its_results_are_read_as_they_were():
  (evaluation,) = records.EvaluationBook.read(FIXTURE / "evaluation.json").evaluations
  analysis = records.AnalysisRecord.read(FIXTURE / "analysis.json")
  raw = json.loads((FIXTURE / "evaluation.json").read_text())
  assert evaluation.worst_case.accuracy == raw["worst_case"]["accuracy"]
  assert [row.name for row in evaluation.attacks] == [row["name"] for row in raw["attacks"]]
  assert analysis.separation_ratio == json.loads((FIXTURE / "analysis.json").read_text())["separation_ratio"]


def test_it_is_reported_on(old, tmp_path):
  report = tla_tf.write_report([old], tmp_path / "report.html")
  text = pathlib.Path(report.html).read_text()
  assert "PGD-20" in text and "tla" in text


def test_it_is_evaluated_as_it_was(old):
  (before,) = tla_tf.read_evaluations(old).findings
  # Which image withstood what lay in one file.
  assert before.images is not None
  after = tla_tf.evaluate_run(old, num_examples=40, probe_examples=0)
  # The same weights on the same images.
  assert after.clean.accuracy == before.clean.accuracy
  assert [row.name for row in after.attacks] == [row.name for row in before.attacks]
  assert json.loads((old / "evaluation.json").read_text())["format"] > 1
  # The same weights, images and settings: one evaluation still.
  (known,) = tla_tf.read_evaluations(old).measured
  assert known.record.versions == after.last.versions and not (old / "evaluation_images.npz").exists()


def test_it_is_analysed_and_exported(old):
  tla_tf.analyze_runs([old], num_examples=60, num_train_examples=200, fit_examples=200, k=5, projector_examples=0)
  model = tla_tf.export_run(old)
  assert {"serve", "embed", "detect"} <= set(model.endpoints)
  images = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
  network = tf.saved_model.load(str(model.path))
  assert network.serve(images)["logits"].shape == (3, 10)


def test_its_detector_is_exported_without_another_analysis(old):
  assert "detect" in tla_tf.export_run(old).endpoints


def test_its_training_goes_on(old):
  before = RunFolder.open(old).read_metrics()
  run = tla_tf.train(CONFIG.replace(train_steps=30), old)
  assert (run.step, run.judged) == (30, "network")
  assert run.metrics[: len(before)] == before and run.metrics[-1]["step"] == 30
  store = CheckpointStore(old / "checkpoints")
  # The last of the old release stays readable where it is the best one.
  assert {store.record(step).step for step in store.steps()} == set(store.steps())


def test_all_that_its_training_had_changed_is_restored():
  model, _ = training.build_model(CONFIG, (8, 8, 1), 10)
  CheckpointStore(FIXTURE / "checkpoints").restore(20, model.state())
  state = str(FIXTURE / "checkpoints/step_000000020/state")
  kept = {name: tf.train.load_variable(state, name) for name, _ in tf.train.list_variables(state) if name[0] != "_"}
  assert int(model.optimizer.iterations) == 20
  # Every array of the checkpoint is somewhere in the state, slots of the optimiser included.
  restored = [np.array(v) for part in model.state().values() for v in part.variables]
  for name, value in kept.items():
    assert any(np.array_equal(value, array) for array in restored), name
  assert max(np.abs(np.array(v)).max() for v in model.optimizer.variables[2:]) > 0


def test_other_settings_do_not_go_on(old):
  with pytest.raises(tla_tf.errors.InputError, match="`recipe.triplet.margin=0.05`, not 0.25"):
    tla_tf.train(CONFIG.replace(train_steps=30, triplet=TripletConfig(margin=0.25)), old)


def test_a_new_run_begins_with_it(old, tmp_path):
  init = training.find_init(old)
  run = tla_tf.train(CONFIG.replace(train_steps=10, learning_rate=0.0), tmp_path / "new", init_from=old)
  assert run.folder.read_config()[0].init == init
  begun, source = load_network(run.folder, 10), load_network(RunFolder.open(old), init.checkpoint)
  for ours, theirs in zip(begun.trainable_variables, source.trainable_variables, strict=True):
    np.testing.assert_array_equal(ours, theirs)


def test_image_folders_with_val_are_read_as_when_it_was_not_looked_for(tmp_path):
  rng = np.random.default_rng(0)
  for name in ("train/a", "train/b", "test/a", "test/b"):
    (tmp_path / "mine" / name).mkdir(parents=True)
    for i in range(6):
      Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "mine" / name / f"{i}.png")
  config = published.setting("images", "um").replace(
    network="mlp_4", batch_size=2, train_steps=1, checkpoint_every=1, validation_examples=1, augment_pad=0, jit="off"
  )
  places = {"data_dir": tmp_path / "mine", "cache_dir": tmp_path / "cache"}
  tla_tf.train(config, tmp_path / "run", **places)
  content = json.loads((tmp_path / "run" / "config.json").read_text())
  for name in ("use_val", "test_fraction", "split_seed", "skip_bad"):
    del content["settings"]["reading"][name]
  del content["sha256"]
  (tmp_path / "run" / "config.json").write_text(json.dumps({**content, "format": 2}))
  shutil.copytree(tmp_path / "mine" / "test", tmp_path / "mine" / "val")
  assert tla_tf.train(config.replace(train_steps=2), tmp_path / "run", **places).step == 2
  settings, facts = RunFolder.open(tmp_path / "run").read_config()
  assert not settings.reading.use_val and facts.digest == content["data"]["digest"]
