"""TensorFlow's reader of checkpoints, for files that may be a stranger's."""

from __future__ import annotations

import contextlib
import math
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from tla_tf import files, limits
from tla_tf.errors import InputError, first_line
from tla_tf.persistence.message_size import check_message

# The objects of a checkpoint of TensorFlow 2; those of TensorFlow 1 have none.
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def open_checkpoint(prefix: str, name: object) -> Any:
  """`tf.train.load_checkpoint` of regular files that hold no more than their index declares.

  Args:
    prefix: what the names of its files begin with, as TensorFlow takes it (`literal_path`).
    name: what the message calls it.

  Raises:
    limits.LimitError: for other files, and if its variables would be too much larger.
    Exception: whatever TensorFlow raises for a damaged one.
  """
  place, on_disk = pathlib.Path(prefix), 0
  for file in place.parent.iterdir() if place.parent.is_dir() else ():
    if file.name in (place.name, f"{place.name}.index") or file.name.startswith(f"{place.name}.data-"):
      with limits.open_regular(file) as opened:
        on_disk += limits.on_disk(opened)
  reader = tf.train.load_checkpoint(prefix)
  types = reader.get_variable_to_dtype_map()
  declared = sum(tensor_bytes(shape, types[key]) for key, shape in reader.get_variable_to_shape_map().items())
  limits.check_unpacked(str(name), declared, on_disk)
  graph = reader.get_tensor(OBJECT_GRAPH) if types.get(OBJECT_GRAPH) == tf.string else None
  if isinstance(graph, bytes):
    # TensorFlow parses it when it restores.
    check_message(str(name), graph, trackable_object_graph_pb2.TrackableObjectGraph)
  return reader


@contextlib.contextmanager
def reading(sentence: str, remedy: str = "", others: tuple[type[Exception], ...] = ()) -> Iterator[None]:
  """Says what TensorFlow, or a limit, has against a checkpoint or model that the body reads.

  Args:
    sentence: what cannot be done, before the reason.
    remedy: what follows the reason.
    others: what else the body raises for a damaged file.

  Raises:
    InputError: for such a reason; errors of other kinds as they are.
  """
  try:
    yield
  except InputError:
    raise
  except limits.LimitError as error:
    raise InputError(f"{error.filename}: {files.refusal(error)}{remedy}.") from None
  except (tf.errors.OpError, ValueError, RuntimeError, IndexError, *others) as error:
    # IndexError: it ends early.
    raise InputError(f"{sentence} ({first_line(error)}){remedy}.") from None


def tensor_bytes(shape: Iterable[int], dtype: Any) -> int:
  """Bytes of a tensor; raises ValueError for a negative size, TypeError for a type that is none."""
  sizes = list(shape)
  if min(sizes, default=0) < 0:
    raise ValueError(f"a tensor of shape {sizes}")
  # Texts have no size of their own; each takes 24 bytes and its letters.
  return math.prod(sizes) * (tf.as_dtype(dtype).size or 24)
