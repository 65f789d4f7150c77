"""A run's folder: settings, checkpoints, logs and results under fixed names."""

from __future__ import annotations

import contextlib
import os
import pathlib
import typing

from tla_tf import files
from tla_tf.config import TrainingConfig
from tla_tf.errors import InputError
from tla_tf.persistence import run_paths
from tla_tf.persistence.checkpoints import CheckpointStore
from tla_tf.records.metrics import read_rows, write_rows
from tla_tf.records.record import read_object
from tla_tf.records.run import DataFacts, FallbackRecord, Imported, RunRecord
from tla_tf.types import Split


class RunFolder:
  """Paths and small files of one training run.

  `config.json`, `checkpoints/`, `tensorboard/`, `metrics.jsonl`, `fallback.json`
  where a cheap inner attack collapsed,
  `evaluation.json`, `evaluation.md`, `evaluation_images/` (which image withstood
  which attack), `figures/`, `saved_model/`; while an evaluation runs,
  `evaluation_state/`; where it is the source of a black-box attack, `transfer/`;
  after an analysis `analysis.json`, `analysis.md`, `analysis.npz` (what its
  figures are drawn from), `detector.npz` and `embeddings/`. What was found on
  held-out images lies apart, in `held_out/`, under the same names.

  Args:
    path: the folder; see `create` and `open`.
    results: where all that judging and analysing write lies; None for the same folder.
  """

  def __init__(self, path: str | pathlib.Path, results: str | pathlib.Path | None = None):
    self.path = pathlib.Path(path)
    self.results = self.path if results is None else pathlib.Path(results)
    self.checkpoints = self.path / "checkpoints"
    self.tensorboard = self.results / "tensorboard"
    self.figures = self.results / "figures"
    self.training_figure = self.path / "figures" / "training.png"
    self.evaluation = self.results / "evaluation.json"
    self.evaluation_table = self.results / "evaluation.md"
    self.evaluation_images = self.results / "evaluation_images"
    self.evaluation_state = self.results / "evaluation_state"
    self.transfer = self.results / "transfer"
    self.analysis = self.results / "analysis.json"
    self.analysis_table = self.results / "analysis.md"
    self.analysis_arrays = self.results / "analysis.npz"
    self.detector = self.results / "detector.npz"
    self.embeddings = self.results / "embeddings"
    self.saved_model = self.path / "saved_model"
    self._config = self.path / "config.json"
    self._metrics = self.path / "metrics.jsonl"
    self._fallback = self.path / "fallback.json"

  @classmethod
  def create(cls, path: str | pathlib.Path) -> tuple[RunFolder, bool]:
    """Opens a folder to train into: a new or empty one, or a run to go on with.

    Makes nothing yet: `write_config` does, when all else is known to be right.

    Returns:
      (RunFolder, whether it holds a run already).

    Raises:
      InputError: if it is not a folder, holds something else, or cannot be
        written.
    """
    folder = cls(path)
    if folder.path.exists() and not folder.path.is_dir():
      raise InputError(f"{path}: is a file, not a folder; choose another `output_dir`.")
    if folder._config.exists():
      if read_object(folder._config).get("imported") is not None:
        raise InputError(
          f"{path}: holds an imported network, whose training cannot go on; give it as `init_from`, and "
          "another `output_dir`."
        )
      folder.require_writable()
      return folder, True
    if folder.path.exists() and any(not entry.name.startswith(".") for entry in folder.path.iterdir()):
      raise InputError(
        f"{path}: holds files but no config.json, so it is no run folder; choose an empty or new `output_dir`."
      )
    folder.require_writable()
    return folder, False

  @contextlib.contextmanager
  def lock(self) -> typing.Iterator[None]:
    """Keeps other trainings out of the folder while the body runs.

    Removes the half-written files that a killed training left.

    Raises:
      InputError: if another process trains in it.
    """
    files.make_folder(self.path)
    with files.locked(
      self.path / ".lock",
      f"{self.path}: another process trains in this folder; wait for it, or choose another `output_dir`.",
    ):
      files.remove_leftovers(self.path)
      yield

  @classmethod
  def open(cls, path: str | pathlib.Path, results: str | pathlib.Path | None = None) -> RunFolder:
    """Opens the folder of a finished or running training.

    Args:
      path: the folder.
      results: where results of judging and analysing lie; None for the same folder.

    Raises:
      InputError: if it is not a run folder, or the results are another run's.
    """
    folder = cls(path, results)
    if not folder.path.is_dir():
      raise InputError(f"{path}: no such folder; give the folder that a training wrote.")
    if not folder._config.is_file():
      raise InputError(f"{path}: not a run folder (no config.json); give the folder that a training wrote.")
    if (folder.results / "config.json").exists() and not folder.results.samefile(folder.path):
      raise InputError(f"{folder.results}: is a run folder of its own; choose another `output_dir`.")
    return folder

  def of_split(self, split: Split) -> RunFolder:
    """The same run with the results on these images: those on others than the test images lie in a folder of their own.

    Embeddings, which say themselves what they are of, and images for transfer stay where they are.
    """
    if split is Split.TEST:
      return self
    folder = RunFolder(self.path, run_paths.of_split(self.results, split))
    folder.embeddings, folder.transfer = self.embeddings, self.transfer
    return folder

  @property
  def is_run(self) -> bool:
    """Whether it holds a training; else, perhaps, results of a model from elsewhere."""
    return self._config.is_file()

  def require_writable(self) -> None:
    """Checks the folder that results go to, or the one that it would be made in."""
    existing = self.results.absolute()
    while not existing.exists():
      existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
      raise InputError(
        f"{self.results}: cannot be written ({existing} allows no new files); choose another `output_dir`."
      )

  def write_config(
    self,
    config: TrainingConfig,
    data: DataFacts,
    versions: dict[str, str],
    imported: Imported | None = None,
    xla_failure: str | None = None,
  ) -> None:
    """Makes the folder and writes `config.json`.

    Args:
      config: TrainingConfig.
      data: DataFacts.
      versions: dict from package to version.
      imported: where the network comes from, if it was not trained here.
      xla_failure: why XLA could not compile the steps, if it could not.

    Raises:
      InputError: if it cannot be written.
    """
    files.make_folder(self.path)
    RunRecord(config, data, versions, imported, xla_failure).write(self._config)

  def record(self) -> RunRecord:
    """What `config.json` says.

    Raises:
      InputError: if it is damaged or of a newer format.
    """
    return RunRecord.read(self._config)

  def read_config(self) -> tuple[TrainingConfig, DataFacts]:
    """The settings of the run, and the data that it was trained on; raises as `record`."""
    record = self.record()
    return record.settings, record.data

  def read_metrics(self, up_to: int | None = None) -> list[dict]:
    """The lines of `metrics.jsonl` as dicts, those of steps <= up_to.

    Raises:
      InputError: naming the line, if one is damaged or not where it was written; and if
        the last ones are gone.
    """
    if not self._metrics.exists():
      return []
    # Its line is written before a checkpoint.
    last = CheckpointStore(self.checkpoints).last() or 0
    rows = read_rows(self._metrics, last)
    return [row for row in rows if up_to is None or row["step"] <= up_to]

  def write_metrics(self, rows: list[dict]) -> None:
    """Replaces `metrics.jsonl`."""
    write_rows(self._metrics, rows)

  def read_fallback(self) -> FallbackRecord | None:
    """How the training went back to PGD after a collapse, or None."""
    return FallbackRecord.read(self._fallback) if self._fallback.exists() else None

  def write_fallback(self, record: FallbackRecord) -> None:
    """Writes `fallback.json`."""
    record.write(self._fallback)
