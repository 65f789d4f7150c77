"""What every command-line tool does around its work: flags, errors, exit codes."""

from __future__ import annotations

import contextlib
import enum
import io
import os
import pathlib
import platform
import re
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging

from tla_tf import limits, xla_flags
from tla_tf.binaries import flag_names, stopping
from tla_tf.binaries.terminal import say
from tla_tf.errors import CompilerWarning, InputError, RecordWarning, ToolError, WorkerLostError
from tla_tf.persistence import versions
from tla_tf.settings import texts


def tool_name() -> str:
  """The name of the tool that runs: the script is called tla-evaluate, the module evaluate.py."""
  return "tla-" + pathlib.Path(sys.argv[0]).stem.replace("_", "-").removeprefix("tla-")


def fail(error: ToolError) -> NoReturn:
  """Ends the tool with the one sentence of a ToolError and status 1."""
  say(f"{tool_name()}: error: {error}", error=True)
  sys.exit(1)


def run(main: Callable[[list[str]], Any], goes_on: bool = False, arguments: Sequence[str] | None = None) -> None:
  """Parses the command line, runs `main`, and exits.

  A `ToolError` ends with its one sentence on standard error and status 1; a
  wrong flag ends with absl's message and status 1; Ctrl-C, however often, with
  status 130 and SIGTERM with 143, and a sentence; a reader that has gone (`| head`)
  in silence, with the status of its signal.

  Args:
    main: function of the remaining arguments.
    goes_on: whether the same command, given again, goes on where it was
      interrupted; the sentence then says so.
    arguments: of the command line; None takes those that were given.
  """
  name = tool_name()

  def last_words(status: int) -> None:
    why = "terminated" if status == 128 + signal.SIGTERM else "interrupted"
    text = f"{name}: {why}" + ("; the same command goes on where it was" if goes_on else "") + "\n"
    os.write(2, text.encode())  # Not through what another thread may be printing to.

  stops = stopping.Stops(last_words)

  def guarded(argv: list[str]) -> Any:
    try:
      if flags.FLAGS.max_unpacked_gb is not None:
        limits.allow_unpacked(flags.FLAGS.max_unpacked_gb)
      limits.unpacked_bytes()  # Said once, and not of every file.
      return main(argv[1:])
    except BaseException as error:
      # An interrupt may have become another error on its way.
      if stops.asked is not None or isinstance(error, KeyboardInterrupt):
        return stops.end()
      return _failed(name, error)

  stops.listen()
  if isinstance(sys.stdout, io.TextIOWrapper):  # Characters that the terminal has not are written out.
    sys.stdout.reconfigure(errors="backslashreplace")
  try:
    _show_flags_of(main)
    show_warnings_as_notes()
    try:
      app.run(guarded, [sys.argv[0], *_with_paths(sys.argv[1:] if arguments is None else arguments)])
    finally:
      stops.raise_no_more()
      sys.stdout.flush()
  except BrokenPipeError:
    # Python flushes once more when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(128 + signal.SIGPIPE)
  except KeyboardInterrupt:
    sys.exit(stops.end())


def _failed(name: str, error: BaseException) -> int:
  """Says the sentence of an error that has one, and returns the exit status; raises any other."""
  if isinstance(error, ToolError):
    say(f"{name}: error: {flag_names.said(str(error))}", error=True)
    if isinstance(error, WorkerLostError):
      sys.stdout.flush()
      os._exit(error.status)  # An orderly end would wait for the lost one.
    return error.status
  if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
    from tla_tf import files  # It brings NumPy.

    # Whatever the disk refuses: a full one, a folder that may not be entered, a name too long.
    what: object = f"{error.filename or 'a file'}: {error.strerror or error}."
    if error.filename and error.errno in files.FULL:
      what = files.unwritable(error.filename, error)
    say(f"{name}: error: {flag_names.said(str(what))}", error=True)
    return 1
  raise error


class _VersionFlag(flags.BooleanFlag):
  """`--version`: says what runs, as `--help` says how, before anything is loaded or required."""

  def __init__(self) -> None:
    super().__init__("version", False, "Print the versions of this package and of those that results hang on.")

  def parse(self, argument: str | bool | None) -> None:
    if argument is not None and self._parse(argument):
      found = versions.versions()
      others = ", ".join(f"{name} {version}" for name, version in found.items() if name != "tla_tf")
      say(f"tla_tf {found['tla_tf']} ({others}, Python {platform.python_version()})")
      sys.exit(0)


flags.DEFINE_flag(_VersionFlag())
flags.DEFINE_float(
  "max_unpacked_gb",
  None,
  f"Gigabytes that a compressed file, or one with holes, may hold beyond those that it takes on disk; "
  f"{limits.UNPACKED_GB:g} by default.",
  lower_bound=0.0,
)


def _show_flags_of(main: Callable[[list[str]], Any]) -> None:
  """Makes `--help` print the tool's docstring and its own flags.

  absl looks for both in the script that was started; a console script has none.
  """
  sys.modules["__main__"].__doc__ = sys.modules[main.__module__].__doc__
  for module, defined in flags.FLAGS.flags_by_module_dict().items():
    if module.startswith("tla_tf."):
      for flag in defined:
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def load_tensorflow(deterministic: bool = False, workers_first: bool = False) -> None:
  """Imports TensorFlow without the chatter of its C++ libraries, as a tool that owns its process.

  They write to the process's standard error before any log level applies. If
  the import fails, what they wrote is shown. GPUs give memory as it is needed,
  instead of all of it to the first process.

  Args:
    deterministic: whether XLA's programs for GPUs shall be; XLA reads that once only.
    workers_first: whether other workers are to be met before TensorFlow looks at its
      devices. What its libraries write when one is lost is then said by the tool.
  """
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if workers_first else "2")
  if deterministic:
    xla_flags.turn_on()
  warnings.filterwarnings("ignore", category=UserWarning, module="keras")
  sys.stderr.flush()
  terminal = os.dup(2)
  with tempfile.TemporaryFile() as chatter:
    os.dup2(chatter.fileno(), 2)
    try:
      import tensorflow as tf

      _let_memory_grow(tf)
      tf.config.list_physical_devices() if workers_first else tf.config.list_logical_devices()
    except BaseException:
      chatter.seek(0)
      os.write(terminal, chatter.read())
      raise
    finally:
      os.dup2(terminal, 2)
      os.close(terminal)
  # TensorFlow's Python code logs through absl, too, and resets its level.
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)


def _let_memory_grow(tf: Any) -> None:
  """Lets every GPU give memory as it is needed; nothing where they are in use already."""
  for device in tf.config.list_physical_devices("GPU"):
    with contextlib.suppress(RuntimeError):
      tf.config.experimental.set_memory_growth(device, True)


def show_warnings_as_notes() -> None:
  """Shows warnings that say what is done instead as notes, any other as before."""
  before = warnings.showwarning

  def show(message: Any, category: type[Warning], *place: Any, **others: Any) -> None:
    if issubclass(category, (CompilerWarning, RecordWarning)):
      say(f"note: {flag_names.said(str(message))}", error=True)
    else:
      before(message, category, *place, **others)

  warnings.showwarning = show


class _FractionParser(flags.ArgumentParser):
  """Numbers and fractions of whole numbers: 0.03, 8/255."""

  syntactic_help = "a number or a fraction such as 8/255"

  def parse(self, argument: str | float) -> float:
    try:
      return float(argument) if isinstance(argument, (int, float)) else texts.fraction(argument)
    except (ValueError, ZeroDivisionError):
      raise ValueError(f"expected a number or a fraction such as 8/255, got {argument!r}") from None

  def flag_type(self) -> str:
    return "float"


def define_fraction(name: str, default: float | None, help_: str) -> flags.FlagHolder:
  """Defines a flag that takes 0.03 as well as 8/255."""
  return flags.DEFINE(_FractionParser(), name, default, help_, serializer=flags.ArgumentSerializer())


class _FractionsParser(_FractionParser):
  """Several of these: 2/255,4/255,8/255."""

  syntactic_help = "numbers or fractions such as 2/255,4/255,8/255"

  def parse(self, argument: Any) -> Any:
    if not isinstance(argument, str):
      return argument
    found = tuple(super(_FractionsParser, self).parse(part) for part in argument.split(","))
    return found if len(found) > 1 else found[0]


def define_fractions(name: str, default: float | None, help_: str) -> flags.FlagHolder:
  """Defines a flag that takes 0.03, 8/255, or several such between commas."""
  return flags.DEFINE(_FractionsParser(), name, default, help_, serializer=flags.ArgumentSerializer())


class _SizeParser(flags.ArgumentParser):
  """Image sizes: 64 or 64x48, height first."""

  syntactic_help = "a size such as 64 or 64x48 (height x width)"

  def parse(self, argument: str | tuple[int, int]) -> tuple[int, int]:
    if isinstance(argument, tuple):
      return argument
    try:
      return texts.size(argument)
    except ValueError:
      raise ValueError(f"expected {self.syntactic_help}, got {argument!r}") from None


def define_size(name: str, default: tuple[int, int] | None, help_: str) -> flags.FlagHolder:
  """Defines a flag that takes an image size, 64 or 64x48."""
  return flags.DEFINE(_SizeParser(), name, default, help_, serializer=flags.ArgumentSerializer())


def define_choice(name: str, default: str | None, choice: type[enum.Enum], help_: str) -> flags.FlagHolder:
  """Defines a flag whose values are those of a `types` choice."""
  return flags.DEFINE_enum(name, default, [member.value for member in choice], help_)


# Names of the flags that take several paths.
_PATH_FLAGS: set[str] = set()


def define_paths(name: str, help_: str) -> flags.FlagHolder:
  """Defines a flag that takes several paths: `--name=a b c`, or given again."""
  _PATH_FLAGS.add(name)
  return flags.DEFINE_multi_string(name, None, f"{help_} Further ones may follow as plain arguments.")


def _with_paths(arguments: Sequence[str]) -> list[str]:
  """A command line whose plain arguments have become values of the flag of paths that they follow."""
  words, found, current = iter(arguments), [], None
  for word in words:
    match = re.fullmatch(r"--?([A-Za-z_]\w*)(=.*)?", word, re.DOTALL)
    if match is None:
      found.append(f"--{current}={word}" if current and not word.startswith("-") else word)
      continue
    found.append(word)
    name = match[1]
    current = name if name in _PATH_FLAGS else current
    if match[2] is None and name in flags.FLAGS and not flags.FLAGS[name].boolean:
      found += [value for value in [next(words, None)] if value is not None]
  return found


def refuse_arguments(argv: Sequence[str]) -> None:
  """Raises InputError if arguments are left that are no flags."""
  if argv:
    raise InputError(f"Unexpected argument {argv[0]!r}: flags begin with --.")
