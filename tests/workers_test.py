"""Several worker processes on the loopback interface: in step, one killed, begun again, equal to the bit."""

import contextlib
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import time
import typing

import cli_support as cli
import numpy as np
import pytest
import tensorflow as tf
import yaml

import tla_tf
from tla_tf import published
from tla_tf.errors import InputError
from tla_tf.training.workers import Cluster

TWO = {"worker": ["host0:2222", "host1:2222"]}


def read(cluster=TWO, task=("worker", 0), **changes):
  given = {"cluster": cluster, "task": {"type": task[0], "index": task[1]}, **changes}
  return Cluster.from_environment({"TF_CONFIG": json.dumps({k: v for k, v in given.items() if v is not None})})


class TestTfConfig:
  def test_the_first_worker_is_the_chief(self):
    assert read().is_chief
    assert read(task=("worker", 1)) == Cluster((("worker", 0, "host0:2222"), ("worker", 1, "host1:2222")), 1)
    assert read(task=("worker", "1")).place == 1, "shells make texts of numbers"

  def test_a_chief_of_its_own_comes_first(self):
    cluster = {"worker": ["host0:2222", "host1:2222"], "chief": ["host2:2222"]}
    assert read(cluster, ("chief", 0)).is_chief
    second = read(cluster, ("worker", 0))
    assert (second.place, second.name(0)) == (1, "chief 0 (host2:2222)")

  @pytest.mark.parametrize("text", [None, "", " "])
  def test_it_is_missing(self, text):
    with pytest.raises(InputError, match=r"`distribution_strategy=.*`: .*TF_CONFIG is not set; give"):
      Cluster.from_environment({} if text is None else {"TF_CONFIG": text})

  @pytest.mark.parametrize(
    "text, words",
    [
      ("{'cluster': {}}", r"is not JSON \(Expecting property name .* line 1 column 2"),
      ("[]", "is no JSON object"),
      ("{}", 'has no "cluster"'),
    ],
  )
  def test_it_is_something_else(self, text, words):
    with pytest.raises(InputError, match=f"TF_CONFIG: {words}.*; expected for instance|TF_CONFIG: {words}"):
      Cluster.from_environment({"TF_CONFIG": text})

  @pytest.mark.parametrize(
    "cluster, words",
    [
      ({}, 'has no "cluster"'),
      ({"worker": []}, "names no worker"),
      ({"worker": "host0:2222"}, 'cluster": "worker" is no list'),
      ({"worker": ["host0"]}, "'host0' is no address HOST:PORT"),
      ({"worker": ["host0:2222", 7]}, "7 is no address"),
      ({"worker": ["host0:2222", "host0:2222"]}, "the address host0:2222 twice"),
      ({"worker": ["a:1"], "chief": ["b:1", "c:1"]}, 'more than one "chief"'),
      ({"worker": ["a:1"], "ps": ["b:1"]}, 'cluster" has "ps": expected .*parameter servers are not supported'),
      ({"worker": ["a:1"], "evaluator": ["b:1"]}, 'cluster" has "evaluator": expected .*tla-evaluate'),
      ({"slaves": ["a:1"]}, 'cluster" has "slaves": expected'),
    ],
  )
  def test_its_addresses_are_wrong(self, cluster, words):
    with pytest.raises(InputError, match=f"^TF_CONFIG: .*{words}.*; expected for instance"):
      read(cluster)

  @pytest.mark.parametrize(
    "task, words",
    [
      (("worker", 2), 'has the "index" 2, expected a whole number from 0 to 1'),
      (("worker", -1), 'has the "index" -1, expected'),
      (("worker", 0.5), 'has the "index" 0.5, expected'),
      (("worker", None), 'has the "index" null, expected'),
      (("worker", True), 'has the "index" true, expected'),
      (("chief", 0), 'of "type" "chief", of which "cluster" has none'),
      (("ps", 0), 'of "type" "ps": expected .*parameter servers are not supported'),
      (("evaluator", 0), 'of "type" "evaluator": expected .*tla-evaluate'),
      ((["worker"], 0), r'of "type" \["worker"\]: expected'),
    ],
  )
  def test_its_task_is_wrong(self, task, words):
    with pytest.raises(InputError, match=f'^TF_CONFIG: "task" .*{words}.*; expected for instance'):
      read(task=task)

  @pytest.mark.parametrize("task", [None, {}, {"type": "worker"}, {"index": 0}, "worker"])
  def test_it_has_no_task(self, task):
    with pytest.raises(InputError, match='has no "task" with the "type" and "index" of this worker'):
      Cluster.from_environment({"TF_CONFIG": json.dumps({"cluster": TWO, "task": task})})


def test_workers_meet_before_anything_is_computed(tmp_path, monkeypatch):
  """Here TensorFlow has long begun."""
  config = published.setting("digits", "at").replace(distribution_strategy="multi_worker_mirrored")
  monkeypatch.delenv("TF_CONFIG", raising=False)
  with pytest.raises(InputError, match="TF_CONFIG is not set"):
    tla_tf.train(config, tmp_path / "run")
  monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": TWO, "task": {"type": "worker", "index": 0}}))
  tf.zeros([])
  with pytest.raises(InputError, match="workers must meet before TensorFlow computes anything"):
    tla_tf.train(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()


# Seconds within which what is waited for must have happened, on a machine that does much else.
DEADLINE = 240
FLAGS = (*cli.SMALL, "--method=at", "--train_steps=6", "--checkpoint_every=2", "--jit=off")
# Momentum, where rounding stays rounding: Adam makes whole steps of a gradient that is 0 up to it.
FLAGS += ("--optimizer=momentum", "--learning_rate=0.01")
FLAGS += ("--distribution_strategy=multi_worker_mirrored", "--worker_timeout=10")


class Ended(typing.NamedTuple):
  code: int
  output: str
  errors: str


class Two:
  """Two workers that train into a folder of their own each; the chief's is the run's."""

  def __init__(self, folder):
    with contextlib.ExitStack() as stack:
      sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
      for each in sockets:
        each.bind(("127.0.0.1", 0))
      self.addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    self.run, self.elsewhere = folder / "run", folder / "elsewhere"

  def start(self, *of_second):
    """Starts both, the second one with further flags; kills what is left of them in the end."""
    self.processes = []
    for index, (output_dir, further) in enumerate([(self.run, ()), (self.elsewhere, of_second)]):
      place = {"cluster": {"worker": self.addresses}, "task": {"type": "worker", "index": index}}
      environment = {**os.environ, "TF_CONFIG": json.dumps(place), "PYTHONUNBUFFERED": "1"}
      environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
      command = cli.command("tla-train-digits", *FLAGS, f"--output_dir={output_dir}", *further)
      pipe = subprocess.PIPE
      self.processes.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment))
    return self

  def until(self, line_start):
    """Reads the chief's lines up to one that begins so."""
    output, end = self.processes[0].stdout, time.monotonic() + DEADLINE
    line = ""
    while not line.startswith(line_start):
      assert select.select([output], [], [], max(0.0, end - time.monotonic()))[0], "nothing is said any more"
      line = output.readline()
      assert line, f"the chief ended: {self.end()}"

  def kill_second(self):
    self.processes[1].send_signal(signal.SIGKILL)

  def end(self):
    """Waits for both."""
    try:
      outputs = [process.communicate(timeout=DEADLINE) for process in self.processes]
    finally:
      for process in self.processes:
        process.kill()
    return [Ended(process.returncode, *texts) for process, texts in zip(self.processes, outputs)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
  two = Two(tmp_path_factory.mktemp("undisturbed"))
  return two, two.start().end()


def weights(ended):
  """What a worker says of its weights at the end."""
  return re.search(r"^worker \d .*: weights (\w+ after step \d+)\.$", ended.output, re.MULTILINE)[1]


def test_two_workers_train_in_step(undisturbed):
  two, (first, second) = undisturbed
  assert (first.code, second.code) == (0, 0), (first, second)
  assert weights(first) == weights(second)
  assert weights(first).endswith("after step 6")
  # The chief alone writes and speaks; what it says is one training's.
  assert not two.elsewhere.exists()
  assert (two.run / "figures" / "training.png").is_file()
  rows = [json.loads(line) for line in (two.run / "metrics.jsonl").read_text().splitlines()]
  assert [row["step"] for row in rows] == [2, 4, 6]
  assert "tla-evaluate" in first.output and "tla-evaluate" not in second.output
  assert second.output.count("\n") == 2, second.output


def test_two_workers_train_what_one_process_trains(undisturbed, tmp_path):
  """With synchronised batch statistics, up to rounding."""
  cli.train_small(tmp_path / "one", *FLAGS, "--distribution_strategy=one_device")
  one, two = (
    [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for folder in (tmp_path / "one", undisturbed[0].run)
  )
  assert len(one) == len(two) == 3
  for row, other in zip(one, two):
    assert row.keys() == other.keys()
    for name in row.keys() - {"seconds", "sha256"}:
      assert other[name] == pytest.approx(row[name], rel=1e-4), (row["step"], name)
  one, two = cli.values(tmp_path / "one", 6), cli.values(undisturbed[0].run, 6)
  weights_ = [name for name in one if "_trainable_variables" in name]
  assert len(weights_) == 14
  for name in weights_:
    np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_worker_that_is_killed_ends_all_and_the_same_command_ends_in_the_same_bits(undisturbed, tmp_path):
  two = Two(tmp_path)
  two.start().until("step 2/6")
  two.kill_second()
  first, second = two.end()
  assert second.code == -signal.SIGKILL
  assert first.code == 138, first
  *notes, sentence = first.errors.splitlines()
  assert all(line.startswith("note: ") for line in notes), first.errors
  assert re.fullmatch(
    rf"tla-train-digits: error: worker 1 \({two.addresses[1]}\) is lost: .* --worker_timeout=10 .*; the same command "
    rf"on every worker goes on from the last checkpoint in {two.run}\.",
    sentence,
  )
  first, second = two.start().end()
  assert (first.code, second.code) == (0, 0), (first, second)
  assert re.search(r"going on at step [24]\b", first.output), first.output
  before, (whole, _) = undisturbed
  assert weights(first) == weights(second) == weights(whole)
  cli.assert_same_run(before.run, two.run, 6)


def test_a_worker_with_other_settings_ends_all_before_anything_is_written(tmp_path):
  two = Two(tmp_path)
  first, second = two.start("--learning_rate=0.5").end()
  assert (first.code, second.code) == (1, 1), (first, second)
  assert "was given --learning_rate=0.5, worker 0" in second.errors
  assert f"worker 1 ({two.addresses[1]}) ended: was given" in first.errors
  assert "give every worker the same command" in first.errors
  assert not two.run.exists() and not two.elsewhere.exists()


PAGE = (pathlib.Path(__file__).parent.parent / "docs" / "scaling.md").read_text(encoding="utf-8")


def example(kind):
  """The one example of its kind on the page."""
  (block,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
  return block


def test_the_page_has_a_tf_config_and_a_tfjob():
  assert Cluster.from_environment({"TF_CONFIG": example("json")}).is_chief
  job = yaml.safe_load(example("yaml"))
  assert job["kind"] == "TFJob"
  (container,) = job["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
  assert container["name"] == "tensorflow", "the operator gives TF_CONFIG to the container of this name"
  assert "--distribution_strategy=multi_worker_mirrored" in container["command"]


@pytest.mark.parametrize("status, again", [(0, False), (1, False), (138, True)])
def test_the_script_for_slurm_gives_every_worker_its_place(status, again, tmp_path):
  stubs = {
    "scontrol": '[ "$1" = show ] && printf "node7\\nnode9\\n" || echo "again $2"',
    "srun": 'shift; for SLURM_PROCID in 0 1; do export SLURM_PROCID; "$@"; done; exit ' + str(status),
    "tla-train-cifar10": 'echo "$TF_CONFIG"',
  }
  for name, line in stubs.items():
    (tmp_path / name).write_text(f"#!/bin/bash\n{line}\n")
    (tmp_path / name).chmod(0o755)
  environment = {
    **os.environ,
    "PATH": f"{tmp_path}:{os.environ['PATH']}",
    "SLURM_JOB_ID": "5",
    "SLURM_JOB_NODELIST": "n",
  }
  done = subprocess.run(["bash", "-c", example("bash")], env=environment, capture_output=True, text=True, check=False)
  first, second, *rest = done.stdout.splitlines()
  assert (done.returncode, rest) == (status, ["again 5"] if again else []), done
  places = [Cluster.from_environment({"TF_CONFIG": text}) for text in (first, second)]
  assert [place.place for place in places] == [0, 1]
  assert places[0].tasks == (("worker", 0, "node7:2222"), ("worker", 1, "node9:2222"))
