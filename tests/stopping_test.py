"""Ctrl-C and SIGTERM: one sentence, 130 or 143, and nothing interrupts what cleans up.

Most programs here send the signals to themselves.
"""

import importlib.metadata
import importlib.util
import pathlib
import signal

import cli_support as cli
import pytest

TOOL = """
import ctypes, os, pathlib, signal, sys, threading
from tla_tf.binaries import entry, stopping
INT, TERM = signal.SIGINT, signal.SIGTERM
def send(*signals):
  for number in signals:
    os.kill(os.getpid(), number)
def main(arguments):
{body}
entry.run(main, goes_on=True)
"""


def ended(tmp_path, body, before=""):
  """(exit status, standard error, whether a file `cleaned` was written) of a tool whose `main` has this body."""
  indented = "".join(f"  {line}\n" for line in body.strip().splitlines())
  code = TOOL.format(body=indented).replace("entry.run(", f"{before}\nentry.run(")
  done = cli.run_python(code, cwd=str(tmp_path))
  return done.returncode, done.stderr, (tmp_path / "cleaned").exists()


CLEANING = """
try:
  send({first})
finally:
  send({then})
  pathlib.Path("cleaned").write_text("all")
"""


@pytest.mark.parametrize(
  "first, then, status, why",
  [
    ("INT", "", 130, "interrupted"),
    ("INT", "INT", 130, "interrupted"),
    ("INT", "TERM", 130, "interrupted"),
    ("TERM", "", 143, "terminated"),
    ("TERM", "INT", 143, "terminated"),
  ],
)
def test_the_first_signal_counts_and_the_second_interrupts_nothing(tmp_path, first, then, status, why):
  found = ended(tmp_path, CLEANING.format(first=first, then=then))
  assert found == (status, f"tla-script: {why}; the same command goes on where it was\n", True)


def test_the_third_ends_it_at_once(tmp_path):
  status, said, cleaned = ended(tmp_path, CLEANING.format(first="INT", then="INT, INT); threading.Event().wait("))
  assert (status, cleaned) == (130, False)
  assert said == "tla-script: interrupted; the same command goes on where it was\n"


def test_sigterm_ends_a_tool_that_is_in_a_call_which_no_signal_interrupts(tmp_path):
  lock = "lock = ctypes.CDLL(None).pthread_mutex_lock; mutex = (ctypes.c_long * 16)(); lock(mutex)"
  body = f"{lock}; threading.Timer(0.0, send, [TERM]).start(); lock(mutex)"
  found = ended(tmp_path, body, before="stopping._PATIENCE = 0.01")
  assert found == (143, "tla-script: terminated; the same command goes on where it was\n", False)


def test_an_interrupt_that_became_another_error_is_one(tmp_path):
  body = "try:\n  send(INT)\nexcept KeyboardInterrupt:\n  raise ValueError('of TensorFlow')"
  assert ended(tmp_path, body)[:2] == (130, "tla-script: interrupted; the same command goes on where it was\n")


def test_before_and_after_the_work_there_is_no_traceback_either(tmp_path):
  before = "entry._with_paths = lambda words: send(TERM)"
  assert ended(tmp_path, "pass", before)[:2] == (143, "tla-script: terminated; the same command goes on where it was\n")
  after = "import atexit; atexit.register(send, INT)"
  assert ended(tmp_path, after)[:2] == (0, "")


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_a_signal_that_is_ignored_stays_so(tmp_path, name):
  body = f"send({name})\npathlib.Path('cleaned').write_text('all')"
  assert ended(tmp_path, body, f"signal.signal({name}, signal.SIG_IGN)") == (0, "", True)


def test_every_tool_ends_so():
  scripts = importlib.metadata.distribution("tla_tf").entry_points
  assert len(scripts) > 10
  for script in scripts:
    source = pathlib.Path(importlib.util.find_spec(script.module).origin).read_text(encoding="utf-8")
    assert "entry.run(main" in source, script.name


def test_a_training_that_is_terminated_goes_on(tmp_path):
  flags = (*cli.SMALL, "--method=um", "--network=mlp_4", "--train_steps=200", f"--output_dir={tmp_path / 'run'}")
  status, said = cli.end_when("step 10/", signal.SIGTERM, "tla-train-digits", *flags)
  assert (status, said.splitlines()[-1]) == (143, "tla-train-digits: terminated; the same command goes on where it was")
  assert not [path for path in (tmp_path / "run").rglob(".*") if path.name != ".lock"]
  assert "going on at step" in cli.run_well("tla-train-digits", *flags)
