"""What is to be done for a run, and whether it is done: its training, its evaluations, its analysis.

Read from the run folders themselves. No TensorFlow here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib

from tla_tf import files
from tla_tf.attack_configs import SUITES
from tla_tf.comparing.jobs import Job
from tla_tf.comparing.plan import Judging, PlannedRun, words_of
from tla_tf.comparing.records import BegunRecord
from tla_tf.errors import InputError
from tla_tf.persistence.checkpoints import CheckpointStore
from tla_tf.persistence.run_folder import RunFolder
from tla_tf.records.evaluation_book import EvaluationBook
from tla_tf.settings import flag_of_path
from tla_tf.types import PrecisionChoice, Split

_TRAIN, _EVALUATE, _ANALYZE = (f"tla_tf.binaries.{tool}" for tool in ("train", "evaluate", "analyze"))


def steps_done(run: PlannedRun) -> int:
  """Steps of the last checkpoint of a run; 0 before there is one."""
  return CheckpointStore(RunFolder(run.folder).checkpoints).last() or 0


def is_trained(run: PlannedRun) -> bool:
  """Whether a training is finished."""
  return steps_done(run) >= run.config.train_steps


def require_same(run: PlannedRun) -> None:
  """Refuses a run that has begun with other settings than the plan has now.

  Raises:
    InputError: naming the variant, the setting and both values.
  """
  folder = RunFolder(run.folder)
  if not folder.is_run:
    return
  saved, _ = folder.read_config()
  remedy = "call the changed variant another name, or give another `output_dir`."
  before = pathlib.Path(saved.init.run_dir).parts[-2:]
  now = run.init_from.parts[-2:] if run.init_from else ()
  if before != now:
    was, is_ = ("/".join(parts) or "fresh weights" for parts in (before, now))
    raise InputError(f"Variant {run.variant}: has a run that began with {was}, and the plan now has {is_}: {remedy}")
  # What training sets itself.
  planned = run.config.replace(init=saved.init, replicas=saved.replicas)
  if planned.attack_precision is PrecisionChoice.AUTO:
    planned = planned.replace(attack_precision=saved.attack_precision)
  difference = saved.first_difference(planned)
  if difference:
    path, old, new = difference
    raise InputError(
      f"Variant {run.variant}: has a run with {flag_of_path().get(path, path)} {_shown(old)}, and the plan now has "
      f"{_shown(new)}: {remedy}"
    )
  if steps_done(run) > run.config.train_steps:
    raise InputError(
      f"Variant {run.variant}: has trained for {steps_done(run)} steps, and the plan now has {run.config.train_steps}: "
      f"{remedy}"
    )


def _shown(value: object) -> str:
  return json.dumps(value) if isinstance(value, (list, dict, bool)) else str(value)


def train_name(run: PlannedRun) -> str:
  """The name of a training's job."""
  return f"train {run.name}"


def training(run: PlannedRun, logs: pathlib.Path, source: PlannedRun | None) -> Job:
  """The job that trains a run, or goes on with it.

  Args:
    run: the run.
    logs: folder of the logs.
    source: the run that it begins with, or None.
  """
  after = (train_name(source),) if source else ()
  log = logs / f"{run.name}.train.log"
  return Job(train_name(run), (_TRAIN, *run.flags), log, after, frozenset({run.folder}))


@dataclasses.dataclass(frozen=True)
class Judged:
  """One evaluation or analysis of one run.

  Attributes:
    run: the run.
    judging: what of the plan.
    analysis: whether it is the analysis.
    output_dir: folder of the comparison.
    source: the run that makes its black-box images, or None.
    data_dir: folder of the data, or None for that of the training.
  """

  run: PlannedRun
  judging: Judging
  analysis: bool
  output_dir: pathlib.Path
  source: PlannedRun | None = None
  data_dir: str | None = None

  @property
  def name(self) -> str:
    """The name of its job."""
    words = [word.removeprefix("--") for word in words_of(self.judging.flags)]
    words += [f"source={self.judging.source}"] if self.judging.source else []
    return f"{'analyze' if self.analysis else 'evaluate'} {self.run.name}" + (f" ({' '.join(words)})" if words else "")

  @property
  def runs(self) -> list[PlannedRun]:
    """Those that must be trained for it."""
    return [run for run in (self.run, self.source) if run is not None]

  def job(self) -> Job:
    """The job that does it, or goes on with it."""
    tool = "analyze" if self.analysis else "evaluate"
    places = {
      "run_dir": self.run.folder,
      "source_run_dir": self.source and self.source.folder,
      "data_dir": self.data_dir,
    }
    flags = {flag: (str(value),) for flag, value in places.items() if value is not None}
    trained = {train_name(run): run.folder for run in self.runs}
    return Job(
      self.name,
      (_ANALYZE if self.analysis else _EVALUATE, *words_of({**flags, **self.judging.flags})),
      self.output_dir / "logs" / f"{self.run.name}.{tool}.log",
      tuple(trained),
      frozenset(trained.values()),
    )

  def note_begin(self) -> None:
    """Notes what results there are before it begins; what an interrupted one has noted stays."""
    begun = self._begun()
    if begun is None:
      files.make_folder(self._note.parent)
      BegunRecord(self._digest(), self._source_digest(), sorted(self._results())).write(self._note)

  def is_done(self) -> bool:
    """Whether its results are there."""
    begun, results = self._begun(), self._results()
    if begun is None:
      return False
    new: set[str] = set()
    for digest, found in results.items():
      if digest not in begun.before:
        new |= found
    return self._suites() <= new

  def _begun(self) -> BegunRecord | None:
    """What was noted when it began with the checkpoints of now."""
    if not self._note.is_file():
      return None
    found = BegunRecord.read(self._note)
    same = (found.checkpoint_digest, found.source_digest) == (self._digest(), self._source_digest())
    # Where results are gone, notes on what came after them mean nothing.
    gone = bool(found.before) and not self._results_file.is_file()
    return found if same and not gone else None

  @property
  def _note(self) -> pathlib.Path:
    flags = {flag: list(texts) for flag, texts in self.judging.flags.items()}
    own = flags.get("suite_file")
    facts = [flags, self.judging.source, own and files.digest(own[0])]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    return self.output_dir / "judging" / f"{self.run.name}.{'analyze' if self.analysis else 'evaluate'}.{key}.json"

  def _suites(self) -> set[str]:
    """What there must be results of."""
    if self.analysis:
      return {"analysis"}
    flags = self.judging.flags
    suites = set(flags["suite"][0].split(",")) if "suite" in flags else set()
    return suites | ({_title(flags["suite_file"][0])} if "suite_file" in flags else set())

  def _digest(self) -> str:
    index = CheckpointStore(RunFolder(self.run.folder).checkpoints)
    return index.opened(self.judging.flags.get("checkpoint", ("best",))[-1], index.digest)

  def _source_digest(self) -> str | None:
    if self.source is None:
      return None
    index = CheckpointStore(RunFolder(self.source.folder).checkpoints)
    return index.opened(self.judging.flags.get("checkpoint", ("best",))[-1], index.digest)

  @property
  def _results_file(self) -> pathlib.Path:
    folder = RunFolder(self.run.folder).of_split(Split.HELD_OUT if self.judging.held_out else Split.TEST)
    return folder.analysis if self.analysis else folder.evaluation

  def _results(self) -> dict[str, set[str]]:
    """Results of this checkpoint, by their digest: the suites that each is of."""
    path = self._results_file
    if not path.is_file():
      return {}
    if self.analysis:
      return {files.digest(path): {"analysis"}}
    wanted = self._digest()
    found = {}
    for record in EvaluationBook.read(path).evaluations:
      if record.checkpoint_digest == wanted:
        # The file of images is named by what is written last.
        text = repr(record.replace(images_digest=None, probes=None, alarms=[]))
        found[hashlib.sha256(text.encode()).hexdigest()] = set(record.suites)
    return found


def _title(suite_file: str) -> str:
  """What results call the suite of a file."""
  path = pathlib.Path(suite_file)
  return path.name if path.stem in SUITES else path.stem
