"""Bad input through the console scripts: one clear sentence, nothing overwritten."""

import json
import os
import shutil
import signal
import subprocess

import cli_support as cli
import idx_support
import numpy as np
import pytest

import tla_tf
from tla_tf.records import sealed


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "at"
  cli.train_small(folder, "--method=at", "--train_steps=10")
  return folder


@pytest.fixture
def copy(trained, tmp_path):
  return shutil.copytree(trained, tmp_path / "copy")


def _train(*arguments):
  return cli.run("tla-train-digits", *cli.SMALL, *arguments)


@pytest.mark.parametrize(
  "flag,words",
  [
    ("--method=trade", ["--method=trade", "did you mean 'trades'", "'um', 'at', 'alp'"]),
    ("--network=resnet", ["resnet", "mlp"]),
    ("--epsilon=-0.1", ["--epsilon", "-0.1"]),
    ("--epsilon=8", ["--epsilon", "at most 1"]),
    ("--epsilon=eight", ["epsilon", "8/255"]),
    ("--attack_steps=-1", ["--attack_steps", "-1"]),
    ("--batch_size=0", ["--batch_size"]),
    ("--margin=-1", ["--margin"]),
    ("--margin=nan", ["--margin"]),
    ("--label_smoothing=2", ["--label_smoothing"]),
    ("--learning_rate_drops=50", ["--learning_rate_drops", "50000:0.01"]),
    ("--learning_rate_schedule=sine", ["learning_rate_schedule", "piecewise|cosine"]),
    ("--cosine_steps=5", ["--cosine_steps"]),
    ("--heldout_examples=0", ["heldout_examples"]),
    ("--heldout_examples=9999", ["too few to hold out 9999"]),
    ("--augment_pad=9999", ["--augment_pad", "at most 256"]),
    ("--init_from=", ["--init_from"]),
    ("--no_such_flag=1", ["no_such_flag"]),
    ("--jit=perhaps", ["jit", "auto|on|off"]),
    ("stray", ["stray"]),
  ],
)
def test_wrong_flags(flag, words, tmp_path):
  cli.assert_refused(_train(f"--output_dir={tmp_path / 'run'}", flag), *words)
  assert not (tmp_path / "run").exists()


def test_no_output_dir():
  cli.assert_refused(_train(), "output_dir")


def test_help_needs_no_tensorflow(tmp_path):
  """A package named tensorflow that fails to import stands before the real one."""
  (tmp_path / "tensorflow.py").write_text("raise RuntimeError('imported')\n")
  for tool in (
    "tla-train-digits",
    "tla-train-mnist",
    "tla-train-cifar10",
    "tla-train-tiny-imagenet",
    "tla-train-images",
    "tla-import-tf1",
    "tla-evaluate",
    "tla-export",
  ):
    done = cli.run_anew(tool, "--help", cwd=tmp_path)
    assert f"{tool}: " in done.stdout
    assert "--output" in done.stdout or "--suite" in done.stdout
    assert "imported" not in done.stderr


def test_every_tool_says_its_version_without_tensorflow(tmp_path):
  (tmp_path / "tensorflow.py").write_text("raise RuntimeError('imported')\n")
  for tool in (
    "tla-train",
    "tla-train-digits",
    "tla-import-tf1",
    "tla-evaluate",
    "tla-analyze",
    "tla-report",
    "tla-compare",
    "tla-reproduce",
    "tla-export",
  ):
    done = cli.run_anew(tool, "--version", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"tla_tf {tla_tf.__version__} (tensorflow ") and done.stdout.count("\n") == 1


@pytest.mark.parametrize("tool, argument", [("tla-evaluate", "--help"), ("tla-train", "--version")])
def test_a_reader_that_has_gone_is_no_error(tool, argument):
  """As of `tla-evaluate --help | head -1`, at the earliest."""
  reading, writing = os.pipe()
  os.close(reading)
  done = subprocess.run(
    cli.command(tool, argument), stdout=writing, stderr=subprocess.PIPE, text=True, timeout=300, check=False
  )
  os.close(writing)
  assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("arguments", [("--run_dir=none",), ("--suite=all",), ("--help",), ("stray",)])
def test_a_tool_in_a_fork_says_and_returns_what_a_new_process_does(arguments, tmp_path):
  """Of `cli.run`, on which these tests rely."""
  forked, started = (run("tla-evaluate", *arguments, cwd=tmp_path) for run in (cli.run, cli.run_anew))
  assert forked.stdout + forked.stderr
  assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)


def test_a_name_too_long_is_one_sentence(tmp_path):
  cli.assert_refused(cli.run("tla-evaluate", f"--run_dir={tmp_path / ('x' * 300)}"), "name too long")


def test_flags_without_effect_are_named(tmp_path):
  done = _train(f"--output_dir={tmp_path / 'run'}", "--method=at", "--margin=0.1", "--train_steps=10")
  assert done.returncode == 0
  assert "--margin" in done.stderr
  assert "no effect on --method=at" in done.stderr


@pytest.mark.parametrize("flags, noted", [((), False), (("--positives=classmate",), True)])
def test_a_margin_has_an_effect_where_its_positive_is_used(flags, noted, tmp_path):
  done = cli.run(
    "tla-train-cifar10", "--data_dir=/nowhere", f"--output_dir={tmp_path / 'run'}", "--twin_margin=0.5", *flags
  )
  assert ("--twin_margin has no effect" in done.stderr) is noted


def test_random_negatives_that_are_nearest():
  cli.assert_refused(_train("--output_dir=unused", "--method=tla_rn", "--negatives=nearest"), "--negatives=random")


def test_output_dir_is_a_file(tmp_path):
  (tmp_path / "file").write_text("mine")
  cli.assert_refused(_train(f"--output_dir={tmp_path / 'file'}"), "is a file")
  assert (tmp_path / "file").read_text() == "mine"


def test_output_dir_holds_something_else(tmp_path):
  (tmp_path / "thesis.tex").write_text("mine")
  cli.assert_refused(_train(f"--output_dir={tmp_path}"), "no run folder", "--output_dir")
  assert cli.contents(tmp_path) == {(tmp_path / "thesis.tex").relative_to(tmp_path): b"mine"}


def test_output_dir_cannot_be_made():
  cli.assert_refused(_train("--output_dir=/proc/nowhere/run"), "/proc/nowhere/run", "cannot be made")
  # As root even /proc looks writable: it fails where the folder is made.


def test_resuming_with_other_settings(copy):
  before = cli.contents(copy)
  cli.assert_refused(_train(f"--output_dir={copy}", "--method=at", "--epsilon=0.1"), "--epsilon=0.2", "0.1")
  cli.assert_refused(_train(f"--output_dir={copy}", "--method=tla"), "method=at")
  assert cli.contents(copy) == before


@pytest.mark.parametrize("tool", ["tla-evaluate", "tla-export"])
def test_not_a_run_folder(tool, tmp_path):
  cli.assert_refused(cli.run(tool, f"--run_dir={tmp_path / 'none'}"), "no such folder")
  cli.assert_refused(cli.run(tool, f"--run_dir={tmp_path}"), "not a run folder")


def test_a_pattern_that_matches_no_run_folder(tmp_path):
  cli.assert_refused(cli.run("tla-report", f"--run_dir={tmp_path}/none_*"), "none_*: matches no run folder")


def test_damaged_config(copy):
  text = (copy / "config.json").read_text()
  for damaged in (text[:100], "[]", text.replace('"settings"', '"sets"'), text.replace('"mlp_16"', '"mlp_x"')):
    (copy / "config.json").write_text(damaged)
    cli.assert_refused(cli.run("tla-evaluate", f"--run_dir={copy}"))


def test_truncated_checkpoint(copy):
  data = next((copy / "checkpoints").glob("step_*/state.data*"))
  data.write_bytes(data.read_bytes()[:-1])
  before = cli.contents(copy)
  cli.assert_refused(cli.run("tla-evaluate", f"--run_dir={copy}"), data.name, "damaged")
  cli.assert_refused(_train(f"--output_dir={copy}", "--method=at", "--train_steps=20"), data.name, "damaged")
  assert {k: v for k, v in cli.contents(copy).items() if k.parts[0] == "checkpoints"} == {
    k: v for k, v in before.items() if k.parts[0] == "checkpoints"
  }


def test_checkpoint_of_another_network(copy):
  config = copy / "config.json"
  config.write_text(config.read_text().replace('"mlp_16"', '"mlp_32"'))
  cli.assert_refused(cli.run("tla-evaluate", f"--run_dir={copy}"), "config.json", "checksum", "restore the file")
  config.write_text(json.dumps(sealed(json.loads(config.read_text()))))
  cli.assert_refused(cli.run("tla-evaluate", f"--run_dir={copy}"), "another network")
  cli.assert_refused(cli.run("tla-export", f"--run_dir={copy}"), "another network")
  assert not (copy / "saved_model").exists()


def test_no_such_checkpoint(trained):
  cli.assert_refused(cli.run("tla-evaluate", f"--run_dir={trained}", "--checkpoint=77"), "77", "[10]")


def test_export_overwrites_nothing(trained, tmp_path):
  (tmp_path / "there").mkdir()
  done = cli.run("tla-export", f"--run_dir={trained}", f"--output={tmp_path / 'there'}")
  cli.assert_refused(done, "exists already")
  assert list((tmp_path / "there").iterdir()) == []


def test_export_where_nothing_can_be_written(trained):
  cli.assert_refused(cli.run("tla-export", f"--run_dir={trained}", "--output=/proc/nowhere/model"), "cannot be made")


EVALUATION_FLAGS = {
  "--suite=all": ("'all'", "quick, table1, table3, auto_attack"),
  "--suite=table3 --epsilon=0.1": ("--epsilon", "table3"),
  "--epsilon=8": ("--epsilon", "8/255"),
  "--num_examples=100000": ("360",),
  "--num_examples=0": ("num_examples",),
  "--num_seeds=0": ("num_seeds",),
  "--suite_file=none.yaml": ("none.yaml", "no such file"),
  "--saved_model=model": ("--saved_model needs --output_dir",),
  "--saved_model=model --output_dir=out --dataset=digits": ("--dataset", "data of the runs"),
  "--pixel_range=0,255": ("--pixel_range", "foreign model"),
  "--source_run_dir=none": ("none: no such folder",),
  "--source_run_dir={trained} --suite=table3": ("--source_run_dir", "table1"),
}


@pytest.mark.parametrize("flags", EVALUATION_FLAGS)
def test_wrong_evaluation_flags(trained, flags):
  before = cli.contents(trained)
  done = cli.run("tla-evaluate", f"--run_dir={trained}", *flags.format(trained=trained).split())
  cli.assert_refused(done, *EVALUATION_FLAGS[flags])
  assert cli.contents(trained) == before


FOREIGN_FLAGS = {
  "": ("some of --run_dir, --saved_model and --keras_model",),
  "--keras_model=none.keras --output_dir=out": ("--keras_model needs --dataset",),
  "--saved_model=none --dataset=digits": ("--saved_model needs --output_dir",),
  "--saved_model=none --dataset=digits --output_dir=out": ("none: holds no saved_model.pb",),
  "--keras_model=none.keras --dataset=digits --output_dir=out": ("none.keras: no such file",),
  "--keras_model=a.keras --dataset=digits --output_dir=out --pixel_range=0": ("--pixel_range", "two numbers"),
  "--keras_model=a.keras --dataset=digits --output_dir=out --pixel_range=1,0": ("--pixel_range", "lower"),
  "--keras_model=a.keras --dataset=digits --output_dir=out --checkpoint=last": ("--checkpoint",),
  "more --keras_model=a.keras --dataset=digits --output_dir=out": ("Unexpected argument 'more'",),
  "--keras_model=a.keras b.keras --dataset=digits --output_dir=out --pixel_range=0,1 --pixel_range=0,1 "
  "--pixel_range=0,1": ("--pixel_range: given 3 times for 2 models",),
  "--keras_model=a.keras --dataset=digits --output_dir=out --skip_bad": (
    "--skip_bad does not go with --dataset=digits",
  ),
}


@pytest.mark.parametrize("flags", FOREIGN_FLAGS)
def test_wrong_flags_of_a_foreign_model(tmp_path, flags):
  cli.assert_refused(cli.run("tla-evaluate", *flags.split(), cwd=tmp_path), *FOREIGN_FLAGS[flags])
  assert list(tmp_path.iterdir()) == []


class TestMnistFiles:
  """Files of MNIST: missing, truncated, mislabelled, out of range."""

  @pytest.fixture
  def folder(self, tmp_path):
    folder = idx_support.write_noise(tmp_path / "mnist", 5100, 50, size=4)
    for labels in folder.glob("*labels*"):
      idx_support.write(labels.with_name(f"{labels.name}.gz"), labels.read_bytes())
      labels.unlink()
    return folder

  @staticmethod
  def write(path, array):
    idx_support.write(path, idx_support.idx_bytes(array))

  def train(self, folder, *arguments):
    output = folder.parent / "run"
    done = cli.run(
      "tla-train-mnist",
      *cli.SMALL,
      "--method=at",
      f"--data_dir={folder}",
      f"--output_dir={output}",
      "--train_steps=10",
      *arguments,
    )
    return done, output

  def refused(self, folder, *words):
    done, output = self.train(folder)
    cli.assert_refused(done, *words)
    assert not (output / "config.json").exists()

  def test_good_files_train(self, folder):
    done, output = self.train(folder)
    assert done.returncode == 0, done.stderr
    assert (output / "checkpoints" / "step_000000010").is_dir()

  def test_missing_file(self, folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    self.refused(folder, "t10k-labels-idx1-ubyte.gz", "no such file")

  def test_missing_folder(self, folder):
    done, _ = self.train(folder.parent / "nowhere", "--data_source=files")
    cli.assert_refused(done, "nowhere", "no such folder")

  def test_truncated_images(self, folder):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    self.refused(folder, path.name, "truncated")

  def test_truncated_gzip(self, folder):
    path = folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    self.refused(folder, path.name, "gzip")

  def test_not_idx(self, folder):
    (folder / "train-images-idx3-ubyte").write_bytes(b"<html>404</html>")
    self.refused(folder, "train-images-idx3-ubyte", "magic number")

  def test_label_out_of_range(self, folder):
    labels = np.zeros(5100, np.uint8)
    labels[7] = 10
    self.write(folder / "train-labels-idx1-ubyte.gz", labels)
    self.refused(folder, "label 10", "0..9")

  def test_other_number_of_labels(self, folder):
    self.write(folder / "train-labels-idx1-ubyte.gz", np.zeros(5000, np.uint8))
    self.refused(folder, "5100 images but 5000 labels")

  def test_images_outside_the_pixel_range(self, folder):
    images = np.zeros((5100, 4, 4), np.float32)
    images[0] = 255
    self.write(folder / "train-images-idx3-ubyte", images)
    self.refused(folder, "[0, 1]", "255")

  def test_other_data_on_resume(self, folder):
    done, output = self.train(folder)
    assert done.returncode == 0
    before = cli.contents(output)
    self.write(folder / "t10k-labels-idx1-ubyte.gz", np.ones(50, np.uint8))
    done, _ = self.train(folder)
    cli.assert_refused(done, "other data")
    cli.assert_refused(cli.run("tla-evaluate", f"--run_dir={output}"), "other data")
    assert cli.contents(output) == before
