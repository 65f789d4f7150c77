"""From tables of the paper to tables beside it: trains and judges what is missing, writes both.

Every network is a comparison in a folder of its own, so that all goes on where it was killed.
"""

from __future__ import annotations

import collections.abc
import json
import pathlib
import typing

from tla_tf import files, reporting
from tla_tf.comparing import jobs, results
from tla_tf.comparing.jobs import Ended, Job
from tla_tf.comparing.plan import PlannedRun, words_of
from tla_tf.comparing.runner import Comparison
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.persistence.checkpoints import CheckpointStore
from tla_tf.persistence.run_folder import RunFolder
from tla_tf.records import PoolTimes, read_object
from tla_tf.reporting import Table
from tla_tf.reproducing import paper, tables
from tla_tf.reproducing.grids import Wanted
from tla_tf.reproducing.paper import Part
from tla_tf.reproducing.record import ReproducedRecord

Note = collections.abc.Callable[[str], None]
_TIMES = "training_times.json"
# What `tla-analyze --compare_dir` calls the picture of a figure.
_PICTURES = {"1": "tsne_class.png", "2": "tsne_pair.png", "4": "retrieval.png", "5": "roc.png"}


class Reproduced(typing.NamedTuple):
  """What a call did.

  Attributes:
    records: of all tables and figures, by the path of their Markdown.
    failed: jobs that failed.
  """

  records: dict[pathlib.Path, ReproducedRecord]
  failed: list[Ended]

  def tables(self) -> list[Table]:
    """Those with numbers."""
    return [tables.table(record) for record in self.records.values() if record.columns]


def reproduce(
  wanted: collections.abc.Sequence[Wanted],
  output_dir: AnyPath,
  *,
  data_dirs: collections.abc.Mapping[str, str | None],
  at_once: int = 1,
  note: Note = lambda text: None,
  start: jobs.Start | None = None,
) -> Reproduced:
  """Trains, judges and analyses what is missing, and writes every table beside the paper's.

  Killed at any moment and called again, it goes on; what is finished is not touched.

  Args:
    wanted: of `grids.wanted`.
    output_dir: folder of the comparisons, one a network, and of the tables.
    data_dirs: folders of the data sets' files by data set.
    at_once: how many trainings or evaluations run at the same time.
    note: called with lines on what happens.
    start: how tools are started; as child processes by default.

  Returns:
    Reproduced. What failed does not keep the rest from being done.

  Raises:
    InputError: if a folder is damaged, in use, or of other settings.
  """
  folder = pathlib.Path(output_dir)
  comparisons = [comparison(one, folder, data_dirs.get(one.plan.dataset), at_once, note) for one in wanted]
  records: dict[pathlib.Path, ReproducedRecord] = {}
  failed: list[Ended] = []
  for one, its in zip(wanted, comparisons):
    note(f"{one.name}: {', '.join(dict.fromkeys(part.name for part in one.parts))}")
    outcome = its.run(start)
    failed += outcome.failed
    if not outcome.untrained and not outcome.failed:
      todo = [*drawings(one, its, folder, data_dirs.get(one.plan.dataset)), *timings(one, its, folder)]
      failed += _do([further for further in todo if not further.is_done()], folder / one.name, start, note)
    records |= write(one, its, folder)
  return Reproduced(records, failed)


def comparison(
  one: Wanted, folder: AnyPath, data_dir: str | None = None, at_once: int = 1, note: Note = lambda text: None
) -> Comparison:
  """The comparison of a network in its folder."""
  return Comparison(one.plan, pathlib.Path(folder) / one.name, at_once=at_once, data_dir=data_dir, note=note)


# --------------------------------------------------------------------------- tables


def write(one: Wanted, its: Comparison, folder: pathlib.Path) -> dict[pathlib.Path, ReproducedRecord]:
  """Writes the tables of a network with what is known, as JSON and Markdown; returns them by the Markdown's path."""
  known = results.read(folder / one.name, [(run.variant, run.seed, RunFolder(run.folder)) for run in its.runs()])
  written = {}
  for part, rows in zip(one.parts, one.rows):
    picture = _picture(one, part, folder)
    place = folder / one.name / _TIMES
    times = PoolTimes.read(place) if place.is_file() and any(column.of_machine for column in part.columns) else None
    record = tables.beside(
      part,
      tables.measured_of(known, part) | tables.times_of(times, part),
      rows=rows,
      further=one.further,
      scale=one.scale,
      comparison=one.name,
      notes=[*notes_of(one, its, part), *tables.notes_of(times)],
      pictures=[picture.relative_to(folder).as_posix()] if picture is not None and picture.is_file() else [],
    )
    path = folder / f"{file_name(part, one.scale)}.md"
    record.write(path.with_suffix(".json"))
    files.write_text(path, markdown(record))
    written[path] = record
  return written


def file_name(part: Part, scale: str) -> str:
  """What the files of a table are called: "table_4_mnist_short"."""
  return f"{part.kind}_{part.number}_{part.dataset}_{scale}"


def markdown(record: ReproducedRecord) -> str:
  """A table with its notes and pictures in Markdown."""
  if record.columns:
    text = reporting.markdown_tables([tables.table(record)])
  else:
    text = f"{record.name}, {record.dataset} ({record.network}), scale {record.scale}: {record.title}\n"
  text += "".join(f"\n![{record.name}](<{picture}>)\n" for picture in record.pictures)
  return text + "".join(f"\n- {note}" for note in record.notes) + "\n"


def notes_of(one: Wanted, its: Comparison, part: Part) -> list[str]:
  """How ours were made, what the marks mean, and what is known of the paper's numbers."""
  configs = [run.config for run in its.runs()]
  networks = " and ".join(dict.fromkeys(config.network for config in configs))
  steps = sorted({config.train_steps for config in configs})
  length = " to ".join(f"{number:,}" for number in dict.fromkeys((steps[0], steps[-1])))
  seeds = ", ".join(map(str, one.plan.seeds))
  other = f" (the paper's: {part.network})" if networks != part.network else ""
  notes = [f"Ours: {networks}{other}, {length} training steps, seed{'s' * (len(one.plan.seeds) > 1)} {seeds}."]
  suites = {column.suite for column in part.columns} - {None}
  for judging in one.plan.judge:
    images = judging.flags.get("num_examples")
    if images and suites & set(judging.flags.get("suite", ("",))[0].split(",")):
      notes.append(f"Suite {judging.flags['suite'][0]}: the first {int(images[0]):,} test images.")
  analyzed = one.plan.analyze.flags if one.plan.analyze else {}
  if "num_examples" in analyzed and (part.is_picture or any(column.of_analysis for column in part.columns)):
    notes.append(f"Analysed: {int(analyzed['num_examples'][0]):,} test images.")
  if part.columns:
    notes.append(
      "In parentheses 95% intervals: of one seed for other test images, of several for other seeds, too. "
      "A difference has a star where the paper's number lies outside."
    )
  if part.number == "1" and part.kind == paper.TABLE:
    notes.append(
      "The paper does not say on which network its black-box images (BB) are made; ours on a further AT network."
    )
  return notes + [f"Of the paper's numbers: {one}" for one in paper.read().contradictions if one.is_of(part)]


# --------------------------------------------------------------------------- pictures and times


class Further(typing.NamedTuple):
  """Something that a comparison does not do: a job, and what its result hangs on.

  Attributes:
    job: the job.
    result: the file that it writes.
    facts: JSON values; another result is wanted where they differ.
  """

  job: Job
  result: pathlib.Path
  facts: dict[str, typing.Any]

  @property
  def about(self) -> pathlib.Path:
    """Where the facts are noted when it is done."""
    return self.result.with_name(f"{self.result.stem}.about.json")

  def is_done(self) -> bool:
    """Whether the result of these facts is there."""
    if not (self.result.is_file() and self.about.is_file()):
      return False
    try:
      return read_object(self.about) == json.loads(json.dumps(self.facts))
    except InputError:
      return False


def drawings(one: Wanted, its: Comparison, folder: pathlib.Path, data_dir: str | None) -> list[Further]:
  """The pictures of a network's figures: of the runs of the first seed side by side."""
  found = []
  for part, rows in zip(one.parts, one.rows):
    place = _picture(one, part, folder)
    names = [part.variants[row] for row in rows] + list(one.further)
    of = {(run.variant, run.seed): run for run in its.runs()}
    runs = [of[name, one.plan.seeds[0]] for name in names if (name, one.plan.seeds[0]) in of]
    if place is None or one.plan.analyze is None or not runs:
      continue
    flags = {
      **one.plan.analyze.flags,
      "run_dir": tuple(str(run.folder) for run in runs),
      "compare_dir": (str(place.parent),),
      **({"classes": (",".join(part.classes),)} if part.classes else {}),
      **({"data_dir": (data_dir,)} if data_dir else {}),
    }
    job = Job(
      f"draw {part.name} of {part.dataset}",
      ("tla_tf.binaries.analyze", *words_of(flags)),
      folder / one.name / "logs" / f"{file_name(part, one.scale)}.log",
      uses=frozenset(run.folder for run in runs),
    )
    found.append(Further(job, place, {"command": list(job.command), "checkpoints": list(map(_digest, runs))}))
  return found


def timings(one: Wanted, its: Comparison, folder: pathlib.Path) -> list[Further]:
  """What steps with the pools of Table 2 take."""
  if not any(column.of_machine for part in one.parts for column in part.columns):
    return []
  place = folder / one.name / _TIMES
  config = next((run.config for run in its.runs() if run.config.method == "tla"), None)
  if config is None:
    return []
  settings = {**config.replace(seed=0).to_dict(), "init": {}}
  command = ("tla_tf.reproducing.timing", str(_settings_of(place)), str(place))
  job = Job(f"time steps of {one.name}", command, folder / one.name / "logs" / "training_times.log")
  return [Further(job, place, {"settings": settings})]


def _settings_of(times: pathlib.Path) -> pathlib.Path:
  return times.with_name(f"{times.stem}.settings.json")


def _picture(one: Wanted, part: Part, folder: pathlib.Path) -> pathlib.Path | None:
  """Where a figure's picture lies."""
  if part.kind != paper.FIGURE:
    return None
  return folder / file_name(part, one.scale) / _PICTURES[part.number]


def _digest(run: PlannedRun) -> str | None:
  """That of the checkpoint that is judged."""
  store = CheckpointStore(RunFolder(run.folder).checkpoints)
  return store.opened("best", store.digest) if store.steps() else None


def _do(todo: list[Further], folder: pathlib.Path, start: jobs.Start | None, note: Note) -> list[Ended]:
  """Does what is not done; returns what failed."""
  if not todo:
    return []
  of = {further.job.name: further for further in todo}

  def done(job: Job) -> None:
    files.write_text(of[job.name].about, json.dumps(of[job.name].facts, indent=1) + "\n")

  message = f"{folder}: another process works on this comparison; wait for it, or choose another `output_dir`."
  with files.locked(folder / ".lock", message) as lock:
    for further in todo:
      if "settings" in further.facts:
        files.write_text(_settings_of(further.result), json.dumps(further.facts["settings"]))
    return jobs.run_and_say([further.job for further in todo], 1, start or jobs.spawner(lock), note, done)
