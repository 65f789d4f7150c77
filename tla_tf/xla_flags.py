"""The environment that XLA reads once, before it compiles anything. No TensorFlow here: tools set it first."""

from __future__ import annotations

import os

# What the same bits take of programs that XLA makes for GPUs.
DETERMINISTIC_GPU = "--xla_gpu_deterministic_ops"
_VARIABLE = "XLA_FLAGS"


def given(flag: str = DETERMINISTIC_GPU) -> bool:
  """Whether the environment says something of a flag, whatever it is."""
  return flag in os.environ.get(_VARIABLE, "")


def turn_on(flag: str = DETERMINISTIC_GPU) -> None:
  """Turns a flag on, unless the environment says something of it; other flags stay."""
  if not given(flag):
    os.environ[_VARIABLE] = f"{os.environ.get(_VARIABLE, '')} {flag}=true".strip()
