"""Records whose fields are arrays: `.npz` files, read strictly in one place."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import typing

import numpy as np

from tla_tf import files
from tla_tf.errors import InputError

_Self = typing.TypeVar("_Self", bound="ArrayRecord")


class Layout:
  """What an array must be.

  Args:
    kinds: letters of NumPy's `dtype.kind`, one of which it has: b(ool), i(nt),
      u(nsigned), f(loat), U (text).
    *shape: for each axis its length, or a name: axes of one name have one length.
  """

  def __init__(self, kinds: str, *shape: int | str):
    self.kinds, self.shape = kinds, shape

  def __str__(self) -> str:
    return f"{self.kinds} {list(self.shape)}"


@dataclasses.dataclass(frozen=True)
class ArrayRecord:
  """Base of records of arrays: frozen dataclasses whose annotations are `Annotated[np.ndarray, Layout(...)]`.

  Attributes:
    FILE: the name of the file, for people.
    REMEDY: what to do about a file that does not hold the record, as the end of a
      sentence.
  """

  FILE: typing.ClassVar[str]
  REMEDY: typing.ClassVar[str]

  def __post_init__(self) -> None:
    lengths: dict[str, int] = {}
    kind: typing.Any = type(self)
    for name, layout in _layouts(kind).items():
      array = getattr(self, name)
      if not isinstance(array, np.ndarray) or array.dtype.kind not in layout.kinds or not _fits(array, layout, lengths):
        found = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{type(self).__name__}: array {name!r} should be {layout}, not {found}")

  @classmethod
  def read(cls: type[_Self], path: str | pathlib.Path, digest: str | None = None) -> _Self:
    """Reads a record from its file, without pickle.

    Args:
      path: the file.
      digest: SHA-256 that the file must have, as hex; None for any.

    Raises:
      InputError: naming the file and the remedy, if it is missing, damaged, of another
        digest, or not as this release writes it.
    """
    try:
      if digest is not None and files.digest(path) != digest:
        raise InputError(f"{path}: not the file that belongs here; {cls.REMEDY}.")
      arrays = files.read_arrays(path)
    except OSError as error:
      raise InputError(f"{path}: {files.refusal(error)}; {cls.REMEDY}.") from None
    except InputError:
      raise
    except ValueError as error:
      raise InputError(f"{path}: damaged ({error}); {cls.REMEDY}.") from None
    names = [field.name for field in dataclasses.fields(cls)]
    odd = [name for name in names if name not in arrays] + [name for name in arrays if name not in names]
    if odd:
      problem = "is missing" if odd[0] in names else "is not known"
      raise InputError(f"{path}: not as this release writes it (array {odd[0]!r} {problem}); {cls.REMEDY}.")
    try:
      return cls(**arrays)
    except (TypeError, InputError) as error:
      # Of the checks above and of the class, which see nothing but the file's arrays.
      raise InputError(f"{path}: not as this release writes it ({error}); {cls.REMEDY}.") from None

  def write(self, path: str | pathlib.Path) -> None:
    """Replaces the file in one step; raises InputError if it cannot be written."""
    files.write_bytes(path, self.to_bytes())

  def to_bytes(self) -> bytes:
    """What the file holds."""
    return files.array_bytes({field.name: getattr(self, field.name) for field in dataclasses.fields(self)})


@functools.cache
def _layouts(kind: type[ArrayRecord]) -> dict[str, Layout]:
  hints = typing.get_type_hints(kind, include_extras=True)
  return {field.name: typing.get_args(hints[field.name])[1] for field in dataclasses.fields(kind)}


def _fits(array: np.ndarray, layout: Layout, lengths: dict[str, int]) -> bool:
  """Whether the shape is that of the layout; notes the lengths of named axes."""
  return array.ndim == len(layout.shape) and all(
    length == (lengths.setdefault(wanted, length) if isinstance(wanted, str) else wanted)
    for wanted, length in zip(layout.shape, array.shape)
  )
