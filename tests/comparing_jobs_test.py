"""Jobs of a comparison: their order, their failures, and that none outlives its parent."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest

from tla_tf import files
from tla_tf.comparing import jobs
from tla_tf.comparing.jobs import Job
from tla_tf.errors import InputError

ROOT = pathlib.Path(__file__).parent.parent


class Child:
  """A process of nobody's: ends when it was looked at so often."""

  def __init__(self, looks, status=0):
    self.looks, self.status, self.signals = looks, status, []

  def poll(self):
    self.looks -= 1
    return self.status if self.looks < 0 or self.signals else None

  def send_signal(self, sig):
    self.signals.append(sig)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
  monkeypatch.setattr(jobs, "_LOOK", 0.0)


def job(name, *after, uses=()):
  return Job(name, ("nothing",), pathlib.Path("no.log"), after, frozenset(map(pathlib.Path, uses)))


def course(wanted, at_once, **children):
  """What happened, as ["+a", "-a", ...], and the ends by name."""
  events = []
  ends = jobs.run(
    wanted,
    at_once,
    lambda one: children.get(one.name) or Child(1),
    lambda one: events.append(f"+{one.name}"),
    lambda end: events.append(f"-{end.job.name}"),
  )
  return " ".join(events), {end.job.name: end.failure for end in ends}


def test_one_after_the_other_in_their_order():
  assert course([job("a"), job("b")], 1) == ("+a -a +b -b", {"a": None, "b": None})


def test_as_many_at_once_as_asked():
  happened, _ = course([job("a"), job("b"), job("c")], 2, a=Child(5))
  assert happened == "+a +b -b +c -c -a"


def test_what_others_wait_for_comes_first_and_the_rest_does_not_wait():
  happened, _ = course([job("a"), job("b", "a"), job("c"), job("d", "elsewhere")], 3, a=Child(3))
  assert happened == "+a +c +d -c -d -a +b -b"


def test_no_two_write_one_folder_at_once():
  happened, _ = course([job("a", uses=["x", "y"]), job("b", uses=["y"]), job("c", uses=["z"])], 3)
  assert happened == "+a +c -a -c +b -b"


def test_a_failed_job_stops_only_those_that_wait_for_it():
  happened, ends = course(
    [job("a"), job("b", "a"), job("c", "b"), job("d")], 1, a=Child(0, 3), d=Child(0, -signal.SIGKILL)
  )
  assert happened == "+a -a -b -c +d -d"
  assert ends == {
    "a": "status 3",
    "b": "not begun, as a failed",
    "c": "not begun, as b failed",
    "d": "ended by signal SIGKILL",
  }


def test_an_interrupt_ends_the_children():
  child = Child(1000)

  def interrupted(_):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    jobs.run([job("a")], 1, lambda _: child, interrupted)
  assert child.signals == [signal.SIGTERM]


def python(tmp_path, **modules):
  """Writes modules into a folder; returns an environment that has it on Python's path."""
  for name, text in modules.items():
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
  return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}


def test_a_child_has_its_log_and_its_threads(tmp_path, monkeypatch):
  python(
    tmp_path,
    says="import os, sys\nprint(sys.argv[1:], os.environ['TF_NUM_INTRAOP_THREADS'], os.environ['OMP_NUM_THREADS'])\n",
    fails="import sys\nsys.exit('tla-train: error: no such folder.')\n",
  )
  monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
  (tmp_path / "logs").mkdir()
  (tmp_path / "logs" / "a.log").write_text("before\n")
  wanted = [Job("a", ("says", "--x=1"), tmp_path / "logs" / "a.log"), Job("b", ("fails",), tmp_path / "logs" / "b.log")]
  with files.locked(tmp_path / ".lock") as lock:
    ends = jobs.run(wanted, 2, jobs.spawner(lock, 3))
  assert {end.job.name: end.failure for end in ends} == {"a": None, "b": "status 1: tla-train: error: no such folder."}
  assert (tmp_path / "logs" / "a.log").read_text() == "before\n['--x=1'] 3 3\n"


def test_a_killed_parent_leaves_no_child_and_no_lock(tmp_path):
  environment = python(
    tmp_path,
    # Says that it is there, and stays.
    stays=f"import os, signal\npipe = open({str(tmp_path / 'pipe')!r}, 'w')\n"
    "print(os.getpid(), file=pipe, flush=True)\nsignal.pause()\n",
    parent=f"""
      import pathlib
      from tla_tf import files
      from tla_tf.comparing import jobs
      folder = pathlib.Path({str(tmp_path)!r})
      with files.locked(folder / ".lock") as lock:
        jobs.run([jobs.Job("a", ("stays",), folder / "log")], 1, jobs.spawner(lock))
    """,
  )
  os.mkfifo(tmp_path / "pipe")
  with subprocess.Popen([sys.executable, "-m", "parent"], env=environment) as parent, open(tmp_path / "pipe") as pipe:
    os.kill(int(pipe.readline()), 0)
    with pytest.raises(InputError, match="held"), files.locked(tmp_path / ".lock", "held"):
      pass
    parent.kill()
    # Its end is the end of the last process that writes it.
    assert pipe.read() == ""
  with files.locked(tmp_path / ".lock", "held", patience=10):
    pass


def test_a_child_of_a_parent_that_is_gone_does_not_begin(tmp_path):
  environment = python(tmp_path, says="print('begun')\n")
  done = subprocess.run(
    [sys.executable, "-m", "tla_tf.comparing.child", "1", "says"], env=environment, capture_output=True, check=False
  )
  assert (done.returncode, done.stdout) == (1, b"")
