"""Runs a console script with a fault planned: a kill, or cut power, when it has touched files so many times.

  faulty.py PLAN SCRIPT ARGUMENTS...

PLAN is JSON, of which all is optional but the first two:

  folder   what is watched
  count    a file of 8 bytes: how often files in the folder were touched
  at       the touch before which the fault comes
  cut      [place, luck, seed]: power is cut then, and the folder's tree after it is left at the place
  bytes    the process is killed where it writes more into a file
  most     writing more into a file fails, as on a full disk
  alive    a pipe that is open as long as a process of this tool lives
  forks    whether tools that this one starts are forks, too, which begin at once

A touch is an opening to write, a renaming, a removal, a new folder, a synchronisation. All but the last are Python's
audit events, which no library goes round but those of C++.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import pathlib
import random
import resource
import runpy
import signal
import sys
import typing

_PR_SET_PDEATHSIG = 1
# Events of Python, with the place of the folder's descriptor among their arguments.
_EVENTS = {"os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.mkdir": 2, "os.truncate": None}


class Watch:
  """Counts what is done to the files of a folder; all processes of the tool count together."""

  def __init__(self, plan: dict[str, typing.Any]):
    self._folder, self._at, self._cut = os.path.abspath(plan["folder"]), plan.get("at"), plan.get("cut")
    with open(plan["count"], "r+b") as file:
      self._count = mmap.mmap(file.fileno(), 8)
    self._first = os.getpid()
    self._disk = None
    self._busy = False
    if self._cut:
      from campaigns.power_cut import Disk

      self._disk = Disk(self._folder)
    synchronise = os.fsync

    def fsync(descriptor: int) -> None:
      self._touched(os.readlink(f"/proc/self/fd/{descriptor}"))
      synchronise(descriptor)
      if self._disk is not None and self._below(os.readlink(f"/proc/self/fd/{descriptor}")):
        self._busy = True
        self._disk.keep(descriptor)
        self._busy = False

    os.fsync = fsync
    sys.addaudithook(self._audit)

  def _audit(self, event: str, arguments: tuple) -> None:
    if self._busy or not (event == "open" or event in _EVENTS):
      return
    path, place = arguments[0], _EVENTS.get(event)
    if not isinstance(path, (str, bytes, os.PathLike)):
      return
    if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
      return
    path = os.fsdecode(path)
    if place is not None and len(arguments) > place and isinstance(arguments[place], int) and arguments[place] >= 0:
      path = os.path.join(os.readlink(f"/proc/self/fd/{arguments[place]}"), path)
    self._touched(path)

  def _below(self, path: str) -> bool:
    return (os.path.abspath(path) + os.sep).startswith(self._folder + os.sep)

  def _touched(self, path: str) -> None:
    if not self._below(path):
      return
    count = int.from_bytes(self._count[:8], "little") + 1
    self._count[:8] = count.to_bytes(8, "little")
    if count != self._at:
      return
    self._busy = True
    if self._disk is not None:
      from campaigns.power_cut import Luck

      place, luck, seed = self._cut
      self._disk.cut(place, Luck(luck), random.Random(seed))
    os.kill(self._first, signal.SIGKILL)
    while True:
      signal.pause()  # A tool that was started dies with the first.


class _Child:
  """A forked tool, as `comparing.jobs.Process`."""

  def __init__(self, ask: typing.Callable, job: typing.Any):
    job.log.parent.mkdir(parents=True, exist_ok=True)
    self._ask, self._status = ask, None
    self._process = ask("start", [*job.command], str(job.log))

  def poll(self) -> int | None:
    self._status = self._ask("poll", self._process) if self._status is None else self._status
    return self._status

  def send_signal(self, sig: int) -> None:
    os.kill(self._process, sig)


def fork_what_is_started(command: list[str]) -> list[str]:
  """Lets `comparing` start its tools as forks of this process as it is now.

  Returns the command of this process; and in every fork, its own.
  """
  (asked, ask), (answered, answer) = os.pipe(), os.pipe()
  if not os.fork():
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.close(ask)
    with os.fdopen(asked) as requests:
      for line in requests:
        kind, *given = json.loads(line)
        if kind == "start":
          reply = os.fork()
          if not reply:
            return _become(*given)
        else:
          found, status = os.waitpid(given[0], os.WNOHANG)
          reply = os.waitstatus_to_exitcode(status) if found else None
        os.write(answer, (json.dumps(reply) + "\n").encode())
    os._exit(0)
  replies = os.fdopen(answered)

  def request(*words: typing.Any) -> typing.Any:
    os.write(ask, (json.dumps(words) + "\n").encode())
    return json.loads(replies.readline())

  from tla_tf.comparing import jobs

  jobs.spawner = lambda lock, threads=None: lambda job: _Child(request, job)
  return command


def _become(words: list[str], log: str) -> list[str]:
  ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
  descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
  os.dup2(descriptor, 1)
  os.dup2(descriptor, 2)
  return ["-m", *words]


def main(plan: dict[str, typing.Any], command: list[str]) -> None:
  """Runs a command as planned."""
  if plan.get("alive"):
    os.set_inheritable(os.open(plan["alive"], os.O_WRONLY), True)
  limit = plan.get("bytes") or plan.get("most")
  if limit:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if plan.get("bytes") else signal.SIG_IGN)
  if plan.get("folder"):
    Watch(plan)
  if plan.get("forks"):
    command = fork_what_is_started(command)
  if command[0] == "-m":
    sys.argv = command[1:]
    runpy.run_module(command[1], run_name="__main__", alter_sys=True)
  else:
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
  sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
  main(json.loads(sys.argv[1]), sys.argv[2:])
