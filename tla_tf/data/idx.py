"""The IDX file format of MNIST, plain or gzipped, read with every check."""

from __future__ import annotations

import gzip
import math
import os
import pathlib
import struct
import typing
import zlib

import numpy as np

from tla_tf import files, limits
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
  try:
    with limits.open_regular(path) as file:
      packed = path.suffix == ".gz"
      stream: typing.Any = gzip.GzipFile(fileobj=file) if packed else file
      return _array(path, file, stream, packed, dimensions)
  except FileNotFoundError:
    raise InputError(f"{path}: no such file.") from None
  except (EOFError, gzip.BadGzipFile, zlib.error) as error:
    raise InputError(f"{path}: damaged or truncated gzip file ({error}); download it again.") from None
  except OSError as error:
    raise InputError(f"{path}: {files.refusal(error)}.") from None


def _array(
  path: pathlib.Path, file: typing.BinaryIO, stream: typing.BinaryIO, packed: bool, dimensions: int
) -> np.ndarray:
  """The array of an open file; `stream` is the file, or what it unpacks to."""
  magic = stream.read(4)
  if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= _MAX_DIMENSIONS:
    raise InputError(
      f"{path}: not an IDX file of bytes or floats (magic number {magic.hex() or 'missing'}); download it again."
    )
  dtype, found = _TYPES[magic[2]], magic[3]
  if found != dimensions:
    kind = {1: "labels", 3: "images"}
    raise InputError(
      f"{path}: holds {kind.get(found, f'{found}-dimensional data')}, "
      f"expected {kind.get(dimensions, f'{dimensions}-dimensional data')}; are the files swapped?"
    )
  sizes = stream.read(4 * dimensions)
  if len(sizes) < 4 * dimensions:
    raise InputError(f"{path}: the file ends within its header; download it again.")
  shape = struct.unpack(f">{dimensions}I", sizes)
  header, expected = 4 + len(sizes), dtype.itemsize * math.prod(shape)
  if packed:
    limits.check_unpacked(path, header + expected, limits.on_disk(file))
    # One byte more than there should be: whether it ends there, and its checksum.
    content = stream.read(expected + 1)
    length, beyond = len(content), "or more" if len(content) > expected else ""
  else:
    length, beyond = os.fstat(file.fileno()).st_size - header, ""
    content = stream.read(expected) if length == expected else b""
  if length != expected:
    raise InputError(
      f"{path}: {header + length} bytes {beyond}".rstrip() + f", but its header {shape} asks for {header + expected}; "
      "the file is truncated or damaged, download it again."
    )
  try:
    array = np.frombuffer(content, dtype).reshape(shape)
  except ValueError:
    raise InputError(f"{path}: impossible shape {shape} in its header; download it again.") from None
  return array.astype(dtype.newbyteorder("="), copy=False)
