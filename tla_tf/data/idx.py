"""The IDX file format of MNIST, plain or gzipped, read with every check."""

from __future__ import annotations

import gzip
import pathlib
import struct
import zlib

import numpy as np

from tla_tf.errors import InputError
from tla_tf.files import AnyPath

# Third byte of the magic number -> element type, big-endian.
_TYPES: dict[int, np.dtype] = {0x08: np.dtype(">u1"), 0x0D: np.dtype(">f4")}
_MAX_DIMENSIONS = 4


def read_idx(path: AnyPath, dimensions: int) -> np.ndarray:
  """Reads one IDX file.

  Args:
    path: the file, gzipped if its name ends in ".gz".
    dimensions: how many dimensions it must have.

  Returns:
    uint8 or float32 array.

  Raises:
    InputError: if the file is missing, unreadable, not IDX, of another
      number of dimensions, or longer or shorter than its header says.
  """
  path = pathlib.Path(path)
  content = _content(path)
  if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or not 1 <= content[3] <= _MAX_DIMENSIONS:
    raise InputError(
      f"{path}: not an IDX file of bytes or floats (magic number {content[:4].hex() or 'missing'}); download it again."
    )
  dtype, found = _TYPES[content[2]], content[3]
  if found != dimensions:
    kind = {1: "labels", 3: "images"}
    raise InputError(
      f"{path}: holds {kind.get(found, f'{found}-dimensional data')}, "
      f"expected {kind.get(dimensions, f'{dimensions}-dimensional data')}; are the files swapped?"
    )
  header = 4 + 4 * dimensions
  if len(content) < header:
    raise InputError(f"{path}: the file ends within its header; download it again.")
  shape = struct.unpack(f">{dimensions}I", content[4:header])
  expected = header + dtype.itemsize * int(np.prod([int(n) for n in shape], dtype=object))
  if len(content) != expected:
    raise InputError(
      f"{path}: {len(content)} bytes, but its header {shape} asks for {expected}; "
      "the file is truncated or damaged, download it again."
    )
  try:
    array = np.frombuffer(content, dtype, offset=header).reshape(shape)
  except ValueError:
    raise InputError(f"{path}: impossible shape {shape} in its header; download it again.") from None
  return array.astype(dtype.newbyteorder("="))


def _content(path: pathlib.Path) -> bytes:
  try:
    if path.suffix == ".gz":
      with gzip.open(path, "rb") as file:
        return file.read()
    return path.read_bytes()
  except FileNotFoundError:
    raise InputError(f"{path}: no such file.") from None
  except (EOFError, gzip.BadGzipFile, zlib.error) as error:
    raise InputError(f"{path}: damaged or truncated gzip file ({error}); download it again.") from None
  except OSError as error:
    raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None
