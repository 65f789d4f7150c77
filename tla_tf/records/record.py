"""Records: what the JSON files of a run folder hold, read strictly in one place.

A record is a frozen dataclass whose annotations are its file's layout:

    @dataclasses.dataclass(frozen=True)
    class Summary(Record):
      FORMAT, FILE, REMEDY = 2, "summary.json", "run tla-summarise again"
      UPGRADES = {1: lambda content: {"seed": 0, **content}}

      accuracy: float
      seed: int
      note: str | None = None

A field may be a `str`, `int`, `float`, `bool`, enum, dataclass, `config.Config`,
`list`, `tuple` or `dict` of such, `X | None`, or `typing.Any` for whatever JSON
holds. One with a default may be missing from the file, and is left out of it where
it holds the default. Nested dataclasses may check more in `__post_init__`, by
raising InputError. The file carries a checksum besides, under "sha256": a digit that
changed is seen. No TensorFlow here.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import json
import pathlib
import reprlib
import types
import typing

from tla_tf import files, limits
from tla_tf.config import Config
from tla_tf.errors import InputError
from tla_tf.records import seals

_Self = typing.TypeVar("_Self", bound="Record")
# Far more than any record nests; far fewer than Python's own limit.
_DEEPEST = 50
_LARGEST_WHOLE = 2**63 - 1


class _MismatchError(Exception):
  """A value that is not what its field takes.

  Args:
    field: its name, as in "attacks[3].interval"; "" for the whole.
    problem: what is wrong, as in "is missing".
  """

  def __init__(self, field: str, problem: str):
    # Quotes, not the backticks that stand for arguments of a caller's.
    super().__init__(f"{field!r} {problem}".replace("`", "'") if field else problem.replace("`", "'"))


@dataclasses.dataclass(frozen=True)
class Record:
  """Base of all records; see the module's example.

  Attributes:
    FORMAT: number of the layout, written as "format"; a file without one has 1.
    FILE: the name of the file, for people.
    REMEDY: what to do about a file that does not hold the record, as the end of a
      sentence.
    UPGRADES: from every older format to a function that makes the next one's
      content of it (dict -> dict). It meets damaged files, too, and leaves what it
      does not know as it is: all is checked afterwards.
    SEALED_SINCE: the first format whose files have a checksum.
  """

  FORMAT: typing.ClassVar[int] = 1
  FILE: typing.ClassVar[str]
  REMEDY: typing.ClassVar[str]
  UPGRADES: typing.ClassVar[dict[int, collections.abc.Callable[[dict], dict]]] = {}
  SEALED_SINCE: typing.ClassVar[int] = 1

  def __init_subclass__(cls) -> None:
    if sorted(cls.UPGRADES) != list(range(1, cls.FORMAT)):
      raise TypeError(f"{cls.__name__}: expected an upgrade of every format before {cls.FORMAT}.")

  @classmethod
  def read(cls: type[_Self], path: str | pathlib.Path) -> _Self:
    """Reads a record from its file.

    Raises:
      InputError: naming file, field and remedy, if the file is missing, damaged, of
        a newer format, or not as this release writes it.
    """
    return cls._of_file(read_object(path, cls.REMEDY), path)

  @classmethod
  def from_text(cls: type[_Self], text: str, path: str | pathlib.Path) -> _Self:
    """What `to_text` was given, where the text is a part of another file; raises as `read`."""
    return cls._of_file(_parsed(text, path, cls.REMEDY), path)

  @classmethod
  def _of_file(cls: type[_Self], content: dict, path: str | pathlib.Path) -> _Self:
    # What is wrong with a field says more than that something is.
    record = cls.from_dict({name: value for name, value in content.items() if name != seals.KEY}, path)
    if seals.KEY not in content and content.get("format", 1) < cls.SEALED_SINCE:
      return record
    if not seals.fits(content):
      raise InputError(f"{path}: damaged, its content does not fit its checksum {seals.KEY!r}; {cls.REMEDY}.")
    return record

  @classmethod
  def from_dict(cls: type[_Self], content: dict, path: str | pathlib.Path) -> _Self:
    """What `read` makes of a JSON object.

    Args:
      content: the object, with its "format", and without a checksum.
      path: where it was read, for errors.

    Raises:
      InputError: as `read`.
    """
    content = dict(content)
    number = content.pop("format", 1)
    try:
      if not is_whole(number) or number < 1:
        raise _MismatchError("format", f"is no format number: {reprlib.repr(number)}")
      if number > cls.FORMAT:
        raise InputError(
          f"{path}: format {number} of {cls.FILE} is newer than this release reads ({cls.FORMAT}); use the release "
          "that made it."
        )
      for older in range(number, cls.FORMAT):
        content = cls.UPGRADES[older](content)
      return _dataclass(cls, content, "")
    except _MismatchError as error:
      raise InputError(f"{path}: not as this release writes it ({error}); {cls.REMEDY}.") from None

  def to_dict(self) -> dict:
    """The JSON object that the file holds.

    Raises:
      TypeError: if a field holds what `read` would refuse: a fault of the caller's.
    """
    content = {"format": self.FORMAT, **_plain_fields(self)}
    try:
      _dataclass(type(self), {name: value for name, value in content.items() if name != "format"}, "")
    except _MismatchError as error:
      raise TypeError(f"{type(self).__name__}: {error}") from error
    return content

  def write(self, path: str | pathlib.Path) -> None:
    """Replaces the file in one step.

    Raises:
      InputError: if it cannot be written.
      TypeError: as `to_dict`.
    """
    files.write_text(path, self.to_text())

  def to_text(self) -> str:
    """What the file holds: `to_dict` with its checksum; raises as that."""
    return json.dumps(seals.sealed(self.to_dict()), indent=1) + "\n"

  def replace(self: _Self, **changes: typing.Any) -> _Self:
    """A copy with some fields changed."""
    return dataclasses.replace(self, **changes)


def read_object(path: str | pathlib.Path, remedy: str = "") -> dict:
  """Reads a JSON object.

  Args:
    path: the file.
    remedy: what to do about a damaged one, as the end of a sentence.

  Raises:
    InputError: if the file is missing or does not hold a JSON object.
  """
  try:
    text = limits.read_json_text(path)
  except OSError as error:
    raise InputError(f"{path}: {files.refusal(error)}.") from None
  except UnicodeDecodeError:
    raise InputError(f"{path}: damaged, no text in UTF-8{_ending(remedy)}") from None
  return _parsed(text, path, remedy)


def _parsed(text: str, path: str | pathlib.Path, remedy: str) -> dict:
  """The JSON object that a text is; `path` and `remedy` are for errors."""
  try:
    content = json.loads(text)
  except json.JSONDecodeError as error:
    where = f"line {error.lineno}, column {error.colno}"
    raise InputError(f"{path}: damaged, not JSON ({where}){_ending(remedy)}") from None
  except (ValueError, RecursionError) as error:
    # ValueError: a number of thousands of digits.
    what = "nested too deeply" if isinstance(error, RecursionError) else "a number too large"
    raise InputError(f"{path}: damaged, {what}{_ending(remedy)}") from None
  if not isinstance(content, dict):
    raise InputError(f"{path}: damaged, not a JSON object{_ending(remedy)}")
  problem = beyond_limits(content)
  if problem:
    raise InputError(f"{path}: damaged, {problem}{_ending(remedy)}")
  return content


def _ending(remedy: str) -> str:
  return f"; {remedy}." if remedy else "."


def beyond_limits(content: typing.Any) -> str | None:
  """What of a JSON value no record holds and no reader is to meet; None if there is nothing."""
  level: list = [content]
  for _ in range(_DEEPEST):
    level = [
      part
      for value in level
      if isinstance(value, (dict, list))
      for part in (value.values() if isinstance(value, dict) else value)
    ]
    if any(isinstance(value, int) and abs(value) > _LARGEST_WHOLE for value in level):
      return "a number too large"
    if not level:
      return None
  return "nested too deeply"


def unchanged(content: dict) -> dict:
  """The upgrade to a format that only added the checksum."""
  return content


# --------------------------------------------------------------------------- writing


def _plain_fields(record: typing.Any) -> dict:
  values = {field: getattr(record, field.name) for field in dataclasses.fields(record)}
  return {field.name: plain(value) for field, value in values.items() if not _is_default(field, value)}


def plain(value: typing.Any) -> typing.Any:
  """JSON values of a field: dataclasses as objects, enums as their values, tuples as lists."""
  if isinstance(value, Config):
    return value.to_dict()
  if dataclasses.is_dataclass(value):
    return _plain_fields(value)
  if isinstance(value, enum.Enum):
    return value.value
  if isinstance(value, (list, tuple)):
    return [plain(part) for part in value]
  if isinstance(value, dict):
    return {name: plain(part) for name, part in value.items()}
  return value


def _is_default(field: dataclasses.Field, value: typing.Any) -> bool:
  if field.default_factory is not dataclasses.MISSING:
    return value == field.default_factory()
  return field.default is not dataclasses.MISSING and type(value) is type(field.default) and value == field.default


# --------------------------------------------------------------------------- reading


@functools.cache
def _layout(kind: type) -> dict:
  """The fields of a dataclass with their annotations, by name."""
  hints = typing.get_type_hints(kind)
  return {field.name: (field, hints[field.name]) for field in dataclasses.fields(kind)}


def _dataclass(kind: type, content: typing.Any, where: str) -> typing.Any:
  content = _of_type(dict, content, where, "an object")
  layout, inside = _layout(kind), f"{where}." if where else ""
  for name in content:
    if name not in layout:
      raise _MismatchError(f"{inside}{name}", "is not known")
  values = {}
  for name, (field, hint) in layout.items():
    if name in content:
      values[name] = _value(hint, content[name], f"{inside}{name}")
    elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
      raise _MismatchError(f"{inside}{name}", "is missing")
  try:
    return kind(**values)
  except InputError as error:
    raise _MismatchError(where, str(error).rstrip(".")) from None


def _value(kind: typing.Any, value: typing.Any, where: str) -> typing.Any:
  """What a field of this annotation makes of a JSON value."""
  origin, arguments = typing.get_origin(kind), typing.get_args(kind)
  if kind is typing.Any:
    return value
  if origin in (typing.Union, types.UnionType):
    return _of_union(arguments, value, where)
  if origin in (list, collections.abc.Sequence):
    (inner,) = arguments
    return [_value(inner, part, f"{where}[{i}]") for i, part in enumerate(_of_type(list, value, where, "a list"))]
  if origin is tuple:
    return _tuple(arguments, _of_type(list, value, where, "a list"), where)
  if origin is dict:
    items = _of_type(dict, value, where, "an object").items()
    return {name: _value(arguments[1], part, f"{where}.{name}") for name, part in items}
  if issubclass(kind, Config):
    return _config(kind, value, where)
  if dataclasses.is_dataclass(kind):
    return _dataclass(typing.cast(type, kind), value, where)
  if issubclass(kind, enum.Enum):
    return _choice(kind, value, where)
  return _simple(kind, value, where)


def _simple(kind: type, value: typing.Any, where: str) -> typing.Any:
  if kind is float:
    if not is_whole(value):
      _of_type(float, value, where, "a number")
    return float(value)
  if kind is int:
    if not is_whole(value):
      raise _unexpected(where, "a whole number", value)
    return value
  words = {str: "text", bool: "true or false", dict: "an object", list: "a list", type(None): "null"}
  return _of_type(kind, value, where, words[kind])


def is_whole(value: typing.Any) -> bool:
  """Whether a JSON value is a whole number of at most 64 bits."""
  return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_WHOLE


def _of_union(kinds: tuple, value: typing.Any, where: str) -> typing.Any:
  if value is None and type(None) in kinds:
    return None
  kinds = tuple(kind for kind in kinds if kind is not type(None))
  for kind in kinds[:-1]:
    try:
      return _value(kind, value, where)
    except _MismatchError:
      pass
  # The last one's words stand for all.
  return _value(kinds[-1], value, where)


def _tuple(kinds: tuple, values: list, where: str) -> tuple:
  if len(kinds) == 2 and kinds[1] is ...:
    kinds = (kinds[0],) * len(values)
  if len(values) != len(kinds):
    raise _MismatchError(where, f"has {len(values)} entries instead of {len(kinds)}")
  return tuple(_value(kind, part, f"{where}[{i}]") for i, (kind, part) in enumerate(zip(kinds, values)))


def _config(kind: type[Config], value: typing.Any, where: str) -> Config:
  try:
    return kind.from_dict(_of_type(dict, value, where, "an object"))
  except InputError as error:
    raise _MismatchError(where, f"is wrong: {str(error).rstrip('.')}") from None


def _choice(kind: type[enum.Enum], value: typing.Any, where: str) -> enum.Enum:
  for member in kind:
    if type(value) is type(member.value) and value == member.value:
      return member
  raise _unexpected(where, f"one of {[member.value for member in kind]}", value)


def _of_type(kind: type, value: typing.Any, where: str, words: str) -> typing.Any:
  if not isinstance(value, kind):
    raise _unexpected(where, words, value)
  return value


def _unexpected(where: str, words: str, value: typing.Any) -> _MismatchError:
  return _MismatchError(where, f"should be {words}, not {reprlib.repr(value)}")
