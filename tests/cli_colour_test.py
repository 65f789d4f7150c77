"""The tools on colour images, as a user runs them, on small files made here."""

import json
import shutil

import cli_support as cli
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

CLASSES = ("apple", "pear")
SMALL = (
  "--network=convnet_2",
  "--attack_steps=1",
  "--validation_attack_steps=1",
  "--validation_examples=10",
  "--batch_size=10",
  "--negative_pool_size=10",
  "--train_steps=4",
  "--checkpoint_every=2",
  "--heldout_examples=10",
  "--optimizer=adam",
  "--learning_rate=1e-3",
)


def noise(seed, size):
  return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def save(folder, name, seed, size):
  folder.mkdir(parents=True, exist_ok=True)
  Image.fromarray(noise(seed, size)).save(folder / name)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """A folder with small data in the layout of each tool."""
  root = tmp_path_factory.mktemp("files")
  rng = np.random.default_rng(0)
  for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
    records = rng.integers(0, 256, (12, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(12) % 10
    (root / f"{name}.bin").write_bytes(records.tobytes())
  lines = []
  for c, name in enumerate(CLASSES):
    for i in range(15):
      save(root / "images" / "train" / name, f"{i}.png", 20 * c + i, 20)
      save(root / "tiny" / "train" / name / "images", f"{name}_{i}.JPEG", 20 * c + i, 64)
    for i in range(5):
      save(root / "images" / "test" / name, f"{i}.png", 60 + 20 * c + i, 24)
      save(root / "tiny" / "val" / "images", f"val_{5 * c + i}.JPEG", 60 + 20 * c + i, 64)
      lines.append(f"val_{5 * c + i}.JPEG\t{name}\t0\t0\t1\t1\n")
  (root / "tiny" / "val" / "val_annotations.txt").write_text("".join(lines))
  (root / "tiny" / "wnids.txt").write_text("pear\napple\n")
  return root


def config_of(run):
  return json.loads((run / "config.json").read_text())


def test_cifar10_stopped_and_continued_ends_in_the_same_bits(files, tmp_path):
  def train(run, *flags):
    cli.run_well("tla-train-cifar10", *SMALL, f"--data_dir={files}", f"--output_dir={tmp_path / run}", *flags)

  train("whole")
  train("parts", "--train_steps=2")
  train("parts")
  cli.assert_same_run(tmp_path / "whole", tmp_path / "parts", 4)
  settings = config_of(tmp_path / "whole")["settings"]
  assert (settings["augment_pad"], settings["augment_flip"]) == (2, True)
  assert settings["recipe"]["triplet"]["positives"] == "both"


def test_tiny_imagenet_is_trained_from_its_official_layout(files, tmp_path):
  run = tmp_path / "run"
  cli.run_well(
    "tla-train-tiny-imagenet",
    *SMALL,
    f"--data_dir={files / 'tiny'}",
    f"--cache_dir={tmp_path / 'cache'}",
    f"--output_dir={run}",
  )
  facts = config_of(run)["data"]
  assert (facts["class_names"], facts["image_shape"]) == (["pear", "apple"], [64, 64, 3])
  assert len(facts["digest"]) == 64
  assert {"pairing", "triplet"} <= set(json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]))


def test_one_folder_of_images_is_divided_trained_judged_and_exported(files, tmp_path):
  run, cache = tmp_path / "run", f"--cache_dir={tmp_path / 'cache'}"
  # Classes alone, without train/ and test/; a file that cannot be read, and one of another format.
  mine = shutil.copytree(files / "images" / "train", tmp_path / "mine")
  (mine / "pear" / "notes.txt").write_text("hello")
  Image.open(mine / "apple" / "0.png").save(mine / "apple" / "0.gif")
  (mine / "apple" / "0.png").unlink()
  said = cli.run_well(
    "tla-train-images",
    *SMALL,
    f"--data_dir={mine}",
    "--test_fraction=1/3",
    "--skip_bad",
    "--image_size=16x18",
    "--resize=crop",
    "--channels=1",
    "--method=alp",
    cache,
    f"--output_dir={run}",
  )
  assert f"left out     {mine}/pear/notes.txt: no whole JPEG, PNG" in said
  content = config_of(run)
  assert [path for path, _ in content["data"]["left_out"]] == [f"{mine}/pear/notes.txt"]
  assert content["settings"]["reading"]["test_fraction"] == 1 / 3
  table = cli.run_well("tla-evaluate", f"--run_dir={run}", "--suite=table1", cache)
  assert "10 test images of images" in table
  assert "classes      0 apple, 1 pear" in cli.run_well("tla-export", f"--run_dir={run}", "--uint8")
  served = tf.saved_model.load(str(run / "saved_model"))
  assert served.signatures["serving_default"](images=tf.zeros([3, 16, 18, 1]))["logits"].shape == (3, 2)
  assert served.serve_uint8(tf.zeros([3, 16, 18, 1], tf.uint8))["logits"].shape == (3, 2)
  assert served.class_names()["class_names"].numpy().tolist() == [b"apple", b"pear"]
  # The SavedModel is judged on the same images, which the flags say how to read.
  reading = ("--image_size=16x18", "--resize=crop", "--channels=1", "--test_fraction=1/3", "--skip_bad", SMALL[8])
  judged = ("--dataset=images", f"--data_dir={mine}", f"--output_dir={tmp_path / 'judged'}", "--probe_examples=0")
  done = cli.run("tla-evaluate", f"--saved_model={run / 'saved_model'}", *reading, *judged, cache)
  assert f"left out {mine}/pear/notes.txt: no whole JPEG, PNG" in done.stderr and done.returncode == 0
  own, foreign = (
    json.loads((place / "evaluation.json").read_text())["evaluations"][-1] for place in (run, tmp_path / "judged")
  )
  assert (foreign["data_digest"], foreign["clean"]) == (own["data_digest"], own["clean"])
  assert foreign["config"]["reading"]["test_fraction"] == 1 / 3 and len(foreign["config"]["left_out"]) == 1


def test_images_of_another_size_are_refused_by_name(files, tmp_path):
  done = cli.run(
    "tla-train-images",
    *SMALL,
    f"--data_dir={files / 'images'}",
    f"--cache_dir={tmp_path / 'cache'}",
    f"--output_dir={tmp_path / 'run'}",
  )
  cli.assert_refused(done, "test/apple/0.png", "is 24x24, expected 20x20", "--resize")
  assert not (tmp_path / "run").exists()
  assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
