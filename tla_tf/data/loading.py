"""Data sets by name."""

from tla_tf.config import ReadingConfig
from tla_tf.data.cifar10 import load_cifar10
from tla_tf.data.digits import load_digits
from tla_tf.data.image_folders import load_image_folders
from tla_tf.data.mnist import load_mnist
from tla_tf.data.tiny_imagenet import load_tiny_imagenet
from tla_tf.errors import InputError
from tla_tf.types import DataSource

DATASETS = ("digits", "mnist", "cifar10", "tiny_imagenet", "images")


def load(name, data_dir=None, data_source=DataSource.AUTO, reading=ReadingConfig(), cache_dir=None, progress=None):
  """Loads a data set by name.

  Args:
    name: one of `DATASETS`.
    data_dir: folder of the files, where the data set has files.
    data_source: a `types.DataSource`; image folders are always files.
    reading: ReadingConfig.
    cache_dir: folder of decoded images, see `data.cache`.
    progress: called with the number of image files decoded and to decode.

  Returns:
    `Splits`.

  Raises:
    InputError: for an unknown name, and what the reader raises.
  """
  if name == "digits":
    return load_digits(reading.heldout)
  if name == "mnist":
    return load_mnist(data_dir, data_source, reading.heldout)
  if name == "cifar10":
    return load_cifar10(data_dir, data_source, reading.heldout)
  if name == "tiny_imagenet":
    return load_tiny_imagenet(data_dir, data_source, reading, cache_dir, progress)
  if name == "images":
    return load_image_folders(data_dir, reading, cache_dir, progress)
  raise InputError(f"Unknown data set {name!r}: expected one of {list(DATASETS)}.")
