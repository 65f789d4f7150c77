"""Writing files and folders whole or not at all, their digests, and arrays kept with them.

What a function here has written is on the disk when it returns: neither a kill nor cut power takes it back, or leaves
a name whose content was never written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import math
import os
import pathlib
import re
import shutil
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np

from tla_tf import limits
from tla_tf.errors import InputError, RecordWarning, first_line

AnyPath = str | os.PathLike[str]

# Bytes. Most systems take names of 255, of which a temporary entry needs some for two dots, a mark and a random end.
_LONGEST_NAME = 240
# Of temporary entries: .NAME.tmp-a1b2c3d4, which nobody else calls a file. Releases before 0.6 wrote .NAME.a1b2c3d4, as
# others may: of those, only names that these releases gave to files and folders of a run are known as theirs.
_MARK = "tmp-"
_MARKED = re.compile(rf"\..+\.{_MARK}[a-z0-9_]{{8}}", re.DOTALL)
_OLD = re.compile(r"\.(step_\d{9}|[\w-]*[0-9a-f]{16}|[a-z_]+\.(json|jsonl|npz|md|html|yaml|csv|png))\.[a-z0-9_]{8}")
# Letters of another library's message, which ends with its reason.
_LONGEST_TEXT = 200
# What a disk says that has no room, and what is to be done.
FULL = {
  errno.ENOSPC: "make room there, or choose another place",
  errno.EDQUOT: "make room there, or choose another place",
  errno.EFBIG: "allow files of that size (ulimit -f), or choose another place",
}


def write_text(path: AnyPath, text: str) -> None:
  """Replaces a file in one step, as `write_bytes` does."""
  write_bytes(path, text.encode("utf-8"))


def write_bytes(path: AnyPath, content: bytes) -> None:
  """Replaces a file in one step: readers see the old or the new content.

  Raises:
    InputError: if the folder cannot be written.
  """
  path = pathlib.Path(path)
  try:
    with _beside(path, tempfile.mkstemp) as temporary:
      try:
        temporary.write_bytes(content)
        os.chmod(temporary, 0o644)
        put_in_place(temporary, path)
      except BaseException:
        with contextlib.suppress(OSError):
          os.unlink(temporary)
        raise
  except OSError as error:
    raise unwritable(path, error, len(content)) from error


def put_in_place(temporary: AnyPath, path: AnyPath) -> None:
  """Gives a file or folder that was written beside its place the name that it is to have.

  A file replaces what is there; what is in a folder belongs to it. Both lie on the disk before the name does, and the
  name before anything that follows.

  Args:
    temporary: what was written, in the same folder.
    path: the place.

  Raises:
    OSError: if the disk refuses.
  """
  for folder, _, names in os.walk(temporary, topdown=False):
    for name in names:
      _settle(os.path.join(folder, name))
    _settle(folder)
  if not os.path.isdir(temporary):
    _settle(temporary)
  os.replace(temporary, path)
  _settle(pathlib.Path(path).parent)


def _settle(path: AnyPath) -> None:
  """Waits until the disk has the content of a file, or the names in a folder."""
  try:
    descriptor = os.open(path, os.O_RDONLY)
    try:
      os.fsync(descriptor)
    finally:
      os.close(descriptor)
  except OSError as error:
    # Folders that may not be listed, and those of some network file systems, cannot be asked.
    if error.errno not in (errno.EACCES, errno.EINVAL, errno.ENOTSUP) or not os.path.isdir(path):
      raise


class NoRoomError(OSError):
  """A disk that refuses a file whose size is known: `needed`, in bytes."""

  def __init__(self, error: OSError, path: AnyPath, needed: int):
    super().__init__(error.errno, error.strerror or str(error), os.fspath(path))
    self.needed = needed


def unwritable(path: AnyPath, error: OSError, needed: int | None = None) -> InputError:
  """The sentence for what the disk refuses to take.

  Args:
    path: the file or folder, as its user knows it.
    error: what the system says.
    needed: bytes of it, if they are known; else those of a `NoRoomError`.
  """
  remedy = FULL.get(error.errno or 0)
  if remedy is None:
    return InputError(f"{path}: cannot be written ({error.strerror or error}).")
  needed = getattr(error, "needed", needed)
  room = [] if needed is None else [f"at least {limits.said(needed)} are needed"]
  place = pathlib.Path(path).absolute()
  existing = next(folder for folder in (place, *place.parents) if folder.exists())
  room.append(f"{limits.said(shutil.disk_usage(existing).free)} are free")
  return InputError(f"{path}: cannot be written ({error.strerror}: {', '.join(room)}); {remedy}.")


def refused_by_disk(text: str) -> OSError:
  """The system's error in the words of another library.

  Args:
    text: its message, which may say much before.

  Returns:
    The error whose words it holds; of none, one that holds the end of the text.
  """
  found = next((code for code in sorted(errno.errorcode, reverse=True) if os.strerror(code) in text), None)
  if found is not None:
    return OSError(found, os.strerror(found))
  line = " ".join(text.split())
  return OSError(errno.EIO, line if len(line) <= _LONGEST_TEXT else f"... {line[-_LONGEST_TEXT:]}")


def new_array(path: AnyPath, dtype: np.typing.DTypeLike, shape: tuple[int, ...]) -> np.memmap:
  """Makes a `.npy` file that is written through a memory map.

  Its room on the disk is taken at once: in the map of a file with holes, a full disk ends
  the process by a signal, when it is written to.

  Args:
    path: the file.
    dtype: of the array.
    shape: of the array.

  Returns:
    A writable memory map of zeros; to be flushed.

  Raises:
    FileExistsError: if there is one.
    NoRoomError: if the disk refuses; nothing stays.
  """
  needed = math.prod(shape) * np.dtype(dtype).itemsize
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    header, {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": tuple(shape)}
  )
  with open(path, "xb") as file:
    try:
      file.write(header.getvalue())
      file.flush()
      os.posix_fallocate(file.fileno(), 0, header.tell() + needed)
    except OSError as error:
      pathlib.Path(path).unlink(missing_ok=True)
      raise NoRoomError(error, path, needed) from error
  return np.lib.format.open_memmap(path, "r+")


def write_arrays(path: AnyPath, arrays: Mapping[str, Any]) -> None:
  """Replaces a compressed `.npz` file of arrays in one step."""
  write_bytes(path, array_bytes(arrays))


def array_bytes(arrays: Mapping[str, Any]) -> bytes:
  """What a compressed `.npz` file of arrays holds: the same arrays give the same bytes."""
  content = io.BytesIO()
  np.savez_compressed(content, **arrays)
  return content.getvalue()


def refusal(error: OSError) -> str:
  """Why a file is not read, as a part of a sentence."""
  if isinstance(error, FileNotFoundError):
    return "no such file"
  return f"{'refused' if isinstance(error, limits.LimitError) else 'cannot be read'} ({error.strerror or error})"


def read_arrays(path: AnyPath, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
  """Reads a `.npz` file, without pickle, within `limits`.

  Args:
    path: the file.
    names: of the arrays to read, of which some may be missing; None for all.

  Returns:
    Dict from name to array.

  Raises:
    OSError: if it cannot be opened, or is refused (`limits.LimitError`).
    ValueError: if it is damaged; says in one line how.
  """
  arrays = {}
  with _npz(path) as archive:
    for member in archive.infolist():
      name = member.filename.removesuffix(".npy")
      if names is None or name in names:
        with archive.open(member) as file:
          limits.check_npy(file, member.file_size)
          file.seek(0)
          arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
          file.read(1)  # Its end, where the checksum is compared.
        if not _is_text(arrays[name]):
          raise ValueError(f"array {name!r} holds what is no text")
  return arrays


def _is_text(array: np.ndarray) -> bool:
  """Whether an array's texts, if it has such, consist of characters: Python fails on others when it meets them."""
  if array.dtype.kind != "U":
    return True
  codes = np.ascontiguousarray(array).reshape(-1).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
  return bool(np.all((codes < 0xD800) | ((codes > 0xDFFF) & (codes <= 0x10FFFF))))


def array_names(path: AnyPath) -> list[str]:
  """Names of the arrays of a `.npz` file, sorted; raises as `read_arrays`."""
  with _npz(path) as archive:
    return sorted(name.removesuffix(".npy") for name in archive.namelist())


@contextlib.contextmanager
def _npz(path: AnyPath) -> Iterator[zipfile.ZipFile]:
  try:
    with limits.open_zip(path) as archive:
      yield archive
  except (OSError, InputError, MemoryError):
    raise
  except Exception as error:
    # zip, zlib and NumPy's own format have errors of all kinds.
    raise ValueError(f"{type(error).__name__}: {first_line(error)}") from None


@contextlib.contextmanager
def new_folder(path: AnyPath) -> Iterator[pathlib.Path]:
  """Yields a temporary folder that becomes `path` when the body succeeds.

  `path` must not exist; a failure leaves nothing behind.

  Raises:
    InputError: if the folder cannot be written; and what the body raises.
  """
  path = pathlib.Path(path)
  try:
    make_folder(path.parent)
    with _beside(path, tempfile.mkdtemp) as temporary:
      try:
        os.chmod(temporary, 0o755)
        yield temporary
        put_in_place(temporary, path)
      finally:
        if temporary.exists():
          shutil.rmtree(temporary, ignore_errors=True)
  except OSError as error:
    if error.filename and not _is_within(error.filename, path.parent):
      raise  # The body could not read something.
    raise unwritable(path, error) from error


def _is_within(name: AnyPath, folder: pathlib.Path) -> bool:
  return folder.absolute() in pathlib.Path(name).absolute().parents


def make_folder(path: AnyPath) -> None:
  """Makes a folder, and those above it, where missing.

  Raises:
    InputError: if it cannot be made.
  """
  path = pathlib.Path(path)
  try:
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
      _settle(folder.parent)
  except OSError as error:
    if error.errno in FULL:
      raise unwritable(path, error) from error
    raise InputError(f"{path}: cannot be made ({error.strerror or error}); choose another place.") from error


@contextlib.contextmanager
def locked(path: AnyPath, message: str | None = None, patience: float = 0.0) -> Iterator[int]:
  """Keeps other processes out while the body runs; a killed one gives the lock back.

  Args:
    path: the lock file, which stays.
    message: of the error; None to wait until the lock is free.
    patience: seconds to wait before the error.

  Yields:
    The file's descriptor: a child process that inherits it holds the lock, too.

  Raises:
    InputError: if another process holds the lock, or the file cannot be
      written.
  """
  try:
    file = limits.open_appending(path)
  except OSError as error:
    raise unwritable(path, error) from error
  until = time.monotonic() + patience
  with file:
    while True:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if message else 0))
        break
      except OSError:
        if time.monotonic() >= until:
          raise InputError(message or f"{path}: cannot be locked.") from None
        time.sleep(0.05)
    yield file.fileno()


def remove_folder(path: AnyPath) -> None:
  """Removes a folder whole: a kill leaves all of it, or a leftover of another name."""
  path = pathlib.Path(path)
  trash = pathlib.Path(tempfile.mkdtemp(prefix=f"{_leftover(path.name)}{_MARK}", dir=path.parent))
  os.rename(path, trash)
  # Else cut power could leave the name of a folder whose files have gone.
  _settle(path.parent)
  shutil.rmtree(trash, ignore_errors=True)


def remove_leftovers(folder: AnyPath, sole_writer: bool = False) -> None:
  """Removes what killed writers left: temporary entries of this module, those of releases that did not mark them, too.

  What another process is writing stays.

  Args:
    folder: where to look; one that nobody else keeps hidden files in.
    sole_writer: whether nobody else writes there now, so that it does not matter if the file system has no locks.
  """
  _remove_dead(folder, (_MARKED, _OLD), sole_writer)


def _remove_dead(folder: AnyPath, patterns: Collection[re.Pattern[str]], sole_writer: bool = False) -> None:
  """Removes the entries with such names that no writer has locked."""
  dead: list[pathlib.Path] = []
  with contextlib.suppress(OSError):  # Folders that may be written may not be listed.
    dead = [
      path for path in pathlib.Path(folder).iterdir() if any(pattern.fullmatch(path.name) for pattern in patterns)
    ]
  for path in dead:
    with contextlib.suppress(OSError):  # It has gone meanwhile, or belongs to somebody else.
      descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
      try:
        if not _is_locked(descriptor, sole_writer):
          shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
      finally:
        os.close(descriptor)


def _is_locked(descriptor: int, sole_writer: bool) -> bool:
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return True
  except OSError:
    return not sole_writer
  return False


@contextlib.contextmanager
def _beside(path: pathlib.Path, make: Callable[..., Any]) -> Iterator[pathlib.Path]:
  """Yields a new temporary entry in a place's folder, which is locked while the body runs.

  The lock, which ends with the process, tells it from what killed writers have left there, which is removed.

  Args:
    path: the place.
    make: `tempfile.mkdtemp` or `tempfile.mkstemp`.
  """
  _remove_dead(path.parent, (_MARKED,))
  while True:
    made = make(prefix=f"{_leftover(path.name)}{_MARK}", dir=path.parent)
    opened, name = made if isinstance(made, tuple) else (os.open(made, os.O_RDONLY), made)
    try:
      with contextlib.suppress(OSError):  # Not every file system has locks.
        fcntl.flock(opened, fcntl.LOCK_EX)
      # Another writer may have taken it for a leftover before it was locked.
      if os.path.exists(name):
        yield pathlib.Path(name)
        return
    finally:
      os.close(opened)


def _leftover(name: str) -> str:
  """What the names of temporary entries begin with, in the place of a file or folder that is being written.

  A very long name is cut and told from others by its digest: with what is added, it must not become too long.
  """
  encoded = os.fsencode(name)
  if len(encoded) <= _LONGEST_NAME:
    return f".{name}."
  known = hashlib.sha256(encoded).hexdigest()[:16]
  return f".{encoded[: _LONGEST_NAME - len(known)].decode(errors='ignore')}{known}."


def digest(path: AnyPath) -> str:
  """SHA-256 of a file's content, as hex."""
  result = hashlib.sha256()
  with limits.open_regular(path) as file:
    while block := file.read(1 << 20):
      result.update(block)
  return result.hexdigest()


def digests(folder: AnyPath, pattern: str = "*") -> dict[str, str]:
  """Dict from name to `digest` of the files of a folder, in the order of their names."""
  return {path.name: digest(path) for path in sorted(pathlib.Path(folder).glob(pattern))}


def first_damaged(folder: AnyPath, known: Mapping[str, str]) -> str | None:
  """The name of the first file that is missing or has another digest, or None.

  Args:
    folder: where the files lie.
    known: their `digests` when they were written.
  """
  for name, wanted in known.items():
    path = pathlib.Path(folder) / name
    if not path.is_file() or digest(path) != wanted:
      return name
  return None


def kept_arrays(
  place: AnyPath,
  facts: Mapping[str, Any],
  make: Callable[[pathlib.Path], object],
  *,
  record: str = "about.json",
  digests_key: str = "sha256",
  lock: AnyPath,
) -> dict[str, np.ndarray]:
  """Arrays that are dear to make: made once, kept in a folder, checked when read.

  They lie as `.npy` files beside a record of the facts and of their digests. A
  kill leaves them whole or not there; what is damaged is made anew, of which a
  RecordWarning tells. One process makes them while others wait.

  Args:
    place: their folder, which nothing else lies in.
    facts: JSON values that determine the arrays.
    make: function that writes `NAME.npy` files into an empty folder.
    record: name of the JSON file.
    digests_key: under which the record has the digests.
    lock: file that is locked while they are made; it stays.

  Returns:
    Dict from name to read-only memory map.

  Raises:
    InputError: if the folder cannot be written, or not be read; and what `make` raises.
  """
  place = pathlib.Path(place)
  arrays = _read_kept(place, facts, record, digests_key)
  if arrays is None:
    make_folder(place.parent)
    with locked(lock):
      # Another process may have made them while this one waited.
      arrays = _read_kept(place, facts, record, digests_key)
      if arrays is None:
        if os.path.lexists(place):
          warnings.warn(f"{place}: damaged; what it held is made again.", RecordWarning, stacklevel=3)
        _clear(place)
        with new_folder(place) as temporary:
          make(temporary)
          known = {pathlib.Path(name).stem: found for name, found in digests(temporary, "*.npy").items()}
          text = json.dumps({**facts, digests_key: known}, indent=1) + "\n"
          (temporary / record).write_text(text, encoding="utf-8")
        arrays = _read_kept(place, facts, record, digests_key)
  if arrays is None:
    raise InputError(f"{place}: damaged while it was written; give the same command again.")
  return arrays


def _read_kept(
  place: pathlib.Path, facts: Mapping[str, Any], record: str, digests_key: str
) -> dict[str, np.ndarray] | None:
  """The arrays of a whole folder of these facts, else None.

  Raises:
    InputError: if the disk does not let it be read, which does not make it damaged.
  """
  try:
    about = json.loads(limits.read_json_text(place / record))
    known = about.pop(digests_key)
    # One that the record leaves out would be missed, or taken unchecked.
    if {path.stem for path in place.glob("*.npy")} != set(known):
      return None
    if about != json.loads(json.dumps(facts)) or first_damaged(place, {f"{n}.npy": known[n] for n in known}):
      return None
    return {name: np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in known}
  except (InputError, MemoryError):
    raise
  except (FileNotFoundError, NotADirectoryError, IsADirectoryError, limits.LimitError):
    return None
  except OSError as error:
    raise InputError(f"{place}: {refusal(error)}.") from None
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
    return None


def _clear(place: pathlib.Path) -> None:
  try:
    if place.is_dir() and not place.is_symlink():
      remove_folder(place)
    else:
      place.unlink(missing_ok=True)
  except OSError as error:
    raise InputError(f"{place}: cannot be replaced ({error.strerror or error}).") from error
