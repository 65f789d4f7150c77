"""The same bits in every run on one machine, as far as the process is ours.

What guarantees them acts on everything that a process computes. The library
therefore turns nothing on by itself: it says what is missing, unless its caller
owns the process, as a console script does.
"""

from __future__ import annotations

import typing

import tensorflow as tf
from tensorflow.python.framework import config as tf_config

from tla_tf import xla_flags


def make_deterministic(xla: bool, owns_process: bool, say: typing.Callable[[str], object]) -> None:
  """Turns on what the same bits take, or says how to.

  Keras refuses XLA under TensorFlow's op determinism. XLA's programs for CPUs
  are deterministic by themselves, those for GPUs with a flag, which it reads once,
  before it compiles anything: tools set it before TensorFlow is imported.

  Args:
    xla: whether XLA compiles the training step.
    owns_process: whether switches of the whole process may be turned on.
    say: receives a sentence for people.
  """
  if not xla and not tf_config.is_op_determinism_enabled():
    if owns_process:
      tf.config.experimental.enable_op_determinism()
    else:
      say(
        "Without TensorFlow's op determinism, which acts on the whole process, a network that XLA does not compile may "
        "be rounded otherwise in another run: for certainly the same bits call "
        "tf.config.experimental.enable_op_determinism() first, or train with tla-train."
      )
  if xla and tf.config.list_logical_devices("GPU") and not xla_flags.given():
    say(
      f"Without XLA_FLAGS={xla_flags.DETERMINISTIC_GPU}=true in the environment, which acts on the whole process, "
      "another run on a GPU may be rounded otherwise: for certainly the same bits set it before Python starts, or "
      "train with tla-train."
    )
