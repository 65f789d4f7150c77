"""Which images an analysis looks at, and their embeddings."""

from __future__ import annotations

import typing

import numpy as np

from tla_tf.data import ImageData
from tla_tf.errors import InputError
from tla_tf.evaluation.analysis_planning import NEIGHBOURS, AnalysisAttacks, AnalysisOptions
from tla_tf.evaluation.embeddings import Embedded, Embedder
from tla_tf.evaluation.progress import with_seconds_left
from tla_tf.evaluation.subject import Subject
from tla_tf.persistence import CheckpointStore, RunFolder
from tla_tf.types import Split

_SAME_IMAGES = (
  "Held-out images were analysed, which chose the checkpoint and the detector's threshold, too: the share of clean "
  "ones that it flags is the one that was asked for."
)


class DrawnPositions(typing.NamedTuple):
  """Where the images are in their splits, int [n] in increasing order, and how many neighbours vote.

  Attributes:
    train: natural training images.
    heldout: held-out images.
    test: the images that are analysed.
    fit: rows of `train` that the detectors are fitted to.
    k: neighbours that vote.
    notes: sentences for the record.
  """

  train: np.ndarray
  heldout: np.ndarray
  test: np.ndarray
  fit: np.ndarray
  k: int
  notes: tuple[str, ...]


class AnalysedImages(typing.NamedTuple):
  """The embeddings that an analysis rests on.

  Attributes:
    train: natural training images.
    heldout: natural held-out images.
    test: the images that are analysed, of the test images or held-out ones, natural.
    weak: the same after the weak attack.
    strong: the same after the strong attack.
    fit: rows of `train` that were attacked for the detectors.
    fit_attacked: these after the weak attack.
    usual: `weak` or `strong`, whichever is at the usual epsilon.
    class_names: names of the classes.
  """

  train: Embedded
  heldout: Embedded
  test: Embedded
  weak: Embedded
  strong: Embedded
  fit: np.ndarray
  fit_attacked: Embedded
  usual: Embedded
  class_names: tuple[str, ...]


def drawn_positions(subject: Subject, options: AnalysisOptions) -> DrawnPositions:
  """Draws the images, and checks that there are enough of them, before anything takes time.

  Raises:
    InputError: if there are not.
  """
  splits = subject.splits

  def draw(purpose: int, data: ImageData, name: str) -> np.ndarray:
    count = getattr(options, name)
    if count is None:
      return np.arange(len(data))
    if count > len(data):
      raise InputError(f"`{name}={count}`: there are only {len(data)} such images; leave it out to take all.")
    return np.sort(_shuffled(options, purpose, len(data))[:count])

  split = Split(options.split)
  train, test = draw(0, splits.train, "num_train_examples"), draw(1, splits.judged(split), "num_examples")
  fit = np.sort(_shuffled(options, 2, len(train))[: options.fit_examples])
  if options.k is not None and options.k > len(train):
    raise InputError(f"`k={options.k}` neighbours of {len(train)} training images: expected no more than there are.")
  counts = np.bincount(splits.train.labels[train[fit]], minlength=splits.train.num_classes)
  if counts.min() < 2:
    raise InputError(
      f"Class {splits.train.class_names[counts.argmin()]} has {counts.min()} of the {len(fit)} training images that "
      "the detector is fitted to, and needs 2: raise `fit_examples` or `num_train_examples`, or add images."
    )
  k, notes = _neighbours(options, splits.train, train)
  if split is Split.HELD_OUT:
    notes += (_SAME_IMAGES,)
  return DrawnPositions(train, np.arange(len(splits.heldout)), test, fit, k, notes)


def _neighbours(options: AnalysisOptions, data: ImageData, drawn: np.ndarray) -> tuple[int, tuple[str, ...]]:
  """(How many vote, sentences): no more than a class has images, or that class could not win."""
  counts = np.bincount(data.labels[drawn], minlength=data.num_classes)
  fewest = int(counts.min())
  usual = NEIGHBOURS if options.k is None else options.k
  if fewest >= usual:
    return usual, ()
  smallest = f"Class {data.class_names[counts.argmin()]} has only {fewest} of the {len(drawn)} training images"
  if options.k is None:
    return fewest, (f"{smallest}: {fewest} neighbours vote, not {usual}.",)
  return usual, (f"{smallest}, fewer than the {usual} neighbours that vote: it rarely wins.",)


def _shuffled(options: AnalysisOptions, purpose: int, count: int) -> np.ndarray:
  # A generator a purpose: drawing fewer of one kind leaves the others as they are.
  return np.random.default_rng([options.seed, purpose]).permutation(count)


def embed(
  subject: Subject,
  folder: RunFolder,
  options: AnalysisOptions,
  attacks: AnalysisAttacks,
  drawn: DrawnPositions,
  progress: typing.Callable | None = None,
) -> AnalysedImages:
  """Embeds the images, or takes what the run folder keeps.

  Args:
    subject: Subject of a trained run.
    folder: RunFolder, where embeddings are kept.
    options: AnalysisOptions.
    attacks: AnalysisAttacks.
    drawn: DrawnPositions.
    progress: called with (what, batches done, batches to do, seconds left), or None.

  Returns:
    AnalysedImages.
  """
  embedder = Embedder(
    subject,
    folder.embeddings,
    seed=options.seed,
    batch_size=options.batch_size,
    progress=progress and with_seconds_left(progress),
  )
  store = CheckpointStore(folder.checkpoints)
  known = {record.digest for record in store.records().values()}
  embedder.discard_stale(known | {subject.facts["checkpoint_digest"]})
  judged = "heldout" if options.split == Split.HELD_OUT else "test"
  attacked = {name: embedder.attacked(judged, name, drawn.test, config) for name, config in attacks.by_name.items()}
  return AnalysedImages(
    train=embedder.natural("train", drawn.train),
    heldout=embedder.natural("heldout", drawn.heldout),
    test=embedder.natural(judged, drawn.test),
    **attacked,
    fit=drawn.fit,
    fit_attacked=embedder.attacked("train", "weak", drawn.train[drawn.fit], attacks.weak),
    usual=attacked[attacks.usual],
    class_names=subject.test.class_names,
  )
