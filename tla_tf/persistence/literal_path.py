"""Paths that TensorFlow's readers take as they are.

They look for the files of a checkpoint, and of a SavedModel's variables, by a shell pattern: a folder called
`at[1]` or `a\\b` is written well and not found again. Such files are read through links of other names.
"""

from __future__ import annotations

import collections.abc
import contextlib
import os
import pathlib
import re
import tempfile

from tla_tf.errors import InputError
from tla_tf.files import AnyPath

_MAGIC = re.compile(r"[*?\[\\]")


@contextlib.contextmanager
def literal_path(path: AnyPath) -> collections.abc.Iterator[str]:
  """Yields a path of the same file or folder, or of the same prefix of files, without the signs of a shell pattern.

  That of a path without such signs is itself. Another one lasts as long as the body.

  Args:
    path: of a file, a folder, or what the names of several files of a folder begin with.

  Raises:
    InputError: if no link can be made in the folder for temporary files.
  """
  path = pathlib.Path(path)
  if not _MAGIC.search(str(path)):
    yield str(path)
    return
  with contextlib.ExitStack() as stack:
    try:
      links = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tla_tf_")))
      if _MAGIC.search(str(links)):
        raise OSError(None, f"{links} has such signs, too")
      for name in os.listdir(path.parent) if path.parent.is_dir() else ():
        if name == path.name or name.startswith(f"{path.name}."):
          (links / f"it{name.removeprefix(path.name)}").symlink_to((path.parent / name).absolute())
    except OSError as error:
      raise InputError(
        f"{path}: TensorFlow takes *, ?, [ and \\ in names for a pattern, and no link of another name can be made "
        f"({error.strerror or error}); rename it."
      ) from None
    yield str(links / "it")
