"""tla-reproduce on the command line."""

import cli_support as cli
import pytest


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
