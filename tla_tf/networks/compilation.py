"""Whether XLA pays for a network on the device at hand, and what is done where it cannot compile."""

from __future__ import annotations

import collections.abc
import contextlib
import re
import typing
import warnings
import weakref

import keras
import tensorflow as tf

from tla_tf.errors import CompilerWarning, InputError
from tla_tf.types import Jit, Precision

# Packages whose layers say by their names what they do.
_KNOWN = ("keras", "tla_tf")
# What TensorFlow raises where XLA cannot compile a function: an operation without a kernel, a convolution for which its
# autotuner finds no algorithm, a library that is missing.
FAILURES = (
  tf.errors.InternalError,
  tf.errors.UnimplementedError,
  tf.errors.InvalidArgumentError,
  tf.errors.NotFoundError,
  tf.errors.FailedPreconditionError,
)
# Networks for which it has failed in this process: one failure is enough.
_failed: weakref.WeakSet = weakref.WeakSet()
# How much of its message is shown, and what lines of it say nothing.
_LONGEST = 160
_HEADINGS = ("Graph execution error", "Detected at node", "<stack traces")

Result = typing.TypeVar("Result")


@contextlib.contextmanager
def unwarned() -> collections.abc.Iterator[None]:
  """Without TensorFlow's own warnings, such as that a function is traced too often where each has a new network."""
  logger = tf.get_logger()
  level = logger.level
  logger.setLevel("ERROR")
  try:
    yield
  finally:
    logger.setLevel(level)


def prefers_xla(network: typing.Any, precision: Precision | str = "float32") -> bool:
  """True on an accelerator, and on a CPU for networks of known layers without convolutions.

  False where a CPU would run layers of others, which may hold convolutions or
  what XLA cannot compile, and where XLA has failed on the network already.

  Measured by `benchmarks/attacks.py`: XLA halves the time of an MLP on a CPU,
  while convolutions in a compiled loop there become several times slower, and
  products of matrices in bfloat16.

  Args:
    network: a `keras.Model`; any other callable gets False.
    precision: a `types.Precision`, of what is to be compiled.
  """
  if not isinstance(network, keras.Model):
    return False
  if network in _failed:
    return False
  if tf.config.list_logical_devices("GPU"):
    return True
  if Precision(precision) is not Precision.FLOAT32:
    return False
  kinds = {type(layer) for layer in network._flatten_layers()}  # noqa: SLF001
  return all(kind.__module__.partition(".")[0] in _KNOWN and "Conv" not in kind.__name__ for kind in kinds)


def resolve_jit(jit: Jit | str | bool, network: typing.Any, precision: Precision | str = "float32") -> bool:
  """Turns a `types.Jit`, a bool or "auto" into a bool for this network, in this `types.Precision`."""
  if isinstance(jit, bool):
    return jit
  jit = Jit(jit)
  return prefers_xla(network, precision) if jit is Jit.AUTO else jit is Jit.ON


def _warn(sentence: str) -> None:
  warnings.warn(sentence, CompilerWarning, stacklevel=5)


class Compiler:
  """Compiles the functions of one network: by XLA where asked for, without it once that has failed.

  With jit "auto" XLA is tried, and where it fails at the first call, TensorFlow's
  own kernels take over with a word; with "on" that ends in one sentence.

  Args:
    jit: "auto", "on", "off" or a bool.
    network: a `keras.Model` or callable.
    precision: in which the network computes, see `prefers_xla`.

  Attributes:
    xla: whether XLA compiles.
    failure: why it does no longer, or None.
    on_failure: called with the sentence when XLA has failed, before the function is
      called anew; warns by default.
  """

  def __init__(self, jit: Jit | str | bool, network: typing.Any, precision: Precision | str = "float32"):
    self.xla = resolve_jit(jit, network, precision)
    self.failure: str | None = None
    self.on_failure: typing.Callable[[str], object] = _warn
    self._preferred = not isinstance(jit, bool) and Jit(jit) is Jit.AUTO
    self._network = network

  @property
  def trying(self) -> bool:
    """Whether a first call may show that XLA cannot compile, and goes on without it."""
    return self.xla and self._preferred

  def first_call(
    self,
    call: typing.Callable[[], Result],
    what: str,
    ours: typing.Callable[[], bool] = lambda: False,
    require_untouched: typing.Callable[[], None] = lambda: None,
  ) -> Result:
    """Calls a function for the first time; where XLA cannot compile it, once more without XLA.

    Args:
      call: compiles by `xla` and runs; must change nothing before it is compiled.
      what: that is compiled, for the sentence.
      ours: whether the error is not XLA's, but of input that was refused.
      require_untouched: raises if the failed call has changed anything.

    Raises:
      InputError: where XLA was asked for and fails.
    """
    try:
      return call()
    except FAILURES as error:
      if not self.xla or ours():
        raise
      reason = _reason(error)
      if not self._preferred:
        raise InputError(f"XLA cannot compile {what} here ({reason}): give `jit='auto'` or `jit='off'`.") from error
      self.give_up(reason)
    require_untouched()
    self.on_failure(f"XLA cannot compile {what} here ({self.failure}); going on without XLA.")
    return call()

  def give_up(self, reason: str) -> None:
    """Compiles without XLA from now on, and prefers it no longer for this network."""
    self.xla, self.failure = False, reason
    if isinstance(self._network, keras.Model):
      _failed.add(self._network)

  def function(self, function: typing.Callable, what: str, **options: typing.Any) -> typing.Callable:
    """A compiled function without state; arguments as in `tf.function`, and `what` as in `first_call`."""
    return _Function(self, function, what, options)


class _Function:
  """A function that is compiled when it is called."""

  def __init__(self, compiler: Compiler, function: typing.Callable, what: str, options: dict):
    self._compiler, self._what = compiler, what
    self._compile = lambda: tf.function(function, jit_compile=self._compiler.xla, autograph=False, **options)
    self._compiled: typing.Callable | None = None

  def __call__(self, *arguments: typing.Any) -> typing.Any:
    if self._compiled is None:
      if not tf.executing_eagerly():
        return self._compile()(*arguments)  # Its caller's graph is what is compiled, or fails.

      def call():
        compiled = self._compile()
        found = compiled(*arguments)
        self._compiled = compiled
        return found

      return self._compiler.first_call(call, self._what)
    return self._compiled(*arguments)


def _reason(error: tf.errors.OpError) -> str:
  """The first line of TensorFlow's message that says something, without the names of its nodes."""
  said = re.sub(r"\{\{node [^}]*\}\}", "", str(error.message or ""))
  lines = [line.strip() for line in said.splitlines()]
  text = next((line for line in lines if line and not line.startswith(_HEADINGS)), type(error).__name__).rstrip(".")
  return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
