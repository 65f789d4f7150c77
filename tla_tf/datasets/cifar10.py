"""CIFAR-10 from its binary version, its Python pickles, or through TFDS."""

from __future__ import annotations

import pathlib

import numpy as np

from tla_tf import files, limits
from tla_tf.config import AttackConfig, TrainingConfig
from tla_tf.data import pickled_arrays, source, tfds_reader
from tla_tf.data.image_data import ImageData, Splits, heldout_count, split
from tla_tf.datasets.spec import AnalysisScale, DatasetSpec, SuiteScale
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.registry import DATASETS
from tla_tf.types import DataSource

HELDOUT = 1000
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PIXELS = 32 * 32 * 3
# Suffix of the batch files -> the folder that the official archive has them in.
_VERSIONS = {".bin": "cifar-10-batches-bin", "": "cifar-10-batches-py"}
_TRAIN, _TEST = tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",)


def load_cifar10(
  data_dir: AnyPath | None = None, data_source: DataSource | str = DataSource.AUTO, heldout: int = 0
) -> Splits:
  """Returns `Splits` of 49,000 / 1,000 / 10,000 images [n, 32, 32, 3], uint8.

  Args:
    data_dir: folder of the six batch files, binary or pickled, or the folder
      above it; for TFDS, its data folder or None for its default.
    data_source: `files`, `tfds`, or `auto`: files or TFDS's prepared data,
      whichever `data_dir` holds; TFDS where no folder is given.
    heldout: number of training images held out, the first ones (the images
      are in no order); 0 takes 1,000, at most a tenth of the files' images.
      The authors train on all 50,000 and choose the best checkpoint on test
      images.

  Raises:
    InputError: for missing, damaged or mismatched files.
  """
  folder, suffix = _find(data_dir)
  if source.resolve("CIFAR-10", "cifar10", data_dir, data_source, folder is not None) is DataSource.TFDS:
    train, test = tfds_reader.read("cifar10", data_dir)
  elif folder is None:
    raise InputError(
      f"{data_dir}: holds none of CIFAR-10's batch files (data_batch_1.bin or data_batch_1); "
      "give the folder that does as `data_dir`."
    )
  else:
    _refuse_extra_files(folder, suffix)
    read = _read_binary if suffix else _read_pickle
    train, test = (_join(folder, [read(folder / f"{name}{suffix}") for name in names]) for names in (_TRAIN, _TEST))
  return split(train, test, heldout_count(heldout, HELDOUT, len(train)))


def _find(data_dir):
  """The folder of the batch files and their suffix, or (None, None)."""
  for suffix, official in _VERSIONS.items():
    for folder in [pathlib.Path(data_dir), pathlib.Path(data_dir) / official] if data_dir else []:
      if any((folder / f"{name}{suffix}").is_file() for name in _TRAIN + _TEST):
        return folder, suffix
  return None, None


def _refuse_extra_files(folder, suffix):
  known = {f"{name}{suffix}" for name in _TRAIN + _TEST}
  for path in sorted(folder.glob(f"*_batch*{suffix}")):
    if path.name not in known and (suffix or not path.suffix):
      raise InputError(f"{path}: is none of CIFAR-10's six batch files; move it elsewhere.")


def _join(folder, parts):
  images, labels = (np.concatenate(column) for column in zip(*parts))
  return ImageData(images, labels, CLASS_NAMES, source=str(folder))


def _content(path):
  try:
    return limits.read_bytes(path)
  except FileNotFoundError:
    raise InputError(f"{path}: no such file; CIFAR-10 has five training files and one test file.") from None
  except OSError as error:
    raise InputError(f"{path}: {files.refusal(error)}.") from None


def _read_binary(path):
  """Records of one label byte and three planes of 32x32."""
  content = _content(path)
  if not content or len(content) % (1 + _PIXELS):
    raise InputError(
      f"{path}: {len(content)} bytes are not whole records of {1 + _PIXELS}; the file is truncated or "
      "damaged, download it again."
    )
  records = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
  return _checked(path, records[:, 1:], records[:, 0])


def _read_pickle(path):
  content = pickled_arrays.read(path, _content(path))
  missing = [key for key in ("data", "labels") if key not in content]
  if missing:
    raise InputError(f"{path}: has no entry {missing[0]!r}; download it again.")
  pixels, labels = content["data"], content["labels"]
  if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
    raise InputError(f"{path}: its data are no array [n, {_PIXELS}]; download it again.")
  if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 256 for label in labels):
    raise InputError(f"{path}: its labels are no list of class numbers; download it again.")
  if not len(pixels) == len(labels) > 0:
    raise InputError(f"{path}: {len(pixels)} images but {len(labels)} labels; download it again.")
  return _checked(path, pixels, np.array(labels, np.uint8))


def _checked(path, planes, labels):
  """Images [n, 32, 32, 3] of planes [n, 3072], with their labels."""
  wrong = labels >= len(CLASS_NAMES)
  if wrong.any():
    raise InputError(f"{path}: label {labels[wrong][0]} is outside 0..9; the file is damaged or of another data set.")
  return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels


# Mao et al. 2019: the authors' CIFAR-10 configuration, training from scratch; the paper's Tables 1, 3 and 5 and
# Figure 5, with the step sizes that the authors train with and, for longer attacks, watch training with.
SPEC = DATASETS.register(
  "cifar10",
  DatasetSpec(
    name="cifar10",
    title="CIFAR-10",
    read=lambda data_dir, data_source, reading, cache_dir, progress: load_cifar10(
      data_dir, data_source, reading.heldout
    ),
    training=TrainingConfig(
      dataset="cifar10",
      network="wrn_32_10",
      augment_pad=2,
      augment_flip=True,
      attack=AttackConfig(epsilon=8 / 255, step_size=2 / 255, steps=7),
      validation_attack=AttackConfig(epsilon=8 / 255, step_size=1 / 255, steps=20),
      batch_size=50,
      train_steps=80_000,
      optimizer="momentum",
      learning_rate=0.1,
      learning_rate_drops=((50_000, 0.01), (60_000, 0.001)),
      weight_decay=2e-4,
      seed=441760342,
    ),
    published=True,
    fine_tuning=(0.1, ((1_000, 0.01), (5_000, 0.001))),
    suite_scale=SuiteScale(
      epsilon=8 / 255,
      step_size=2 / 255,
      bim_steps=7,
      margin_steps=30,
      pgd_steps=7,
      long_pgd_steps=20,
      mim_steps=40,
      long_step_size=1 / 255,
      black_box_steps=7,
      l2_epsilon=128 / 255,
      l2_step_size=32 / 255,
      l2_steps=10,
      l0_epsilon=0.02,
    ),
    analysis_scale=AnalysisScale(8 / 255, 7, 25 / 255, 20, "weak"),
    image_shape=(32, 32, 3),
    class_names=CLASS_NAMES,
    tf1_networks=("wrn",),
    heldout_help=("Default: the first 1,000, at most a tenth. The authors hold out none and choose on test images."),
    rank=2,
  ),
)
