"""Runs pytest on the files named as arguments; the `main` of Bazel's tests."""

import os
import pathlib
import sys

import pytest

if __name__ == "__main__":
  os.chdir(pathlib.Path(__file__).parent.parent)
  status = pytest.main(sys.argv[1:])
  # A file whose tests are all slow leaves none to run by default.
  sys.exit(0 if status == pytest.ExitCode.NO_TESTS_COLLECTED else int(status))
