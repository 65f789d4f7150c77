"""The evaluations that a folder holds: `evaluation.json` with `evaluation_images/`.

Files of images are named by their content and written before `evaluation.json`,
which names them: a kill in between leaves the old evaluations whole.
"""

from __future__ import annotations

import collections.abc
import contextlib
import hashlib
import pathlib
import typing
import warnings

import numpy as np

from tla_tf import files
from tla_tf.errors import InputError, RecordWarning
from tla_tf.records.evaluation import EvaluationImages, EvaluationRecord
from tla_tf.records.evaluation_book import EvaluationBook
from tla_tf.summaries.alarms import raise_alarms
from tla_tf.summaries.findings import Findings, Measured, findings_of


class Evaluations(typing.NamedTuple):
  """All evaluations of a run or foreign model.

  Attributes:
    measured: list of Measured, in the order in which they were measured.
  """

  measured: list[Measured]

  @property
  def findings(self) -> list[Findings]:
    """What is known of the network that was judged last, on most images first."""
    last = self.measured[-1].record.judged if self.measured else None
    return findings_of(one for one in self.measured if one.record.judged == last)

  @property
  def others(self) -> list[EvaluationRecord]:
    """Evaluations of other checkpoints than that which was judged last."""
    last = self.measured[-1].record.judged if self.measured else None
    return [record for record, _ in self.measured if record.judged != last]

  def adding(self, new: collections.abc.Sequence[Measured]) -> Evaluations:
    """With further evaluations, which take the places of those with the same settings.

    Probes of one whose place is taken stay where they were not run again: what they
    raised alarms for is no better now.
    """
    taken = frozenset().union(*(record.settings for record, _ in new))
    kept = [one for one in self.measured if not one.record.settings <= taken]
    probes = {suite: record.probes for record, _ in self.measured if record.probes for suite in record.settings & taken}
    added = []
    for record, images in new:
      known = next((suite for suite in record.settings if suite in probes), None)
      if record.probes is None and known is not None and images is not None:
        fell = dict(zip(map(str, images.attacks), images.broken.T))
        seen = {alarm.code for alarm in record.alarms}
        found = raise_alarms(record.attacks, fell, images.right, probes[known])
        stay = [alarm for alarm in found if alarm.code not in seen]
        record = record.replace(probes=probes[known], alarms=[*record.alarms, *stay])
      added.append(Measured(record, images))
    return Evaluations([*kept, *added])


def read_evaluations(book: pathlib.Path, images: pathlib.Path) -> Evaluations:
  """Reads what a folder holds.

  Args:
    book: `evaluation.json`; none for no evaluations.
    images: the folder `evaluation_images/`.

  Returns:
    Evaluations. One whose file of images is missing or damaged has none; of a file that
    was there once a RecordWarning tells.

  Raises:
    InputError: if `evaluation.json` is damaged or of a newer format.
  """
  if not book.exists():
    return Evaluations([])
  return Evaluations([Measured(record, _images(record, images)) for record in EvaluationBook.read(book).evaluations])


def keep_evaluations(
  book: pathlib.Path,
  images: pathlib.Path,
  new: collections.abc.Sequence[Measured],
  show: collections.abc.Callable[[Evaluations], None] = lambda known: None,
) -> Evaluations:
  """Adds evaluations to what a folder holds.

  Args:
    book: `evaluation.json`.
    images: the folder `evaluation_images/`; made where missing.
    new: what was measured.
    show: called with what it is to return, before `evaluation.json` is written: after a
      kill what has its results has its tables and figures, too.

  Returns:
    Evaluations, with those that were there.

  Raises:
    InputError: as `read_evaluations`, or if it cannot be written.
  """
  files.make_folder(images)
  # Another process may judge the same run with another suite.
  with files.locked(images / ".lock"):
    known = read_evaluations(book, images).adding(new)
    named: list[EvaluationRecord] = []
    for record, masks in known.measured:
      content = None if masks is None else masks.to_bytes()
      digest = None if content is None else hashlib.sha256(content).hexdigest()
      if content is not None and digest is not None:
        place = _place(images, digest)
        if not place.exists() or files.digest(place) != digest:
          files.write_bytes(place, content)
      named.append(record.replace(images_digest=digest))
    kept = Evaluations([Measured(record, masks) for record, (_, masks) in zip(named, known.measured)])
    show(kept)
    EvaluationBook(named).write(book)
    wanted = {_place(images, record.images_digest) for record in named if record.images_digest}
    for stale in [*images.glob("*.npz"), _before(images)]:
      if stale not in wanted:
        with contextlib.suppress(OSError):
          stale.unlink(missing_ok=True)
  return kept


def _place(images: pathlib.Path, digest: str) -> pathlib.Path:
  return images / f"{digest[:16]}.npz"


def _before(images: pathlib.Path) -> pathlib.Path:
  """Where releases before 0.3 kept the images of their one evaluation."""
  return images.with_name(f"{images.name}.npz")


def _images(record: EvaluationRecord, images: pathlib.Path) -> EvaluationImages | None:
  """Which image withstood which attack; None where it is not known."""
  place = _before(images) if record.images_digest is None else _place(images, record.images_digest)
  try:
    found = EvaluationImages.read(place, record.images_digest)
  except InputError as error:
    if record.images_digest is not None:
      # Suites of one network are judged together by their images.
      what = f"the evaluation by {record.suite} stands alone until then"
      warnings.warn(f"{str(error).rstrip('.')}: {what}.", RecordWarning, stacklevel=2)
    return None
  standing = found.right & ~found.broken.any(1)
  # Old files have no digest: they belong to the record if they say the same.
  same = (
    len(found.labels) == record.num_examples
    and set(map(str, found.attacks)) == {row.name for row in record.attacks}
    and np.isclose(found.right.mean(), record.clean.accuracy)
    and np.isclose(standing.mean(), record.worst_case.accuracy)
  )
  return found if same else None
