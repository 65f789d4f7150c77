"""Protocol buffers of a stranger: what they take in memory is counted before they are parsed."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2, trackable_object_graph_pb2

from tla_tf import limits
from tla_tf.errors import InputError
from tla_tf.persistence.checkpoint_reader import OBJECT_GRAPH, open_checkpoint
from tla_tf.persistence.foreign import load_saved_model
from tla_tf.persistence.message_size import check_message, parsed_bytes

GRAPH = graph_pb2.GraphDef.DESCRIPTOR
# Bytes of a message, a text and a number.
MESSAGE, TEXT, NUMBER = 130, 55, 8


def counted(message, most=10**9):
  return parsed_bytes(message.SerializeToString(), message.DESCRIPTOR, most)


def test_messages_texts_and_numbers_count_wherever_they_are():
  graph = graph_pb2.GraphDef()
  node = graph.node.add(name="n" * 300, op="ab")
  node.input.extend(["x", "yz"])
  assert counted(graph) == 2 * MESSAGE + 4 * TEXT + 305
  node.attr["key"].list.i.extend([1] * 1000)  # A byte each, and eight in memory.
  assert counted(graph) == 5 * MESSAGE + 5 * TEXT + 308 + TEXT + NUMBER * 1000
  graph.versions.producer = 1 << 30
  assert counted(graph) == 6 * MESSAGE + 6 * TEXT + 308 + NUMBER * 1001


def test_a_model_counts_for_more_than_its_bytes_and_less_than_the_limit_of_its_size():
  model = tf.function(lambda x: tf.nn.relu(x @ tf.ones([4, 4]))).get_concrete_function(tf.zeros([2, 4])).graph
  graph = model.as_graph_def()
  assert graph.ByteSize() < counted(graph) < 65 * graph.ByteSize()


def test_beyond_the_limit_the_rest_is_as_the_first_part():
  content = b"\x0a\x00" * 100_000
  whole = parsed_bytes(content, GRAPH, 10**9)
  assert whole == MESSAGE * 100_001
  assert parsed_bytes(content, GRAPH, 10**6) == pytest.approx(whole, rel=1e-3)
  assert parsed_bytes(content, GRAPH, 0) > 0


def test_of_a_damaged_one_counts_what_stands_before_the_damage():
  nodes = b"\x0a\x00" * 10
  for damage in (
    b"\x0a",
    b"\x0a\x05",
    b"\x0f",
    b"\xff" * 20,
    b"\x08" + b"\xff" * 10_000_000,
    b"\x0a\xff\xff\xff\xff\x7f",
  ):
    assert 11 * MESSAGE <= parsed_bytes(nodes + damage + nodes, GRAPH, 10**9) < 24 * MESSAGE


@given(st.binary(max_size=200), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8))
def test_any_bytes_have_a_size(content, changes):
  graph = bytearray(tf.function(tf.sin).get_concrete_function(1.0).graph.as_graph_def().SerializeToString())
  for place, value in changes:
    graph[place % len(graph)] = value
  for some in (content, bytes(graph)):
    assert MESSAGE <= parsed_bytes(some, GRAPH, 10**9) <= MESSAGE + 65 * len(some)


def test_small_ones_are_not_counted_and_large_ones_are_refused_by_name(monkeypatch):
  content = b"\x0a\x00" * 8_000
  check_message("graph.pb", content, graph_pb2.GraphDef)
  monkeypatch.setenv(limits.VARIABLE, "0.001")
  with pytest.raises(limits.LimitError, match=r"holds 1\.04 MB in 16 kB of disk") as caught:
    check_message("graph.pb", content, graph_pb2.GraphDef)
  assert caught.value.filename == "graph.pb"


def test_a_model_of_empty_messages_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
  model = saved_model_pb2.SavedModel()
  nodes = model.meta_graphs.add().graph_def.node
  for _ in range(100_000):
    nodes.add()
  (tmp_path / "saved_model.pb").write_bytes(model.SerializeToString())
  monkeypatch.setenv(limits.VARIABLE, "0.01")
  with pytest.raises(InputError, match=r"saved_model.pb: .*holds 13 MB in 200 kB of disk.*`max_unpacked_gb=1`"):
    load_saved_model(tmp_path)


def test_objects_of_a_checkpoint_are_counted(tmp_path, monkeypatch):
  objects = trackable_object_graph_pb2.TrackableObjectGraph()
  for _ in range(10_000):
    objects.nodes.add()
  prefix = str(tmp_path / "state")
  tf.raw_ops.SaveV2(
    prefix=prefix, tensor_names=[OBJECT_GRAPH, "a"], shape_and_slices=["", ""],
    tensors=[objects.SerializeToString(), np.float32(1)],
  )  # fmt: skip
  assert open_checkpoint(prefix, "state").get_tensor("a") == 1
  monkeypatch.setenv(limits.VARIABLE, "0.001")
  with pytest.raises(limits.LimitError, match=r"holds 1\.3 MB in 20 kB"):
    open_checkpoint(prefix, "state")
