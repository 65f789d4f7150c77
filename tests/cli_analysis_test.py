"""End to end: analyse, export the detector, and report, through the console scripts."""

import fcntl
import json
import pathlib
import re
import shutil

import cli_support as cli
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image
from sklearn import metrics
from sklearn.neighbors import KNeighborsClassifier
from tensorboard.plugins.projector import projector_config_pb2

import tla_tf
from tla_tf import datasets
from tla_tf.detection import Detector
from tla_tf.errors import InputError
from tla_tf.evaluation import detector_analysis, figure_data, verify
from tla_tf.evaluation.analysed_images import drawn_positions
from tla_tf.evaluation.analysis_planning import AnalysisOptions
from tla_tf.evaluation.run_analysis import analyse
from tla_tf.evaluation.subject import run_subject
from tla_tf.persistence import CheckpointStore, RunFolder
from tla_tf.persistence.loading import load_network
from tla_tf.records import sealed

SHORT = ("--num_examples=150", "--fit_examples=300", "--projector_examples=40", "--neighbors=10")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  root = tmp_path_factory.mktemp("runs")
  for method in ("um", "at"):
    cli.train_small(root / method, f"--method={method}", "--train_steps=60", "--checkpoint_every=30")
  output = cli.run_well(
    "tla-analyze", f"--run_dir={root / 'um'}", root / "at", f"--compare_dir={root / 'both'}", *SHORT
  )
  (root / "output.txt").write_text(output)
  return root


def _analysis(run):
  """analysis.json without what time it took, what other runs it was compared with, and its checksum over both."""
  content = json.loads((run / "analysis.json").read_text())
  del content["seconds"], content["arrays_digest"], content["sha256"]
  return content


def _part(run, name):
  """(embeddings, predictions) of a kept part."""
  (folder,) = (run / "embeddings").glob(f"{name}-*")
  return np.load(folder / "embeddings.npy"), np.load(folder / "predictions.npy")


def test_analyze_prints_tables_and_writes_the_contract(runs):
  output = (runs / "output.txt").read_text()
  for word in ("Table 5", "Table 6", "um", "at", "AUC misclassified", "AUC adversarial", "diagonal"):
    assert word in output
  for run in ("um", "at"):
    content = _analysis(runs / run)
    assert set(content["separation_ratio"]) == {"0.05", "0.2"}
    assert set(content["knn"]) >= {"natural", "adversarial", "k"} and content["knn"]["k"] == 10
    assert content["detection"]["auc"] == content["detection"]["auc_misclassified"]
    assert content["num_examples"] == 150 and len(content["checkpoint_digest"]) == 64
    for name in ("tsne_class", "tsne_pair", "retrieval", "roc"):
      with Image.open(runs / run / "figures" / f"{name}.png") as picture:
        assert picture.width > 400
  assert "Table 5" in (runs / "both" / "analysis.md").read_text()
  assert {path.name for path in (runs / "both").iterdir()} == {
    "analysis.csv",
    "analysis.md",
    "tsne_class.png",
    "tsne_pair.png",
    "retrieval.png",
    "roc.png",
  }


def test_kept_embeddings_are_those_of_the_network_and_of_attacks_inside_the_ball(runs):
  folder = RunFolder.open(runs / "at")
  network = load_network(folder, CheckpointStore(folder.checkpoints).resolve("best"))
  test = datasets.load("digits").test
  train = datasets.load("digits").train
  # All training images, in their order; the attacked ones of the detector are some of them.
  np.testing.assert_allclose(_part(runs / "at", "train")[0], network(train.float_images())["embedding"], atol=1e-5)
  assert len(_part(runs / "at", "train_weak")[0]) == 300
  content = _analysis(runs / "at")
  embeddings, predictions = _part(runs / "at", "test")
  # Which test images were drawn is told by their embeddings.
  every = network(test.float_images())
  nearest = metrics.pairwise_distances(embeddings, every["embedding"]).argmin(1)
  np.testing.assert_allclose(embeddings, every["embedding"].numpy()[nearest], atol=1e-5)
  np.testing.assert_array_equal(predictions, every["logits"].numpy().argmax(1)[nearest])
  assert content["accuracy"]["natural"]["accuracy"] == pytest.approx(np.mean(predictions == test.labels[nearest]))
  for name, epsilon in (("test_weak", 0.05), ("test_strong", 0.2)):
    (folder,) = (runs / "at" / "embeddings").glob(f"{name}-*")
    attacked = np.load(folder / "images.npy") / np.float32(255)
    # Pictures are rounded to grey levels: half a level beyond the ball at most.
    assert verify(test.float_images(nearest), attacked, epsilon + 0.51 / 255).all()
    assert content["accuracy"]["by_epsilon"][f"{epsilon:g}"]["accuracy"] < content["accuracy"]["natural"]["accuracy"]


def test_figures_of_the_analysis_follow_from_the_kept_embeddings(runs):
  content = _analysis(runs / "um")
  splits = datasets.load("digits")
  train, test = _part(runs / "um", "train")[0], _part(runs / "um", "test")[0]
  strong, said = _part(runs / "um", "test_strong")
  clean_said = _part(runs / "um", "test")[1]
  folder = RunFolder.open(runs / "um")
  every = load_network(folder, CheckpointStore(folder.checkpoints).resolve("best"))(splits.test.float_images())
  labels = splits.test.labels[metrics.pairwise_distances(test, every["embedding"]).argmin(1)]
  votes = KNeighborsClassifier(10, metric="cosine", algorithm="brute").fit(train, splits.train.labels)
  assert content["knn"]["natural"] == pytest.approx(votes.score(test, labels))
  assert content["knn"]["adversarial"] == pytest.approx(votes.score(strong, labels))
  ratios = []
  for k in range(10):
    own, fooled = test[labels == k], strong[(said == k) & (labels != k)]
    if len(fooled):
      spread = metrics.pairwise.cosine_distances(own)[np.triu_indices(len(own), 1)].mean()
      ratios.append(metrics.pairwise.cosine_distances(fooled, own).mean() / spread)
  assert content["separation_ratio"]["0.2"] == pytest.approx(np.mean(ratios), rel=1e-4)
  assert len(ratios) + len(content["separation"][1]["left_out"]) == 10
  detector = Detector.load(runs / "um" / "detector.npz")
  scores = detector.score(np.concatenate([test, strong]))
  wrong = np.concatenate([clean_said, said]) != np.tile(labels, 2)
  assert content["detection"]["auc_misclassified"] == pytest.approx(metrics.roc_auc_score(wrong, -scores))
  attacked = np.repeat([0, 1], 150)
  assert content["detection"]["auc_adversarial"] == pytest.approx(metrics.roc_auc_score(attacked, -scores))
  heldout = detector.score(_part(runs / "um", "heldout")[0])
  assert np.mean(heldout < detector.threshold) <= 0.05 == detector.facts.false_positive_rate
  assert content["detection"]["at_threshold"]["clean_flagged"] == pytest.approx(
    np.mean(scores[:150] < detector.threshold)
  )


def test_the_same_command_again_takes_what_is_kept_and_draws_the_same(runs, tmp_path):
  shutil.copytree(runs / "at", tmp_path / "at")
  before, figures = _analysis(tmp_path / "at"), cli.contents(tmp_path / "at" / "figures")
  made = {path: path.stat().st_mtime_ns for path in (tmp_path / "at" / "embeddings").rglob("*.npy")}
  classes = ",".join(before["class_names"][i] for i in np.load(tmp_path / "at" / "analysis.npz")["classes"])
  again = cli.run("tla-analyze", f"--run_dir={tmp_path / 'at'}", f"--classes={classes}", *SHORT)
  assert again.returncode == 0 and "attacking" not in again.stderr, again.stderr
  assert {path: path.stat().st_mtime_ns for path in made} == made
  assert _analysis(tmp_path / "at") == before
  for name in ("tsne_class.png", "tsne_pair.png", "roc.png"):
    assert (tmp_path / "at" / "figures" / name).read_bytes() == next(
      content for path, content in figures.items() if path.name == name
    )


def test_killed_and_started_again_an_analysis_ends_in_the_same_result(runs, tmp_path):
  shutil.copytree(runs / "um", tmp_path / "um", ignore=shutil.ignore_patterns("embeddings", "analysis*", "detector*"))
  arguments = (f"--run_dir={tmp_path / 'um'}", *SHORT)
  cli.kill_when("um: attacking test strong: done", "tla-analyze", *arguments, stream="stderr")
  assert not (tmp_path / "um" / "analysis.json").exists()
  again = cli.run("tla-analyze", *arguments)
  assert again.returncode == 0 and "attacking test weak" not in again.stderr, again.stderr
  assert _analysis(tmp_path / "um") == _analysis(runs / "um")
  resumed = (tmp_path / "um" / "analysis.npz").read_bytes()
  cli.run_well("tla-analyze", *arguments)
  assert (tmp_path / "um" / "analysis.npz").read_bytes() == resumed
  assert not [path for path in (tmp_path / "um").rglob(".*") if not path.name.endswith(".lock")]


def test_two_analyses_of_one_run_do_not_meet(runs):
  with (runs / "um" / "embeddings" / ".lock").open("w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    cli.assert_refused(cli.run("tla-analyze", f"--run_dir={runs / 'um'}", *SHORT), runs / "um", "another process")


def test_other_settings_leave_what_was_kept_and_a_lost_checkpoint_does_not(runs, tmp_path):
  shutil.copytree(runs / "um", tmp_path / "um")
  before = {path.name for path in (tmp_path / "um" / "embeddings").iterdir() if path.is_dir()}
  cli.run_well(
    "tla-analyze",
    f"--run_dir={tmp_path / 'um'}",
    "--weak_epsilon=4/255",
    *SHORT,
    "--covariance=tied",
    "--metric=euclidean",
    "--shrinkage=0.2",
    "--false_positive_rate=0.2",
  )
  after = {path.name for path in (tmp_path / "um" / "embeddings").iterdir() if path.is_dir()}
  assert len(before) == 6 and len(after) == 8 and after > before
  content = _analysis(tmp_path / "um")
  assert list(content["separation_ratio"]) == ["0.01569", "0.2"]
  detector = Detector.load(tmp_path / "um" / "detector.npz")
  assert (detector.gaussians.covariance, detector.gaussians.shrinkage.tolist()) == ("tied", [0.2])
  assert content["knn"]["metric"] == "euclidean"
  place = next((tmp_path / "um" / "embeddings").glob("test-*")) / "about.json"
  place.write_text(json.dumps({**json.loads(place.read_text()), "checkpoint_digest": "of one that was removed"}))
  again = cli.run("tla-analyze", f"--run_dir={tmp_path / 'um'}", *SHORT)
  assert "embedding test: done" in again.stderr and "attacking" not in again.stderr
  # The same images as before, although fewer training images are asked for.
  cli.run_well(
    "tla-analyze", f"--run_dir={tmp_path / 'um'}", *SHORT, "--num_train_examples=500", "--projector_examples=0"
  )
  assert sorted(path.name for path in (tmp_path / "um" / "embeddings").glob("test_*")) == sorted(
    name for name in after if name.startswith("test_")
  )
  assert not (tmp_path / "um" / "tensorboard" / "projector_config.pbtxt").exists()


SERVING = """
import sys, numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
images = np.load(sys.argv[2])
found = {name: value.numpy() for name, value in model.detect(tf.constant(images)).items()}
one = [model.detect(tf.constant(image[None])) for image in images[:5]]
np.testing.assert_allclose([float(each["score"][0]) for each in one], found["score"][:5], rtol=1e-4, atol=1e-4)
by_signature = model.signatures["detect"](images=tf.constant(images))
np.testing.assert_allclose(by_signature["score"], found["score"], rtol=1e-6)
assert not [name for name in sys.modules if name.startswith("tla_tf")]
np.savez(sys.argv[3], embedding=model.embed(tf.constant(images))["embedding"].numpy(), **found)
"""


@pytest.mark.parametrize("settings", [(), ("--covariance=tied", "--unit_embeddings")])
def test_the_exported_detector_is_numpys_in_plain_tensorflow(runs, tmp_path, settings):
  run = tmp_path / "at"
  shutil.copytree(runs / "at", run)
  if settings:
    cli.run_well("tla-analyze", f"--run_dir={run}", *settings, *SHORT)
  assert "detect" in cli.run_well("tla-export", f"--run_dir={run}", f"--output={tmp_path / 'model'}", "--detect")
  images = datasets.load("digits").test.float_images(slice(60))
  images = np.concatenate([images, np.random.default_rng(0).random(images.shape, np.float32)])
  np.save(tmp_path / "images.npy", images)
  places = (tmp_path / "model", tmp_path / "images.npy", tmp_path / "out.npz")
  done = cli.run_python(SERVING, *places, cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  out = np.load(tmp_path / "out.npz")
  detector = Detector.load(run / "detector.npz")
  np.testing.assert_allclose(out["score"], detector.score(out["embedding"]), rtol=1e-6, atol=1e-4)
  np.testing.assert_array_equal(out["is_suspect"], detector.is_suspect(out["embedding"]))
  folder = RunFolder.open(run)
  network = load_network(folder, CheckpointStore(folder.checkpoints).resolve("best"))
  outputs = network(images)
  np.testing.assert_allclose(out["score"], detector.score(outputs["embedding"].numpy()), rtol=1e-4, atol=1e-4)
  np.testing.assert_array_equal(out["label"], outputs["logits"].numpy().argmax(1))
  # Noise looks like no class.
  assert out["is_suspect"][60:].mean() > out["is_suspect"][:60].mean()


def test_a_detector_is_exported_only_with_its_own_checkpoint(runs, tmp_path):
  folder = RunFolder.open(runs / "at")
  store = CheckpointStore(folder.checkpoints)
  other = next(step for step in store.steps() if step != store.resolve("best"))
  arguments = f"--run_dir={runs / 'at'}", f"--checkpoint={other}", f"--output={tmp_path / 'a'}"
  cli.assert_refused(cli.run("tla-export", *arguments, "--detect"), "detector.npz", "tla-analyze", other)
  assert not (tmp_path / "a").exists()
  output = cli.run_well("tla-export", *arguments)
  assert "no endpoint detect" in output and "serve, embed, class_names;" in output
  assert not hasattr(tf.saved_model.load(str(tmp_path / "a")), "detect")
  assert "serve, embed, class_names;" in cli.run_well(
    "tla-export", f"--run_dir={runs / 'at'}", f"--output={tmp_path / 'b'}", "--nodetect"
  )


def test_the_projector_has_points_metadata_and_sprite_of_one_length(runs):
  board = runs / "um" / "tensorboard"
  config = text_format.Parse((board / "projector_config.pbtxt").read_text(), projector_config_pb2.ProjectorConfig())
  (entry,) = config.embeddings
  vectors = np.loadtxt(board / entry.tensor_path, delimiter="\t")
  lines = (board / entry.metadata_path).read_text().splitlines()
  assert lines[0].split("\t") == ["true class", "predicted class", "image", "outcome"]
  assert len(lines) == 1 + len(vectors) == 81
  assert {line.split("\t")[2] for line in lines[1:]} == {"natural", "attacked"}
  for line in lines[1:]:
    true, said, _, outcome = line.split("\t")
    assert outcome == ("right" if true == said else "wrong")
  assert list(entry.sprite.single_image_dim) == [8, 8]
  with Image.open(board / entry.sprite.image_path) as sprite:
    assert sprite.size == (9 * 8, 9 * 8)
    pixels = np.asarray(sprite.convert("L"))
  embeddings = _part(runs / "um", "test")[0]
  places = metrics.pairwise_distances(vectors[:40], embeddings).argmin(1)
  np.testing.assert_allclose(vectors[:40], embeddings[places], rtol=1e-3, atol=1e-3)
  (folder,) = (runs / "um" / "embeddings").glob("test_strong-*")
  attacked = np.load(folder / "images.npy")[places]
  np.testing.assert_array_equal(pixels[4 * 8 : 5 * 8, 4 * 8 : 5 * 8], attacked[0, ..., 0])


def test_report_of_all_that_was_measured(runs, tmp_path):
  for run in ("um", "at"):
    shutil.copytree(runs / run, tmp_path / run)
  cli.run_well(
    "tla-evaluate", f"--run_dir={tmp_path / 'um'}", tmp_path / "at", "--num_examples=50", "--probe_examples=20"
  )
  output = tmp_path / "page" / "both.html"
  output.parent.mkdir()
  cli.run_well("tla-report", f"--run_dir={tmp_path / 'um'}", tmp_path / "at", f"--output={output}")
  page, markdown = output.read_text(), output.with_suffix(".md").read_text()
  (result,) = json.loads((tmp_path / "at" / "evaluation.json").read_text())["evaluations"]
  analysis = _analysis(tmp_path / "at")
  for text in (page, markdown):
    assert "issing for" not in text
    for word in (
      "Table 5",
      "Table 6",
      "Figure 1",
      "Figure 2",
      "Figure 4",
      "Figure 5",
      "20xPGD-20",
      "train_steps",
      f"{result['clean']['accuracy']:.2%}",
      f"{result['worst_case']['accuracy']:.2%}",
      f"{analysis['separation_ratio']['0.2']:.3f}",
      f"{analysis['detection']['auc_adversarial']:.4f}",
    ):
      assert word in text, word
    for alarm in result["alarms"]:
      assert alarm["code"] in text
  # In both themes: training, suite, curves, Figures 1, 2, 4 and 5; pictures of attacks in one.
  assert page.count("data:image/png;base64,") == 7 * 2 + 2
  assert not re.search(r"https?:|//[a-z]|<script|<link|@import|url\(", re.sub(r'base64,[^"]+', "", page))
  named = re.findall(r"\]\(<(both_figures/[^>]+)>\)", markdown)
  assert len(named) == 9
  for name in named:
    with Image.open(output.parent / name) as picture:
      assert picture.width > 400
  again = tmp_path / "again.html"
  cli.run_well("tla-report", f"--run_dir={tmp_path / 'um'}", tmp_path / "at", f"--output={again}")
  assert again.read_text() == page


def test_report_says_what_is_missing(runs, tmp_path):
  shutil.copytree(runs / "um", tmp_path / "um", ignore=shutil.ignore_patterns("analysis*"))
  cli.run_well("tla-report", f"--run_dir={tmp_path / 'um'}")
  page = (tmp_path / "um" / "report.html").read_text()
  assert "Missing for um: accuracy under attack. To get it: <code>tla-evaluate --run_dir=" in page
  assert "Missing for um: embeddings and detection. To get it: <code>tla-analyze --run_dir=" in page
  assert "Figure 5:" not in page
  assert "data:image/png" in page


@pytest.mark.parametrize(
  "k, expected, words",
  [
    (None, 10, ["10 of the 200 training images: 10 neighbours vote, not 50."]),
    (10, 10, []),
    (13, 13, ["10 of the 200 training images, fewer than the 13 neighbours that vote"]),
  ],
)
def test_no_more_neighbours_vote_than_the_smallest_class_has_images(runs, k, expected, words):
  subject = run_subject(RunFolder.open(runs / "um"))
  drawn = drawn_positions(subject, AnalysisOptions(num_train_examples=200, k=k))
  smallest = np.bincount(subject.splits.train.labels[drawn.train]).min()
  assert smallest == 10 and drawn.k == expected
  for note, part in zip(drawn.notes, words, strict=True):
    assert part in note and note.startswith("Class ")
  assert drawn_positions(subject, AnalysisOptions()).k == 50


def test_fewer_neighbours_are_said_and_kept(runs, tmp_path):
  shutil.copytree(runs / "um", tmp_path / "um")
  notes = []
  options = {"num_train_examples": 200, "num_examples": 150, "fit_examples": 150, "projector_examples": 0}
  record = tla_tf.analyze_runs([tmp_path / "um"], **options, note=notes.append)["um"]
  assert record.knn.k == 10 and any("10 neighbours vote, not 50" in note for note in record.notes)
  assert any(note.startswith("um: Class ") for note in notes)


@pytest.mark.parametrize(
  "options, words",
  [
    ({"weak_epsilon": 0.5}, "weak.*strong"),
    ({"strong_epsilon": 0.04}, "weak.*strong"),
    ({"num_examples": 9999}, "`num_examples=9999`"),
    ({"num_train_examples": 9999}, "`num_train_examples=9999`"),
    ({"k": 5000}, "5000.*training"),
    ({"fit_examples": 5}, "Class .*`fit_examples`"),
  ],
)
def test_options_that_do_not_fit_the_data_are_refused_before_any_work(runs, tmp_path, options, words):
  subject = run_subject(RunFolder.open(runs / "um"))
  with pytest.raises(InputError, match=words):
    analyse(subject, RunFolder(tmp_path), AnalysisOptions(**options))
  assert not list(tmp_path.iterdir())


def test_classes_of_the_figures_are_checked():
  figure_data.check_classes(("cat", "dog"), ("dog", "cat", "cow"))
  for wanted, words in (
    (("bird",), "bird.*dog, cat"),
    (("cat", "cat"), "different"),
    (("dog", "cat", "cow"), "two different"),
  ):
    with pytest.raises(InputError, match=words):
      figure_data.check_classes(wanted, ("dog", "cat", "cow"))


def test_too_large_a_detector_is_refused_and_not_the_default(runs, monkeypatch):
  subject = run_subject(RunFolder.open(runs / "um"))
  monkeypatch.setattr(detector_analysis, "_LARGEST_DETECTOR", 10 * 16**2 * 4 - 1)
  with pytest.raises(InputError, match="`covariance=tied`"):
    analyse(subject, RunFolder.open(runs / "um"), AnalysisOptions(covariance="full"))
  found = analyse(subject, RunFolder.open(runs / "um"), AnalysisOptions(num_examples=150, fit_examples=300, k=10))
  assert found.detector.gaussians.covariance == "tied"
  assert set(found.record.detection.by_covariance) == {"tied", "diagonal"}


@pytest.mark.parametrize(
  "arguments, words",
  [
    (("--strong_epsilon=2",), ("--strong_epsilon", "8/255")),
    (("--classes=cat",), ("cat", "classes are 0, 1")),
    (("--shrinkage=nan",), ("--shrinkage",)),
    (("--seed=4294967296",), ("seed",)),
    (("--covariance=round",), ("covariance", "full")),
    (("--metric=taxi",), ("metric", "cosine")),
    (("--checkpoint=7",), ("no checkpoint",)),
  ],
)
def test_analyze_refuses_wrong_flags(runs, tmp_path, arguments, words):
  before = cli.contents(runs / "um")
  done = cli.run("tla-analyze", f"--run_dir={runs / 'um'}", *SHORT, *arguments)
  cli.assert_refused(done, *words)
  # Nothing is computed in vain either.
  assert cli.contents(runs / "um") == before


def test_damaged_files_are_named(runs, tmp_path):
  shutil.copytree(runs / "um", tmp_path / "um")
  run = tmp_path / "um"
  part = next((run / "embeddings").glob("test_weak-*"))
  (part / "embeddings.npy").write_bytes(b"damaged")
  again = cli.run("tla-analyze", f"--run_dir={run}", *SHORT)
  assert again.returncode == 0 and f"{part}: damaged; what it held is made again" in again.stderr, again.stderr
  assert _analysis(run) == _analysis(runs / "um")
  (run / "detector.npz").write_bytes(b"damaged")
  cli.assert_refused(
    cli.run("tla-export", f"--run_dir={run}", f"--output={tmp_path / 'model'}"), "detector.npz", "tla-analyze"
  )
  # Of another analysis: a kill between the two files.
  shutil.copy(runs / "at" / "analysis.npz", run)
  cli.assert_refused(cli.run("tla-report", f"--run_dir={run}"), "analysis.npz", "tla-analyze")
  (run / "analysis.npz").write_bytes(b"damaged")
  cli.assert_refused(cli.run("tla-report", f"--run_dir={run}"), "analysis.npz", "tla-analyze")
  (run / "analysis.json").write_text("{}")
  shutil.copy(runs / "um" / "analysis.npz", run)
  cli.assert_refused(cli.run("tla-report", f"--run_dir={run}"), "analysis.json", "tla-analyze")
  assert not (run / "report.html").exists()


def test_runs_of_other_data_are_refused_before_any_work(runs, tmp_path):
  shutil.copytree(runs / "um", tmp_path / "other", ignore=shutil.ignore_patterns("embeddings"))
  config = json.loads((tmp_path / "other" / "config.json").read_text())
  every = ("tla-analyze", "tla-report", "tla-evaluate")
  for name, value, tools in (("digest", "another", every), ("class_names", ["a", "b"], every[:1])):
    changed = {**config, "data": {**config["data"], name: value}}
    (tmp_path / "other" / "config.json").write_text(json.dumps(sealed(changed)))
    for tool in tools:
      cli.assert_refused(cli.run(tool, f"--run_dir={runs / 'um'}", tmp_path / "other"), "different", "one by one")
  assert not (tmp_path / "other" / "embeddings").exists()


def test_report_keeps_apart_what_was_measured_with_other_settings(runs, tmp_path):
  for run in ("um", "at"):
    shutil.copytree(runs / run, tmp_path / run)
  first, second = np.load(runs / "um" / "analysis.npz")["classes"]  # Of its figures; names are numbers.
  cli.run_well(
    "tla-analyze",
    f"--run_dir={tmp_path / 'at'}",
    *SHORT,
    f"--classes={second},{first}",
    "--neighbors=5",
    "--weak_epsilon=8/255",
    "--false_positive_rate=0.2",
    "--num_examples=100",
  )
  cli.run_well("tla-evaluate", f"--run_dir={tmp_path / 'um'}", "--num_examples=50", "--probe_examples=10")
  cli.run_well("tla-evaluate", f"--run_dir={tmp_path / 'at'}", "--num_examples=40", "--probe_examples=20")
  cli.run_well("tla-report", f"--run_dir={tmp_path / 'um'}", tmp_path / "at", f"--output={tmp_path / 'page.html'}")
  text = (tmp_path / "page.md").read_text()
  for words in (
    "10 nearest",
    "5 nearest",
    "r at 0.05",
    "r at 8/255",
    "PGD at 8/255",
    "5.0% false alarms",
    "20.0% false alarms",
    "Accuracy on 50 test",
    "Accuracy on 40 test",
    "analysed with different settings",
    "150 or 100 test images",
  ):
    assert words in text, words
  assert text.count("![tsne") == 4 and text.count("![accuracy") == 2


def test_report_takes_no_markdown_that_is_not_its_own(runs, tmp_path):
  (tmp_path / "README.md").write_text("mine")
  cli.assert_refused(
    cli.run("tla-report", f"--run_dir={runs / 'um'}", f"--output={tmp_path / 'README.html'}"), "README.md", "--output"
  )
  assert cli.contents(tmp_path) == {pathlib.Path("README.md"): b"mine"}


@pytest.mark.parametrize(
  "arguments, words",
  [
    (("--output=page.pdf",), (".html",)),
    (("--run_dir=nowhere",), ("nowhere", "no such folder")),
    (("--output=/proc/none/page.html",), ("/proc/none",)),
  ],
)
def test_report_refuses_wrong_flags(runs, arguments, words):
  cli.assert_refused(cli.run("tla-report", f"--run_dir={runs / 'um'}", *arguments), *words)
