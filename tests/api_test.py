"""Functions on run folders: what they return, write, say and refuse."""

import dataclasses
import json
import shutil

import cli_support
import keras
import numpy as np
import pytest

import tla_tf
from tla_tf import api, datasets, published, training
from tla_tf.errors import InputError
from tla_tf.persistence import CheckpointStore, RunFolder
from tla_tf.persistence.loading import load_network
from tla_tf.records import AnalysisRecord
from tla_tf.types import Split

SHORT = {"num_examples": 30, "probe_examples": 10}
ANALYSIS = {"num_examples": 60, "fit_examples": 120, "num_train_examples": 200, "k": 5, "projector_examples": 0}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """Two tiny runs on digits: undefended, and trained at half of the data set's epsilon."""
  root = tmp_path_factory.mktemp("runs")
  for method in ("um", "at"):
    config = published.setting("digits", method).replace(
      network="mlp_16", train_steps=40, checkpoint_every=20, validation_examples=20, batch_size=20, jit="off"
    )
    if method == "at":
      config = config.replace(attack=config.attack.scaled(epsilon=0.1, steps=2))
    training.train(config, root / method, say=lambda _: None)
  return root


@pytest.fixture(scope="module")
def judged(runs):
  """(records, notes) of both runs judged together."""
  notes = []
  records = api.evaluate_runs([runs / "um", runs / "at"], compare_dir=runs / "both", note=notes.append, **SHORT)
  return records, notes


@pytest.fixture(scope="module")
def analysed(runs):
  """(records, notes) of both runs analysed together."""
  notes = []
  records = api.analyze_runs([runs / "um", runs / "at"], compare_dir=runs / "both", note=notes.append, **ANALYSIS)
  return records, notes


def test_a_run_is_judged_at_the_epsilon_of_its_training(judged):
  records, notes = judged
  assert {row.epsilon for row in records["um"].attacks} == {0.2}
  assert {row.epsilon for row in records["at"].attacks} == {0.1}
  assert [row.step_size for row in records["at"].attacks] == pytest.approx([0.1, 0.0125, 0.0125])
  assert (records["um"].training_epsilon, records["at"].training_epsilon) == (0.2, 0.1)
  assert (records["um"].probes.epsilon, records["at"].probes.epsilon) == (0.2, 0.1)
  assert records["um"].notes == []
  assert records["at"].notes == ["Its epsilon is 0.1, not digits's 0.2: judged at its own."]
  assert notes[0] == f"at: {records['at'].notes[0]} `epsilon` chooses another."
  assert len(notes) == 2 and "different epsilons" in notes[1]


def test_what_is_returned_is_what_is_written(runs, judged):
  for name, record in judged[0].items():
    folder = RunFolder.open(runs / name)
    (found,) = api.read_evaluations(runs / name).findings
    assert [one.replace(images_digest=None) for one in found.evaluations] == record.evaluations
    assert (found.worst_case, found.alarms) == (record.worst_case, record.alarms)
    standing = found.images.right & ~found.images.broken.any(1)
    assert standing.mean() == pytest.approx(record.worst_case.accuracy)
    assert not folder.evaluation_state.exists()
    assert (folder.figures / "accuracy_curves.png").is_file()
  # Judged at different epsilons, the runs stand in different tables and figures.
  text = (runs / "both" / "table.md").read_text()
  assert text.count("| Model |") == 2 and "at: Its epsilon is 0.1" in text
  assert "um,,PGD-20," in (runs / "both" / "table.csv").read_text() and (runs / "um" / "evaluation.csv").exists()
  assert {path.name for path in (runs / "both").glob("*.png")} >= {
    "robust_accuracy.png",
    "robust_accuracy_2.png",
    "accuracy_curves.png",
    "accuracy_curves_2.png",
  }


def test_the_epsilon_that_is_asked_for_is_taken(runs, judged, tmp_path):
  shutil.copytree(runs / "at", tmp_path / "at")
  notes = []
  record = api.evaluate_run(tmp_path / "at", epsilon=0.1, note=notes.append, **SHORT)
  # The same radius, whoever asked for it.
  same = [dataclasses.replace(row, seconds=0.0) for row in record.attacks]
  assert same == [dataclasses.replace(row, seconds=0.0) for row in judged[0]["at"].attacks]
  assert record.worst_case == judged[0]["at"].worst_case and record.probes == judged[0]["at"].probes
  assert notes == record.notes == []
  # A single run is called as its folder.
  assert (
    api.evaluate_runs([tmp_path / "at"], epsilon=0.2, num_examples=10, probe_examples=0)["at"].attacks[0].epsilon == 0.2
  )


def test_held_out_images_are_judged_apart(runs, judged, analysed, tmp_path):
  run, both = runs / "at", runs / "both"
  before = {name: (runs / name).read_bytes() for name in ("at/evaluation.json", "at/analysis.json", "both/table.md")}
  found = api.evaluate_run(run, split="held_out", suites=("table1",), source=runs / "um", compare_dir=both, **SHORT)
  data = datasets.load("digits").heldout.take(slice(30))
  network = load_network(RunFolder(run), CheckpointStore(run / "checkpoints").resolve("best"))
  right = np.argmax(network(data.float_images())["logits"], 1) == data.labels
  assert found.clean.accuracy == pytest.approx(right.mean())
  np.testing.assert_array_equal(found.images.labels, data.labels)
  record = api.analyze_runs([run], split="held_out", compare_dir=both, **ANALYSIS)["at"]
  assert record.split is Split.HELD_OUT and any("Held-out images were analysed" in note for note in record.notes)
  # Nothing of the test images has changed, and nothing is taken for them.
  assert {name: (runs / name).read_bytes() for name in before} == before
  assert [one.suites for one in api.read_evaluations(run).findings] == [["quick"]]
  assert [one.suites for one in api.read_evaluations(run / "held_out").findings] == [["table1"]]
  assert AnalysisRecord.read(run / "held_out" / "analysis.json") == record
  for name in ("table.md", "analysis.md"):
    assert "held-out images" in (both / "held_out" / name).read_text(), name
    assert "held-out images" not in (both / name).read_text().replace("held-out clean images", ""), name
  # Natural training images are embedded once for both.
  assert len(list((run / "embeddings").glob("train-*"))) == 1 and not (run / "held_out" / "embeddings").exists()
  text = api.write_report([run], tmp_path / "report.html").markdown.read_text()
  assert "Accuracy on 30 held-out images of digits, suite table1" in text.partition("Judged on held-out images")[2]
  assert "table1" not in text.partition("Judged on held-out images")[0].partition("## Robustness")[2]


def test_rows_make_one_table_of_all_runs(judged):
  rows = [{"run": name, **row} for name, record in judged[0].items() for row in record.rows()]
  assert len({tuple(row) for row in rows}) == 1
  assert [(row["run"], row["attack"]) for row in rows[:2]] == [("um", "clean"), ("um", "FGSM")]


def test_progress_is_told(runs, tmp_path):
  shutil.copytree(runs / "um", tmp_path / "um", ignore=shutil.ignore_patterns("evaluation*"))
  seen = []
  api.evaluate_run(tmp_path / "um", progress=lambda *state: seen.append(state), num_examples=10, probe_examples=0)
  assert {name for name, *_ in seen} >= {"FGSM"} and all(len(state) == 4 for state in seen)


def test_an_analysis_is_at_the_epsilon_of_the_training(runs, analysed):
  records, notes = analysed
  assert list(records["um"].separation_ratio) == ["0.05", "0.2"] and records["um"].notes == []
  assert list(records["at"].separation_ratio) == ["0.05", "0.1"]
  assert (records["at"].usual_epsilon, records["at"].training_epsilon) == (0.1, 0.1)
  assert records["at"].notes == ["Its epsilon is 0.1, not digits's 0.2: the strong attack is at its own."]
  assert notes == [f"at: {records['at'].notes[0]} `weak_epsilon` and `strong_epsilon` choose others."]
  for name, record in records.items():
    assert AnalysisRecord.read(runs / name / "analysis.json") == record
    assert not (runs / name / "tensorboard" / "projector_config.pbtxt").exists()
  assert "at: Its epsilon is 0.1" in (runs / "both" / "analysis.md").read_text()
  assert "AUC misclassified" in (runs / "both" / "analysis.csv").read_text()


def test_the_report_repeats_what_a_reader_should_know(runs, judged, analysed, tmp_path):
  written = api.write_report([runs / "um", runs / "at"], tmp_path / "report.html")
  text = written.markdown.read_text()
  assert text.count("Its epsilon is 0.1") == 2
  assert "different settings" in text
  assert written.html.read_text().startswith("<!doctype html>")


def test_an_exported_run_has_its_detector(runs, analysed, tmp_path):
  model = api.export_run(runs / "at", tmp_path / "model")
  assert model.endpoints == ("serve", "embed", "detect", "class_names") and model.image_shape == (8, 8, 1)
  assert model.class_names == tuple("0123456789")
  about = json.loads((model.path / "assets.extra" / "about.json").read_text())
  assert (about["checkpoint"], about["dataset"], about["class_names"]) == (model.step, "digits", list("0123456789"))
  assert model.step == analysed[0]["at"].checkpoint
  assert (model.path / "saved_model.pb").is_file()


def test_a_detector_of_another_checkpoint_is_left_out_and_said_so(runs, analysed, tmp_path):
  other = {20, 40} - {analysed[0]["at"].checkpoint}
  notes = []
  model = api.export_run(runs / "at", tmp_path / "model", checkpoint=other.pop(), note=notes.append)
  assert model.endpoints == ("serve", "embed", "class_names")
  assert "`detect=False`" in notes[0] and "tla-analyze" in notes[0]
  with pytest.raises(InputError, match="was fitted to the checkpoint of step"):
    api.export_run(runs / "at", tmp_path / "other", checkpoint=model.step, detect=True)
  assert not (tmp_path / "other").exists()


@pytest.fixture(scope="module")
def elsewhere(runs):
  """The network of `um` as a SavedModel, and that of `at`, logits alone, as a .keras file."""
  model = api.export_run(runs / "um", runs / "elsewhere" / "saved", detect=False)
  folder = RunFolder.open(runs / "at")
  network = load_network(folder, CheckpointStore(folder.checkpoints).resolve("best"))
  keras.Model(network.input, network.output["logits"]).save(runs / "elsewhere" / "at.keras")
  return [model.path, tla_tf.ModelFile(runs / "elsewhere" / "at.keras")]


def test_models_from_elsewhere_stand_beside_runs(runs, elsewhere, tmp_path):
  found = api.evaluate_runs(
    [runs / "um", runs / "at"],
    models=elsewhere,
    output_dir=tmp_path / "judged",
    compare_dir=tmp_path / "both",
    epsilon=0.2,
    **SHORT,
  )
  assert list(found) == ["um", "at", "saved", "at_2"]
  for own, foreign in (("um", "saved"), ("at", "at_2")):
    assert found[foreign].clean == found[own].clean
    assert found[foreign].worst_case.accuracy == pytest.approx(found[own].worst_case.accuracy, abs=0.1)
    assert found[foreign].last.data_digest == found[own].last.data_digest
    assert api.read_evaluations(tmp_path / "judged" / foreign).findings[0].clean == found[foreign].clean
  table = (tmp_path / "both" / "table.md").read_text()
  assert all(f"| {name} |" in table for name in found)


def test_models_from_elsewhere_are_analysed_and_reported_on(runs, elsewhere, tmp_path):
  analysed = api.analyze_runs([runs / "um"], models=elsewhere, output_dir=tmp_path / "judged", **ANALYSIS)
  assert analysed["saved"].embedding_dimensions == analysed["um"].embedding_dimensions
  for key, ratio in analysed["um"].separation_ratio.items():
    assert analysed["saved"].separation_ratio[key] == pytest.approx(ratio, rel=0.05)
  assert analysed["saved"].checkpoint is None and analysed["saved"].rows()[0]["method"] is None
  api.evaluate_runs(models=elsewhere[0], dataset="digits", output_dir=tmp_path / "judged" / "saved", **SHORT)
  folders = [runs / "um", tmp_path / "judged" / "saved", tmp_path / "judged" / "at"]
  text = api.write_report(folders, tmp_path / "report.html").markdown.read_text()
  assert "not trained here" in text and "| at | not trained here | at.keras |" in text
  # What is missing is got with the flags of a model.
  command = f"tla-evaluate --keras_model={runs / 'elsewhere' / 'at.keras'} --dataset=digits --output_dir={folders[2]}"
  assert command in text and "training curves; the network was imported" not in text
  with pytest.raises(InputError, match="saved: not a run folder"):
    api.analyze_runs([folders[1]], **ANALYSIS)
  # Another layer of the same file is embedded anew: here the logits.
  last = keras.saving.load_model(elsewhere[1].path).layers[-1].name
  model = dataclasses.replace(elsewhere[1], embedding_layer=last)
  (record,) = api.analyze_runs(models=model, dataset="digits", output_dir=folders[2], **ANALYSIS).values()
  assert (analysed["at"].embedding_dimensions, record.embedding_dimensions) == (16, 10)


def test_a_model_from_elsewhere_is_judged(runs, tmp_path):
  model = api.export_run(runs / "um", tmp_path / "model", detect=False)
  record = api.evaluate_model(model.path, "digits", tmp_path / "judged", kind="saved_model", **SHORT)
  assert (record.training_epsilon, record.notes, record.checkpoint) == (None, [], None)
  assert {row.epsilon for row in record.attacks} == {0.2}
  assert record.rows()[0]["method"] is None and record.config["kind"] == "saved_model"
  assert api.read_evaluations(tmp_path / "judged").findings[0].worst_case == record.worst_case
  for settings, words in (({"kind": "onnx"}, "`kind=onnx`"), ({"pixel_range": (1, 0)}, "`pixel_range=1,0`")):
    with pytest.raises(InputError, match=words):
      api.evaluate_model(model.path, "digits", tmp_path / "other", **settings)
  assert not (tmp_path / "other").exists()


def test_wrong_arguments_are_refused_by_name(runs, tmp_path):
  run, before = runs / "um", sorted((runs / "um").iterdir())
  for call, words in (
    (lambda: api.evaluate_run(run, suites=("table9",)), "Unknown suite 'table9'"),
    (lambda: api.evaluate_run(run, epsilon=2), "`epsilon`"),
    (lambda: api.evaluate_run(run, split="val"), "`split`: expected one of .*test.*held_out"),
    (lambda: api.analyze_runs([run], split="train"), "`split`"),
    (lambda: api.evaluate_run(run, split="held_out", num_examples=10**6), "digits has only 200 held-out images"),
    (lambda: api.evaluate_runs([run], models="a.keras", output_dir=tmp_path / "out", split="held_out"), "a.keras was"),
    (lambda: api.evaluate_run(run, num_examples=10**6), "`num_examples=1000000`: digits has only 360"),
    (lambda: api.evaluate_run(run, source=run), "`source` is for the black-box column"),
    (lambda: api.evaluate_run(tmp_path), "no config.json"),
    (lambda: api.evaluate_runs([]), "at least one run folder"),
    (lambda: api.evaluate_runs(models="a.keras", dataset="digits"), "need `output_dir`"),
    (lambda: api.evaluate_runs(models="a.keras", output_dir=tmp_path / "out"), "need `dataset`"),
    (lambda: api.evaluate_runs([run], models="a.keras", dataset="digits"), "`dataset` and `reading` are for models"),
    (lambda: api.analyze_runs([run], k=10**6), "`k=1000000`"),
    (lambda: api.analyze_runs([run], classes=("cat",)), "No class 'cat'"),
    (lambda: api.write_report([run], tmp_path / "report.pdf"), "`output=.*report.pdf`"),
    (lambda: api.export_run(run, tmp_path / "model", checkpoint=7), "no checkpoint"),
  ):
    with pytest.raises(InputError, match=words):
      call()
  with pytest.raises(TypeError, match="num_exmaples"):
    api.evaluate_run(run, num_exmaples=3)
  assert set(sorted((runs / "um").iterdir())) - set(before) <= {runs / "um" / "embeddings"}
  assert not list(tmp_path.iterdir())


def test_runs_are_opened_once_and_checked_together(runs, tmp_path):
  folders = api.open_runs([runs / "um", runs / "at"])
  assert list(folders) == ["um", "at"]
  shutil.copytree(runs / "um", tmp_path / "um", ignore=shutil.ignore_patterns("embeddings", "figures"))
  both = api.open_runs([runs / "um", tmp_path / "um"])
  assert list(both) == [f"{runs.name}/um", f"{tmp_path.name}/um"]
  # A pattern, a folder of runs, and the same run again.
  assert list(api.open_runs([f"{runs}/?t", runs, runs / "um"])) == ["at", "um"]
  with pytest.raises(InputError, match="give it to `open_runs`"):
    api.evaluate_runs(folders, output_dir=tmp_path)


def test_runs_that_are_only_read_are_judged_analysed_and_reported_on(runs, analysed, tmp_path):
  out, given = tmp_path / "out", [runs / "um", runs / "at"]
  before = cli_support.contents(runs)
  options = {"num_examples": 10, "probe_examples": 0}
  api.evaluate_runs(given, output_dir=out, **options)
  api.evaluate_runs([runs / "at"], output_dir=out / "at", suites=("table1",), source=runs / "um", **options)
  api.analyze_runs([runs / "at"], output_dir=out / "at", **(ANALYSIS | {"projector_examples": 10}))
  report = api.write_report(given, output_dir=out)
  assert cli_support.contents(runs) == before
  assert (out / "um" / "evaluation.md").exists()
  for name in ("evaluation.json", "analysis.json", "detector.npz", "tensorboard", "figures/roc.png"):
    assert (out / "at" / name).exists(), name
  assert (out / "at" / "transfer").is_dir()
  text = report.markdown.read_text()
  assert report.html == out / "report.html" and "BB-20" in text
  assert (
    "Missing for um: Table" in text and "Missing for at: Table" not in text and "with the same `--output_dir`" in text
  )
  assert api.read_evaluations(out / "at").findings[0].suites == ["quick", "table1"]
  with pytest.raises(InputError, match="um: is a run folder of its own; choose another `output_dir`"):
    api.evaluate_run(runs / "at", output_dir=runs / "um")
  (tmp_path / "file").write_text("")
  with pytest.raises(InputError, match="choose another `output_dir`"):
    api.evaluate_run(runs / "at", output_dir=tmp_path / "file")


def test_a_fault_of_ours_stays_a_fault(runs, monkeypatch, tmp_path):
  def faulty(*_):
    raise KeyError("ours")

  monkeypatch.setattr("tla_tf.reporting.read_run", faulty)
  with pytest.raises(KeyError, match="ours"):
    api.write_report([runs / "um"], tmp_path / "report.html")
  assert np.all([path.suffix != ".html" for path in tmp_path.iterdir()])
