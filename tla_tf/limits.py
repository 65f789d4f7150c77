"""What a file from elsewhere may cost: only regular files are opened, and read no further than they are long.

All limits stand here. The one that a user may have to raise, how much a file may hold
beyond its own size, follows the tools' flag `--max_unpacked_gb`, which writes the
environment variable `TLA_MAX_UNPACKED_GB`: child processes have it, too.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import stat
import typing
import zipfile
from collections.abc import Iterator

from tla_tf.errors import InputError

VARIABLE = "TLA_MAX_UNPACKED_GB"
UNPACKED_GB = 1.0
_MOST_GB = 1e9
# Bytes of a text that is parsed as a whole: what Python makes of JSON is up to 20 times as large, and of YAML slow.
JSON_BYTES = 32 << 20
# Values of a JSON text: each may become an object of Python's that is fifty times as long.
JSON_VALUES = 1 << 20
YAML_BYTES = 1 << 17
# Values of a YAML file once its aliases are replaced by what they stand for.
YAML_VALUES = 100_000
YAML_DEPTH = 64
# Bytes of a text of one JSON object a line.
LINES_BYTES = 256 << 20
# Of one image file: its bytes; its pixels, which take a gigabyte while they are decoded; the scans of a JPEG, each of
# which goes over the pixels again, and that product; the pieces that a decoder asks for, a microsecond or two each.
IMAGE_BYTES = 512 << 20
IMAGE_PIXELS = 1 << 26
# WebP is put together twice before it is handed over.
WEBP_PIXELS = 50_000_000
JPEG_SCANS = 500
JPEG_SCANNED_PIXELS = 1 << 31
IMAGE_READS = 1 << 19
# ICC profiles of a PNG file, of which it may have one; each inflates to a megabyte.
PNG_PROFILES = 20
# Bytes of a picture that goes into a report.
PICTURE_BYTES = 64 << 20
# Bytes of the header of a `.npy` file; NumPy writes some hundred.
_NPY_HEADER = 10_000
_ZIP_MEMBERS = 100_000
# Deflate makes at most 1,032 bytes of one.
_MOST_DEFLATED = 1032

_KINDS = (
  (stat.S_ISFIFO, "a named pipe"),
  (stat.S_ISCHR, "a device"),
  (stat.S_ISBLK, "a device"),
  (stat.S_ISSOCK, "a socket"),
)


class LimitError(OSError):
  """A file that is not read: it is no regular one, or would cost more than is allowed.

  An OSError, since whoever reads files has a sentence for those: "{filename}: cannot
  be read ({strerror})."
  """

  def __init__(self, path: str | os.PathLike[str], reason: str):
    super().__init__(errno.EINVAL, reason, os.fspath(path))


def unpacked_bytes() -> int:
  """How many bytes the content of a file may have beyond those that it takes on disk.

  Raises:
    InputError: if the environment variable is no number.
  """
  text = os.environ.get(VARIABLE) or str(UNPACKED_GB)
  try:
    gigabytes = float(text)
  except ValueError:
    gigabytes = math.nan
  if not 0 <= gigabytes <= _MOST_GB:
    raise InputError(f"{VARIABLE}={text}: expected a number of gigabytes.")
  return int(gigabytes * 1e9)


def allow_unpacked(gigabytes: float) -> None:
  """Sets `unpacked_bytes` for this process and its children.

  Raises:
    InputError: for no number of at least 0.
  """
  if not 0 <= gigabytes <= _MOST_GB:
    raise InputError(f"`max_unpacked_gb={gigabytes}`: expected a number from 0 to {_MOST_GB:g}.")
  os.environ[VARIABLE] = str(gigabytes)


def check_unpacked(path: str | os.PathLike[str], size: int, on_disk: int) -> None:
  """Checks what a file holds, or says that it holds, before it is read.

  Args:
    path: the file, for the message.
    size: bytes of its content once unpacked.
    on_disk: bytes that it takes on disk: see `on_disk`.

  Raises:
    LimitError: if the content is too much larger.
  """
  if size - on_disk > unpacked_bytes():
    raise LimitError(
      path,
      f"holds {said(size)} in {said(on_disk)} of disk; if it is what you expect, "
      f"`max_unpacked_gb={math.ceil((size - on_disk) / 1e9)}` allows it",
    )


def on_disk(file: typing.BinaryIO) -> int:
  """Bytes that an open file takes on disk: its size without holes."""
  found = os.fstat(file.fileno())
  allocated = found.st_blocks * 512
  # Blocks alone would accuse files that were just written, and those of file systems that do not count them.
  if found.st_size - allocated <= unpacked_bytes():
    return found.st_size
  position, holes, most = 0, 0, found.st_size - allocated
  while position < found.st_size and holes < most:
    try:
      data = os.lseek(file.fileno(), position, os.SEEK_DATA)
    except OSError:  # Nothing but a hole is left, or the system knows of none.
      data = found.st_size
    holes += data - position
    position = data if data == found.st_size else os.lseek(file.fileno(), data, os.SEEK_HOLE)
  os.lseek(file.fileno(), 0, os.SEEK_SET)
  return found.st_size - holes


def said(size: int) -> str:
  """A number of bytes for people: 1.5 GB."""
  for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
    if size >= unit:
      return f"{size / unit:.3g} {name}"
  return f"{size} bytes"


def open_regular(path: str | os.PathLike[str], most: int | None = None) -> typing.BinaryIO:
  """Opens a regular file for reading; never waits, as opening a named pipe would.

  Args:
    path: the file, or a link to it.
    most: bytes that it may have; None for any number.

  Raises:
    LimitError: for a pipe, device or socket, a file with more holes than are allowed,
      and one that is too long.
    OSError: as `open`.
  """
  _require_regular(path, os.stat(path).st_mode)
  # What lies there may have changed since: a pipe would not be waited for, and is seen below.
  descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
  file = os.fdopen(descriptor, "rb")
  try:
    found = os.fstat(descriptor)
    _require_regular(path, found.st_mode)
    if most is not None and found.st_size > most:
      raise LimitError(path, f"{said(found.st_size)}, at most {said(most)} of such a file are read")
    check_unpacked(path, found.st_size, on_disk(file))
  except BaseException:
    file.close()
    raise
  return file


def open_appending(path: str | os.PathLike[str]) -> typing.BinaryIO:
  """Opens a regular file for reading and appending, made where missing; follows no link, and never waits.

  Raises:
    LimitError: for a pipe, device or socket.
    OSError: as `open`; and for a link, which would lead the writer elsewhere.
  """
  flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
  descriptor = os.open(path, flags, 0o666)
  try:
    _require_regular(path, os.fstat(descriptor).st_mode)
    return os.fdopen(descriptor, "a+b")
  except BaseException:
    os.close(descriptor)
    raise


def _require_regular(path: str | os.PathLike[str], mode: int) -> None:
  if stat.S_ISDIR(mode):
    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
  if not stat.S_ISREG(mode):
    what = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
    raise LimitError(path, f"{what}, not a regular file")


def read_bytes(path: str | os.PathLike[str], most: int | None = None) -> bytes:
  """The content of a regular file, as long as it was when it was opened; raises as `open_regular`."""
  with open_regular(path, most) as file:
    return file.read(os.fstat(file.fileno()).st_size)


def read_text(path: str | os.PathLike[str], most: int | None = LINES_BYTES, errors: str = "strict") -> str:
  """The UTF-8 text of a regular file, lines ended by \\n; raises as `open_regular`, and UnicodeDecodeError."""
  return read_bytes(path, most).decode("utf-8", errors).replace("\r\n", "\n").replace("\r", "\n")


def read_json_text(path: str | os.PathLike[str]) -> str:
  """The text of a JSON file, of so many bytes and values; raises as `read_text`."""
  text = read_text(path, JSON_BYTES)
  # Those between commas, and those that hold others. Commas within words count, too: there are few.
  if sum(map(text.count, ",[{")) > JSON_VALUES:
    raise LimitError(path, f"JSON of more than {JSON_VALUES:,} values")
  return text


@contextlib.contextmanager
def open_zip(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
  """Opens a zip archive whose members hold what they declare and together not more than is allowed.

  Python reads no more of a member than it declares, and then compares its checksum.

  Yields:
    The archive. Members are stored or deflated, and no name is there twice.

  Raises:
    LimitError: if the members are too large together; and as `open_regular`.
    zipfile.BadZipFile: for other archives, and members that cannot hold what they
      declare.
  """
  with open_regular(path) as file, zipfile.ZipFile(file) as archive:
    members = archive.infolist()
    if len(members) > _ZIP_MEMBERS:
      raise LimitError(path, f"an archive of {len(members)} files, at most {_ZIP_MEMBERS} are read")
    if len({member.filename for member in members}) < len(members):
      raise zipfile.BadZipFile("a name is there twice")
    for member in members:
      stored = member.compress_type == zipfile.ZIP_STORED
      # Other methods unpack a piece of a file at a time, however large it gets.
      if member.flag_bits & 1 or not (stored or member.compress_type == zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"{member.filename[:80]!r} is encrypted, or neither stored nor deflated")
      size, packed = member.file_size, member.compress_size
      if size != packed if stored else size > _MOST_DEFLATED * packed:
        raise zipfile.BadZipFile(f"{member.filename[:80]!r} cannot hold the {said(size)} that it declares")
    check_unpacked(path, sum(member.file_size for member in members), on_disk(file))
    yield archive


def check_npy(file: typing.IO[bytes], size: int) -> None:
  """Checks that a `.npy` file is as long as its header says, before its array is made.

  Args:
    file: at its beginning, a member of an archive or a file; it is read up to the
      array.
    size: its bytes.

  Raises:
    ValueError: if its header is damaged, or its array is not what follows.
  """
  import numpy as np

  start = file.read(12)
  if start[:6] != b"\x93NUMPY" or start[6:8] not in (b"\1\0", b"\2\0") or len(start) < 12:
    raise ValueError("no array in NumPy's format")
  width = 2 if start[6] == 1 else 4
  if int.from_bytes(start[8 : 8 + width], "little") > _NPY_HEADER:
    raise ValueError("the header of an array is too long")
  file.seek(8)
  shape, _, dtype = (np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0)(file)
  if dtype.hasobject:
    raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
  count = math.prod(shape)
  if min(shape, default=0) < 0 or not dtype.itemsize or count * dtype.itemsize != size - file.tell():
    raise ValueError(f"an array of {size} bytes declares {dtype} {list(shape)}")
