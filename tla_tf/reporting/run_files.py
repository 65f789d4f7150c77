"""What a run folder holds for a report."""

from __future__ import annotations

import collections.abc
import pathlib
import typing

from tla_tf import limits
from tla_tf.config import TrainingConfig
from tla_tf.persistence import RunFolder
from tla_tf.records import AnalysisArrays, AnalysisRecord, EvaluationRecord
from tla_tf.registry import METHODS
from tla_tf.summaries import Findings, read_evaluations
from tla_tf.types import Role, Split


class Run(typing.NamedTuple):
  """What a run folder holds for a report; None or empty where it does not.

  Attributes:
    name: what the run is called.
    path: its folder.
    elsewhere: whether results of judging and analysing lie in another.
    settings: of its training, or of a model from elsewhere: dict from "attack.epsilon" and the like to JSON values.
    unused: names of settings that have no effect under the run's method.
    metrics: the dicts of `metrics.jsonl`.
    findings: list of Findings of the checkpoint that was judged last, on most images first.
    others: EvaluationRecord of other checkpoints.
    heldout: list of Findings on held-out images, of the checkpoint that was judged on them last.
    analysis: AnalysisRecord.
    arrays: AnalysisArrays.
    adversarial_examples: PNG of images that fell to attacks.
  """

  name: str
  path: pathlib.Path
  elsewhere: bool
  settings: dict[str, typing.Any]
  unused: frozenset[str]
  metrics: list[dict]
  findings: list[Findings]
  others: list[EvaluationRecord]
  heldout: list[Findings]
  analysis: AnalysisRecord | None
  arrays: AnalysisArrays | None
  adversarial_examples: bytes | None


def read_run(name: str, folder: RunFolder) -> Run:
  """Reads what a report needs of a run folder.

  Args:
    name: what the run is called.
    folder: RunFolder.

  Returns:
    Run.

  Raises:
    InputError: if a file is there but damaged.
  """
  known = read_evaluations(folder.evaluation, folder.evaluation_images)
  apart = folder.of_split(Split.HELD_OUT)
  analysis = arrays = None
  if folder.analysis.exists():
    analysis = AnalysisRecord.read(folder.analysis)
    arrays = AnalysisArrays.read(folder.analysis_arrays, analysis.arrays_digest)
    arrays.require_classes(len(analysis.class_names), folder.analysis_arrays)
  if folder.is_run:
    config, _ = folder.read_config()
    settings = dict(_flat(config.to_dict()))
    unused = _unused(config, settings)
  else:
    settings, unused = _of_model(known.findings[0].last if known.findings else analysis), frozenset()
  picture = folder.figures / "adversarial_examples.png"
  return Run(
    name,
    folder.path,
    folder.results != folder.path,
    settings,
    unused,
    folder.read_metrics(),
    known.findings,
    known.others,
    read_evaluations(apart.evaluation, apart.evaluation_images).findings,
    analysis,
    arrays,
    limits.read_bytes(picture, limits.PICTURE_BYTES) if picture.exists() else None,
  )


def _of_model(record: EvaluationRecord | AnalysisRecord | None) -> dict[str, typing.Any]:
  """The settings of a model from elsewhere, as far as its results say them."""
  found = dict(_flat(record.config)) if record else {}
  name = pathlib.PurePath(str(found.get("model", "-"))).name
  return {"method": "not trained here", "network": name, **found}


def _unused(config: TrainingConfig, settings: dict[str, typing.Any]) -> frozenset[str]:
  method = METHODS.get(config.method)
  flags = method.flags()
  unused = {f"recipe.{flags[flag].path}" for flag in method.unused_fields(config.recipe)}
  if Role.ADVERSARIAL not in method.roles(config.recipe):
    unused |= {name for name in settings if name.startswith("attack.")}
  return frozenset(unused)


def _flat(settings: dict, prefix: str = "") -> collections.abc.Iterator[tuple[str, typing.Any]]:
  for name, value in settings.items():
    if isinstance(value, dict):
      yield from _flat(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", value
