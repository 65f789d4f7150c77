"""Kills, two processes on one folder, full disks and cut power, over the tools: a seeded campaign with its counts.

  PYTHONPATH=tests python -m campaigns.faults --kills=50 --disks=40 --cuts=60 --pairs=5 --json=build/faults.json

Every case works on a small run, of digits or of noise in the form of MNIST, ends or disturbs a tool, gives the same
command again, and compares all files that are left with those of an undisturbed run: arrays to the bit, records but for
times. It ends with status 1 if one case is missed. Linux only; full disks are small file systems in memory, in a mount
namespace of its own.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import typing

import numpy as np
import tool_server
from campaigns.power_cut import Luck
from idx_support import write_noise

SCRIPTS = pathlib.Path(sys.executable).parent
LAUNCHER = pathlib.Path(__file__).with_name("faulty.py")
TRAINING = {
  "network": "mlp_8",
  "attack_steps": 1,
  "validation_attack_steps": 1,
  "validation_examples": 20,
  "heldout_examples": 20,
  "batch_size": 10,
  "checkpoint_every": 3,
  "train_steps": 12,
  "jit": "off",
}
SUITE = "[{attack: fgsm}, {attack: pgd, steps: 2, restarts: 2}]"
# Seconds after which a tool hangs.
TOO_LONG = 300


# --------------------------------------------------------------------------- tools under a plan


class Ended(typing.NamedTuple):
  """How a process ended: its code, below 0 for a signal, and what it said."""

  code: int
  text: str


class Runner:
  """Starts tools one after another, as forks of a process that has TensorFlow loaded.

  Args:
    folder: for its pipes.
  """

  def __init__(self, folder: pathlib.Path):
    self._folder = pathlib.Path(tempfile.mkdtemp(dir=folder))
    self._server = tool_server.Server()
    self.count = self._folder / "count"

  def start(self, command: list[str], **plan: typing.Any) -> int:
    """Starts a command; returns the id of its process. `wait` must follow."""
    self.count.write_bytes(bytes(8))
    pipes = {name: self._folder / name for name in ("said", "alive")}
    for path in pipes.values():
      path.unlink(missing_ok=True)
      os.mkfifo(path)
    self._alive = os.open(pipes["alive"], os.O_RDONLY | os.O_NONBLOCK)
    said = os.open(pipes["said"], os.O_RDONLY | os.O_NONBLOCK)
    # Held open, so that a reader who comes before the writer sees no end.
    self._open = os.open(pipes["said"], os.O_WRONLY)
    self._said: list[bytes] = []
    os.set_blocking(said, True)
    self._reader = threading.Thread(target=self._read, args=(said,))
    self._reader.start()
    words = [str(LAUNCHER), json.dumps({"alive": str(pipes["alive"]), "count": str(self.count), **plan}), *command]
    return self._server.start(words, pipes["said"], pipes["said"], str(self._folder), TOO_LONG)

  def wait(self) -> Ended:
    """The end of what was started, and of all that it started."""
    code = self._server.wait()
    while True:
      try:
        if os.read(self._alive, 1) == b"":
          break
      except BlockingIOError:
        waiting = select.poll()
        waiting.register(self._alive, select.POLLHUP)
        waiting.poll(1000 * TOO_LONG)
    os.close(self._alive)
    os.close(self._open)
    self._reader.join()
    return Ended(code, b"".join(self._said).decode(errors="replace"))

  def run(self, command: list[str], **plan: typing.Any) -> Ended:
    """Runs a command to its end."""
    self.start(command, **plan)
    return self.wait()

  @property
  def touches(self) -> int:
    """How often the last command touched files of the folder that its plan named."""
    return int.from_bytes(self.count.read_bytes(), "little")

  def _read(self, descriptor: int) -> None:
    while block := os.read(descriptor, 1 << 16):
      self._said.append(block)
    os.close(descriptor)


# --------------------------------------------------------------------------- what is run


@dataclasses.dataclass
class Task:
  """A tool's work on a folder.

  Attributes:
    name: of the tool: "train".
    before: the folder's tree when it begins.
    command: the command line, given in the folder `place`.
    place: the folder; the same for all cases, as some records name it.
    result: what an undisturbed run leaves; see `results`.
    seconds: what that takes.
    touches: how often it touches files.
    size: bytes that the folder takes then.
    starts_others: whether it starts tools itself.
    once: whether it refuses to do again what is done.
  """

  name: str
  before: pathlib.Path
  command: list[str]
  place: pathlib.Path
  result: dict[str, typing.Any] = dataclasses.field(default_factory=dict)
  seconds: float = 0.0
  touches: int = 0
  size: int = 0
  starts_others: bool = False
  once: bool = False

  def lay_out(self) -> None:
    """Puts the folder into the state before."""
    clear(self.place)
    shutil.copytree(self.before, self.place, dirs_exist_ok=True)

  def plan(self) -> dict[str, typing.Any]:
    """Of every start of the command."""
    return {"folder": str(self.place), "forks": self.starts_others}


def clear(folder: pathlib.Path) -> None:
  """Empties a folder, which may be a mount; makes it where it is missing."""
  folder.mkdir(parents=True, exist_ok=True)
  for path in folder.iterdir():
    if path.is_dir() and not path.is_symlink():
      shutil.rmtree(path)
    else:
      path.unlink()


def tasks(folder: pathlib.Path, runner: Runner, names: list[str]) -> list[Task]:
  """The tools' work, each run once undisturbed.

  Raises:
    AssertionError: if one fails so.
  """
  place, suite = folder / "place", folder / "suite.yaml"
  suite.write_text(SUITE)
  mnist = folder / "mnist"
  write_noise(mnist, 80, 20)
  words = [f"--{name}={value}" for name, value in TRAINING.items()]
  settings = ", ".join(f"{name}: {value}" for name, value in TRAINING.items())
  plan = folder / "plan.yaml"
  plan.write_text(
    f"dataset: digits\nsettings: {{{settings}}}\nseeds: [1]\n"
    "variants:\n  at: {method: at, train_steps: 6}\n"
    f"judge:\n  - {{suite_file: {suite}, num_examples: 10, probe_examples: 5}}\n"
  )
  scale = folder / "tiny.yaml"
  scale.write_text(
    f"dataset: mnist\nsettings: {{{settings.replace('train_steps: 12', 'train_steps: 6')}}}\nseeds: [1]\n"
    "variants: {at: {method: at}}\njudge: [{suite: [table1], num_examples: 5, probe_examples: 0}]\n"
  )

  def script(tool: str, *arguments: typing.Any) -> list[str]:
    return [str(SCRIPTS / f"tla-{tool}"), *map(str, arguments)]

  empty, trained = folder / "empty", folder / "trained"
  empty.mkdir()
  short = ["--num_examples=20", "--batch_size=5"]
  found = {
    "train": Task("train", empty, script("train-digits", "--method=at", *words, f"--output_dir={place}/run"), place),
    "evaluate": Task(
      "evaluate",
      trained,
      script("evaluate", f"--run_dir={place}/run", f"--suite_file={suite}", "--probe_examples=5", *short),
      place,
    ),
    "analyze": Task(
      "analyze",
      trained,
      script("analyze", f"--run_dir={place}/run", *short, "--fit_examples=60", "--num_train_examples=60"),
      place,
    ),
    "export": Task("export", trained, script("export", f"--run_dir={place}/run"), place, once=True),
    "compare": Task(
      "compare", empty, script("compare", f"--plan={plan}", f"--output_dir={place}/all"), place, starts_others=True
    ),
    "reproduce": Task(
      "reproduce",
      empty,
      script(
        "reproduce",
        "--table=4",
        "--dataset=mnist",
        f"--scale={scale}",
        "--only=at",
        f"--data_dir={mnist}",
        f"--output_dir={place}/paper",
      ),
      place,
      starts_others=True,
    ),
  }
  for name, task in found.items():
    if name not in names and name != "train":
      continue
    task.lay_out()
    begin = time.monotonic()
    ended = runner.run(task.command, **task.plan())
    task.seconds, task.touches = time.monotonic() - begin, runner.touches
    if ended.code:
      raise AssertionError(f"{name} failed undisturbed ({ended.code}):\n{ended.text}")
    task.size, task.result = _size(place), results(place)
    if name == "train":
      shutil.copytree(place, trained)
  return [found[name] for name in names]


# --------------------------------------------------------------------------- what is left


# Files that hold times or random names, or logs of what was tried.
_OTHER = re.compile(r"(^|/)(tensorboard|logs|judging)/|\.(lock|html|md|csv|png|pb)$|seconds")
# And a record's checksum, which its times are in.
_TIMES = re.compile(r"second|^time|_time$|hours|created|_dir$|^cost|^sha256$")


def results(folder: pathlib.Path) -> dict[str, typing.Any]:
  """What lies below a folder, but for times: digests of arrays and weights, records as values, other files by name."""
  found: dict[str, typing.Any] = {}
  for path in sorted(folder.rglob("*")):
    name = path.relative_to(folder).as_posix()
    if any(part.startswith(".") for part in pathlib.PurePath(name).parts[:-1]):
      continue  # What a left over folder holds.
    if not path.is_file():
      if path.name.startswith("."):
        found[f"{name}/"] = "left over"
      continue
    if path.name.startswith(".") and not path.name.endswith(".lock"):
      found[name] = "left over"
    elif path.suffix in (".json", ".jsonl") and not _OTHER.search(name):
      found[name] = [_without_times(json.loads(line)) for line in _documents(path)]
    elif path.suffix == ".npz":
      with np.load(path, allow_pickle=False) as arrays:
        found[name] = {key: _bits(arrays[key]) for key in arrays.files}
    elif path.parts[-3:-1] == ("saved_model", "variables"):
      found[name] = "there"
      found[f"{name.rpartition('/')[0]}/"] = _tensors(path.parent / "variables")
    elif path.name == "saved_model.pb":
      found[name] = _functions(path)
    elif "/tensorboard/" not in f"/{name}" and not path.name.startswith("."):
      content = path.read_bytes()
      # What a tool said last is lost with it.
      there = "there" if content or path.suffix == ".log" else "empty"
      found[name] = there if _OTHER.search(name) else _bits(content)
  return found


def _tensors(prefix: pathlib.Path) -> list[str] | str:
  """Digests of the variables of an export, which are named and ordered anew in each."""
  import tensorflow as tf

  try:
    reader = tf.train.load_checkpoint(str(prefix))
    names = [name for name in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name]
    return sorted(_bits(np.asarray(reader.get_tensor(name))) for name in names)
  except (tf.errors.OpError, ValueError, RuntimeError, IndexError):
    return "damaged"


def _functions(path: pathlib.Path) -> typing.Any:
  """How many functions and operations an exported graph has, which is named and ordered anew in each."""
  from google.protobuf.message import DecodeError
  from tensorflow.core.protobuf import saved_model_pb2

  try:
    (graph,) = saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs
  except (DecodeError, ValueError):
    return "damaged"
  functions = graph.graph_def.library.function
  return [len(functions), sum(len(function.node_def) for function in functions), len(graph.graph_def.node)]


def _documents(path: pathlib.Path) -> list[str]:
  text = path.read_text(encoding="utf-8")
  return text.splitlines() if path.suffix == ".jsonl" else [text]


def _without_times(value: typing.Any) -> typing.Any:
  if isinstance(value, dict):
    return {key: _without_times(one) for key, one in value.items() if not _TIMES.search(key)}
  if isinstance(value, list):
    return [_without_times(one) for one in value if not _TIMES.search(str(_quantity(one)))]
  return value


def _quantity(value: typing.Any) -> typing.Any:
  """What a measure of a comparison is of."""
  quantity = value.get("quantity") if isinstance(value, dict) else None
  return quantity.get("name") if isinstance(quantity, dict) else None


def _bits(value: typing.Any) -> str:
  content = value if isinstance(value, bytes) else repr((value.dtype, value.shape)).encode() + value.tobytes()
  return hashlib.sha256(content).hexdigest()[:16]


def difference(wanted: typing.Any, found: typing.Any, where: str = "") -> str | None:
  """The first difference of two values of `results`, in words; None if they are equal."""
  if isinstance(wanted, dict) and isinstance(found, dict):
    for key in [*wanted, *found]:
      if key not in found:
        return f"{where}/{key} is missing"
      if key not in wanted:
        return f"{where}/{key} is new ({str(found[key])[:60]})"
      if different := difference(wanted[key], found[key], f"{where}/{key}"):
        return different
    return None
  if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
    return next((one for i, pair in enumerate(zip(wanted, found)) if (one := difference(*pair, f"{where}/{i}"))), None)
  return None if wanted == found else f"{where}: {str(found)[:80]}, not {str(wanted)[:80]}"


# --------------------------------------------------------------------------- faults


class MissedError(Exception):
  """A promise was not kept."""


def clean_end(ended: Ended) -> None:
  """Asserts success, or one sentence and status 1."""
  if ended.code not in (0, 1):
    raise MissedError(f"ended with {ended.code}: {ended.text[-300:]}")
  if "Traceback" in ended.text:
    raise MissedError(f"traceback: {ended.text[-600:]}")
  if ended.code and "error: " not in ended.text:
    raise MissedError(f"no sentence: {ended.text[-300:]}")


def goes_on(task: Task, runner: Runner) -> None:
  """Asserts that the same command ends as if nothing had been."""
  if task.once and difference(task.result, results(task.place)) is None:
    return
  ended = runner.run(task.command, **task.plan())
  if ended.code:
    raise MissedError(f"the same command ended with {ended.code}: {ended.text[-600:]}")
  different = difference(task.result, results(task.place))
  if different:
    raise MissedError(f"differs: {different}")


_TOO_LATE = "too late"


def kill(task: Task, runner: Runner, rng: random.Random, how: str) -> str:
  """Kills a tool, sometimes twice; the same command must go on to the same results.

  Args:
    task: the tool's work.
    runner: what starts it.
    rng: chooses the moment.
    how: "moment": at any time; "touch": between two touches of files; "write": within the writing of a file.
  """
  again = rng.random() < 0.3
  share = rng.random()
  while True:
    task.lay_out()
    said = _kill_once(task, runner, share, how)
    if not said.endswith(_TOO_LATE):
      break
    share *= 0.7  # What ended before it was killed says nothing.
  if again:
    said = f"{said}, {_kill_once(task, runner, rng.random(), how)}"
  goes_on(task, runner)
  return said


def _kill_once(task: Task, runner: Runner, share: float, how: str) -> str:
  """Kills a tool, `share` of its way; says when."""
  plan = task.plan()
  if how == "moment":
    process = runner.start(task.command, **plan)
    after = share * task.seconds
    time.sleep(after)
    # It is reaped when it is waited for, so the id is still its own.
    with contextlib.suppress(ProcessLookupError):
      os.kill(process, signal.SIGKILL)
    ended, said = runner.wait(), f"after {after:.2f} s"
  elif how == "touch":
    at = 1 + int(share * task.touches)
    ended, said = runner.run(task.command, **plan, at=at), f"before touch {at} of {task.touches}"
  else:
    limit = int(2 ** (4 + 11 * share))
    ended, said = runner.run(task.command, **plan, bytes=limit), f"after {limit} bytes of a file"
  if ended.code == 0:
    return f"{said}: {_TOO_LATE}"
  if ended.code not in (-signal.SIGKILL, -signal.SIGXFSZ) and not (
    # A tool that it had started was killed instead.
    task.starts_others and ended.code == 1 and how == "write"
  ):
    raise MissedError(f"{said}: ended with {ended.code}: {ended.text[-300:]}")
  return said


def cut(task: Task, runner: Runner, rng: random.Random, luck: Luck, folder: pathlib.Path) -> str:
  """Cuts the power; the same command must go on to the same results."""
  task.lay_out()
  at, image = 1 + int(rng.random() * task.touches), folder / "after_the_cut"
  shutil.rmtree(image, ignore_errors=True)
  ended = runner.run(task.command, **task.plan(), at=at, cut=[str(image), luck.value, rng.randrange(1 << 30)])
  said = f"before touch {at} of {task.touches}"
  if ended.code != -signal.SIGKILL:
    raise MissedError(f"{said}: ended with {ended.code}: {ended.text[-300:]}")
  clear(task.place)
  shutil.copytree(image, task.place, dirs_exist_ok=True)
  goes_on(task, runner)
  return said


def pair(tasks_: list[Task], runners: list[Runner], rng: random.Random) -> str:
  """Two processes at once on one folder: each ends, or says that another works there; then all is right."""
  first, second = tasks_
  first.lay_out()
  after = rng.random() * first.seconds
  runners[0].start(first.command, **first.plan())
  time.sleep(after)
  runners[1].start(second.command, **second.plan())
  ends = [runner.wait() for runner in runners]
  for ended in ends:
    clean_end(ended)
    # Different tools work side by side on one run.
    if ended.code and ("another process" not in ended.text or first.name != second.name):
      raise MissedError(f"not refused for the other process: {ended.text[-300:]}")
  if all(ended.code for ended in ends):
    raise MissedError(f"both refused: {ends[0].text[-200:]} / {ends[1].text[-200:]}")
  for task, runner in zip(tasks_, runners):
    ended = runner.run(task.command, **task.plan())
    if ended.code:
      raise MissedError(f"the same command ended with {ended.code}: {ended.text[-300:]}")
  different = difference(first.result | second.result, results(first.place))
  if different:
    raise MissedError(f"differs: {different}")
  return f"second after {after:.2f} s: {', '.join('refused' if ended.code else 'done' for ended in ends)}"


_ENOUGH = "enough"


def full_disk(task: Task, runner: Runner, rng: random.Random) -> str:
  """A disk that gets full: the tool ends in one sentence, and with more space goes on to the same results."""
  clear(task.place)
  begun = _size(task.before)
  size = begun + (8 << 10) + int(rng.random() * (task.size - begun))
  with _mounted(task.place, size):
    shutil.copytree(task.before, task.place, dirs_exist_ok=True)
    ended = runner.run(task.command, **task.plan())
    said = f"{size >> 10} KiB: {ended.text.strip().splitlines()[-1][-200:] if ended.code else _ENOUGH}"
    clean_end(ended)
    if ended.code and "space" not in ended.text:
      raise MissedError(f"{said}: does not say that space is short")
    subprocess.run(["mount", "-o", "remount,size=256m", str(task.place)], check=True)
    goes_on(task, runner)
  return said


def full_file(task: Task, runner: Runner, rng: random.Random) -> str:
  """Files that may not grow, as under a quota, which needs no rights to try; else as `full_disk`."""
  task.lay_out()
  limit = int(2 ** (8 + 6 * rng.random()))
  ended = runner.run(task.command, **task.plan(), most=limit)
  clean_end(ended)
  if ended.code and "too large" not in ended.text:
    raise MissedError(f"{limit} bytes a file: does not say that a file would be too large: {ended.text[-300:]}")
  goes_on(task, runner)
  return f"{limit} bytes a file: {ended.text.strip().splitlines()[-1][-200:] if ended.code else _ENOUGH}"


def _size(folder: pathlib.Path) -> int:
  """Bytes that the files of a tree take, in whole pages."""
  return sum(-(-path.lstat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def _mounted(place: pathlib.Path, size: int) -> typing.Iterator[None]:
  subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size >> 10}k", "none", str(place)], check=True)
  try:
    yield
  finally:
    subprocess.run(["umount", str(place)], check=True)


# --------------------------------------------------------------------------- the campaign

KILLED = ("train", "evaluate", "analyze", "compare", "reproduce")
# What one process does: a cut ends all at once, and is simulated in one.
CUT = ("train", "evaluate", "analyze", "export")
FULL = ("train", "evaluate", "analyze", "export", "compare", "reproduce")
PAIRS = [[name, name] for name in KILLED] + [["evaluate", "analyze"]]
HOW = ("moment", "touch", "write")


class Case(typing.NamedTuple):
  """One of the campaign: its name says all that it hangs on besides the seed."""

  fault: str
  of: str
  number: int

  @property
  def name(self) -> str:
    return f"{self.fault}/{self.of}/{self.number}"


def cases(kills: int, disks: int, cuts: int, pairs: int) -> list[Case]:
  """All cases, kinds mixed, so that a campaign that is stopped has some of each.

  Args:
    kills: of each tool.
    disks: full disks, over all tools; besides a quarter as many limits of the sizes of files.
    cuts: of power, over all tools.
    pairs: of each pair of tools.
  """
  found = [Case("kill", tool, i) for tool in KILLED for i in range(kills)]
  found += [Case("disk", FULL[i % len(FULL)], i // len(FULL)) for i in range(disks)]
  found += [Case("file", CUT[i % len(CUT)], i // len(CUT)) for i in range(disks // 4)]
  found += [Case("cut", CUT[i % len(CUT)], i // len(CUT)) for i in range(cuts)]
  found += [Case("pair", "+".join(names), i) for names in PAIRS for i in range(pairs)]
  return sorted(found, key=lambda case: hashlib.sha256(case.name.encode()).digest())


class Campaign:
  """Runs cases in a folder.

  Args:
    folder: where all that they need is made.
    seed: of all moments, sizes and luck.
    tools: whose work is needed.
  """

  def __init__(self, folder: pathlib.Path, seed: int, tools: list[str]):
    self._folder, self._seed = folder, seed
    self._runners = [Runner(folder)]
    self.tasks = {task.name: task for task in tasks(folder, self._runners[0], tools)}

  def run(self, case: Case) -> str:
    """Runs a case; returns what was done.

    Raises:
      MissedError: if a promise was not kept.
    """
    rng = random.Random(f"{self._seed}/{case.name}")
    if case.fault == "pair":
      if len(self._runners) == 1:
        self._runners.append(Runner(self._folder))
      return pair([self.tasks[name] for name in case.of.split("+")], self._runners, rng)
    task, runner = self.tasks[case.of], self._runners[0]
    if case.fault == "kill":
      how = HOW[case.number % len(HOW)]
      return f"{how}: {kill(task, runner, rng, how)}"
    if case.fault == "cut":
      luck = list(Luck)[case.number % len(Luck)]
      return f"luck {luck.value}: {cut(task, runner, rng, luck, self._folder)}"
    return (full_file if case.fault == "file" else full_disk)(task, runner, rng)


def _in_own_mounts() -> None:
  """Goes on in a mount namespace of its own: what is mounted goes when it ends, and needs no rights of this user."""
  if "TLA_FAULTS_MOUNTS" not in os.environ:
    os.environ["TLA_FAULTS_MOUNTS"] = "own"
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    os.execvp("unshare", ["unshare", *rights, "--mount", sys.executable, *sys.orig_argv[1:]])


def main() -> int:
  """Runs the campaign; returns its exit status."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--kills", type=int, default=50, help="of each tool")
  parser.add_argument("--disks", type=int, default=40, help="full disks, over all tools")
  parser.add_argument("--cuts", type=int, default=60, help="of power, over all tools")
  parser.add_argument("--pairs", type=int, default=5, help="of each pair of tools on one folder")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--seconds", type=float, help="begin no case after so long")
  parser.add_argument("--only", nargs="*", help="parts of the names of cases, such as kill/train/17, or cut/")
  parser.add_argument("--json", type=pathlib.Path, help="file for the counts and what happened")
  given = parser.parse_args()
  chosen = cases(given.kills, given.disks, given.cuts, given.pairs)
  if given.only:
    chosen = [case for case in chosen if any(part in f"{case.name}/" for part in given.only)]
  if any(case.fault == "disk" for case in chosen):
    _in_own_mounts()
  begin, done = time.monotonic(), []
  with tempfile.TemporaryDirectory(prefix="tla_faults_") as folder:
    tools = dict.fromkeys(name for case in chosen for name in case.of.split("+"))
    campaign = Campaign(pathlib.Path(folder), given.seed, list(tools))
    for task in campaign.tasks.values():
      print(f"{task.name}: {task.seconds:.1f} s undisturbed, touches files {task.touches} times", flush=True)
    for case in chosen:
      if given.seconds and time.monotonic() - begin > given.seconds:
        break
      since, missed = time.monotonic(), None
      try:
        said = campaign.run(case)
      except MissedError as error:
        said = missed = str(error)
      except Exception:
        said = missed = traceback.format_exc()
      done.append({"case": case.name, "missed": missed, "said": said, "seconds": round(time.monotonic() - since, 1)})
      print(f"{time.strftime('%H:%M:%S')} {case.name}: {'MISSED: ' if missed else ''}{said}", flush=True)
  counts: dict[str, collections.Counter] = {}
  for one in done:
    name = one["case"].rpartition("/")[0]
    counts.setdefault(name, collections.Counter())[bool(one["missed"])] += 1
  planned = collections.Counter(case.name.rpartition("/")[0] for case in chosen)
  idle = collections.Counter(one["case"].rpartition("/")[0] for one in done if one["said"].endswith(_ENOUGH))
  print(f"\n{'fault and tool':28} {'planned':>8} {'run':>8} {'kept':>8} {'missed':>8} {'had room':>8}")
  for name in sorted(planned):
    found = counts.get(name, collections.Counter())
    print(f"{name:28} {planned[name]:8} {found.total():8} {found[False]:8} {found[True]:8} {idle[name]:8}")
  missed_all = [one["case"] for one in done if one["missed"]]
  seconds = time.monotonic() - begin
  print(
    f"{len(done)} of {len(chosen)} cases in {seconds / 60:.1f} minutes, {len(missed_all)} missed {missed_all or ''}"
  )
  if given.json:
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps({"seed": given.seed, "seconds": round(seconds), "cases": done}, indent=1) + "\n")
  return 1 if missed_all else 0


if __name__ == "__main__":
  sys.exit(main())
