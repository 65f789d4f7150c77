"""Exceptions whose message is for the person at the terminal."""


class ToolError(Exception):
  """A failure that its one-sentence message explains.

  The command-line tools print the message without a traceback and exit with
  status 1.
  """


class InputError(ToolError, ValueError):
  """A wrong argument, file, folder or flag value; the message names the remedy."""


class DivergedError(ToolError, RuntimeError):
  """Training stopped because a loss or a weight is no longer finite."""


class CompilerWarning(UserWarning):
  """XLA cannot compile what it was tried on; other kernels do the work."""


class AttackWarning(UserWarning):
  """Settings that work, and flatter: an attack that cannot reach the edge of its ball."""
