"""SavedModels from strangers: what they would do is found before anything of them runs."""

import os
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.client import pywrap_tf_session

from tla_tf.errors import InputError
from tla_tf.persistence import saved_model_check
from tla_tf.persistence.foreign import load_saved_model

SHAPE = (8, 8, 1)
SPEC = tf.TensorSpec([None, *SHAPE], tf.float32, name="images")


class Classifier(tf.Module):
  """A linear classifier that does something besides."""

  def __init__(self, beside=lambda images: None):
    super().__init__()
    self.kernel = tf.Variable(tf.ones([64, 3]))

    def serve(images):
      beside(images)
      return tf.reshape(images, [-1, 64]) @ self.kernel

    self.serve = tf.function(serve, input_signature=[SPEC])


def save(folder, beside=lambda images: None, **attributes):
  module = Classifier(beside)
  for name, value in attributes.items():
    setattr(module, name, value)
  tf.saved_model.save(module, folder)
  return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
  return save(tmp_path_factory.mktemp("models") / "plain")


@pytest.fixture
def copy(plain, tmp_path):
  return shutil.copytree(plain, tmp_path / "model")


def edit(folder, change):
  """Applies a function to the only graph of a SavedModel."""
  file = folder / "saved_model.pb"
  model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
  change(model.meta_graphs[0])
  file.write_bytes(model.SerializeToString())


def function(graph, part):
  (found,) = (each for each in graph.graph_def.library.function if part in each.signature.name)
  return found


# ------------------------------------------------------------------- what is refused

BESIDE = {
  "WriteFile": lambda images: tf.io.write_file("written", "by the model"),
  "ReadFile": lambda images: tf.io.read_file("/etc/passwd"),
  "MatchingFiles": lambda images: tf.io.matching_files("/home/*"),
  "EagerPyFunc": lambda images: tf.py_function(lambda: None, [], []),
  "PyFunc": lambda images: tf.numpy_function(lambda: np.float32(0), [], tf.float32),
  "PrintV2": lambda images: tf.print("x", output_stream="file://written"),
  "SaveV2": lambda images: tf.raw_ops.SaveV2(
    prefix="written", tensor_names=["a"], shape_and_slices=[""], tensors=[1.0]
  ),
  "RestoreV2": lambda images: tf.raw_ops.RestoreV2(
    prefix="/etc/passwd", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
  ),
  "MergeV2Checkpoints": lambda images: tf.raw_ops.MergeV2Checkpoints(
    checkpoint_prefixes=["a"], destination_prefix="written"
  ),
  "ImmutableConst": lambda images: tf.raw_ops.ImmutableConst(
    dtype=tf.float32, shape=[1], memory_region_name="/etc/passwd"
  ),
  "TextLineDataset": lambda images: tf.raw_ops.TextLineDataset(
    filenames="/etc/passwd", compression_type="", buffer_size=0
  ),
  "FIFOQueueV2": lambda images: tf.raw_ops.FIFOQueueV2(component_types=[tf.float32]),
  "InitializeTableFromTextFileV2": lambda images: tf.raw_ops.InitializeTableFromTextFileV2(
    table_handle=tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64),
    filename="/etc/passwd",
    key_index=-2,
    value_index=-1,
  ),
}


@pytest.mark.parametrize("op", BESIDE)
def test_an_operation_that_does_more_than_compute_is_refused_by_name(tmp_path, op):
  save(tmp_path / "model", BESIDE[op])
  with pytest.raises(InputError, match=rf"model: refused, .*{op} \(in __inference_serve_\d+\).*`trust_model`"):
    load_saved_model(tmp_path / "model")


def in_a_branch(images):
  tf.cond(tf.reduce_sum(images) > 0, lambda: tf.io.write_file("written", "x"), lambda: tf.no_op())


def in_a_loop_of_a_loop(images):
  def body(i):
    tf.while_loop(lambda j: j < 1, lambda j: [inner(j)], [0])
    return [i + 1]

  def inner(j):
    tf.io.write_file("written", "x")
    return j + 1

  tf.while_loop(lambda i: i < 1, body, [0])


def in_a_gradient(images):
  @tf.custom_gradient
  def same(x):
    def gradient(upstream):
      tf.io.write_file("written", "x")
      return upstream

    return tf.identity(x), gradient

  return same(images)


@pytest.mark.parametrize("beside", [in_a_branch, in_a_loop_of_a_loop, in_a_gradient])
def test_it_is_found_wherever_it_hides(tmp_path, beside):
  options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
  module = Classifier(beside)
  if beside is in_a_gradient:
    kernel = module.kernel
    module.serve = tf.function(lambda images: tf.reshape(beside(images), [-1, 64]) @ kernel, input_signature=[SPEC])
  tf.saved_model.save(module, tmp_path / "model", options=options)
  with pytest.raises(InputError, match="WriteFile"):
    load_saved_model(tmp_path / "model")


class WritesWhenLoaded(tf.saved_model.experimental.TrackableResource):
  """A resource whose initializer, which the loader runs, writes a file."""

  def __init__(self, place):
    super().__init__()
    self._place = place

  def _create_resource(self):
    return tf.raw_ops.AnonymousMutableHashTable(key_dtype=tf.string, value_dtype=tf.int64)

  def _initialize(self):
    tf.io.write_file(self._place, "by the model")


def test_what_runs_while_it_is_loaded_is_refused_before_and_runs_where_the_model_is_trusted(tmp_path):
  save(tmp_path / "model", resource=WritesWhenLoaded(str(tmp_path / "written")))
  (tmp_path / "written").unlink(missing_ok=True)
  with pytest.raises(InputError, match="WriteFile"):
    load_saved_model(tmp_path / "model")
  assert not (tmp_path / "written").exists()
  load_saved_model(tmp_path / "model", trust_model=True)
  assert (tmp_path / "written").read_text() == "by the model"


def test_an_operation_that_is_not_known_is_refused(copy):
  edit(copy, lambda graph: setattr(function(graph, "inference_serve").node_def[0], "op", "Unheard>Of"))
  with pytest.raises(InputError, match="Unheard>Of"):
    load_saved_model(copy)


def call_the_saver(graph):
  """Lets the model's own function call that which the loader keeps for saving."""
  saver = function(graph, "traced_save").signature.name
  node = function(graph, "inference_serve").node_def.add(op="NoOp", name="harmless")
  node.attr["anything"].list.s.append(saver.encode())


def offer_the_saver(graph):
  saver = function(graph, "traced_save").signature.name
  graph.object_graph_def.nodes.add().bare_concrete_function.concrete_function_name = saver


def put_the_saver_in_place(graph):
  function(graph, "traced_save").attr["api_implements"].s = b"serve"


@pytest.mark.parametrize("change", [call_the_saver, offer_the_saver, put_the_saver_in_place])
def test_the_functions_that_save_and_restore_are_for_the_loader_alone(copy, change):
  edit(copy, change)
  with pytest.raises(InputError, match="SaveV2"):
    load_saved_model(copy)


def test_an_operation_named_as_a_function_is_refused(copy):
  def change(graph):
    node = function(graph, "inference_serve").node_def.add(op="StatefulPartitionedCall", name="call")
    node.attr["anything"].func.attr["g"].func.name = "ReadFile"

  edit(copy, change)
  with pytest.raises(InputError, match="ReadFile"):
    load_saved_model(copy)


def test_the_form_of_tensorflow_1_needs_trust(tmp_path):
  tf1 = tf.compat.v1
  with tf.Graph().as_default(), tf1.Session() as session:
    images = tf1.placeholder(tf.float32, [None, *SHAPE])
    kernel = tf1.get_variable("kernel", [64, 3], initializer=tf1.ones_initializer(), use_resource=True)
    logits = tf.reshape(images, [-1, 64]) @ kernel
    session.run(kernel.initializer)
    tf1.saved_model.simple_save(session, str(tmp_path / "model"), {"images": images}, {"logits": logits})
  with pytest.raises(InputError, match="RestoreV2 .*SaveV2 .*Of TensorFlow 1's form"):
    load_saved_model(tmp_path / "model")
  found = load_saved_model(tmp_path / "model", trust_model=True)
  np.testing.assert_allclose(found(tf.ones([2, *SHAPE])), 64.0)


# ------------------------------------------------------------------- what is not


def test_models_of_keras_are_not_refused(tmp_path):
  layers = keras.layers
  recurrent = [layers.LSTM(2), layers.BatchNormalization(), layers.Dropout(0.5)]
  images = [layers.RandomFlip(), layers.RandomRotation(0.1), layers.Resizing(4, 4), layers.SeparableConv2D(2, 3)]
  images += [layers.GroupNormalization(1), layers.MaxPooling2D(), layers.Flatten(), layers.Dense(3, "softmax")]
  keras.Sequential([keras.Input((2, 3)), *recurrent]).export(tmp_path / "recurrent", verbose=False)
  keras.Sequential([keras.Input(SHAPE), *images]).export(tmp_path / "images", verbose=False)
  words = keras.layers.StringLookup(vocabulary=["cat", "dog"])
  keras.Sequential([keras.Input((1,), dtype="string"), words, layers.Embedding(4, 3)]).export(
    tmp_path / "words", verbose=False
  )
  for name in ("recurrent", "images", "words"):
    saved_model_check.check_saved_model(tmp_path / name)


def test_a_table_is_read_from_an_asset_and_from_no_other_file(tmp_path):
  (tmp_path / "names.txt").write_text("cat\ndog\n")
  word, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
  source = tf.lookup.TextFileInitializer(str(tmp_path / "names.txt"), tf.string, word, tf.int64, number)
  table = tf.lookup.StaticHashTable(source, -1)
  find = tf.function(table.lookup, input_signature=[tf.TensorSpec([None], tf.string)])
  save(tmp_path / "model", table=table, find=find)
  (tmp_path / "names.txt").unlink()
  assert load_saved_model(tmp_path / "model").loaded.find(tf.constant(["dog"])) == 1
  for name in ("../names.txt", "/etc/passwd", "gs://somewhere/names.txt"):
    edit(tmp_path / "model", lambda graph, name=name: setattr(graph.asset_file_def[0], "filename", name))
    with pytest.raises(InputError, match="its asset .* does not lie in its folder"):
      load_saved_model(tmp_path / "model")


def test_operations_that_are_allowed_have_no_business_outside():
  """Whatever names files, addresses, code or devices in TensorFlow's registry is not on the list."""
  content = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
  registry = {op.name: op for op in op_def_pb2.OpList.FromString(content).op}
  allowed = saved_model_check.known_operations()["everywhere"]
  # The oldest and the newest TensorFlow know some more and some fewer.
  assert len(allowed - set(registry)) < 40 and {"MatMul", "Conv2D", "ReadVariableOp", "While"} <= allowed
  outside = re.compile(
    "File|Directory|Path|Py[A-Z]|Python|Print|Dataset|Iterator|Reader|Summary|Queue|Barrier|Stage|Session|Send|Recv|Rpc|"
    "Remote|Collective|Nccl|TPU|Xla|Tpu|Launch|Save|Restore|Checkpoint|Shard|Custom|Debug[^G]|Dump|Abort|Sleep|Mutex|"
    "Immutable|Proto|Event|Net|Host|Copy(?!OnRead)|Accumulator|Cache|Worker|FileSystem|BatchFunction|^_"
  )
  assert not [name for name in allowed if outside.search(name) and name != "DeepCopy"]
  words = re.compile(
    r"file|path|dir(?!ection)|token|host(?!_reserved)|address|stream|url|library|port|socket|region|descriptor"
  )
  for name in allowed & set(registry):
    op = registry[name]
    assert not any(value.is_ref for value in (*op.input_arg, *op.output_arg)), name
    named = [value.name for value in (*op.input_arg, *op.attr)]
    assert not [value for value in named if words.search(value) and value != "resource"], name


# ------------------------------------------------------------------- damage, and what costs too much


def cut(name, size):
  def change(folder):
    os.truncate(folder / name, size)

  return change


def other_shape(folder):
  def change(graph):
    for node in graph.object_graph_def.nodes:
      if node.variable.shape.dim:
        node.variable.shape.dim[1].size = 4

  edit(folder, change)


def repeated(folder):
  """A constant of 400 GB in ten bytes."""

  def change(graph):
    node = function(graph, "inference_serve").node_def.add(op="Const", name="large")
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    tensor = node.attr["value"].tensor
    tensor.dtype = tf.float32.as_datatype_enum
    tensor.float_val.append(1.0)
    tensor.tensor_shape.dim.add().size = 10**11

  edit(folder, change)


def doubling(folder):
  """Forty functions, each calling the one before it twice."""

  def change(graph):
    for i in range(40):
      made = graph.graph_def.library.function.add()
      made.signature.name = f"twice_{i}"
      for j in range(2):
        made.node_def.add(op=f"twice_{i - 1}" if i else "NoOp", name=str(j))

  edit(folder, change)


def many_attributes(folder):
  def change(graph):
    for i in range(500_000):
      graph.graph_def.node[0].attr[str(i)].i = i

  edit(folder, change)


def many_functions(folder):
  def change(graph):
    for _ in range(500_000):
      graph.graph_def.library.function.add()

  edit(folder, change)


def calling_itself(folder):
  edit(folder, lambda graph: function(graph, "inference_serve").node_def.add(op="again", name="again"))
  edit(folder, lambda graph: setattr(graph.graph_def.library.function.add().signature, "name", "again"))
  edit(folder, lambda graph: function(graph, "again").node_def.add(op="again", name="again"))


def nested(folder):
  content = b""
  for _ in range(5000):
    size = len(content)
    content = b"\x0a" + bytes(iter_varint(size)) + content
  (folder / "saved_model.pb").write_bytes(b"\x12" + bytes(iter_varint(len(content))) + content)


def iter_varint(value):
  while value > 127:
    yield value & 127 | 128
    value >>= 7
  yield value


def large_variables(folder):
  """A row of a matrix of 256 GB, as a part of a variable is saved."""
  tf.raw_ops.SaveV2(
    prefix=str(folder / "variables" / "variables"),
    tensor_names=["kernel/.ATTRIBUTES/VARIABLE_VALUE"],
    shape_and_slices=["1000000000 64 0,1:0,64"],
    tensors=[tf.zeros([1, 64])],
  )


def pipe(folder):
  os.mkfifo(folder / "assets" / "waits")


def linked(folder):
  (folder / "variables").rename(folder.parent / "elsewhere")
  (folder / "variables").symlink_to(folder.parent / "elsewhere")


DAMAGE = {
  "variables cut": (cut("variables/variables.data-00000-of-00001", 10), "cannot load it"),
  "variables gone": (cut("variables/variables.data-00000-of-00001", 0), "cannot load it"),
  "index cut": (cut("variables/variables.index", 20), "cannot load it"),
  "index gone": (cut("variables/variables.index", 0), "cannot load it"),
  "graph cut": (cut("saved_model.pb", 999), "cannot load it"),
  "nothing": (cut("saved_model.pb", 0), "cannot load it|has neither"),
  "fingerprint cut": (cut("fingerprint.pb", 7), "cannot load it"),
  "weights of another shape": (other_shape, "cannot load it"),
  "a constant repeated": (repeated, "holds 400 GB in .*`max_unpacked_gb=401`"),
  "variables that are larger than their file": (large_variables, "holds 256 GB in .*`max_unpacked_gb=25.`"),
  "functions that double": (doubling, "twice_.* comes to .* operations"),
  "half a million attributes": (many_attributes, "it has 500,... operations, attributes and objects; at most 500,000"),
  "half a million functions": (many_functions, "it has 500,... operations, attributes and objects; at most 500,000"),
  "a function that calls itself": (calling_itself, "its function again calls itself"),
  "messages in each other": (nested, "cannot load it"),
  "a named pipe": (pipe, "waits: refused .a named pipe"),
  "a folder elsewhere": (linked, "variables: refused, "),
}


@pytest.mark.parametrize("change, words", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("trust_model", [False, True])
def test_damage_is_named(copy, change, words, trust_model):
  change(copy)
  with pytest.raises(InputError, match=words):
    load_saved_model(copy, trust_model=trust_model)
