"""Analysing a trained run: embeddings, Tables 5 and 6, and detection.

Source: Mao et al. 2019, Sections 3, 5.2 and 5.3.
"""

from __future__ import annotations

import time
import typing

import numpy as np

from tla_tf.analysis import Neighbours, Separation, separation_ratio
from tla_tf.config import AttackConfig
from tla_tf.detection import Detector, Roc
from tla_tf.evaluation.analysed_images import AnalysedImages, DrawnPositions, drawn_positions, embed
from tla_tf.evaluation.analysis_planning import AnalysisAttacks, AnalysisOptions, planned_attacks
from tla_tf.evaluation.detector_analysis import analyse_detector, chosen_covariance
from tla_tf.evaluation.subject import Subject
from tla_tf.persistence import RunFolder
from tla_tf.persistence.versions import versions
from tla_tf.records.analysis import (
  AnalysedAccuracy,
  AnalysisRecord,
  ClassSeparation,
  NeighbourVotes,
  SeparationEntry,
  epsilon_key,
)
from tla_tf.summaries import alarms
from tla_tf.summaries.shares import share
from tla_tf.types import Metric, Split


class Analysis(typing.NamedTuple):
  """What an analysis gives.

  Attributes:
    record: AnalysisRecord; its `arrays_digest` is empty until arrays are written.
    drawn: DrawnPositions.
    images: AnalysedImages.
    detector: Detector, with its threshold.
    neighbours: `analysis.Neighbours` among the natural training images.
    curves: dict from "misclassified" and "adversarial" to Roc.
    said: sentences that a reader should know besides those of the attacks' settings.
  """

  record: AnalysisRecord
  drawn: DrawnPositions
  images: AnalysedImages
  detector: Detector
  neighbours: Neighbours
  curves: dict[str, Roc]
  said: tuple[str, ...]


def analyse(
  subject: Subject,
  folder: RunFolder,
  options: AnalysisOptions = AnalysisOptions(),
  progress: typing.Callable | None = None,
) -> Analysis:
  """Embeds a run's images, or takes what is kept, and measures Tables 5 and 6 and detection.

  Killed and called again, it goes on behind the last part that was embedded.

  Args:
    subject: Subject of a trained run.
    folder: RunFolder, where embeddings are kept.
    options: AnalysisOptions.
    progress: called with (what, batches done, batches to do, seconds left), or None.

  Returns:
    Analysis.

  Raises:
    InputError: for options that do not fit the data.
  """
  clock = _Clock()
  attacks = planned_attacks(options, subject.dataset, subject.training_epsilon)
  drawn = drawn_positions(subject, options)
  covariance = chosen_covariance(subject, options)
  images = embed(subject, folder, options, attacks, drawn, progress)
  sides = {"weak": images.weak, "strong": images.strong}
  clock.lap("embeddings")
  ratios = {
    name: separation_ratio(
      images.test.embeddings,
      images.test.labels,
      side.embeddings,
      side.labels,
      side.predictions,
      len(images.class_names),
    )
    for name, side in sides.items()
  }
  clock.lap("separation")
  neighbours = Neighbours(images.train.embeddings, images.train.labels, drawn.k, options.metric)
  votes = _votes(neighbours, images, attacks, drawn.k, options.metric)
  clock.lap("knn")
  detected = analyse_detector(images, attacks, options, covariance, subject.facts)
  clock.lap("detection")
  looked_at = {"training": images.train, "held-out": images.heldout, "analysed": images.test}
  looked_at |= {f"{name}ly attacked": side for name, side in sides.items()}
  alarm = alarms.nonfinite_outputs(
    {f"{kind} images": int((of.predictions < 0).sum()) for kind, of in looked_at.items()}
  )
  said = (*drawn.notes, *([alarm] if alarm else []))
  keys = {name: epsilon_key(config.epsilon) for name, config in attacks.by_name.items()}
  record = AnalysisRecord(
    separation_ratio={keys[name]: found.ratio for name, found in ratios.items()},
    separation=[_separation_entry(attacks.by_name[name], found, images.class_names) for name, found in ratios.items()],
    knn=votes,
    detection=detected.result,
    accuracy=AnalysedAccuracy(
      natural=share(~images.test.errs), by_epsilon={keys[name]: share(~side.errs) for name, side in sides.items()}
    ),
    attacks=attacks.by_name,
    usual_epsilon=attacks.by_name[attacks.usual].epsilon,
    class_names=list(images.class_names),
    num_examples=len(images.test.labels),
    num_train_examples=len(images.train.labels),
    embedding_dimensions=int(images.test.embeddings.shape[1]),
    zero_share=float(np.mean(images.test.embeddings == 0)),
    seed=options.seed,
    seconds=clock.seconds,
    training_epsilon=subject.training_epsilon,
    notes=[*attacks.notes, *said],
    **subject.facts,
    versions=versions(),
    arrays_digest="",
    split=Split(options.split),
  )
  return Analysis(record, drawn, images, detected.detector, neighbours, detected.curves, said)


class _Clock:
  """Seconds of one step after the other."""

  def __init__(self) -> None:
    self.seconds: dict[str, float] = {}
    self._last = time.monotonic()

  def lap(self, name: str) -> None:
    now = time.monotonic()
    self.seconds[name], self._last = round(now - self._last, 3), now


def _separation_entry(config: AttackConfig, found: Separation, class_names: tuple[str, ...]) -> SeparationEntry:
  return SeparationEntry(
    epsilon=config.epsilon,
    steps=config.steps,
    ratio=found.ratio,
    classes=[ClassSeparation(**part._asdict(), name=class_names[part.label]) for part in found.classes],
    left_out=[class_names[label] for label in found.left_out],
  )


def _votes(
  neighbours: Neighbours, images: AnalysedImages, attacks: AnalysisAttacks, k: int, metric: Metric | str
) -> NeighbourVotes:
  """Table 6: the vote on natural and on attacked images."""
  sides = {"natural": images.test, "weak": images.weak, "strong": images.strong}
  votes = {name: share(neighbours.predict(side.embeddings) == side.labels) for name, side in sides.items()}
  natural, usual = votes["natural"], votes[attacks.usual]
  return NeighbourVotes(
    natural=natural.accuracy,
    adversarial=usual.accuracy,
    k=k,
    natural_interval=natural.interval,
    adversarial_interval=usual.interval,
    metric=Metric(metric),
    by_epsilon={epsilon_key(config.epsilon): votes[name] for name, config in attacks.by_name.items()},
  )
