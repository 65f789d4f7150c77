"""TensorBoard's files of a run: what a run that goes on writes again is taken out first."""

from __future__ import annotations

import pathlib
import typing

import tensorflow as tf
from tensorboard.compat.proto import event_pb2

from tla_tf import files, limits

_PATTERN = "events.out.tfevents.*"


def drop_after(folder: pathlib.Path, step: int) -> None:
  """Removes what was logged of later steps than that of the checkpoint that a run goes on at.

  As `metrics.jsonl`, TensorBoard then holds every step once. Files without later
  steps are left as they are; one that a kill cut off keeps its whole events.

  Args:
    folder: of the event files; it need not exist.
    step: the checkpoint's, 0 for none.
  """
  for path in sorted(folder.glob(_PATTERN)):
    if any(event.step > step for _, event in _events(path)):
      # A name that TensorBoard does not look at.
      temporary = path.with_name(f".{path.name.replace('tfevents', 'rewritten')}")
      try:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
          for record, event in _events(path):
            if event.step <= step:
              writer.write(record)
        files.put_in_place(temporary, path)
      except (tf.errors.OpError, OSError) as error:
        temporary.unlink(missing_ok=True)
        refusal = error if isinstance(error, OSError) else files.refused_by_disk(error.message)
        raise files.unwritable(path, refusal, path.stat().st_size) from error


def remove(folder: pathlib.Path, suffix: str) -> None:
  """Removes the event files of a suffix."""
  for path in folder.glob(f"{_PATTERN}{suffix}"):
    path.unlink()


def _events(path: pathlib.Path) -> typing.Iterator[tuple[bytes, event_pb2.Event]]:
  """The whole events of a file, as they are written and parsed."""
  limits.open_regular(path).close()
  records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
  while True:
    try:
      record = next(records)
    except (StopIteration, tf.errors.DataLossError):
      return
    yield record, event_pb2.Event.FromString(record)
