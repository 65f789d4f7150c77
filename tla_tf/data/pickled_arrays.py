"""Reading a pickle of byte arrays and lists without running it.

CIFAR-10's Python version is pickles, and a pickle is a program: loading one of
unknown origin can do anything. This reader goes through the opcodes itself,
knows only those that such files consist of, and builds dicts, lists, tuples,
numbers, strings and uint8 arrays. It imports and calls nothing.
"""

from __future__ import annotations

import io
import pickletools
import typing

import numpy as np

from tla_tf.errors import InputError
from tla_tf.files import AnyPath

# The callables that NumPy's pickles name. They are recognised, never called.
_ARRAY = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}
_ARRAY_TYPE = {("numpy", "ndarray")}
_DTYPE = {("numpy", "dtype")}
# How protocol 2 writes bytes: a string and its encoding.
_BYTES = {("_codecs", "encode")}

_VALUES = frozenset(
  {
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
  }
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_Kind = typing.TypeVar("_Kind")


class _Named(typing.NamedTuple):
  """A name that a pickle refers to."""

  module: str
  name: str


class _Made:
  """What a pickle would have called, and the state it would have set."""

  def __init__(self, function: _Named, arguments: tuple):
    self.function, self.arguments = function, arguments
    self.state: typing.Any = None


def read(path: AnyPath, content: bytes) -> dict[str, typing.Any]:
  """Reads a pickled dict of uint8 arrays, lists, strings and numbers.

  Args:
    path: what the content is called in messages.
    content: the bytes of the file.

  Returns:
    Dict; keys are strings. Strings of Python 2 are str in Latin-1.

  Raises:
    InputError: for anything that such a file does not consist of, and for
      damage.
  """
  try:
    result = _interpret(content)
  except InputError as error:
    raise InputError(f"{path}: {error}") from None
  except Exception as error:
    # The opcode parser raises many kinds on damaged bytes; none has run anything.
    raise InputError(f"{path}: not a whole pickle file ({type(error).__name__}); download it again.") from None
  if not isinstance(result, dict):
    raise InputError(f"{path}: holds a pickled {type(result).__name__}, expected a dict; download it again.")
  plain: dict[str, typing.Any] = {}
  size = 0
  for key, value in result.items():
    key = key.decode("latin-1") if isinstance(key, bytes) else key
    if not isinstance(key, str):
      raise InputError(f"{path}: has a key {str(key)[:40]!r} that is no string; download it again.")
    try:
      plain[key] = _array(value) if isinstance(value, _Made) else value
      size += plain[key].nbytes if isinstance(value, _Made) else 0
      if size > len(content):  # One array under many names.
        raise InputError("the file is smaller than its arrays")
    except (InputError, TypeError, ValueError, UnicodeEncodeError) as error:
      raise InputError(f"{path}: entry {key!r} is no array of bytes ({error}); download it again.") from None
  return plain


def _interpret(content: bytes) -> typing.Any:
  stack: list[typing.Any] = []
  memo: dict[typing.Any, typing.Any] = {}
  marks: list[int] = []

  def since_mark() -> list[typing.Any]:
    start = marks.pop()
    items = stack[start:]
    del stack[start:]
    return items

  for opcode, argument, _ in pickletools.genops(io.BytesIO(content)):
    name = opcode.name
    if name in _VALUES:
      stack.append(argument)
    elif name in _CONSTANTS:
      stack.append(_CONSTANTS[name])
    elif name in _EMPTY:
      stack.append(_EMPTY[name]())
    elif name == "MARK":
      marks.append(len(stack))
    elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
      memo[argument] = stack[-1]
    elif name == "MEMOIZE":
      memo[len(memo)] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
      stack.append(memo[argument])
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
      count = int(name[-1])
      stack[-count:] = [tuple(stack[-count:])]
    elif name == "TUPLE":
      stack.append(tuple(since_mark()))
    elif name == "LIST":
      stack.append(since_mark())
    elif name == "APPEND":
      item = stack.pop()
      _of(stack[-1], list).append(item)
    elif name == "APPENDS":
      items = since_mark()
      _of(stack[-1], list).extend(items)
    elif name == "DICT":
      items = since_mark()
      stack.append({})
      _set_items(stack[-1], items)
    elif name == "SETITEM":
      items = stack[-2:]
      del stack[-2:]
      _set_items(stack[-1], items)
    elif name == "SETITEMS":
      items = since_mark()
      _set_items(stack[-1], items)
    elif name == "GLOBAL":
      stack.append(_known(*str(argument).split(" ", 1)))
    elif name == "STACK_GLOBAL":
      stack[-2:] = [_known(*stack[-2:])]
    elif name == "REDUCE":
      stack[-2:] = [_Made(_of(stack[-2], _Named), _of(stack[-1], tuple))]
    elif name == "BUILD":
      state = stack.pop()
      _of(stack[-1], _Made).state = state
    elif name == "STOP":
      return stack.pop()
    elif name not in ("PROTO", "FRAME"):
      raise InputError(
        f"uses the pickle operation {name}, which no file of arrays and lists does; refused, "
        "download the data set again."
      )
  raise EOFError


def _of(value: typing.Any, kind: type[_Kind]) -> _Kind:
  if not isinstance(value, kind):
    raise TypeError(f"{type(value).__name__} in place of {kind.__name__}")
  return value


def _set_items(target: typing.Any, items: list[typing.Any]) -> None:
  keys, values = items[::2], items[1::2]
  # Strings alone: numbers can be chosen to collide, which takes a dict forever.
  if len(keys) != len(values) or not all(isinstance(key, (str, bytes)) for key in keys):
    raise TypeError("dict keys that are no strings")
  _of(target, dict).update(zip(keys, values))


def _known(module: typing.Any, name: typing.Any) -> _Named:
  # Strings alone: to hash or print nested tuples can take forever, or the stack.
  _of(module, str), _of(name, str)
  if (module, name) not in _ARRAY | _ARRAY_TYPE | _DTYPE | _BYTES:
    raise InputError(
      f"refers to {module[:60] + '.' + name[:60]!r}, which no file of arrays and lists does; "
      "refused, download the data set again."
    )
  return _Named(module, name)


def _array(made: _Made) -> np.ndarray:
  """The uint8 array that a NumPy pickle describes."""
  if made.function not in _ARRAY:
    raise InputError(f"it is made by {made.function.name}")
  _, shape, dtype, column_major, content = _of(made.state, tuple)
  dtype = _of(dtype, _Made)
  if dtype.function not in _DTYPE or dtype.arguments[:1] not in (("u1",), ("|u1",)):
    raise InputError("its type is not uint8")
  if isinstance(content, _Made) and content.function in _BYTES and content.arguments[1:] == ("latin1",):
    content = content.arguments[0]
  if isinstance(content, str):
    content = content.encode("latin-1")
  _of(content, bytes)
  shape = tuple(_of(n, int) for n in _of(shape, tuple))
  if any(n < 0 for n in shape) or len(shape) > 4:
    raise InputError(f"its shape is {shape}")
  return np.frombuffer(content, np.uint8).reshape(shape, order="F" if column_major else "C")
