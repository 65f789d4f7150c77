"""Runs from Python: what the console scripts do, as functions on run folders that return records.

Example:
  api.train(published.setting("mnist", "at"), "runs/at", data_dir="mnist")
  records = api.evaluate_runs(["runs/at", "runs/tla"], suites=("table1",), num_examples=1000)
  pandas.DataFrame([{"run": name, **row} for name, record in records.items() for row in record.rows()])

All are quiet: `note` is called with what a reader should know, `progress` with how
far the work is. TensorFlow is loaded by the functions, not by this module.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import functools
import itertools
import os
import pathlib
import typing

from tla_tf.config import ReadingConfig, TrainingConfig, choice
from tla_tf.errors import InputError
from tla_tf.persistence import run_paths
from tla_tf.persistence.model_file import ModelFile
from tla_tf.persistence.run_folder import RunFolder
from tla_tf.records import AnalysisArrays, AnalysisRecord, training_epsilon
from tla_tf.records.comparison import ComparisonRecord
from tla_tf.types import DataSource, Split

if typing.TYPE_CHECKING:
  from tla_tf.detection import Detector
  from tla_tf.evaluation.analysis_planning import AnalysisOptions
  from tla_tf.evaluation.planning import EvaluationOptions
  from tla_tf.evaluation.subject import Subject
  from tla_tf.evaluation.transfer_images import Source
  from tla_tf.reporting import WrittenReport
  from tla_tf.summaries import Evaluations, Findings

PathLike = str | pathlib.Path
# Paths of run folders, or what `open_runs` returns.
Runs = collections.abc.Iterable[PathLike] | dict[str, RunFolder]
# Models that were not trained here, or their paths.
Models = collections.abc.Iterable[ModelFile | PathLike] | ModelFile | PathLike
# Called with (what, batches done, batches to do, seconds left).
Progress = collections.abc.Callable[[str, int, int, float], None]
# Called with the number of image files decoded and to decode.
ReadingProgress = collections.abc.Callable[[int, int], None]
Note = collections.abc.Callable[[str], None]


def open_runs(
  run_dirs: collections.abc.Sequence[PathLike],
  output_dir: PathLike | None = None,
  writable: bool = True,
  *,
  judged_too: bool = False,
  beside: bool = False,
) -> dict[str, RunFolder]:
  """Opens run folders that are to be compared; loads no TensorFlow.

  Args:
    run_dirs: their paths, shell patterns such as `runs/*`, or folders that run folders lie in.
    output_dir: where results of judging and analysing lie, if not in the run folders: of
      one run in this folder, of several in a folder of their name each.
    writable: whether results will be written.
    judged_too: whether folders with results of models from elsewhere will do, too.
    beside: whether other models' results go into `output_dir`, too, so that a single run has
      a folder of its name there.

  Returns:
    Dict from name to RunFolder; the name is the end of the path that tells a run from
    the others.

  Raises:
    InputError: if one is no run folder, or their data sets or classes differ.
  """
  paths = run_paths.find_run_folders(run_dirs, judged_too)
  if not paths:
    raise InputError("Give at least one run folder.")
  names = run_paths.short_names(paths)

  def results(name: str) -> pathlib.Path | None:
    return None if output_dir is None else pathlib.Path(output_dir, name if len(paths) > 1 or beside else "")

  def opened(path: pathlib.Path, name: str) -> RunFolder:
    holds_results = judged_too and not RunFolder(path).is_run and path.is_dir()
    return RunFolder(path) if holds_results else RunFolder.open(path, results(name))

  folders = [opened(path, name) for path, name in zip(paths, names)]
  about = [_data_of(folder) for folder in folders]
  datasets = {dataset for dataset, _, _ in about}
  if len(datasets) > 1:
    raise InputError(
      f"Runs on different data sets ({', '.join(sorted(datasets))}) make no common table: give them one by one."
    )
  # An imported network does not know its data, a judged model not its classes; all others must agree.
  classes, digests = ({fact for fact in facts if fact is not None} for facts in list(zip(*about))[1:])
  if len(classes) > 1 or len(digests) > 1:
    raise InputError(
      f"{', '.join(map(str, paths))}: were trained on different {'classes' if len(classes) > 1 else 'data'}, so "
      "they make no common table: give them one by one."
    )
  if writable:
    for folder in folders:
      folder.require_writable()
  return dict(zip(names, folders))


def _data_of(folder: RunFolder) -> tuple[str, tuple[str, ...] | None, str | None]:
  """The data set of a folder, its classes and its digest, as far as they are known."""
  if folder.is_run:
    config, facts = folder.read_config()
    return config.dataset, tuple(facts.class_names), facts.digest
  if folder.evaluation.is_file():
    record = read_evaluations(folder.path).findings[0].last
    return record.dataset, None, record.data_digest
  analysis = AnalysisRecord.read(folder.analysis)
  return analysis.config["dataset"], tuple(analysis.class_names), analysis.data_digest


def _opened(
  runs: Runs,
  output_dir: PathLike | None = None,
  writable: bool = True,
  *,
  judged_too: bool = False,
  beside: bool = False,
) -> dict[str, RunFolder]:
  if isinstance(runs, dict):
    if output_dir is not None and not beside:
      raise InputError("`output_dir`: give it to `open_runs`, which opened these runs.")
    return runs
  if isinstance(runs, (str, os.PathLike)):
    runs = [runs]
  return open_runs(list(runs), output_dir, writable, judged_too=judged_too, beside=beside)


def _ignored(*_: typing.Any) -> None:
  pass


class _Places(typing.NamedTuple):
  """Where images are, and who hears how many of their files are decoded."""

  data_dir: PathLike | None
  cache_dir: PathLike | None
  reading_progress: ReadingProgress | None


class _Target(typing.NamedTuple):
  """Who is judged or analysed, before anything is loaded.

  Attributes:
    folder: where results go.
    dataset: the data set's name.
    training_epsilon: radius in L-infinity of its training, or None.
    class_names: of its data, as far as they are known.
    subject: function that loads it.
  """

  folder: RunFolder
  dataset: str
  training_epsilon: float | None
  class_names: tuple[str, ...] | None
  subject: collections.abc.Callable[[], Subject]


def _targets(
  runs: Runs,
  models: Models,
  checkpoint: str | int,
  dataset: str | None,
  data_source: DataSource | str,
  reading: ReadingConfig | None,
  output_dir: PathLike | None,
  places: _Places,
  note: Note,
  split: Split,
  with_embedding: bool = False,
) -> dict[str, _Target]:
  """Runs, and models from elsewhere on the data of the runs, by name.

  Raises:
    InputError: if there are none, folders are no runs, settings are missing or of no
      use, or held-out images are asked for of a network that may have been trained on them.
  """
  from tla_tf import datasets
  from tla_tf.evaluation.subject import run_subject

  files = _model_files(models)
  folders = _opened(runs, output_dir, beside=bool(files)) if runs or not files else {}
  targets = {}
  if split is not Split.TEST and files:
    raise InputError(f"`split={split}` is for runs: which images {files[0].path} was trained on is not known.")
  for name, folder in folders.items():
    config, facts = folder.read_config()
    if split is not Split.TEST and facts.digest is None:
      raise InputError(
        f"`split={split}`: {folder.path} holds an imported network; which images it was trained on is not known."
      )
    epsilon = training_epsilon(config.to_dict())
    subject = functools.partial(run_subject, folder, checkpoint, *places)
    targets[name] = _Target(folder.of_split(split), config.dataset, epsilon, tuple(facts.class_names), subject)
  if folders and (dataset is not None or reading is not None):
    raise InputError("`dataset` and `reading` are for models without runs beside them: a run folder knows its own.")
  if not files:
    return targets
  if output_dir is None:
    raise InputError("Models that were not trained here need `output_dir`, a folder for their results.")
  if folders:
    config, facts = next(iter(folders.values())).read_config()
    dataset, data_source, reading = config.dataset, config.data_source, config.reading
    places = places._replace(data_dir=places.data_dir or facts.data_dir)
  if dataset is None:
    raise InputError("Models that were not trained here need `dataset`, the name of the data set.")
  if not all(file.trust_model for file in files):
    note(
      "Models from elsewhere are programs with your rights: what they hold is checked, which is no proof (SECURITY.md)."
    )
  own = datasets.get(dataset).class_names or None
  for name, file in _named(files, set(targets)).items():
    folder = RunFolder(pathlib.Path(output_dir) / name if len(files) + len(folders) > 1 else output_dir)
    folder.require_writable()
    subject = functools.partial(_model_subject, file, dataset, data_source, reading, places, note, with_embedding)
    targets[name] = _Target(folder, dataset, None, own, subject)
  return targets


def _model_files(models: Models) -> list[ModelFile]:
  models = [models] if isinstance(models, (str, os.PathLike, ModelFile)) else list(models)
  return [model if isinstance(model, ModelFile) else ModelFile(model) for model in models]


def _named(files: list[ModelFile], taken: set[str]) -> dict[str, ModelFile]:
  """Models by names that differ, from each other and from those that are taken."""
  found: dict[str, ModelFile] = {}
  for file in files:
    names = (f"{file.name}_{i}" if i > 1 else file.name for i in itertools.count(1))
    found[next(name for name in names if name not in found and name not in taken)] = file
  return found


def _model_subject(
  file: ModelFile,
  dataset: str,
  data_source: DataSource | str,
  reading: ReadingConfig | None,
  places: _Places,
  note: Note,
  with_embedding: bool,
) -> Subject:
  """A model from elsewhere, loaded, with its data."""
  from tla_tf import datasets
  from tla_tf.evaluation.subject import foreign_subject

  model = file.load()
  reading = reading or ReadingConfig()
  if dataset == "images" and not reading.image_size and model.image_shape and None not in model.image_shape:
    reading = reading.replace(image_size=tuple(model.image_shape[:2]), channels=model.image_shape[2])
  splits = datasets.load(
    dataset, places.data_dir, DataSource(data_source), reading, places.cache_dir, places.reading_progress
  )
  for path, reason in splits.left_out:
    note(f"left out {path}: {reason}")
  return foreign_subject(model, dataset, splits, reading, with_embedding)


# --------------------------------------------------------------------------- training


@dataclasses.dataclass(frozen=True)
class TrainedRun:
  """What a training leaves.

  Attributes:
    folder: RunFolder.
    step: steps done.
    judged: which weights its checkpoints are judged by: "network" or "average".
    metrics: dicts of what was logged at the end of every interval.
    figure: path of the training curves; None on a worker that is not the chief, which
      alone writes.
  """

  folder: RunFolder
  step: int
  judged: str
  metrics: list[dict]
  figure: pathlib.Path | None

  def rows(self) -> list[dict]:
    """A dict an interval, for pandas."""
    return [{"run": self.folder.path.name, **row} for row in self.metrics]


def train(
  config: TrainingConfig,
  output_dir: PathLike,
  *,
  data_dir: PathLike | None = None,
  cache_dir: PathLike | None = None,
  init_from: PathLike | None = None,
  init_checkpoint: str | int = "best",
  note: Note = _ignored,
  reading_progress: ReadingProgress | None = None,
  owns_process: bool = False,
) -> TrainedRun:
  """Trains, or goes on training, in a run folder, and draws its curves.

  Killed at any moment and called again with the same arguments, it ends in the
  same bits as a run that was never stopped (of a network that XLA does not compile,
  certainly so under TensorFlow's op determinism alone).

  Args:
    config: TrainingConfig, of `published.setting` for instance.
    output_dir: the run folder; new, empty, or of the same run.
    data_dir: folder of the data set's files.
    cache_dir: folder of decoded images; None for the user's own.
    init_from: run folder whose network to begin with, or None.
    init_checkpoint: which of its checkpoints: "best", "last" or a step.
    note: called with lines on how far it is.
    reading_progress: called with the number of image files decoded and to decode.
    owns_process: whether switches that act on the whole process may be turned on, for
      the same bits in every run; otherwise `note` hears of them.

  Returns:
    TrainedRun.

  Raises:
    InputError: for bad data, a folder of something else, or a run with other
      settings or data.
    DivergedError: if the loss or the weights are no longer finite.
  """
  from tla_tf import reporting, training
  from tla_tf.persistence import CheckpointStore

  is_chief = training.is_chief(config)
  if init_from is not None and is_chief:
    config = config.replace(init=training.find_init(init_from, init_checkpoint, output_dir))
  folder = training.train(config, output_dir, data_dir, cache_dir, note, reading_progress, owns_process)
  if not is_chief:
    judged = "average" if config.weight_average else "network"
    return TrainedRun(folder, config.train_steps, judged, [], None)
  metrics = folder.read_metrics()
  figure = reporting.write_training(folder, metrics)
  store = CheckpointStore(folder.checkpoints)
  step = store.resolve("last")
  return TrainedRun(folder, step, store.record(step).judged, metrics, figure)


# --------------------------------------------------------------------------- evaluation


def evaluate_run(run_dir: PathLike, **settings: typing.Any) -> Findings:
  """Judges one run: `evaluate_runs` of a single folder, with the same arguments."""
  (record,) = evaluate_runs([run_dir], **settings).values()
  return record


def evaluate_runs(
  runs: Runs = (),
  *,
  models: Models = (),
  dataset: str | None = None,
  data_source: DataSource | str = DataSource.AUTO,
  reading: ReadingConfig | None = None,
  output_dir: PathLike | None = None,
  source: PathLike | None = None,
  compare_dir: PathLike | None = None,
  checkpoint: str | int = "best",
  data_dir: PathLike | None = None,
  cache_dir: PathLike | None = None,
  progress: Progress | None = None,
  reading_progress: ReadingProgress | None = None,
  note: Note = _ignored,
  **options: typing.Any,
) -> dict[str, Findings]:
  """Judges trained runs, and models from elsewhere, under suites of attacks; writes what was found into folders.

  A run that was trained at another epsilon than its data set's is judged at its own.
  Killed at any moment and called again, it goes on behind the last finished batch.

  Args:
    runs: paths of run folders, shell patterns, or folders that run folders lie in.
    models: models that were not trained here: `ModelFile`s, or paths of `.keras` files
      and SavedModels. They are judged on the data of the runs beside them.
    dataset: of models without runs beside them: the data set's name.
    data_source: of the same: a `types.DataSource`.
    reading: of the same: ReadingConfig; of image folders, size and channels are the
      model's unless given.
    output_dir: where results go, if not into the run folders, which are then only read:
      of several runs or models into a folder of their name each. Models need one.
    source: run folder whose network makes the images of table1's black-box column.
    compare_dir: folder for tables and figures of all runs together, or None.
    checkpoint: of runs: "best", "last" or a step.
    data_dir: folder of the data set's files; None for that of the training.
    cache_dir: folder of decoded images; None for the user's own.
    progress: called with (attack, batches done, batches to do, seconds left), or None.
    reading_progress: called with the number of image files decoded and to decode.
    note: called with sentences that a reader should know.
    **options: fields of `EvaluationOptions`: suites, suite_file, epsilon, l2_epsilon and
      l0_epsilon (several make an evaluation each), num_examples, seed, num_seeds,
      batch_size, eight_bit, search_precision, probe_examples, cross_check, cross_check_attacks,
      split (results on held-out images go into folders `held_out`, beside those on test images).

  Returns:
    Dict from name to Findings of what was measured just now; `read_evaluations` has all
    that is known of a run.

  Raises:
    InputError: for anything wrong in folders, data or options.
  """
  from tla_tf.evaluation.planning import (
    EvaluationOptions,
    linf_radii,
    one_by_one,
    planned_attacks,
    replaced_for_classes,
  )
  from tla_tf.evaluation.subject import run_subject

  asked = EvaluationOptions(**options)
  places = _Places(data_dir, cache_dir, reading_progress)
  split = _split(asked)
  targets = _targets(runs, models, checkpoint, dataset, data_source, reading, output_dir, places, note, split)
  radii, several = set(), [asked]
  for name, target in targets.items():
    several = one_by_one(asked, target.dataset)
    plans = [planned_attacks(one, target.dataset, source is not None, target.training_epsilon) for one in several]
    if target.class_names:
      plans = [replaced_for_classes(plan, len(target.class_names)) for plan in plans]
    radii.add(tuple(linf_radii(plan.attacks) for plan in plans))
    for sentence in dict.fromkeys(sentence for plan in plans for sentence in plan.notes):
      note(f"{name}: {sentence} `epsilon` chooses another.")
    for sentence in dict.fromkeys(sentence for plan in plans for sentence in plan.said):
      note(f"{name}: {sentence}")
  if len(radii) > 1:
    note("The models are judged at different epsilons, and stand in different tables; `epsilon` judges them alike.")
  return _evaluate(
    {name: (target.folder, target.subject) for name, target in targets.items()},
    several,
    lambda: _source(source, output_dir, lambda folder: run_subject(folder, checkpoint, *places)),
    compare_dir and run_paths.of_split(compare_dir, split),
    progress,
    note,
  )


def _split(options: EvaluationOptions | AnalysisOptions) -> Split:
  """Which images are asked for.

  Raises:
    InputError: if there are none of that name.
  """
  return choice(Split, "split", options.split)


def read_evaluations(run_dir: PathLike) -> Evaluations:
  """All evaluations of a run, or of a foreign model, on test images; of `RUN/held_out`, those on held-out images.

  Args:
    run_dir: the folder that their results lie in.

  Returns:
    Evaluations: `findings` of the checkpoint that was judged last, with worst cases over
    all suites, and `others` of earlier checkpoints.

  Raises:
    InputError: if they are damaged, or there are none.
  """
  from tla_tf import summaries

  folder = RunFolder(run_dir)
  if not folder.evaluation.exists():
    raise InputError(f"{run_dir}: holds no evaluation.json; judge it first.")
  return summaries.read_evaluations(folder.evaluation, folder.evaluation_images)


def evaluate_model(
  path: PathLike,
  dataset: str,
  output_dir: PathLike,
  *,
  kind: str | None = None,
  pixel_range: tuple[float, float] = (0.0, 1.0),
  custom_objects: collections.abc.Sequence[str] = (),
  trust_model: bool = False,
  **settings: typing.Any,
) -> Findings:
  """Judges one model that was not trained here: `evaluate_runs` of a single `ModelFile`.

  Args:
    path: a `.keras` file, or the folder of a SavedModel.
    dataset: the data set's name.
    output_dir: where results go.
    kind: "keras", "saved_model", or None for what the path says.
    pixel_range: lowest and highest pixel value that the model takes; it is checked.
    custom_objects: "module:name" of what a `.keras` file was saved with.
    trust_model: whether code that it holds may run: see SECURITY.md.
    **settings: arguments of `evaluate_runs`.

  Returns:
    Findings of what was measured just now.

  Raises:
    InputError: for anything wrong in model, data or options.
  """
  model = ModelFile(path, kind, pixel_range, tuple(custom_objects), trust_model=trust_model)
  (record,) = evaluate_runs(models=[model], dataset=dataset, output_dir=output_dir, **settings).values()
  return record


def _source(
  run_dir: PathLike | None, output_dir: PathLike | None, subject: collections.abc.Callable[[RunFolder], Subject]
) -> Source | None:
  """The network that makes images for others; they are kept in its folder, or where results go."""
  from tla_tf.evaluation.transfer_images import Source

  if run_dir is None:
    return None
  folder = RunFolder.open(run_dir, output_dir)
  folder.require_writable()
  return Source(folder, subject(folder))


def _evaluate(
  subjects: dict[str, tuple[RunFolder, collections.abc.Callable[[], Subject]]],
  options: list[EvaluationOptions],
  load_source: collections.abc.Callable[[], Source | None],
  compare_dir: PathLike | None,
  progress: Progress | None,
  note: Note,
) -> dict[str, Findings]:
  """Judges subjects one after the other, with all options; their journals go when all is written."""
  from tla_tf import files, reporting
  from tla_tf.evaluation.run_evaluation import evaluate_subject, joined
  from tla_tf.summaries import read_evaluations

  if compare_dir is not None:
    files.make_folder(compare_dir)
  source = load_source()
  for folder, _ in subjects.values():
    # A damaged file is to be known before hours of work.
    read_evaluations(folder.evaluation, folder.evaluation_images)
  outcomes, all_known = {}, {}
  for name, (folder, subject) in subjects.items():
    judged, parts = subject(), []
    for i, one in enumerate(options):
      part = evaluate_subject(
        judged,
        # Probes look at radii of their own: once is enough.
        one._replace(probe_examples=0) if i else one,
        state=folder.evaluation_state,
        source=source if i == 0 or "table1" in one.suites else None,
        progress=progress,
        on_resume=_resumed(note),
      )
      parts.append(part)
    outcome = joined(parts)
    known = reporting.write_evaluation(name, folder, outcome.measured, outcome.examples, outcome.class_names)
    outcomes[name], all_known[name] = outcome, known.findings
  if compare_dir is not None:
    reporting.compare_evaluations(all_known, pathlib.Path(compare_dir))
  for outcome in outcomes.values():
    outcome.discard()
  return {name: outcome.findings for name, outcome in outcomes.items()}


def _resumed(note: Note) -> collections.abc.Callable[[int], None]:
  return lambda batches: note(f"going on behind {batches} batches that were judged before")


# --------------------------------------------------------------------------- analysis


def analyze_runs(
  runs: Runs = (),
  *,
  models: Models = (),
  dataset: str | None = None,
  data_source: DataSource | str = DataSource.AUTO,
  reading: ReadingConfig | None = None,
  output_dir: PathLike | None = None,
  classes: collections.abc.Sequence[str] = (),
  projector_examples: int = 500,
  compare_dir: PathLike | None = None,
  checkpoint: str | int = "best",
  data_dir: PathLike | None = None,
  cache_dir: PathLike | None = None,
  progress: Progress | None = None,
  reading_progress: ReadingProgress | None = None,
  note: Note = _ignored,
  **options: typing.Any,
) -> dict[str, AnalysisRecord]:
  """Analyses runs and models from elsewhere: Tables 5 and 6, Figures 1, 2, 4 and 5, a detector, points for TensorBoard.

  Embeddings are kept beside the results: called again, it goes on behind the last
  part that was embedded. A run that was trained at another epsilon than its data
  set's is analysed at its own.

  Args:
    runs: paths of run folders, shell patterns, or folders that run folders lie in.
    models: as for `evaluate_runs`; `ModelFile.embedding_layer` chooses the embedding.
    dataset: as for `evaluate_runs`.
    data_source: as for `evaluate_runs`.
    reading: as for `evaluate_runs`.
    output_dir: as for `evaluate_runs`.
    classes: of Figures 1 and 2, by name: a true class, and the class that it is taken
      for; without, those that are confused most often.
    projector_examples: test images whose points go to TensorBoard's projector; 0 for
      none.
    compare_dir: folder for tables and figures of all runs together, or None.
    checkpoint: "best", "last" or a step.
    data_dir: folder of the data set's files; None for that of the training.
    cache_dir: folder of decoded images; None for the user's own.
    progress: called with (what, batches done, batches to do, seconds left), or None.
    reading_progress: called with the number of image files decoded and to decode.
    note: called with sentences that a reader should know.
    **options: fields of `AnalysisOptions`: weak_epsilon, strong_epsilon, num_examples,
      num_train_examples, fit_examples, k, metric, covariance, shrinkage, unit_length,
      false_positive_rate, seed, batch_size, split (as for `evaluate_runs`).

  Returns:
    Dict from name to AnalysisRecord.

  Raises:
    InputError: for anything wrong in folders, data or options, or if another process
      analyses a run.
  """
  from tla_tf import files, reporting
  from tla_tf.evaluation import figure_data
  from tla_tf.evaluation.analysis_planning import AnalysisOptions, planned_attacks
  from tla_tf.evaluation.run_analysis import analyse

  asked, places = AnalysisOptions(**options), _Places(data_dir, cache_dir, reading_progress)
  split = _split(asked)
  compare_dir = compare_dir and run_paths.of_split(compare_dir, split)
  targets = _targets(runs, models, checkpoint, dataset, data_source, reading, output_dir, places, note, split, True)
  for name, target in targets.items():
    for sentence in planned_attacks(asked, target.dataset, target.training_epsilon).notes:
      note(f"{name}: {sentence} `weak_epsilon` and `strong_epsilon` choose others.")
    if target.class_names is not None:
      figure_data.check_classes(classes, target.class_names)
  if compare_dir is not None:
    files.make_folder(compare_dir)
  records: dict[str, AnalysisRecord] = {}
  arrays: dict[str, AnalysisArrays] = {}
  with contextlib.ExitStack() as locks:
    for target in targets.values():
      folder = target.folder
      files.make_folder(folder.embeddings)
      locks.enter_context(
        files.locked(folder.embeddings / ".lock", f"{folder.path}: another process analyses this run; wait for it.")
      )
    analyses = {}
    for name, target in targets.items():
      subject = target.subject()
      figure_data.check_classes(classes, subject.test.class_names)
      told = progress and functools.partial(_of_run, progress, name)
      analyses[name] = analyse(subject, target.folder, asked, told)
      for sentence in analyses[name].said:
        note(f"{name}: {sentence}")
    shown = figure_data.figure_classes(list(analyses.values()), tuple(classes))
    queries = figure_data.figure_queries(list(analyses.values()))
    for name, analysis in analyses.items():
      folder = targets[name].folder
      arrays[name] = figure_data.figure_arrays(analysis, shown, queries, asked)
      analysis.detector.save(folder.detector)
      records[name] = reporting.write_analysis(name, folder, analysis.record, arrays[name])
      # Beside the training's curves, where `tensorboard --logdir` finds them; none replaces old ones.
      reporting.remove_projector(folder.tensorboard)
      if projector_examples:
        points = figure_data.projector_points(analysis, projector_examples, asked)
        reporting.write_projector(folder.tensorboard, *points)
  if compare_dir is not None:
    reporting.compare_analyses(records, arrays, pathlib.Path(compare_dir))
  return records


def _of_run(progress: Progress, name: str, what: str, *numbers: typing.Any) -> None:
  progress(f"{name}: {what}", *numbers)


# --------------------------------------------------------------------------- reports and exports


def write_report(runs: Runs, output: PathLike | None = None, *, output_dir: PathLike | None = None) -> WrittenReport:
  """Writes one self-contained HTML page on one or several runs, and the same as Markdown; runs no model.

  Args:
    runs: paths of run folders, shell patterns, or folders that run folders lie in; also
      folders with results of models from elsewhere. Of the folder of a comparison, and of
      several runs that lie in one, the report begins with the comparison.
    output: the HTML file; None for `report.html` in the first run folder, in
      `output_dir`, or in the folder of a comparison that is given.
    output_dir: where judging and analysing wrote, if not into the run folders.

  Returns:
    WrittenReport.

  Raises:
    InputError: if a folder or one of its files is damaged, or the report cannot be
      written.
  """
  from tla_tf import reporting

  if output is not None and pathlib.Path(output).suffix.lower() not in (".html", ".htm"):
    raise InputError(f"`output={output}`: expected the name of an .html file.")
  folders = _opened(runs, output_dir, writable=output is None, judged_too=True)
  comparison, itself = _comparison(runs, folders)
  if output is None:
    own = comparison if comparison and itself else next(iter(folders.values())).results
    output = pathlib.Path(output_dir or own, "report.html")
  found = [reporting.read_run(name, folder) for name, folder in folders.items()]
  record = ComparisonRecord.read(comparison / "comparison.json") if comparison else None
  return reporting.write_document(reporting.make_report(found, record), pathlib.Path(output))


def _comparison(runs: Runs, folders: dict[str, RunFolder]) -> tuple[pathlib.Path | None, bool]:
  """The one comparison that several runs lie in, or that was given itself; and whether it was."""
  places = {run_paths.comparison_folder(folder.path) for folder in folders.values()}
  place = places.pop() if len(places) == 1 else None
  given = [runs] if isinstance(runs, (str, os.PathLike)) else list(runs)
  itself = place is not None and any(os.path.abspath(path) == str(place) for path in given)
  return (place if itself or len(folders) > 1 else None), itself


class ExportedModel(typing.NamedTuple):
  """A SavedModel that was written.

  Attributes:
    path: its folder.
    step: of the checkpoint.
    endpoints: names of its endpoints.
    image_shape: (height, width, channels) of the images that it takes.
    class_names: names of the classes, in the order of labels.
  """

  path: pathlib.Path
  step: int
  endpoints: tuple[str, ...]
  image_shape: tuple[int, ...]
  class_names: tuple[str, ...]


def export_run(
  run_dir: PathLike,
  output: PathLike | None = None,
  *,
  checkpoint: str | int = "best",
  detect: bool | None = None,
  uint8: bool = False,
  detect_precision: str = "float64",
  note: Note = _ignored,
) -> ExportedModel:
  """Writes a trained network as a SavedModel, with its detector where there is one.

  Args:
    run_dir: run folder.
    output: folder to make; None for `saved_model` in the run folder.
    checkpoint: "best", "last" or a step.
    detect: whether to add the endpoint `detect`: True fails without a detector of this
      checkpoint, None adds it where there is one.
    uint8: whether to add endpoints that take uint8 images in 0..255.
    detect_precision: "float64", or "float32" for converters that know no other, as TFLite's.
    note: called with sentences that a reader should know.

  Returns:
    ExportedModel.

  Raises:
    InputError: for a bad run folder, or if the SavedModel cannot be written.
  """
  from tla_tf.detection import GraphDetector
  from tla_tf.persistence.export import export_saved_model, nonfinite_answers
  from tla_tf.persistence.loading import load_checkpoint
  from tla_tf.persistence.versions import versions
  from tla_tf.summaries import alarms

  if detect_precision not in ("float32", "float64"):
    raise InputError(f"`detect_precision={detect_precision}`: expected 'float64' or 'float32'.")
  folder = RunFolder.open(run_dir)
  config, facts = folder.read_config()
  network, step, digest = load_checkpoint(folder, checkpoint)
  detector = None if detect is False else _detector(folder, step, digest, detect is True, note)
  graph = None if detector is None else GraphDetector(detector, detect_precision)
  bad, tried = nonfinite_answers(network, facts.image_shape)
  if bad == tried:
    raise InputError(
      f"{folder.path}: the network of step {step} says NaN or infinity of every image that was tried, so that nothing "
      "was exported; give an earlier `checkpoint`, or train anew with a lower learning rate."
    )
  if bad:
    note(alarms.nonfinite_outputs({f"of {tried} images that were tried": bad}) or "")
  output = pathlib.Path(folder.saved_model if output is None else output)
  endpoints = export_saved_model(
    network,
    facts.image_shape,
    output,
    graph,
    class_names=facts.class_names,
    uint8=uint8,
    facts={
      "dataset": config.dataset,
      "method": config.method,
      "network": config.network,
      "checkpoint": step,
      "checkpoint_digest": digest,
      "threshold": detector and detector.threshold,
      "versions": versions(),
    },
  )
  return ExportedModel(output, step, endpoints, tuple(facts.image_shape), tuple(facts.class_names))


def _detector(folder: RunFolder, step: int, digest: str, required: bool, note: Note) -> Detector | None:
  """The run's detector if there is one for this checkpoint, else None; raises where it is required."""
  from tla_tf.detection import Detector

  if not folder.detector.exists():
    if required:
      raise InputError(f"{folder.path}: holds no detector; fit one with tla-analyze --run_dir={folder.path}.")
    return None
  detector = Detector.load(folder.detector)
  if detector.facts.checkpoint_digest == digest:
    return detector
  reason = (
    f"{folder.detector}: was fitted to the checkpoint of step {detector.facts.checkpoint}, not to that of step {step}; "
    f"fit it again with tla-analyze --run_dir={folder.path} --checkpoint={step}"
  )
  if required:
    raise InputError(f"{reason}.")
  note(f"no endpoint detect. {reason}, or leave it out (`detect=False`).")
  return None
