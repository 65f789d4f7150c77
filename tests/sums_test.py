"""Sums of three and more have one order: no graph of a training leaves it to chance.

Which order `tf.add_n` takes depends on whose memory is free at that moment. That is rarely another one, so
graphs are looked at, as TensorFlow has optimised them, instead of many runs.
"""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tla_tf.ops import sums

ROOT = pathlib.Path(__file__).parent.parent

# Logical devices must be set before TensorFlow starts: one process for all.
PROGRAM = """
import collections, json, pathlib, sys, warnings
import tensorflow as tf
from tensorflow.python.eager import context
from tla_tf import published, training

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
warnings.simplefilter("ignore")

# What gives its input's memory on, or parts of it; and what gives memory that is never free.
PASSING = {"Identity", "Reshape", "StopGradient", "Squeeze", "ExpandDims", "PreventGradient", "Snapshot", "EnsureShape",
           "BroadcastTo", "_Recv", "Exit"}
SHARING = {"Unpack", "Split", "SplitV", "Slice", "StridedSlice", "Switch", "Merge", "Enter"}
KEPT = {"Const", "ReadVariableOp"}


def unordered(graph):
  nodes, uses = {node.name: node for node in graph.node}, collections.Counter()
  for node in graph.node:
    uses.update(name.removesuffix(":0") for name in node.input if not name.startswith("^"))

  def memory(name, terms):
    node = nodes.get(name.partition(":")[0])
    if terms.count(name) > 1 or (node and node.op in KEPT):
      return "kept"
    if node is None or uses[name.removesuffix(":0")] > 1 or node.op in SHARING:
      return "perhaps free"
    return memory(node.input[0], terms) if node.op in PASSING and node.input else "free"

  for node in graph.node:
    terms = [name for name in node.input if not name.startswith("^")]
    if node.op == "AddN" and len(terms) > 2 and tf.as_dtype(node.attr["T"].type).is_floating:
      # The first that is free begins.
      first = next((found for found in (memory(name, terms) for name in terms) if found != "kept"), "free")
      yield first != "free", f"{node.name}: {', '.join(terms)}"


def graphs():
  for found in context.export_run_metadata().function_graphs:
    yield from found.partition_graphs


def config(method, recipe={}, **changes):
  found = published.setting("digits", method, "mlp_8")
  recipe = {key: getattr(found.recipe, key).replace(**value) if isinstance(value, dict) else value
            for key, value in recipe.items()}
  return found.replace(recipe=found.recipe.replace(**recipe), batch_size=8, train_steps=2, checkpoint_every=2,
                       jit="off", validation_examples=20, **changes).scaled(attack_steps=2)


# Between them every kind of term, pass and statistics.
CASES = {
  "three branches": config("tla", {"triplet": {"positives": "both"}, "pairing_weight": 0.5}, weight_average=0.9),
  "two replicas": config("tla", {"negative_pool": "memory_bank", "memory_bank_size": 40, "memory_bank_start": 0},
                         distribution_strategy="mirrored"),
  "micro-batches": config("trades", accumulate_steps=2),
  "free": config("at", {"inner_attack": {"kind": "free"}}),
}
context.enable_run_metadata()
found = {}
for name, case in CASES.items():
  training.train(case, pathlib.Path(sys.argv[1]) / name, say=lambda line: None)
  sums = [one for graph in graphs() for one in unordered(graph)]
  found[name] = [len(sums), [where for bad, where in sums if bad]]


@tf.function
def three(x, y, z):
  x = tf.cos(x)  # TensorFlow sorts the terms by name: this one stays the first.
  return x + tf.sin(y) + tf.tanh(z), tf.exp(x)

three(*[tf.zeros([3])] * 3)
found["seen"] = [where for graph in graphs() for bad, where in unordered(graph) if bad]
print(json.dumps(found))
"""


def test_no_graph_of_a_training_leaves_the_order_of_a_sum_to_chance(tmp_path):
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr[-3000:]
  found = json.loads(done.stdout.splitlines()[-1])
  assert len(found.pop("seen")) == 1  # Else TensorFlow's graphs look otherwise, and nothing is tested.
  assert {name: bad for name, (_, bad) in found.items() if bad} == {}
  assert all(count for count, _ in found.values())


def test_no_module_sums_without_an_order():
  assert [path for path in (ROOT / "tla_tf").rglob("*.py") if "add_n(" in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_sum_in_order_is_the_sum_and_its_gradients_reach_every_term(count):
  values = [tf.constant([float(i), -1.0]) for i in range(count)]
  with tf.GradientTape() as tape:
    tape.watch(values)
    found = sums.in_order(values)
  np.testing.assert_array_equal(found, np.sum([v.numpy() for v in values], axis=0) if count else 0.0)
  assert [one.numpy().tolist() for one in tape.gradient(found, values)] == [[1.0, 1.0]] * count


@pytest.mark.parametrize("count", [1, 3])
def test_copies_are_equal_and_their_gradients_are_summed(count):
  value = tf.constant([2.0, 3.0])
  with tf.GradientTape() as tape:
    tape.watch(value)
    found = tf.add_n([(i + 1.0) * one for i, one in enumerate(sums.copies(value, count))])
  weights = count * (count + 1) / 2
  np.testing.assert_array_equal(found, [2.0 * weights, 3.0 * weights])
  np.testing.assert_array_equal(tape.gradient(found, value), [weights, weights])
