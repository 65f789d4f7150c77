"""MNIST from its four IDX files, or through TFDS."""

from __future__ import annotations

import pathlib

from tla_tf.config import AttackConfig, TrainingConfig
from tla_tf.data import source, tfds_reader
from tla_tf.data.idx import read_idx
from tla_tf.data.image_data import ImageData, Splits, split
from tla_tf.datasets.spec import AnalysisScale, DatasetSpec, SuiteScale
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.registry import DATASETS
from tla_tf.types import DataSource

HELDOUT = 5000
CLASS_NAMES = tuple(str(digit) for digit in range(10))
_FILES = {
  "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
  "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def load_mnist(
  data_dir: AnyPath | None = None, data_source: DataSource | str = DataSource.AUTO, heldout: int = 0
) -> Splits:
  """Returns `Splits` of 55,000 / 5,000 / 10,000 images [n, 28, 28, 1].

  Args:
    data_dir: folder of the IDX files (plain or .gz); for TFDS, its data
      folder or None for its default.
    data_source: `files`, `tfds`, or `auto`: files or TFDS's prepared data,
      whichever `data_dir` holds; TFDS where no folder is given.
    heldout: number of training images held out, the first ones; 0 takes
      5,000, as the authors do.

  Raises:
    InputError: for missing, damaged or mismatched files.
  """
  chosen = source.resolve("MNIST", "mnist", data_dir, data_source, _any_file(data_dir))
  if chosen is DataSource.TFDS or data_dir is None:  # Files always have a folder.
    train, test = tfds_reader.read("mnist", data_dir)
  else:
    train, test = (_read(pathlib.Path(data_dir), part) for part in ("train", "test"))
  if train.image_shape != test.image_shape:
    raise InputError(
      f"{data_dir}: training images are {train.image_shape}, test images {test.image_shape}; "
      "the files do not belong together."
    )
  return split(train, test, heldout or HELDOUT)


def _any_file(folder):
  return folder is not None and any(
    _find(pathlib.Path(folder), name).exists() for names in _FILES.values() for name in names
  )


def _find(folder, name):
  plain = folder / name
  return plain if plain.exists() else folder / f"{name}.gz"


def _read(folder, part):
  if not folder.is_dir():
    raise InputError(f"{folder}: no such folder; `data_dir` must hold MNIST's four IDX files.")
  images_name, labels_name = _FILES[part]
  images_path = _find(folder, images_name)
  images = read_idx(images_path, 3)[..., None]
  labels = read_idx(_find(folder, labels_name), 1)
  return ImageData(images, labels, CLASS_NAMES, source=str(images_path))


# Mao et al. 2019: the authors' MNIST configuration; 100 steps is the attack that they watch while training. The paper's
# Tables 1, 3 and 5 and Figure 5, with the step sizes that the authors train with and, for longer attacks, watch
# training with.
SPEC = DATASETS.register(
  "mnist",
  DatasetSpec(
    name="mnist",
    title="MNIST",
    read=lambda data_dir, data_source, reading, cache_dir, progress: load_mnist(data_dir, data_source, reading.heldout),
    training=TrainingConfig(
      dataset="mnist",
      network="lenet",
      attack=AttackConfig(epsilon=0.3, step_size=0.01, steps=40),
      validation_attack=AttackConfig(epsilon=0.3, step_size=0.01, steps=100),
      batch_size=50,
      train_steps=600_000,
      optimizer="adam",
      learning_rate=1e-4,
      weight_decay=2e-4,
      seed=221760322,
      checkpoint_every=500,
    ),
    published=True,
    suite_scale=SuiteScale(
      epsilon=0.3,
      step_size=0.01,
      bim_steps=40,
      margin_steps=40,
      pgd_steps=40,
      long_pgd_steps=100,
      mim_steps=200,
      long_step_size=0.01,
      black_box_steps=100,
      l2_epsilon=3.0,
      l2_step_size=0.1,
      l2_steps=40,
      l0_epsilon=0.1,
    ),
    analysis_scale=AnalysisScale(0.03, 40, 0.3, 100, "strong"),
    image_shape=(28, 28, 1),
    class_names=CLASS_NAMES,
    tf1_networks=("mlp", "lenet"),
    heldout_help="Published: the first 5,000.",
    rank=1,
  ),
)
