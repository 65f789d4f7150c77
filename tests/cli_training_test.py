"""End to end: training through the console scripts, resuming after kill -9."""

import json

import cli_support as cli
import numpy as np
import pytest

from tla_tf.records.metrics import read_rows

# As `tla-train-digits` trains unless it is told otherwise: TLA, compiled by XLA.
DEFAULT = ("--method=tla", cli.XLA)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "uninterrupted"
  cli.train_small(folder, *DEFAULT)
  return folder


def test_a_run_folder_holds_what_design_says(uninterrupted):
  names = {path.name for path in uninterrupted.iterdir()}
  assert {"config.json", "checkpoints", "tensorboard", "metrics.jsonl", "figures"} <= names
  config = json.loads((uninterrupted / "config.json").read_text())
  assert config["settings"]["network"] == "mlp_16"
  assert config["settings"]["seed"] == 221760322
  assert config["settings"]["validation_examples"] == 50
  assert set(config["versions"]) == {"tla_tf", "tensorflow", "keras", "numpy"}
  assert len(config["data"]["digest"]) == 64
  steps = [json.loads(line)["step"] for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
  assert steps == [10, 20, 30]


def test_killed_at_any_moment_it_resumes_to_the_same_bits(uninterrupted, tmp_path):
  """kill -9 right after the process announces its first interval."""
  folder = tmp_path / "killed"
  cli.kill_anew_when("step 10/", "tla-train-digits", *cli.SMALL, *DEFAULT, f"--output_dir={folder}")
  assert "going on at step" in cli.train_small(folder, *DEFAULT)
  cli.assert_same_run(uninterrupted, folder, 30)


def test_a_shorter_run_goes_on_to_the_same_bits(uninterrupted, tmp_path):
  """Stops between two boundaries, then more steps are asked for."""
  folder = tmp_path / "grown"
  cli.train_small(folder, *DEFAULT, "--train_steps=15")
  cli.train_small(folder, *DEFAULT)
  first, second = cli.values(uninterrupted, 30), cli.values(folder, 30)
  for name, value in first.items():
    np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_a_finished_run_says_so_and_changes_nothing(uninterrupted):
  before = cli.contents(uninterrupted / "checkpoints")
  assert "already trained for 30 steps" in cli.train_small(uninterrupted, *DEFAULT)
  assert cli.contents(uninterrupted / "checkpoints") == before


# Methods and parts with state of their own, or with another attack.
WITH_STATE = {
  "trades": ("--method=trades",),
  "memory bank and average": (
    "--method=tla",
    "--negative_pool=memory_bank",
    "--memory_bank_size=70",
    "--memory_bank_start=5",
    "--weight_average=0.9",
    "--schedule=epsilon:0=0,20=1",
    cli.XLA,
  ),
}


@pytest.mark.parametrize("case", WITH_STATE)
def test_what_has_state_of_its_own_is_killed_and_resumes_to_the_same_bits(case, tmp_path):
  flags = (*WITH_STATE[case], "--train_steps=20")
  cli.train_small(tmp_path / "whole", *flags)
  cli.kill_when("step 10/", "tla-train-digits", *cli.SMALL, *flags, f"--output_dir={tmp_path / 'killed'}")
  assert "going on at step" in cli.train_small(tmp_path / "killed", *flags)
  cli.assert_same_run(tmp_path / "whole", tmp_path / "killed", 20)
  names = cli.values(tmp_path / "killed", 20)
  assert any(name.startswith("negatives/") for name in names) == ("bank" in case)
  judged = json.loads((tmp_path / "killed/checkpoints/step_000000020/meta.json").read_text()).get("judged", "network")
  assert judged == ("average" if "average" in case else "network")


def test_any_data_set_is_trained_on_by_its_name(tmp_path):
  done = cli.run("tla-train", *cli.SMALL, "--dataset=digits", "--train_steps=2", f"--output_dir={tmp_path / 'run'}")
  assert done.returncode == 0, done.stderr
  assert "--beta" in cli.run("tla-train", "--dataset=cifar10", "--help").stdout


def test_the_data_set_of_a_tool_is_its_own(tmp_path):
  (tmp_path / "file.flags").write_text("--dataset=digits\n")
  for arguments in ("--dataset=digits",), (f"--flagfile={tmp_path / 'file.flags'}",):
    done = cli.run("tla-train-mnist", *arguments, f"--output_dir={tmp_path / 'run'}")
    cli.assert_refused(done, "--dataset=digits", "trains on mnist")
  cli.assert_refused(cli.run("tla-train", "--output_dir=x"), "Give --dataset", "'digits'")
  cli.assert_refused(cli.run("tla-train", "--dataset=mnits", "--output_dir=x"), "did you mean 'mnist'")
  assert not (tmp_path / "run").exists()


def test_other_methods_without_jit_resume_too(tmp_path):
  """Without XLA, and with batch statistics inside the attack."""
  flags = ("--method=at", "--attack_mode=training", "--jit=off", "--train_steps=20")
  cli.train_small(tmp_path / "whole", *flags)
  cli.train_small(tmp_path / "parts", *flags, "--train_steps=10")
  cli.train_small(tmp_path / "parts", *flags)
  cli.assert_same_run(tmp_path / "whole", tmp_path / "parts", 20)


@pytest.mark.parametrize("method", ["um", "alp", "tla_rn", "trades"])
def test_every_method_trains(method, tmp_path):
  cli.train_small(tmp_path / "run", f"--method={method}", "--train_steps=10")
  (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
  expected = {
    "loss",
    "cross_entropy",
    "weight_decay",
    "accuracy",
    "val_accuracy",
    "val_robust_accuracy",
    "learning_rate",
    "step",
    "seconds",
    "val_loss",
    "val_robust_loss",
  }
  expected |= {"alp": {"pairing"}, "um": set(), "trades": {"kl"}}.get(
    method, {"triplet", "feature_norm", "positive_distance", "negative_distance"}
  )
  assert set(row) == expected


def test_tensorboard_has_every_loss_part_and_the_pictures(uninterrupted):
  from tensorboard.backend.event_processing import event_accumulator

  tags = set()
  for file in (uninterrupted / "tensorboard").iterdir():
    events = event_accumulator.EventAccumulator(str(file), {"tensors": 0})
    events.Reload()
    tags |= set(events.Tags()["tensors"])
  parts = [
    "loss",
    "cross_entropy",
    "weight_decay",
    "triplet",
    "feature_norm",
    "positive_distance",
    "negative_distance",
    "accuracy",
    "learning_rate",
  ]
  pictures = ["clean", "adversarial", "difference", "positive", "negative"]
  assert tags == {
    *(f"train/{name}" for name in parts),
    *(f"pictures/{name}" for name in pictures),
    "heldout/accuracy",
    "heldout/loss",
    "heldout/robust_accuracy",
    "heldout/robust_loss",
    "_hparams_/session_start_info",
    "_hparams_/session_end_info",
  }


def test_every_setting_has_its_flag():
  from tla_tf import settings

  # No tool has them all: only image folders may be resized, only they come from one source.
  shown = "".join(cli.run(tool, "--help").stdout for tool in ("tla-train-mnist", "tla-train-images"))
  flags = set(settings.flag_of_path().values())
  assert {"beta", "memory_bank_size", "margin", "resize"} <= flags
  for flag in flags:
    assert f"  --{flag}:" in shown or f"  --[no]{flag}:" in shown, flag


def test_flag_files_train(tmp_path):
  cli.run_well(
    "tla-train-digits",
    "--flagfile=flags/digits.flags",
    *cli.SMALL,
    f"--output_dir={tmp_path / 'run'}",
    "--train_steps=10",
    "--epsilon=8/255",
  )
  settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
  assert settings["attack"]["epsilon"] == settings["validation_attack"]["epsilon"] == 8 / 255
  assert settings["learning_rate"] == 1e-3


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
  done = cli.run(
    "tla-train-digits",
    *cli.SMALL,
    "--method=at",
    "--learning_rate=1e30",
    "--optimizer=momentum",
    f"--output_dir={tmp_path / 'run'}",
  )
  cli.assert_refused(done, "not finite", "no checkpoint yet", "learning rate")
  assert not list((tmp_path / "run").glob("checkpoints/step_*"))


def test_the_last_good_checkpoint_survives_divergence(tmp_path):
  folder = tmp_path / "run"
  drop = "--learning_rate_drops=10:1e30"
  done = cli.run(
    "tla-train-digits",
    *cli.SMALL,
    "--method=at",
    "--optimizer=momentum",
    "--learning_rate=0.01",
    drop,
    f"--output_dir={folder}",
  )
  cli.assert_refused(done, "not finite", "step 10")
  assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step_000000010"]
  assert "run" in cli.run_well("tla-evaluate", f"--run_dir={folder}", "--num_examples=20")
