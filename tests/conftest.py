"""Settings of the whole test session."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import golden_support


def pytest_terminal_summary(terminalreporter):
  """Prints the largest deviation from the authors' outputs, for people to read."""
  if golden_support.SEEN:
    terminalreporter.section("largest relative L2 deviations from the reference outputs")
    for what, value in sorted(golden_support.SEEN.items()):
      terminalreporter.line(f"{value:9.2e}  {what}")
