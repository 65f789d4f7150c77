"""MNIST's files, written for tests."""

import gzip
import struct

import numpy as np

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_TYPES = {"uint8": (0x08, ">u1"), "float32": (0x0D, ">f4")}


def idx_bytes(array):
  """What an IDX file of an array uint8 or float32 holds."""
  array = np.asarray(array)
  code, kind = _TYPES[array.dtype.name]
  return struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.astype(kind).tobytes()


def write(path, content):
  """Writes bytes, compressed where the name ends in .gz."""
  path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
  return path


def write_noise(folder, train, test, size=28):
  """Makes a folder with MNIST's four files, of so many images of noise."""
  folder.mkdir()
  rng = np.random.default_rng(0)
  for names, count in ((NAMES[:2], train), (NAMES[2:], test)):
    arrays = rng.integers(0, 256, (count, size, size), np.uint8), rng.integers(0, 10, count, np.uint8)
    for name, array in zip(names, arrays):
      write(folder / name, idx_bytes(array))
  return folder
