"""tla-compare with real trainings: killed, it goes on to the same bits; what it leaves."""

import json
import os
import signal
import subprocess

import cli_support as cli
import pytest

from tla_tf import files, published
from tla_tf.comparing import timing
from tla_tf.comparing.plan import ComparisonPlan
from tla_tf.comparing.runner import Comparison, read_plan
from tla_tf.persistence import CheckpointStore
from tla_tf.recipes.cheap_attack import InnerAttackConfig

PLAN = """
dataset: digits
settings: {network: mlp_16, attack_steps: 2, validation_attack_steps: 2, validation_examples: 50, batch_size: 20,
  train_steps: 100, checkpoint_every: 10, jit: off}
seeds: [1]
variants:
  at: {method: at, seed: 3}
  tuned: {method: um, init_from: at}
judge:
  - {suite_file: SUITE, num_examples: 20, probe_examples: 0}
"""


def _plan(folder):
  """The plan, with a list of attacks beside the folder."""
  suite = folder.parent / f"{folder.name}_suite.yaml"
  suite.write_text("[{attack: fgsm}]")
  return PLAN.replace("SUITE", str(suite))


class Tool:
  """A tool that has run, in a fork of a process that has TensorFlow, to its end or until its log says a word."""

  def __init__(self, job, kill_at=None):
    job.log.parent.mkdir(exist_ok=True)
    tool = "tla-" + job.command[0].rpartition(".")[2]
    if kill_at:
      code, _ = cli.end_when(kill_at, signal.SIGKILL, tool, *job.command[1:])
      # What says its last lines may have ended before it is killed: that it failed is what matters here.
      assert code in (-signal.SIGKILL, 0), code
      self._status = -9
    else:
      done = cli.run(tool, *job.command[1:])
      job.log.write_text(done.stdout + done.stderr)
      self._status = done.returncode

  def poll(self):
    return self._status

  def send_signal(self, sig):
    raise AssertionError(sig)


def _compare(folder, kill_at=None):
  """Runs a comparison with tools that are quick to start; returns (Outcome, names of the jobs)."""
  names = []

  def start(job):
    names.append(job.name.partition(" (")[0])
    return Tool(job, (kill_at or {}).get(names[-1]))

  return Comparison(read_plan(None, folder), folder).run(start), names


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
  """The folder of a comparison that was killed within its first training, with the children's log until then."""
  folder = tmp_path_factory.mktemp("compared")
  (folder / "comparison.yaml").write_text(_plan(folder))
  (folder / "logs").mkdir()
  # A pipe: its end is the end of the last process that writes it.
  log = folder / "logs" / "at_seed_3.train.log"
  os.mkfifo(log)
  command = cli.command("tla-compare", f"--output_dir={folder}")
  with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process, open(log) as lines:
    until = next((line for line in lines if line.startswith("step 20")), None)
    process.kill()
    rest = lines.read()
  log.unlink()
  return folder, until, rest


def test_killed_at_any_moment_it_goes_on_to_the_same_bits(killed, tmp_path):
  folder, until, rest = killed
  run, straight = folder / "runs" / "at" / "seed_3", tmp_path / "straight"
  # The tool had begun, and did not outlive the other.
  assert until and "step 100" not in rest
  with files.locked(folder / ".lock", "held"):
    pass
  steps = CheckpointStore(run / "checkpoints").steps()
  assert 10 in steps and 100 not in steps

  # A killed tool is a failed run; the others wait for what it was to make.
  outcome, names = _compare(folder, {"train at_seed_3": "at on digits"})
  assert names == ["train at_seed_3"]
  assert [end.failure for end in outcome.failed] == ["ended by signal SIGKILL", "not begun, as train at_seed_3 failed"]
  assert [one.state.value for one in outcome.record.runs] == ["not begun"]
  assert not list(folder.glob("runs/*/*/evaluation.json"))

  # What had written its results when it was killed is done, though it failed.
  outcome, names = _compare(folder, {"evaluate tuned_seed_1": "Accuracy"})
  assert names == ["train at_seed_3", "train tuned_seed_1", "evaluate tuned_seed_1"]
  assert [end.failure for end in outcome.failed] == ["ended by signal SIGKILL"]
  before = cli.contents(folder / "runs")
  outcome, names = _compare(folder)
  assert names == [] and not outcome.failed and cli.contents(folder / "runs") == before
  assert [one.state.value for one in outcome.record.runs] == ["judged"]

  (at, _) = ComparisonPlan.read(folder / "comparison.yaml").runs(folder)
  cli.run_well("tla-train", *(word for word in at.flags if "output_dir" not in word), f"--output_dir={straight}")
  cli.assert_same_run(run, straight, 100)
  for name in ("comparison.md", "report.html", "figures/accuracy_against_seconds.png"):
    assert (folder / name).is_file(), name


def test_the_tool_says_what_it_would_do_and_what_it_did(killed, tmp_path):
  folder, _, _ = killed
  _compare(folder)
  done = cli.run_well("tla-compare", f"--output_dir={folder}", "--only=tuned")
  assert "Comparison on digits" in done and f"compared     {folder / 'comparison.md'}" in done and "began" not in done
  (tmp_path / "plan.yaml").write_text(_plan(tmp_path))
  arguments = (f"--plan={tmp_path / 'plan.yaml'}", f"--output_dir={tmp_path / 'new'}")
  said = cli.run_well("tla-compare", *arguments, "--dry_run")
  assert not (tmp_path / "new").exists()
  commands = [line for line in said.splitlines() if " -m tla_tf.binaries." in line]
  assert len(commands) == 3 and commands[1].endswith(
    f"--init_from={tmp_path / 'new/runs/at/seed_3'} --output_dir={tmp_path / 'new/runs/tuned/seed_1'}"
  )
  assert "in all" in said and "1 of 1" in said


@pytest.mark.parametrize(
  "plan, words",
  [
    (PLAN.replace("method: at", "method: ta"), ["plan.yaml: variants: at: method: Unknown method 'ta'", "'at'"]),
    (
      PLAN.replace("suite_file: SUITE", "suite: quik"),
      ["plan.yaml: judge 1: suite: 'quik' is not known; did you mean 'quick'?"],
    ),
    ("variants: {", ["plan.yaml: neither YAML nor JSON"]),
  ],
)
def test_a_wrong_plan_is_one_sentence(tmp_path, plan, words):
  (tmp_path / "plan.yaml").write_text(plan)
  done = cli.run("tla-compare", f"--plan={tmp_path / 'plan.yaml'}", f"--output_dir={tmp_path / 'new'}")
  cli.assert_refused(done, *words)
  assert "functions of tla_tf" not in done.stderr
  assert not (tmp_path / "new").exists()


def test_a_failed_run_is_named_with_status_1(tmp_path):
  (tmp_path / "plan.yaml").write_text(_plan(tmp_path).replace("digits", "mnist"))
  arguments = [f"--plan={tmp_path / 'plan.yaml'}", f"--data_dir={tmp_path}", f"--output_dir={tmp_path / 'new'}"]
  done = cli.run("tla-compare", *arguments, "--only=at")
  cli.assert_refused(
    done, "1 of the jobs failed", "train at_seed_3: status 1: tla-train: error: ", "holds neither MNIST", "logs"
  )
  record = json.loads((tmp_path / "new" / "comparison.json").read_text())
  assert [run["state"] for run in record["runs"]] == ["not begun"]


def test_without_a_plan_the_remedy_is_named(tmp_path):
  cli.assert_refused(cli.run("tla-compare", f"--output_dir={tmp_path}"), "no comparison has begun here", "--plan")


def test_a_step_is_measured_in_every_phase_of_its_inner_attack(tmp_path):
  inner = InnerAttackConfig(kind="short_pgd", until=50, step=0.5, steps=1)
  config = published.setting("digits", "at").replace(
    network="mlp_16", batch_size=20, jit="off", attack_mode="inference", inner_attack=inner
  )
  (tmp_path / "settings.json").write_text(json.dumps(config.to_dict()))
  timing.main(str(tmp_path / "settings.json"), str(tmp_path / "phases.json"))
  found = json.loads((tmp_path / "phases.json").read_text())
  assert [first for first, _ in found] == [0, 50] and all(seconds > 0 for _, seconds in found)
