"""Where the images of a public data set come from: files on disk or TFDS."""

from __future__ import annotations

import pathlib

from tla_tf.data import tfds_reader
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.types import DataSource


def resolve(
  title: str, tfds_name: str, data_dir: AnyPath | None, data_source: DataSource | str, has_files: bool
) -> DataSource:
  """Turns `auto` into `files` or `tfds`.

  Args:
    title: the data set's name in messages.
    tfds_name: its name in TFDS.
    data_dir: the folder given, or None.
    data_source: a `types.DataSource`.
    has_files: whether `data_dir` holds any of the data set's own files.

  Returns:
    `DataSource.FILES` or `DataSource.TFDS`.

  Raises:
    InputError: for `auto` with a folder that holds neither, and for `files`
      without a folder.
  """
  source = DataSource(data_source)
  if source is DataSource.AUTO:
    if data_dir is None:
      source = DataSource.TFDS
    elif has_files:
      source = DataSource.FILES
    elif tfds_reader.prepared(tfds_name, data_dir):
      source = DataSource.TFDS
    elif not pathlib.Path(data_dir).is_dir():
      raise InputError(f"{data_dir}: no such folder; correct `data_dir`, the folder of {title}'s files.")
    else:
      # Not a download: it is more likely a slip than a wish.
      raise InputError(
        f"{data_dir}: holds neither {title}'s files nor data that TFDS prepared; correct `data_dir` "
        "(when training, `data_source=tfds` downloads into it)."
      )
  if source is DataSource.FILES and data_dir is None:
    raise InputError(f"{title} from files needs their folder: give `data_dir`.")
  return source
