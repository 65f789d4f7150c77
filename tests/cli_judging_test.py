"""End to end: evaluate and export through the console scripts."""

import json
import shutil

import cli_support as cli
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import datasets
from tla_tf.persistence import CheckpointStore, RunFolder
from tla_tf.persistence.loading import load_network
from tla_tf.records import sealed


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  root = tmp_path_factory.mktemp("runs")
  for method in ("um", "at"):
    cli.train_small(root / method, f"--method={method}", "--train_steps=60", "--checkpoint_every=30")
  return root


def test_evaluate_prints_a_table_and_writes_the_contract(runs):
  output = cli.run_well(
    "tla-evaluate",
    f"--run_dir={runs / 'um'}",
    runs / "at",
    "--suite=table1",
    "--num_examples=60",
    f"--compare_dir={runs / 'compare'}",
  )
  for word in ("um", "at", "FGSM", "20xPGD-50", "MIM-100", "Worst case", "95% interval"):
    assert word in output
  (result,) = _evaluations(runs / "at")
  assert set(result) >= {"clean", "attacks", "worst_case", "config", "data_digest", "seed", "versions"}
  assert result["clean"]["num_examples"] == 60
  for row in result["attacks"]:
    assert set(row) >= {
      "name",
      "norm",
      "epsilon",
      "steps",
      "step_size",
      "restarts",
      "accuracy",
      "seconds",
      "diagnostics",
    }
    assert 0 <= row["accuracy"] <= result["clean"]["accuracy"]
  by_name = {row["name"]: row["accuracy"] for row in result["attacks"]}
  assert by_name["PGD-20"] >= by_name["PGD-50"] >= by_name["20xPGD-50"] >= result["worst_case"]["accuracy"]
  table = (runs / "compare" / "table.md").read_text()
  assert table.startswith(
    "Accuracy on 60 test images of digits, suite table1, L-inf epsilon 0.2\n\n| Model | Clean | FGSM | BIM-20 |"
  )
  assert "\nAlarms:\n" in table
  (place,) = (runs / "at" / "evaluation_images").glob("*.npz")
  arrays = np.load(place, allow_pickle=False)
  assert arrays["broken"].shape == (60, 7) and list(arrays["attacks"]) == list(by_name)
  standing = arrays["right"] & ~arrays["broken"].any(1)
  assert standing.mean() == pytest.approx(result["worst_case"]["accuracy"])
  assert not (runs / "at" / "evaluation_state").exists()
  for figure in (
    "um/figures/robust_accuracy.png",
    "um/figures/adversarial_examples.png",
    "um/figures/accuracy_curves.png",
    "compare/robust_accuracy.png",
    "compare/accuracy_curves.png",
  ):
    assert (runs / figure).read_bytes().startswith(b"\x89PNG")


def _evaluations(run):
  return json.loads((run / "evaluation.json").read_text())["evaluations"]


def _result(run):
  """The last evaluation of evaluation.json without what time it took."""
  content = _evaluations(run)[-1]
  del content["seconds"]
  for row in content["attacks"]:
    del row["seconds"]
  return content


OWN = """
- {attack: fgsm}
- {name: PGD, attack: pgd, step_size: 0.05, steps: 10, restarts: 3}
- {attack: square, steps: 200, on_survivors: true}
- {attack: deepfool, steps: 5, target: second_likely}
"""


def test_killed_and_started_again_an_evaluation_ends_in_the_same_result(runs, tmp_path):
  (tmp_path / "own.yaml").write_text(OWN)
  arguments = (
    f"--run_dir={runs / 'at'}",
    f"--suite_file={tmp_path / 'own.yaml'}",
    "--num_examples=50",
    "--batch_size=10",
    "--seed=3",
    "--probe_examples=20",
  )
  cli.kill_when("PGD: done", "tla-evaluate", *arguments, stream="stderr")
  (journal,) = (runs / "at" / "evaluation_state").iterdir()
  assert len(journal.read_text().splitlines()) >= 3
  again = cli.run("tla-evaluate", *arguments)
  assert again.returncode == 0 and "going on behind" in again.stderr, again.stderr
  resumed, images = _result(runs / "at"), cli.contents(runs / "at" / "evaluation_images")
  assert not (runs / "at" / "evaluation_state").exists()
  uninterrupted = cli.run("tla-evaluate", *arguments)
  assert "going on behind" not in uninterrupted.stderr
  assert _result(runs / "at") == resumed
  assert cli.contents(runs / "at" / "evaluation_images") == images
  assert [row["name"] for row in resumed["attacks"]] == ["fgsm", "PGD", "square", "deepfool"]
  assert "target_success" in resumed["attacks"][-1]


def test_several_seeds_give_mean_and_spread(runs):
  output = cli.run_well(
    "tla-evaluate",
    f"--run_dir={runs / 'at'}",
    "--num_examples=60",
    "--num_seeds=3",
    "--epsilon=0.1",
    "--probe_examples=0",
  )
  fgsm, pgd, restarts = _result(runs / "at")["attacks"]
  assert len(fgsm["accuracy_per_seed"]) == 1 and fgsm["accuracy_std"] is None
  for row in (pgd, restarts):
    assert row["accuracy"] == pytest.approx(np.mean(row["accuracy_per_seed"]))
    assert row["accuracy_std"] == pytest.approx(np.std(row["accuracy_per_seed"], ddof=1))
    assert len(row["accuracy_per_seed"]) == 3
    assert row["accuracy_worst_over_seeds"] <= min(row["accuracy_per_seed"])
  assert " ± " in output


def test_a_run_is_judged_at_its_own_epsilon_and_says_so(runs, tmp_path):
  shutil.copytree(runs / "at", tmp_path / "at", ignore=shutil.ignore_patterns("evaluation*"))
  content = json.loads((tmp_path / "at" / "config.json").read_text())
  content["settings"]["attack"]["epsilon"] = 0.1
  (tmp_path / "at" / "config.json").write_text(json.dumps(sealed(content)))
  arguments = (f"--run_dir={tmp_path / 'at'}", "--num_examples=20", "--probe_examples=0")
  for given, epsilon in (((), 0.1), (("--epsilon=0.2",), 0.2)):
    done = cli.run("tla-evaluate", *arguments, *given)
    assert done.returncode == 0, done.stderr
    said = "at: Its epsilon is 0.1, not digits's 0.2: judged at its own. --epsilon chooses another.\n"
    assert (said in done.stderr) is not bool(given)
    result = _result(tmp_path / "at")
    assert {row["epsilon"] for row in result["attacks"]} == {epsilon}
    assert result["training_epsilon"] == 0.1 and bool(result["notes"]) is not bool(given)


def test_transfer_is_saved_once_and_replayed(runs):
  arguments = (
    "--suite=table1",
    "--num_examples=40",
    f"--source_run_dir={runs / 'um'}",
    "--probe_examples=0",
    "--eight_bit",
  )
  output = cli.run_well("tla-evaluate", f"--run_dir={runs / 'at'}", *arguments)
  assert "BB-20" in output
  (folder,) = (path for path in (runs / "um" / "transfer").iterdir() if path.is_dir())
  made = (folder / "images.npy").stat().st_mtime_ns
  result = _result(runs / "at")
  black_box = result["attacks"][-1]
  assert (black_box["name"], black_box["kind"]) == ("BB-20", "transfer")
  # What fools the undefended source fools a trained defence less than its own gradients do.
  assert result["worst_case"]["accuracy"] <= black_box["accuracy"] <= result["clean"]["accuracy"]
  cli.run_well("tla-evaluate", f"--run_dir={runs / 'at'}", *arguments)
  assert (folder / "images.npy").stat().st_mtime_ns == made
  assert _result(runs / "at") == result
  (folder / "images.npy").write_bytes(b"damaged")
  again = cli.run("tla-evaluate", f"--run_dir={runs / 'at'}", *arguments)
  assert again.returncode == 0 and f"note: {folder}: damaged; what it held is made again" in again.stderr
  assert _result(runs / "at") == result


def test_the_exported_model_is_judged_as_the_run_is(runs, tmp_path):
  cli.run_well("tla-export", f"--run_dir={runs / 'at'}", f"--output={tmp_path / 'model'}")
  shared = ("--num_examples=60", "--suite=quick", "--probe_examples=0")
  cli.run_well(
    "tla-evaluate",
    f"--saved_model={tmp_path / 'model'}",
    "--dataset=digits",
    f"--output_dir={tmp_path / 'judged'}",
    *shared,
  )
  # One table of the run and the model, and a report on both.
  beside = (f"--run_dir={runs / 'at'}", f"--saved_model={tmp_path / 'model'}", f"--output_dir={tmp_path / 'beside'}")
  said = cli.run_well("tla-evaluate", *beside, *shared)
  assert f"results      {tmp_path / 'beside' / 'model' / 'evaluation.json'}" in said
  assert said.count("Accuracy on 60 test images of digits") == 1
  places = (runs / "at", tmp_path / "beside" / "model")
  cli.run_well("tla-report", f"--run_dir={places[0]}", places[1], f"--output={tmp_path / 'report.html'}", beside[-1])
  assert "not trained here" in (tmp_path / "report.md").read_text()
  foreign, own = _result(tmp_path / "judged"), _result(tmp_path / "beside" / "at")
  assert foreign["config"] == {
    "dataset": "digits",
    "model": str(tmp_path / "model"),
    "kind": "saved_model",
    "pixel_range": [0.0, 1.0],
    "probabilities": False,
  }
  assert [row["accuracy"] for row in foreign["attacks"]] == pytest.approx(
    [row["accuracy"] for row in own["attacks"]], abs=0.02
  )
  assert foreign["clean"] == own["clean"]


def test_the_saved_model_serves_in_plain_tensorflow(runs):
  output = runs / "exported"
  cli.run_well("tla-export", f"--run_dir={runs / 'at'}", f"--output={output}", "--checkpoint=last")
  folder = RunFolder.open(runs / "at")
  network = load_network(folder, CheckpointStore(folder.checkpoints).resolve("last"))
  images = datasets.load("digits").test.float_images(slice(7))
  expected = network(images)
  loaded = tf.saved_model.load(str(output))
  served = loaded.serve(tf.constant(images))
  np.testing.assert_allclose(served["logits"], expected["logits"], atol=1e-5)
  np.testing.assert_allclose(np.sum(served["probabilities"], -1), 1, atol=1e-6)
  np.testing.assert_array_equal(served["label"], np.argmax(expected["logits"], -1))
  np.testing.assert_allclose(loaded.embed(tf.constant(images))["embedding"], expected["embedding"], atol=1e-5)
  by_signature = loaded.signatures["serving_default"](images=tf.constant(images[:1]))
  np.testing.assert_allclose(by_signature["logits"], expected["logits"][:1], atol=1e-5)


def test_the_saved_model_needs_no_tla_tf(runs):
  output = runs / "alone"
  cli.run_well("tla-export", f"--run_dir={runs / 'at'}", f"--output={output}")
  code = (
    "import sys, numpy as np, tensorflow as tf; m = tf.saved_model.load(sys.argv[1]); "
    "r = m.serve(tf.zeros([1, 8, 8, 1])); assert r['logits'].shape == (1, 10); "
    "assert not any(n.startswith('tla_tf') for n in sys.modules); print('served')"
  )
  done = cli.run_python(code, output, cwd=runs)
  assert "served" in done.stdout, done.stderr


def test_best_checkpoint_is_that_of_the_best_heldout_robust_accuracy(runs):
  store = CheckpointStore(RunFolder.open(runs / "at").checkpoints)
  scores = {step: store.metrics(step)["val_robust_accuracy"] for step in store.steps()}
  assert len(scores) == 2
  assert store.best() == max(scores, key=lambda step: (scores[step], store.metrics(step)["val_accuracy"], step))
