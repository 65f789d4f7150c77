"""Data sets by name."""

from tla_tf.data.digits import load_digits
from tla_tf.data.mnist import load_mnist
from tla_tf.errors import InputError
from tla_tf.types import DataSource

DATASETS = ("digits", "mnist")


def load(name, data_dir=None, data_source=DataSource.AUTO):
  """Loads a data set by name.

  Args:
    name: one of `DATASETS`.
    data_dir: folder of the files, where the data set has files.
    data_source: a `types.DataSource`.

  Returns:
    `Splits`.

  Raises:
    InputError: for an unknown name, and what the reader raises.
  """
  if name == "digits":
    return load_digits()
  if name == "mnist":
    return load_mnist(data_dir, data_source)
  raise InputError(f"Unknown data set {name!r}: expected one of {list(DATASETS)}.")
