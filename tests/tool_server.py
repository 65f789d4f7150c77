"""Starts command-line tools from a process that has TensorFlow loaded, each in a fork of its own.

Loading TensorFlow takes longer than most of what tests ask of a tool. Nothing
is computed before the fork: each tool starts with its own flags, folder,
environment and output, and ends with its own exit code, as a new process does.

`Server` is the tests' side; run as a script, this file is the other one.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import traceback


class Server:
  """Runs tools one after another; ends when the test process does."""

  def __init__(self):
    # A tool keeps TensorFlow's chatter to itself while it loads; here it is loaded, and finds no GPU, before a tool
    # could.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    self._process = subprocess.Popen(
      [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )

  def run(self, arguments, output, errors, cwd, timeout):
    """Runs a console script; returns its exit code, below 0 if a signal ended it.

    Args:
      arguments: the command line, beginning with the path of the script.
      output: path of the file for its standard output.
      errors: path of the file for its standard error.
      cwd: the folder it runs in.
      timeout: seconds after which it is ended.
    """
    self.start(arguments, output, errors, cwd, timeout)
    return self.wait()

  def start(self, arguments, output, errors, cwd, timeout):
    """Starts a console script as `run` does; returns the id of its process. `wait` must follow."""
    request = [list(arguments), str(output), str(errors), str(cwd), dict(os.environ), timeout]
    print(json.dumps(request), file=self._process.stdin, flush=True)
    return json.loads(self._process.stdout.readline())

  def wait(self):
    """The exit code of what was started, once it has ended; until then the id is its own."""
    print(file=self._process.stdin, flush=True)
    return json.loads(self._process.stdout.readline())


def _become(arguments, output, errors, cwd, environment, timeout):
  """Turns the forked process into one that a shell would have started."""
  signal.alarm(timeout)
  for descriptor, path, flags in (
    (0, os.devnull, os.O_RDONLY),
    (1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    (2, errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
  ):
    opened = os.open(path, flags, 0o644)
    os.dup2(opened, descriptor)
    os.close(opened)
  os.chdir(cwd)
  os.environ.clear()
  os.environ.update(environment)
  # What Python itself asks when it starts.
  sys.stdout.reconfigure(line_buffering="PYTHONUNBUFFERED" in environment)
  sys.argv = arguments


def _serve():
  """Forks for every request; returns in the forks alone, as the tool to run."""
  for line in sys.stdin:
    child = os.fork()
    if not child:
      _become(*json.loads(line))
      return
    print(json.dumps(child), flush=True)
    sys.stdin.readline()
    _, status = os.waitpid(child, 0)
    print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)
  os._exit(0)


def _run(script):
  """Runs a console script; returns the exit code that Python would end with."""
  try:
    runpy.run_path(script, run_name="__main__")
    code = 0
  except SystemExit as end:
    code = end.code
  except BaseException:
    traceback.print_exc()
    code = 1
  if isinstance(code, str):
    print(code, file=sys.stderr)
    code = 1
  return code or 0


if __name__ == "__main__":
  import tensorflow  # noqa: F401

  gc.freeze()
  _serve()
  exit_code = _run(sys.argv[0])
  atexit._run_exitfuncs()  # noqa: SLF001
  sys.stdout.flush()
  sys.stderr.flush()
  # At once: to take TensorFlow apart would copy most of the memory that is shared with the other process.
  os._exit(exit_code)
