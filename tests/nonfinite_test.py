"""NaN and infinity in weights, outputs and pixels: refused or said by whoever judges, analyses, exports or trains."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import tla_tf
from tla_tf import api, datasets, evaluation, training
from tla_tf.attacks import AttackFactory, presets
from tla_tf.config import AttackConfig, TrainingConfig
from tla_tf.data import ImageData
from tla_tf.errors import InputError
from tla_tf.evaluation import embeddings
from tla_tf.persistence import CheckpointStore, RunFolder, checkpoints, loading
from tla_tf.records import AnalysisRecord

SMALL = TrainingConfig(
  method="um",
  network="mlp_4",
  attack=AttackConfig(0.2, 0.1, 2),
  validation_attack=AttackConfig(0.2, 0.1, 2),
  validation_examples=20,
  batch_size=20,
  train_steps=10,
  checkpoint_every=5,
  jit="off",
)
SHORT = {"num_examples": 20, "probe_examples": 0}
ANALYSIS = {"num_examples": 60, "fit_examples": 120, "num_train_examples": 200, "k": 5, "projector_examples": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run with checkpoints of steps 5 and 10."""
  return training.train(SMALL, tmp_path_factory.mktemp("runs") / "run", say=lambda line: None).path


@pytest.fixture
def copy(run, tmp_path):
  shutil.copytree(run, tmp_path / "run")
  return RunFolder.open(tmp_path / "run")


def _save_changed(folder, step, layer, value, finite=True):
  """Saves step 5's network as another step, better than all, with a value in the first weight of a dense layer."""
  store, network = CheckpointStore(folder.checkpoints, keep=5), loading.load_network(folder, 5)
  optimizer = keras.optimizers.Adam()
  optimizer.build(network.trainable_variables)
  kernel = [v for v in network.variables if v.path.endswith("kernel")][layer]
  kernel.assign(np.where(np.arange(kernel.shape[-1]) == 0, np.float32(value), np.array(kernel)))
  with pytest.MonkeyPatch.context() as patch:
    if not finite:
      patch.setattr(checkpoints, "_is_finite", lambda values: True)
    store.save(step, {"network": network, "optimizer": optimizer}, {"val_robust_accuracy": 1.0, "val_accuracy": 1.0})


USES = {
  "evaluate": lambda folder: api.evaluate_run(folder.path, **SHORT),
  "analyze": lambda folder: api.analyze_runs([folder.path], **ANALYSIS),
  "export": lambda folder: api.export_run(folder.path),
  "train": lambda folder: training.train(SMALL.replace(train_steps=30), folder.path, say=lambda line: None),
  "init": lambda folder: training.train(
    SMALL.replace(init=training.find_init(folder.path)), folder.path.parent / "new", say=lambda line: None
  ),
}


REMEDIES = {"train": "remove the folders", "init": "give `init_checkpoint=10`"}


@pytest.mark.parametrize("use", USES)
def test_weights_that_are_not_finite_are_refused_by_all(copy, use):
  _save_changed(copy, 20, -1, np.nan, finite=False)
  before = _files(copy)
  with pytest.raises(
    InputError,
    match="step_000000020: holds NaN or infinity.* that of step 10: " + REMEDIES.get(use, "give `checkpoint=10`"),
  ):
    USES[use](copy)
  assert _files(copy) == before


def _files(folder):
  return {path for path in folder.path.rglob("*") if path.is_file() and not path.name.endswith(".lock")}


def test_the_remedies_work(copy):
  _save_changed(copy, 20, -1, np.nan, finite=False)
  record = api.evaluate_run(copy.path, checkpoint=10, **SHORT)
  assert record.evaluations[0].checkpoint == 10
  assert "NONFINITE_OUTPUTS" not in [alarm.code for alarm in record.alarms]
  shutil.rmtree(copy.checkpoints / "step_000000020")
  assert (
    training.train(SMALL.replace(train_steps=15), copy.path, say=lambda line: None).read_metrics()[-1]["step"] == 15
  )


def test_finite_weights_whose_outputs_are_not_raise_the_alarm(copy):
  """The first layer overflows wherever there is a bright pixel; the second one makes NaN of that."""
  _save_changed(copy, 20, 0, 3e38)
  record = api.evaluate_run(copy.path, **SHORT)
  (alarm,) = [alarm for alarm in record.alarms if alarm.code == "NONFINITE_OUTPUTS"]
  assert "of 20 clean images" in alarm.seen and "checkpoint" in alarm.remedy
  assert "NONFINITE_OUTPUTS" in copy.evaluation_table.read_text()
  with pytest.raises(InputError, match="embeddings hold NaN or infinity.*earlier checkpoint"):
    api.analyze_runs([copy.path], **ANALYSIS)
  assert not copy.analysis.exists()
  notes = []
  api.export_run(copy.path, note=notes.append)
  assert "NONFINITE_OUTPUTS" in notes[0] and "of 3 of 4 images that were tried" in notes[0]


def test_an_export_that_says_nothing_is_not_written(copy, monkeypatch):
  monkeypatch.setattr("tla_tf.persistence.export.nonfinite_answers", lambda network, shape: (4, 4))
  with pytest.raises(InputError, match="NaN or infinity of every image"):
    api.export_run(copy.path)
  assert not copy.saved_model.exists()


def test_an_analysis_counts_images_without_a_class(copy, monkeypatch):
  said = embeddings.predicted_classes
  monkeypatch.setattr(
    embeddings, "predicted_classes", lambda logits: np.where(np.arange(len(logits)) > 0, said(logits), -1)
  )
  notes = []
  record = api.analyze_runs([copy.path], note=notes.append, **ANALYSIS)["run"]
  (sentence,) = [note for note in record.notes if note.startswith("NONFINITE_OUTPUTS")]
  assert "analysed images" in sentence and f"run: {sentence}" in notes
  assert AnalysisRecord.read(copy.analysis) == record


def _holed(images):
  """Class 0 leads; beyond 0.55 in the first pixel the logits are NaN, beyond 0.75 infinite."""
  first = tf.reshape(images, [-1, 4])[:, 0]
  logits = tf.stack([tf.zeros_like(first), first - 2.0, first - 3.0], 1)
  logits = tf.where(first[:, None] > 0.75, np.float32(np.inf), logits)
  return tf.where((first[:, None] > 0.55) & (first[:, None] < 0.75), np.float32(np.nan), logits)


@pytest.mark.parametrize(
  "level, seen", [(0.5, "of 3 attacked by FGSM"), (0.6, "of 3 clean images"), (0.8, "of 3 clean images")]
)
def test_outputs_that_are_not_finite_are_counted_clean_and_attacked(level, seen):
  """Through compiled graphs; the second image is all 0 and stays far from the hole."""
  images = np.full((4, 2, 2, 1), level, np.float32)
  images[1] = 0.0
  notes = []
  found = evaluation.evaluate(
    _holed, (images, np.zeros(4, int)), presets.fgsm(0.1), probe_examples=0, jit="off", note=notes.append
  )
  (alarm,) = [alarm for alarm in found.alarms if alarm.code == "NONFINITE_OUTPUTS"]
  assert seen in alarm.seen and any(alarm.seen in note for note in notes)


BAD = {"nan": np.nan, "inf": np.inf, "minus": -np.inf}
MODEL_USES = {
  "ImageData": lambda images: ImageData(images, np.zeros(3, int), ("a", "b")),
  "evaluate": lambda images: evaluation.evaluate(_dark, (images, np.zeros(3, int)), presets.fgsm(0.1)),
  "evaluate a data set": lambda images: evaluation.evaluate(
    _dark, tf.data.Dataset.from_tensor_slices((images, np.zeros(3, int))), presets.fgsm(0.1)
  ),
  "attack": lambda images: AttackFactory(_dark, "off").make(presets.pgd(0.1, 0.05, 2))(images, [0, 0, 0]),
}


def _dark(images):
  first = tf.reshape(images, [-1, 4])[:, :1]
  return tf.concat([1.0 - first, first], 1)


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
@pytest.mark.parametrize("use", MODEL_USES)
def test_pixels_that_are_not_finite_get_a_sentence(use, value):
  images = np.full((3, 2, 2, 1), 0.5, np.float32)
  images[1, 0, 1, 0] = value
  with pytest.raises(InputError, match="NaN or infinity .1 of (3|1), the first is number"):
    MODEL_USES[use](images)


PRUNED = {
  "evaluate": lambda folder: api.evaluate_run(folder.path, **SHORT).evaluations[0].checkpoint,
  "export": lambda folder: api.export_run(folder.path).step,
}


@pytest.mark.parametrize("use", PRUNED)
def test_a_checkpoint_that_is_pruned_while_it_is_read_is_replaced_by_the_one_that_is_there(copy, monkeypatch, use):
  """A training saves a better checkpoint and removes all others, after one was chosen and before it is read."""
  load, network = loading.load_network, loading.load_network(copy, 5)

  def late(folder, step):
    if step != 99:
      CheckpointStore(folder.checkpoints, keep=1).save(99, {"network": network}, {"val_robust_accuracy": 1.0})
    return load(folder, step)

  monkeypatch.setattr(loading, "load_network", late)
  assert PRUNED[use](copy) == 99
  assert CheckpointStore(copy.checkpoints).steps() == [99]


def test_nothing_of_a_checkpoint_is_read_after_it_was_loaded(copy, monkeypatch):
  """All checkpoints go while the data are read, after the network: the evaluation is of the one that was loaded."""
  load = datasets.load

  def late(*arguments):
    shutil.rmtree(copy.checkpoints)
    return load(*arguments)

  monkeypatch.setattr(datasets, "load", late)
  assert tla_tf.evaluate_run(copy.path, **SHORT).evaluations[0].checkpoint in (5, 10)
