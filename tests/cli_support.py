"""Runs the console scripts as a user would."""

import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import tool_server

SCRIPTS = pathlib.Path(sys.executable).parent
# A run small enough for a test: 16 units, short attacks, and without XLA, which compiles such a step for longer than it
# runs. What is judged and analysed of such a run goes without it, too. A test of what XLA compiles asks for it: `XLA`.
SMALL = (
  "--network=mlp_16",
  "--attack_steps=2",
  "--validation_attack_steps=2",
  "--validation_examples=50",
  "--batch_size=20",
  "--negative_pool_size=20",
  "--train_steps=30",
  "--checkpoint_every=10",
  "--jit=off",
)
XLA = "--jit=auto"


def command(tool, *arguments):
  """The command line of a console script of this environment."""
  return [str(SCRIPTS / tool), *map(str, arguments)]


@functools.cache
def _server():
  return tool_server.Server()


def run(tool, *arguments, cwd=None):
  """Runs a tool to its end; returns the `subprocess.CompletedProcess`, output as text."""
  with tempfile.TemporaryDirectory() as folder:
    output, errors = pathlib.Path(folder, "output"), pathlib.Path(folder, "errors")
    started = command(tool, *arguments)
    code = _server().run(started, output, errors, cwd or os.getcwd(), timeout=300)
    return subprocess.CompletedProcess(started, code, output.read_text(), errors.read_text())


def run_anew(tool, *arguments, **kwargs):
  """As `run`, through the installed script and in a process that shares nothing with another."""
  return subprocess.run(
    command(tool, *arguments),
    capture_output=True,
    text=True,
    env={**os.environ},
    check=False,
    stdin=subprocess.DEVNULL,
    timeout=300,
    **kwargs,
  )


def run_well(tool, *arguments, **kwargs):
  """Runs a tool that must succeed; returns its standard output."""
  done = run(tool, *arguments, **kwargs)
  assert done.returncode == 0, done.stderr + done.stdout
  return done.stdout


def run_python(code, *arguments, cwd=None):
  """As `run`, of Python code instead of a tool: TensorFlow is loaded and has not begun, tla_tf is not loaded."""
  with tempfile.TemporaryDirectory() as folder:
    script = pathlib.Path(folder, "script.py")
    script.write_text(code)
    return run(script, *arguments, cwd=cwd)


def end_when(line_start, sig, tool, *arguments, stream="stdout"):
  """Starts a tool and sends it a signal at once when a line of an output stream begins so.

  Returns:
    (exit code, negative for a signal that killed it; what it wrote to the other stream).
  """
  with tempfile.TemporaryDirectory() as folder:
    pipe, other = pathlib.Path(folder, "pipe"), pathlib.Path(folder, "other")
    os.mkfifo(pipe)
    places = {"stdout": other, "stderr": other, stream: pipe}
    with pytest.MonkeyPatch.context() as patch:
      patch.setenv("PYTHONUNBUFFERED", "1")
      process = _server().start(command(tool, *arguments), places["stdout"], places["stderr"], os.getcwd(), timeout=300)
    with pipe.open() as output:
      seen = any(line.startswith(line_start) for line in output)
      if seen:
        os.kill(process, sig)
      output.read()
    code = _server().wait()
    assert seen, (code, other.read_text())
    return code, other.read_text()


def kill_when(line_start, tool, *arguments, stream="stdout"):
  """Starts a tool and kills it (-9) at once when a line of an output stream begins so."""
  code, _ = end_when(line_start, signal.SIGKILL, tool, *arguments, stream=stream)
  assert code == -signal.SIGKILL, code


def kill_anew_when(line_start, tool, *arguments):
  """As `kill_when` of standard output, through the installed script and in a process that shares nothing."""
  environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
  with subprocess.Popen(
    command(tool, *arguments), text=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
  ) as process:
    seen = any(line.startswith(line_start) for line in process.stdout)
    process.kill()
  assert seen and process.returncode == -signal.SIGKILL, (seen, process.returncode)


def train_small(output_dir, *arguments):
  """Trains the small digits network; returns standard output. Later flags win."""
  return run_well("tla-train-digits", *SMALL, f"--output_dir={output_dir}", *arguments)


def assert_refused(done, *words):
  """Asserts one clear sentence, exit code 1 or 2, no traceback."""
  assert done.returncode in (1, 2), (done.returncode, done.stdout, done.stderr)
  assert "Traceback" not in done.stderr + done.stdout, done.stderr
  for word in words:
    assert str(word) in done.stderr, (word, done.stderr)
  lines = [line for line in done.stderr.splitlines() if line.strip()]
  assert len(lines) <= 3, done.stderr


def contents(folder):
  """Every file below a folder with its bytes: what must not change."""
  return {
    path.relative_to(folder): path.read_bytes() for path in sorted(pathlib.Path(folder).rglob("*")) if path.is_file()
  }


def values(run_dir, step):
  """Every variable of a checkpoint by name: weights, statistics, optimiser."""
  import tensorflow as tf

  reader = tf.train.load_checkpoint(str(run_dir / "checkpoints" / f"step_{step:09d}" / "state"))
  names = [name for name in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name]
  return {name: reader.get_tensor(name) for name in names}


def assert_same_run(left, right, step):
  """Asserts that two runs have the same bits at a step, and the same metrics up to their ends."""
  first, second = values(left, step), values(right, step)
  assert len(first) > 20
  assert first.keys() == second.keys()
  for name, value in first.items():
    np.testing.assert_array_equal(value, second[name], err_msg=name)

  def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in ("seconds", "sha256")} for line in lines]

  assert rows(left) == rows(right)
