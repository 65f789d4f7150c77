"""Exceptions whose message is for the person at the terminal."""

import re


class ToolError(Exception):
  """A failure that its one-sentence message explains.

  The command-line tools print the message without a traceback and exit with its
  `status`.
  """

  status = 1


class InputError(ToolError, ValueError):
  """A wrong argument, file, folder or flag value; the message names the remedy."""


class DivergedError(ToolError, RuntimeError):
  """Training stopped because a loss or a weight is no longer finite."""


class CompilerWarning(UserWarning):
  """XLA cannot compile what it was tried on; other kernels do the work."""


class RecordWarning(UserWarning):
  """What was kept on disk is damaged, and is made again."""


class WorkerLostError(ToolError, RuntimeError):
  """Another worker of a training is gone, and so this one ends.

  Where the same command on every worker would go on from the last checkpoint, the status
  is one that schedulers take as a reason to start again: above 127, and the one that
  Kubeflow leaves to programs. Else it is 1.
  """

  status = 138


def first_line(error: BaseException, most: int = 160) -> str:
  """What another library's error says, as a part of a sentence: its first line, or its type's name."""
  # Keras says first where it happened, and then, in bold, what.
  text = re.sub(r"^Exception encountered when calling .*|\x1b\[\d*m|{{function_node .*?}} *", "", str(error))
  return ((text.strip() or str(error).strip()).splitlines() or [type(error).__name__])[0][:most]


class AttackWarning(UserWarning):
  """Settings that work, and flatter: an attack that cannot reach the edge of its ball."""
