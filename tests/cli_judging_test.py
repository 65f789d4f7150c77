"""End to end: evaluate and export through the console scripts."""

import json

import cli_support as cli
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import data
from tla_tf.persistence import CheckpointStore, RunFolder
from tla_tf.persistence.loading import load_network


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  root = tmp_path_factory.mktemp("runs")
  for method in ("um", "at"):
    cli.train_small(root / method, f"--method={method}", "--train_steps=60", "--checkpoint_every=30")
  return root


def test_evaluate_prints_a_table_and_writes_the_contract(runs):
  output = cli.run_well("tla-evaluate", f"--run_dir={runs / 'um'}", runs / "at", "--suite=table1",
                        "--num_examples=60", f"--compare_dir={runs / 'compare'}")
  for word in ("um", "at", "FGSM", "20xPGD-50", "MIM-100", "Worst case"):
    assert word in output
  result = json.loads((runs / "at" / "evaluation.json").read_text())
  assert set(result) >= {"clean", "attacks", "worst_case", "config", "data_digest", "seed", "versions"}
  assert result["clean"]["num_examples"] == 60
  for row in result["attacks"]:
    assert set(row) >= {"name", "norm", "epsilon", "steps", "step_size", "restarts", "accuracy", "seconds",
                        "diagnostics"}
    assert 0 <= row["accuracy"] <= result["clean"]["accuracy"]
  by_name = {row["name"]: row["accuracy"] for row in result["attacks"]}
  assert by_name["PGD-20"] >= by_name["PGD-50"] >= by_name["20xPGD-50"] >= result["worst_case"]["accuracy"]
  table = (runs / "compare" / "table.md").read_text()
  assert table.startswith("Accuracy on 60 test images of digits, suite table1, L-inf epsilon 0.2\n\n"
                          "| Model | Clean | FGSM | BIM-20 |")
  assert table.count("\n") == 6
  for figure in ("um/figures/robust_accuracy.png", "um/figures/adversarial_examples.png",
                 "compare/robust_accuracy.png"):
    assert (runs / figure).read_bytes().startswith(b"\x89PNG")


def test_the_same_evaluation_twice_gives_the_same_result(runs):
  def result():
    cli.run_well("tla-evaluate", f"--run_dir={runs / 'at'}", "--num_examples=40", "--seed=3")
    content = json.loads((runs / "at" / "evaluation.json").read_text())
    for row in content["attacks"]:
      del row["seconds"]
    return content

  assert result() == result()


def test_the_saved_model_serves_in_plain_tensorflow(runs):
  output = runs / "exported"
  cli.run_well("tla-export", f"--run_dir={runs / 'at'}", f"--output={output}", "--checkpoint=last")
  folder = RunFolder.open(runs / "at")
  network = load_network(folder, CheckpointStore(folder.checkpoints).resolve("last"))
  images = data.load("digits").test.float_images(slice(7))
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
  import subprocess
  import sys

  output = runs / "alone"
  cli.run_well("tla-export", f"--run_dir={runs / 'at'}", f"--output={output}")
  code = ("import sys, numpy as np, tensorflow as tf; m = tf.saved_model.load(sys.argv[1]); "
          "r = m.serve(tf.zeros([1, 8, 8, 1])); assert r['logits'].shape == (1, 10); "
          "assert not any(n.startswith('tla_tf') for n in sys.modules); print('served')")
  command = [sys.executable, "-c", code, str(output)]
  done = subprocess.run(command, capture_output=True, text=True, cwd=runs, check=False)
  assert "served" in done.stdout, done.stderr


def test_best_checkpoint_is_that_of_the_best_heldout_robust_accuracy(runs):
  store = CheckpointStore(RunFolder.open(runs / "at").checkpoints)
  scores = {step: store.metrics(step)["val_robust_accuracy"] for step in store.steps()}
  assert len(scores) == 2
  assert store.best() == max(scores, key=lambda step: (scores[step], store.metrics(step)["val_accuracy"], step))
