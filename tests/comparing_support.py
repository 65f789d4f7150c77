"""Tools that leave results without work, for what runs them."""

import re

from result_support import measured

from tla_tf import files
from tla_tf.persistence.checkpoints import CheckpointStore
from tla_tf.persistence.run_folder import RunFolder
from tla_tf.records.run import CheckpointRecord, DataFacts
from tla_tf.summaries import keep_evaluations
from tla_tf.types import Split


class Killed(BaseException):
  """The process has gone."""


class FakeTools:
  """What starts jobs, and is the child of the last one. A subclass has a method of the name of every tool.

  Args:
    fail: names of jobs that fail.
    kill: from the name of a job to when the process dies: "before" or "after" its results are there.

  Attributes:
    done: names of the jobs that ran, shortened.
    commands: theirs.
  """

  def __init__(self, fail=(), kill=None):
    self.fail, self.kill, self.done, self.commands = fail, kill or {}, [], []

  def start(self, job):
    tool, flags = job.command[0].rpartition(".")[2], dict(re.findall(r"--(\w+)=(\S*)", " ".join(job.command[1:])))
    name = job.name.partition(" (")[0] + (" held out" if "--split=held_out" in job.command else "")
    self.done.append(name)
    self.commands.append(job.command)
    self._status = int(name in self.fail)
    if self.kill.get(name) == "before":
      raise Killed
    if not self._status:
      getattr(self, tool)(job, flags)
    if self.kill.get(name) == "after":
      raise Killed
    return self

  def poll(self):
    return self._status

  def send_signal(self, sig):
    pass


def leave_training(run, robust=0.5, init_step=20):
  """What the training of a PlannedRun leaves, with this accuracy under attack on held-out images."""
  folder, config = RunFolder(run.folder), run.config
  if run.init_from:
    assert RunFolder(run.init_from).is_run
    config = config.replace(init={"run_dir": str(run.init_from), "checkpoint": init_step, "digest": "d"})
  folder.write_config(config, DataFacts("d", (8, 8, 1), 10, tuple("0123456789"), None), {})
  place = folder.checkpoints / f"step_{config.train_steps:09d}"
  place.mkdir(parents=True)
  metrics = {"val_robust_accuracy": robust, "val_accuracy": 0.9}
  CheckpointRecord(config.train_steps, metrics, [robust, 0.9], [], {"state": str(place)}).write(place / "meta.json")


def leave_evaluations(flags, suites, seconds=1.0):
  """What `tla-evaluate` with these flags leaves: an evaluation for each list of rows of attacks."""
  folder = RunFolder(flags["run_dir"])
  store = CheckpointStore(folder.checkpoints)
  best, place = store.best(), folder.of_split(Split(flags.get("split", "test")))
  found = [
    measured(rows, [range(5)] * len(rows), checkpoint=best, checkpoint_digest=store.digest(best), split=Split.TEST)
    for rows in suites
  ]
  files.make_folder(place.results)
  keep_evaluations(
    place.evaluation,
    place.evaluation_images,
    [one._replace(record=one.record.replace(seconds=seconds)) for one in found],
  )
