"""Mutated files into every reader: each gives the same data, or one sentence.

    PYTHONPATH=tests python -m campaigns.fuzz --inputs=10000 --seed=1 --output=fuzz.json

Every input is a function of seed, reader and number, but for those of a SavedModel, which TensorFlow never writes the
same twice: --keep keeps the inputs that were faults. Readers run in processes of their own: one that crashes or hangs
is an outcome as others are. Prints a table of readers and outcomes; exit code 1 if an input was a fault.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import gc
import json
import multiprocessing
import os
import pathlib
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import typing
import warnings
from multiprocessing.connection import Connection

from campaigns import bounds, mutations
from campaigns.readers import READERS, Reader, same

from tla_tf.errors import InputError, RecordWarning

SAME, REMADE, REFUSED, ANOTHER = "the same data", "made again", "one sentence", "another file"
OTHER, TRACEBACK, SENTENCE = "other data", "traceback", "poor sentence"
SLOW, LARGE, CRASH, HANG = "over 10 s", "over 1 GB", "crash", "hang"
GOOD = (SAME, REMADE, REFUSED, ANOTHER)
FAULTS = (OTHER, TRACEBACK, SENTENCE, SLOW, LARGE, CRASH, HANG)
# Of the wall's clock, before a process counts as hanging; to begin with, TensorFlow is loaded.
_PATIENCE, _FIRST_PATIENCE = 60.0, 300.0
# More than is allowed, and less than this machine has.
_MOST_BYTES = 3 * 10**9
_FORGED = 0.2


class Found(typing.NamedTuple):
  """What a reader made of an input.

  Attributes:
    number: of the input.
    outcome: one of `GOOD` or `FAULTS`.
    words: its error's.
    seconds: of the processor.
    size: bytes of memory at the most, beyond the input's.
  """

  number: int
  outcome: str
  words: str = ""
  seconds: float = 0.0
  size: int = 0


def fuzz(reader: Reader, numbers: typing.Iterable[int], seed: int, folder: pathlib.Path) -> typing.Iterator[Found]:
  """Feeds a reader with inputs, in this process.

  Args:
    reader: the reader.
    numbers: of the inputs.
    seed: of all.
    folder: an empty one to work in; the last input stays in `now`.

  Yields:
    Found of each.
  """
  good, now = folder / "good", folder / "now"
  good.mkdir()
  reader.make(good)
  shutil.copytree(good, now)
  wanted = reader.read(now)
  assert same(wanted, _read_again(reader, good, now)), f"{reader.name}: does not read the same twice"
  for number in numbers:
    _copied(good, now)
    forged = damage(reader, now, random.Random(f"{seed} {reader.name} {number}"))
    yield _read(reader, now, number, wanted, forged)


def damage(reader: Reader, folder: pathlib.Path, rng: random.Random) -> bool:
  """Mutates one file of a folder; returns whether its checksums are right afterwards."""
  path = rng.choice(sorted(path for path in folder.glob(reader.damaged) if path.is_file()))
  path.write_bytes(mutations.several(reader.mutate)(path.read_bytes(), rng))
  if reader.seal is None or rng.random() >= _FORGED:
    return False
  try:
    reader.seal(folder)
  except Exception:  # What is no file of its kind any more has no checksum.
    return False
  return True


def _copied(good: pathlib.Path, now: pathlib.Path) -> None:
  shutil.rmtree(now)
  shutil.copytree(good, now, copy_function=shutil.copyfile)


def _read_again(reader: Reader, good: pathlib.Path, now: pathlib.Path) -> typing.Any:
  _copied(good, now)
  return reader.read(now)


def _read(reader: Reader, now: pathlib.Path, number: int, wanted: typing.Any, forged: bool) -> Found:
  before, began = bounds.forget_peak(), time.process_time()
  words = ""
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
      found = reader.read(now)
    except InputError as error:
      words = str(error)
      outcome = REFUSED if bounds.is_sentence(words, now) else SENTENCE
    except Exception as error:  # What must not be.
      place = traceback.extract_tb(error.__traceback__)[-1]
      words = f"{type(error).__name__}: {str(error)[:200]} ({place.filename}:{place.lineno})"
      outcome = TRACEBACK
    else:
      remade = any(issubclass(one.category, RecordWarning) for one in caught)
      equal = SAME if not remade else REMADE
      outcome = equal if same(wanted, found) else OTHER if reader.sealed and not forged else ANOTHER
      del found
  seconds, size = time.process_time() - began, bounds.peak() - before
  if outcome in GOOD and seconds > bounds.SECONDS:
    outcome = SLOW
  if outcome in GOOD and size > bounds.BYTES:
    outcome = LARGE
  return Found(number, outcome, words, seconds, max(0, size))


# --------------------------------------------------------------------------- in processes of their own


Task = tuple[str, list[int]]


def _child(tasks: list[Task], seed: int, folder: str, pipe: Connection, keep: pathlib.Path | None) -> None:
  """Feeds readers, and tells of every input before it is read and after."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
  quiet = os.open(os.devnull, os.O_WRONLY)
  os.dup2(quiet, 1)
  os.dup2(quiet, 2)

  def told(numbers: list[int]) -> typing.Iterator[int]:
    for count, number in enumerate(numbers):
      if count % 50 == 0:
        gc.collect()
        limit = bounds.memory("VmSize") + _MOST_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
      pipe.send(number)
      yield number

  try:
    _feed(tasks, seed, folder, pipe, keep, told)
  except Exception:
    pipe.send(traceback.format_exc())


def _feed(
  tasks: list[Task], seed: int, folder: str, pipe: Connection, keep: pathlib.Path | None, told: typing.Any
) -> None:
  for name, numbers in tasks:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    place = pathlib.Path(folder) / name.replace(" ", "_")
    place.mkdir()
    pipe.send((name, str(place)))
    for found in fuzz(READERS[name], told(numbers), seed, place):
      _keep(keep, name, place, found)
      pipe.send(found)
    shutil.rmtree(place)
  pipe.send(None)


def campaign(
  tasks: typing.Sequence[Task], seed: int, keep: pathlib.Path | None = None, say: typing.Any = None
) -> dict[str, list[Found]]:
  """Feeds readers in a process of its own, and in a new one whenever it crashes or hangs.

  Args:
    tasks: (name of a reader, numbers of its inputs).
    seed: of all.
    keep: folder that inputs which were faults are copied to, or None.
    say: receives lines for people, or None.

  Returns:
    Found of every input, by reader.
  """
  found: dict[str, list[Found]] = {name: [] for name, _ in tasks}
  spawn = multiprocessing.get_context("spawn")
  while left := [(name, numbers[len(found[name]) :]) for name, numbers in tasks if len(found[name]) < len(numbers)]:
    before = sum(map(len, found.values()))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
      ours, theirs = spawn.Pipe(duplex=False)
      process = spawn.Process(target=_child, args=(left, seed, folder, theirs, keep), daemon=True)
      process.start()
      theirs.close()
      _listen(ours, process, found, keep, say or (lambda line: None))
      process.join(10)
    if sum(map(len, found.values())) == before:
      raise RuntimeError(f"{left[0][0]}: cannot be fed (exit code {process.exitcode}).")
  return found


def _listen(
  pipe: Connection,
  process: typing.Any,
  found: dict[str, list[Found]],
  keep: pathlib.Path | None,
  say: typing.Callable[[str], object],
) -> None:
  """Adds what a process finds, and how it ended if that was not its end."""
  name, place, current = "", "", None

  def add(one: Found) -> None:
    found[name].append(one)
    if one.outcome in FAULTS:
      say(f"{name} {one.number}: {one.outcome}: {one.words}")

  while True:
    if not pipe.poll(_FIRST_PATIENCE if current is None else _PATIENCE):
      process.kill()
      process.join()
      ended = (HANG, f"nothing in {_PATIENCE:g} s")
      break
    try:
      told = pipe.recv()
    except EOFError:
      process.join()
      ended = (CRASH, f"exit code {process.exitcode}")
      break
    if told is None:
      return
    if isinstance(told, str):
      raise RuntimeError(f"{name}: cannot be fed:\n{told}")
    if isinstance(told, Found):
      add(told)
      current = None
    elif isinstance(told, tuple):
      name, place = told
      say(f"{name} ...")
    else:
      current = told
  if current is not None:
    add(Found(current, *ended))
    _keep(keep, name, pathlib.Path(place), found[name][-1])


def _keep(keep: pathlib.Path | None, name: str, folder: pathlib.Path, one: Found) -> None:
  """Copies what a reader was fed with last, where that was a fault."""
  if keep is not None and one.outcome in FAULTS:
    place = keep / f"{name.replace(' ', '_')}-{one.number}"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder / "now", place)


# --------------------------------------------------------------------------- the whole


def shares(inputs: int, readers: typing.Sequence[Reader]) -> dict[str, int]:
  """How many inputs each reader gets, at least one and together at least so many."""
  whole = sum(reader.weight for reader in readers)
  return {reader.name: max(1, -(-inputs * reader.weight // whole)) for reader in readers}


def table(found: typing.Mapping[str, typing.Sequence[Found]]) -> str:
  """A Markdown table of readers and outcomes, each kind of fault in a column where there was one."""
  everything = [one for some in found.values() for one in some]
  outcomes = [*GOOD, *(fault for fault in FAULTS if any(one.outcome == fault for one in everything))]
  columns = ("inputs", *outcomes, "faults", "seconds at the most", "MB at the most")
  lines = ["| reader | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
  for name, some in (*found.items(), ("all", everything)):
    counts = collections.Counter(one.outcome for one in some)
    most = max((one.seconds for one in some), default=0.0), max((one.size for one in some), default=0) / 1e6
    numbers = [len(some), *(counts[outcome] for outcome in outcomes), sum(counts[fault] for fault in FAULTS)]
    cells = [*map(str, numbers), f"{most[0]:.2g}", f"{most[1]:.0f}"]
    lines.append(f"| {name} | " + " | ".join(cells) + " |")
  return "\n".join(lines)


def main(arguments: typing.Sequence[str] | None = None) -> int:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--inputs", type=int, default=10_000, help="together")
  parser.add_argument("--seed", type=int, default=1)
  parser.add_argument("--readers", nargs="*", default=list(READERS), help="names; all by default")
  parser.add_argument("--first", type=int, default=0, help="number of each reader's first input")
  parser.add_argument("--jobs", type=int, default=2, help="readers at once")
  parser.add_argument("--output", type=pathlib.Path, help="JSON file with all counts and faults")
  parser.add_argument("--keep", type=pathlib.Path, help="folder that gets the inputs which were faults")
  options = parser.parse_args(arguments)
  chosen = [READERS[name] for name in options.readers]
  counts = shares(options.inputs, chosen)

  tasks = [(name, list(range(options.first, options.first + count))) for name, count in counts.items()]
  # What TensorFlow reads takes long: a process each. The others share as many as there are jobs.
  groups = [[task] for task in tasks if READERS[task[0]].tensorflow]
  plain = [task for task in tasks if not READERS[task[0]].tensorflow]
  groups += [group for group in (plain[job :: options.jobs] for job in range(options.jobs)) if group]

  def work(group: list[Task]) -> dict[str, list[Found]]:
    return campaign(group, options.seed, options.keep, lambda line: print(line, file=sys.stderr, flush=True))

  with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
    parts = list(pool.map(work, groups))
  found = {name: part[name] for name in counts for part in parts if name in part}
  faults = [
    {"reader": name, "number": one.number, "outcome": one.outcome, "words": one.words}
    for name, some in found.items()
    for one in some
    if one.outcome in FAULTS
  ]
  print(table(found))
  for fault in faults[:50]:
    print(f"{fault['reader']} {fault['number']}: {fault['outcome']}: {fault['words']}")
  if options.output:
    outcomes = {name: collections.Counter(one.outcome for one in some) for name, some in found.items()}
    most = {name: [max(one.seconds for one in some), max(one.size for one in some)] for name, some in found.items()}
    result = {"seed": options.seed, "outcomes": outcomes, "seconds and bytes at the most": most, "faults": faults}
    options.output.write_text(json.dumps(result, indent=1) + "\n")
  return 1 if faults else 0


if __name__ == "__main__":
  sys.exit(main())
