"""A run's settings for TensorBoard's tab HPARAMS, which sets them beside the last of its scalars."""

from __future__ import annotations

import contextlib
import typing

import tensorflow as tf
from tensorboard.plugins.hparams import api_pb2, summary, summary_v2

from tla_tf.config import TrainingConfig
from tla_tf.persistence.run_folder import RunFolder
from tla_tf.training import event_files

_SUFFIX = ".hparams"


@contextlib.contextmanager
def session(folder: RunFolder, config: TrainingConfig) -> typing.Iterator[None]:
  """Writes the settings when the body begins, in place of an earlier process's, and when it ends that the run has.

  The accuracies beside them are the last scalars of the run: `heldout/accuracy`,
  `heldout/robust_accuracy`. A run that is killed or diverges stays open.
  """
  event_files.remove(folder.tensorboard, _SUFFIX)
  with contextlib.closing(tf.summary.create_file_writer(str(folder.tensorboard), filename_suffix=_SUFFIX)) as writer:
    _write(writer, summary_v2.hparams_pb(settings(config)))
    yield
    _write(writer, summary.session_end_pb(api_pb2.STATUS_SUCCESS))


def settings(config: TrainingConfig) -> dict[str, bool | float | str]:
  """All settings by their paths ("attack.epsilon", "recipe.triplet.weight"), as the tab takes them.

  Where the first weights come from is left out, and what holds several values is a text.
  """

  def flat(values: dict, prefix: str = "") -> typing.Iterator[tuple[str, typing.Any]]:
    for name, value in values.items():
      if isinstance(value, dict):
        yield from flat(value, f"{prefix}{name}.")
      else:
        yield f"{prefix}{name}", value if isinstance(value, (bool, int, float, str)) else str(value)

  return {name: value for name, value in flat(config.to_dict()) if not name.startswith("init.")}


def _write(writer: typing.Any, content: typing.Any) -> None:
  with writer.as_default(step=0):
    tf.summary.experimental.write_raw_pb(content.SerializeToString())
  writer.flush()
