"""`config.json` and the `meta.json` of a checkpoint: what a run folder says of its training."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing

from tla_tf.config import TrainingConfig
from tla_tf.records.record import Record, unchanged
from tla_tf.registry import METHODS


@dataclasses.dataclass(frozen=True)
class DataFacts:
  """The data that a run was trained on.

  Attributes:
    digest: SHA-256 of its images and labels, as hex; None for an imported
      network, which does not know its data.
    image_shape: (height, width, channels).
    num_classes: number of classes.
    class_names: their names, in the order of labels.
    data_dir: absolute path of the folder that the files were in, or None.
    left_out: (file, reason) of files that could not be read and were left out.
  """

  digest: str | None
  image_shape: tuple[int, ...]
  num_classes: int
  class_names: tuple[str, ...]
  data_dir: str | None
  left_out: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Imported:
  """Where the network of a run comes from that was not trained here.

  Attributes:
    checkpoint: prefix of the TF1 checkpoint's files.
    step: step that it was saved at, as far as it says.
    missing: names of variables that it did not hold.
  """

  checkpoint: str
  step: int | None
  missing: tuple[str, ...]


def _with_recipe(content: dict) -> dict:
  """Format 1 had the settings of all methods side by side; a method takes those that are its own."""
  settings = content.get("settings")
  if not isinstance(settings, dict) or not isinstance(settings.get("method"), str):
    return content
  if settings["method"] not in METHODS:
    return content
  fields = METHODS.get(settings["method"]).fields()
  recipe = {name: value for name, value in settings.items() if name in fields}
  moved = {"attack_mode", "triplet", "negative_pool_size", "pairing", "pairing_weight", "clean_weight"}
  kept = {name: value for name, value in settings.items() if name not in moved}
  return {**content, "settings": {**kept, "recipe": recipe}}


def _without_val(content: dict) -> dict:
  """Formats before 3 held out training images of image folders, even where there was a folder val/."""
  settings = content.get("settings")
  if not isinstance(settings, dict) or settings.get("dataset") != "images":
    return content
  if not isinstance(settings.get("reading", {}), dict):
    return content
  return {**content, "settings": {**settings, "reading": {"use_val": False, **settings.get("reading", {})}}}


@dataclasses.dataclass(frozen=True)
class RunRecord(Record):
  """`config.json`.

  Attributes:
    settings: TrainingConfig.
    data: DataFacts.
    versions: dict from package to version that trained last.
    imported: where an imported network comes from, or None.
    xla_failure: why XLA, which was preferred, could not compile the training's steps;
      None where it could, or was not tried.
  """

  FORMAT, FILE, REMEDY = 4, "config.json", "restore the file, or train again in another folder"
  UPGRADES: typing.ClassVar[dict] = {1: _with_recipe, 2: _without_val, 3: unchanged}
  SEALED_SINCE = 4

  settings: TrainingConfig
  data: DataFacts
  versions: dict[str, str]
  imported: Imported | None = None
  xla_failure: str | None = None


@dataclasses.dataclass(frozen=True)
class CheckpointRecord(Record):
  """`meta.json` of a checkpoint.

  Attributes:
    step: steps done.
    metrics: dict of the interval's metrics.
    score: what "best" compares, first things first.
    shapes: (path, shape) of every variable of the network: what must agree to
      restore.
    files: dict from file to its SHA-256, as hex.
    judged: which part's weights are judged: "network", or "average".
    parts: names of what was saved; formats before 2 did not say.
  """

  FORMAT, FILE, REMEDY = 3, "meta.json", "remove its folder to go back to an earlier checkpoint"
  UPGRADES: typing.ClassVar[dict] = {1: unchanged, 2: unchanged}
  SEALED_SINCE = 3

  step: int
  metrics: dict[str, float]
  score: list[float]
  shapes: list[tuple[str, list[int]]]
  files: dict[str, str]
  judged: str = "network"
  parts: list[str] | None = None

  @property
  def digest(self) -> str:
    """SHA-256 over the checkpoint's files, as hex."""
    return hashlib.sha256(json.dumps(self.files, sort_keys=True).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class FallbackRecord(Record):
  """`fallback.json`: a training under a cheap inner attack collapsed, and went back.

  Attributes:
    step: of the checkpoint that it went back to, and the first one of PGD.
    best_robust_accuracy: there, on held-out images.
    collapsed_at: step at whose end it was noticed.
    robust_accuracy: there.
    training_accuracy: of the training images under the inner attack, there.
  """

  FORMAT, FILE, REMEDY = 2, "fallback.json", "restore the file, or train again in another folder"
  UPGRADES: typing.ClassVar[dict] = {1: unchanged}
  SEALED_SINCE = 2

  step: int
  best_robust_accuracy: float
  collapsed_at: int
  robust_accuracy: float
  training_accuracy: float
