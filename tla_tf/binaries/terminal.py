"""What tools print: lines in which names of others steer nothing."""

from __future__ import annotations

import sys

from tla_tf.visible import visible


def say(*lines: object, error: bool = False) -> None:
  """Prints lines at once, each as `visible` shows it: a name has no line to itself.

  Args:
    *lines: what to print.
    error: whether to print on standard error.
  """
  print("\n".join(map(visible, lines)), file=sys.stderr if error else sys.stdout, flush=True)


def rewrite(text: object, over: bool) -> None:
  """Writes text over the last line of the terminal on standard error.

  Args:
    text: what to write, as `visible` shows it.
    over: whether to take it away again at once.
  """
  clear = "\r\x1b[K"
  print(f"{clear}{visible(text)}", end=clear if over else "", file=sys.stderr, flush=True)
