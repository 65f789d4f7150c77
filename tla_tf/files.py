"""Writing files and folders whole or not at all, and their digests."""

import contextlib
import fcntl
import hashlib
import io
import os
import pathlib
import shutil
import tempfile

import numpy as np

from tla_tf.errors import InputError


def write_text(path, text):
  """Replaces a file in one step, as `write_bytes` does."""
  write_bytes(path, text.encode("utf-8"))


def write_bytes(path, content):
  """Replaces a file in one step: readers see the old or the new content.

  Raises:
    InputError: if the folder cannot be written.
  """
  path = pathlib.Path(path)
  try:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
      with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
      os.chmod(temporary, 0o644)
      os.replace(temporary, path)
    except BaseException:
      with contextlib.suppress(OSError):
        os.unlink(temporary)
      raise
  except OSError as error:
    raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from error


def write_arrays(path, arrays):
  """Replaces a compressed `.npz` file of arrays in one step."""
  content = io.BytesIO()
  np.savez_compressed(content, **arrays)
  write_bytes(path, content.getvalue())


@contextlib.contextmanager
def new_folder(path):
  """Yields a temporary folder that becomes `path` when the body succeeds.

  `path` must not exist; a failure leaves nothing behind.

  Raises:
    InputError: if the folder cannot be written.
  """
  path = pathlib.Path(path)
  temporary = None
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    os.chmod(temporary, 0o755)
    yield temporary
    os.rename(temporary, path)
  except OSError as error:
    raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from error
  finally:
    if temporary and temporary.exists():
      shutil.rmtree(temporary, ignore_errors=True)


def make_folder(path):
  """Makes a folder, and those above it, where missing.

  Raises:
    InputError: if it cannot be made.
  """
  try:
    pathlib.Path(path).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(f"{path}: cannot be made ({error.strerror or error}); choose another place.") from error


@contextlib.contextmanager
def locked(path, message):
  """Keeps other processes out while the body runs.

  Args:
    path: the lock file, which stays.
    message: of the error.

  Raises:
    InputError: if another process holds the lock.
  """
  with open(path, "w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
      raise InputError(message) from None
    yield


def remove_folder(path):
  """Removes a folder whole: a kill leaves all of it, or a leftover of another name."""
  path = pathlib.Path(path)
  trash = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
  os.rename(path, trash)
  shutil.rmtree(trash, ignore_errors=True)


def remove_leftovers(folder, name="*"):
  """Removes what a killed writer left: hidden temporary entries of this module.

  Args:
    folder: where to look.
    name: of the file or folder that was being written; any by default.
  """
  for path in pathlib.Path(folder).glob(f".{name}.*"):
    if path.is_dir():
      shutil.rmtree(path, ignore_errors=True)
    else:
      path.unlink(missing_ok=True)


def digest(path):
  """SHA-256 of a file's content, as hex."""
  result = hashlib.sha256()
  with open(path, "rb") as file:
    while block := file.read(1 << 20):
      result.update(block)
  return result.hexdigest()
