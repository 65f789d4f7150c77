"""tla-reproduce on the command line."""

import cli_support as cli
import pytest
from idx_support import write_noise

from tla_tf.reproducing.record import ReproducedRecord


@pytest.mark.parametrize(
  "arguments, words",
  [
    (("--table=7",), "--table=7: "),
    (("--table=2", "--dataset=mnist"), "--dataset=mnist: Table 2 is not of it"),
    (("--table=4", "--scale=long"), "['published', 'short'], or the .yaml file of a plan of your own"),
    (("--table=4", "--dataset=mnist", "--only=tlaa"), "--only=tlaa: did you mean 'tla'?"),
    (("--table=4", "--dataset=mnist"), "Give --output_dir, the folder of the tables, or --dry_run."),
    (("--data_dir=nowhere", "--output_dir=out", "--table=4"), "nowhere/mnist: no such folder; of several data sets"),
    (("stray",), "Unexpected argument 'stray'"),
  ],
)
def test_wrong_choices_end_in_one_sentence(tmp_path, arguments, words):
  done = cli.run("tla-reproduce", *arguments, cwd=tmp_path)
  cli.assert_refused(done, words)
  assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_is_left_and_makes_nothing(tmp_path):
  plan = tmp_path / "tiny.yaml"
  plan.write_text(
    "dataset: mnist\nsettings: {network: mlp_16, train_steps: 20, jit: off}\nseeds: [1, 2]\n"
    "variants: {at: {method: at}}\n"
    "judge: [{suite: [table1], num_examples: 10}]\n"
  )
  choice = ("--table=4", "--dataset=mnist", f"--scale={plan}", "--only=at", "--seeds=1")
  said = cli.run_well("tla-reproduce", *choice, "--dry_run", f"--output_dir={tmp_path / 'out'}")
  assert "mnist_mlp_tiny: trainings of Table 4" in said and "tla-evaluate --suite=table1 --num_examples=10" in said
  assert "1 of 1" in said and said.splitlines()[-1].endswith("hours on this machine, one after the other")
  assert not (tmp_path / "out").exists()


@pytest.fixture
def mnist(tmp_path):
  """A folder with MNIST's four files, of noise."""
  return write_noise(tmp_path / "mnist", 300, 50)


@pytest.mark.slow
def test_one_command_gives_the_table_and_survives_kill_9(tmp_path, mnist):
  """Of the installed script, with real tools on images of noise."""
  plan = tmp_path / "tiny.yaml"
  small = " ".join(word.removeprefix("--").replace("=", ": ") + "," for word in cli.SMALL if "pool" not in word)
  plan.write_text(
    f"dataset: mnist\nsettings: {{{small} heldout_examples: 50}}\nseeds: [1]\n"
    "variants: {at: {method: at}, tla: {method: tla}}\n"
    "judge: [{suite: [table1], num_examples: 10, probe_examples: 0}]\n"
  )
  arguments = (
    "--table=4",
    "--dataset=mnist",
    f"--scale={plan}",
    "--only=at,tla",
    f"--data_dir={mnist}",
    f"--output_dir={tmp_path / 'out'}",
  )
  cli.kill_anew_when("train tla_seed_1: began", "tla-reproduce", *arguments)
  done = cli.run_anew("tla-reproduce", *arguments)
  assert done.returncode == 0, done.stdout + done.stderr
  assert "train at_seed_1" not in done.stdout and "train tla_seed_1: done" in done.stdout
  record = ReproducedRecord.read(tmp_path / "out" / "table_4_mnist_tiny.json")
  assert [row.name for row in record.rows] == ["AT", "TLA"]
  assert all(cell.ours is not None and cell.interval is not None for row in record.rows for cell in row.cells)
  assert record.rows[1].cells[4].printed == "65.88%"
  again = cli.run_anew("tla-reproduce", *arguments)
  assert again.returncode == 0 and "began" not in again.stdout
