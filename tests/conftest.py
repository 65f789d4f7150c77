"""Settings of the whole test session."""

import ctypes
import gc
import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import golden_support
import hypothesis
import keras
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as tf_config
from tensorflow.python.framework import ops as graph_ops

from tla_tf.networks import compilation

# Shells start what runs in the background with it ignored, and the tools keep to that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# One set of examples for everybody: a failure here is a failure everywhere.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=25)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="module", autouse=True)
def memory_given_back():
  """Takes from TensorFlow what the tests of a file leave in it, so that a worker does not grow with their number."""
  yield
  # Keras's optimisers register a gradient of each step that is traced, which would keep its graph and weights for ever.
  gradients = graph_ops.gradient_registry._registry  # noqa: SLF001
  for name in [name for name in gradients if name.startswith("CustomGradient-")]:
    del gradients[name]
  golden_support.forget()
  keras.backend.clear_session()
  gc.collect()
  # Freed memory returns to the system; only the GNU library has the call.
  getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)


def pytest_collection_finish():
  """Keeps the collector from going through all that imports have made, again and again, and from running too often."""
  gc.freeze()
  gc.set_threshold(50_000, 20, 10)


@pytest.fixture
def without_xla(monkeypatch):
  """Leaves XLA out where it is left to choose: for tests of what surrounds a step."""
  monkeypatch.setattr(compilation, "prefers_xla", lambda network, precision="float32": False)


@pytest.fixture
def same_bits():
  """Operations that give the same bits in every run without XLA, too, as the console scripts ask for."""
  tf_config.enable_op_determinism()
  yield
  tf_config.disable_op_determinism()


@pytest.fixture(params=["eager", "graph", "xla"])
def compiler(request):
  """Runs a test eagerly, as a graph and compiled by XLA; the value is the `jit` of attacks."""
  tf.config.run_functions_eagerly(request.param == "eager")
  yield "on" if request.param == "xla" else "off"
  tf.config.run_functions_eagerly(False)


# The files that take longest come first: where a worker gets whole files (`--dist loadfile`), none is left with them.
LONGEST = (
  "cli_analysis_test",
  "models_test",
  "recipes_test",
  "tf1_import_test",
  "cli_training_test",
  "cli_judging_test",
  "docs_test",
  "training_test",
  "reporting_test",
  "notebooks_test",
  "old_runs_test",
  "evaluation_test",
  "contributing_test",
  "fine_tuning_test",
  "oracle_auto_attack_test",
  "golden_networks_test",
)


def pytest_collection_modifyitems(config, items):
  """Orders files by duration; leaves out the tests of the real files where TLA_TEST_DATA names no folder."""
  items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))
  if not os.environ.get("TLA_TEST_DATA"):
    left_out = [item for item in items if item.get_closest_marker("real_data")]
    if left_out:
      config.hook.pytest_deselected(items=left_out)
      items[:] = [item for item in items if item not in left_out]


def pytest_sessionfinish(session):
  """Hands a parallel worker's deviations to the main process."""
  if hasattr(session.config, "workeroutput"):
    session.config.workeroutput["deviations"] = {k: float(v) for k, v in golden_support.SEEN.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
  """Collects the parallel workers' deviations in the main process."""
  for what, value in getattr(node, "workeroutput", {}).get("deviations", {}).items():
    golden_support.SEEN[what] = max(golden_support.SEEN.get(what, 0.0), value)


def pytest_terminal_summary(terminalreporter):
  """Prints the largest deviation from the authors' outputs, for people to read."""
  if golden_support.SEEN:
    terminalreporter.section("largest relative L2 deviations from the reference outputs")
    for what, value in sorted(golden_support.SEEN.items()):
      terminalreporter.line(f"{value:9.2e}  {what}")
