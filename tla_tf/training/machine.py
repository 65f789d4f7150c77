"""The machine at hand, as results that hang on it name it."""

from __future__ import annotations

import os
import pathlib
import platform

import tensorflow as tf


def processor() -> str:
  """What its processor is called."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
  except (OSError, StopIteration):
    return platform.processor() or platform.machine()


def devices() -> list[str]:
  """Names of what TensorFlow computes on, CPUs by their type."""
  return [
    tf.config.experimental.get_device_details(device).get("device_name", device.device_type)
    for device in tf.config.list_physical_devices()
  ]


def described() -> str:
  """In words: its processor, cores, and devices besides."""
  others = [name for name in devices() if name != "CPU"]
  return ", ".join([processor(), f"{os.cpu_count()} cores", *others])
