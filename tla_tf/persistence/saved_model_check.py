"""What a SavedModel holds, looked at before TensorFlow loads it: loading alone runs functions of the model.

A SavedModel is a program. Its operations are compared with a list of those that only compute
(`safe_ops.yaml`); that keeps honest mistakes and simple attacks out, and is no proof: flaws in
TensorFlow's own kernels can be used by operations that are allowed (SECURITY.md).
"""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from tensorflow.core.protobuf import fingerprint_pb2, saved_model_pb2

from tla_tf import limits, yaml_file
from tla_tf.errors import InputError
from tla_tf.persistence.checkpoint_reader import open_checkpoint, tensor_bytes
from tla_tf.persistence.literal_path import literal_path
from tla_tf.persistence.message_size import check_message

# Operations in one function once all its calls are replaced by what they call, as TensorFlow does before it runs it: a
# network of a thousand layers has some 20,000.
_MOST_OPERATIONS = 2_000_000
# Operations, their attributes, functions and objects as they are written; each is looked at in turn.
_MOST_PARTS = 500_000
# Functions that call each other, one in the other.
_DEEPEST = 100
_FINGERPRINT = 1 << 20
_SHOWN = 8


class _Function(NamedTuple):
  """A function of a model's library, or its main graph.

  Attributes:
    nodes: its operations (NodeDef).
    arguments: names of its arguments.
    calls: the functions that it calls, once for each time.
    names: those, and others that an attribute of it says the name of.
    can_replace: whether TensorFlow may put it in the place of another, that it implements the same as.
  """

  nodes: Any
  arguments: tuple[str, ...]
  calls: tuple[str, ...]
  names: frozenset[str]
  can_replace: bool


def check_saved_model(path: pathlib.Path, trust_model: bool = False) -> None:
  """Looks at a SavedModel before it is loaded. Runs nothing of it.

  Args:
    path: its folder.
    trust_model: whether it may hold operations that do more than compute. What it may cost is
      checked all the same.

  Raises:
    InputError: if it holds operations that do more than compute, or are not known.
    limits.LimitError: if it would cost more than is allowed, or holds what is no file.
    Exception: whatever TensorFlow and its parsers raise for a damaged one.
  """
  for folder, inner, files in os.walk(path):
    for name in (*inner, *files):
      found = pathlib.Path(folder, name)
      if name in inner and found.is_symlink() or name == "saved_model.cpb":
        raise InputError(f"{found}: refused, what it leads to cannot be looked at first; remove it.")
      if name in files:
        limits.open_regular(found).close()
  content = limits.read_bytes(path / "saved_model.pb")
  check_message(path / "saved_model.pb", content, saved_model_pb2.SavedModel)
  model = saved_model_pb2.SavedModel()
  model.ParseFromString(content)
  if (path / "fingerprint.pb").is_file():
    # Of a damaged one TensorFlow logs a traceback, and goes on.
    fingerprint_pb2.FingerprintDef().ParseFromString(limits.read_bytes(path / "fingerprint.pb", _FINGERPRINT))
  parts = sum(_parts(graph) for graph in model.meta_graphs)
  if parts > _MOST_PARTS:
    raise InputError(
      f"{path}: refused, it has {parts:,} operations, attributes and objects; at most {_MOST_PARTS:,} are read."
    )
  # What it says in few bytes and takes in many: a constant of one value, repeated.
  declared = sum(_constants(graph.graph_def) for graph in model.meta_graphs)
  weights = path / "variables" / "variables"
  if weights.with_name("variables.index").is_file():
    with literal_path(weights) as place:
      open_checkpoint(place, weights)
  limits.check_unpacked(path, declared + len(content), len(content))
  for graph in model.meta_graphs:
    functions = _functions(graph.graph_def.library)
    _check_calls(path, functions)
    _check_assets(path, graph)
    if not trust_model:
      # The test that the loader makes.
      of_tf2 = len(model.meta_graphs) == 1 and graph.HasField("object_graph_def")
      refused = _refused(graph, functions, of_tf2)
      if refused:
        raise InputError(_sentence(path, refused, of_tf2))


def _sentence(path: pathlib.Path, refused: Mapping[str, str], of_tf2: bool) -> str:
  listed = [f"{name[:80]} (in {place[:80]})" for name, place in sorted(refused.items())]
  more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
  saving = "" if of_tf2 else " Of TensorFlow 1's form, none can be told from those of loading and saving."
  return (
    f"{path}: refused, since it holds operations that are not known only to compute: "
    f"{', '.join(listed[:_SHOWN])}{more}.{saving} A model is a program, see SECURITY.md; `trust_model` runs this one "
    "with all your rights."
  )


@functools.cache
def known_operations() -> dict[str, frozenset[str]]:
  """Names of operations by kind; those of `of_saving` and `of_assets` are allowed in their places only."""
  content = yaml_file.read(pathlib.Path(__file__).with_name("safe_ops.yaml"))
  special = {kind: frozenset(content.pop(kind)) for kind in ("of_saving", "of_assets")}
  return {**special, "everywhere": frozenset(name for names in content.values() for name in names)}


# ------------------------------------------------------------------- operations


def _refused(graph: Any, functions: Mapping[str, _Function], of_tf2: bool) -> dict[str, str]:
  """Operations of a graph that are not allowed, each with a function that it stands in."""
  kinds = known_operations()
  main = _function(graph.graph_def.node, (), {}, functions)
  # Of a model of TensorFlow 2 the loader takes the functions, and does not run the graph that they lie in.
  runs = _reached(_roots(graph, functions) if of_tf2 else functions, functions)
  called = {name for caller in runs for name in functions[caller].names}
  places = {"": main, **functions}
  found: dict[str, str] = {}
  for place, function in places.items():
    allowed = kinds["everywhere"]
    if of_tf2 and place not in runs:
      allowed |= kinds["of_saving"] | kinds["of_assets"]
    files = _asset_arguments(graph, place, function) if of_tf2 and place in runs and place not in called else set()
    for node in function.nodes:
      if node.op in functions or node.op in allowed:
        continue
      if node.op not in kinds["of_assets"] or len(node.input) < 2 or node.input[1] not in files:
        found.setdefault(node.op, place or "its graph")
    for name in _unknown_functions(function.nodes, functions):
      # An operation may be named where a function is expected.
      if name not in allowed:
        found.setdefault(name, place or "its graph")
  return found


def _roots(graph: Any, functions: Mapping[str, _Function]) -> Iterator[str]:
  """The functions that the loader of TensorFlow 2 may run, or give to whoever calls the model."""
  objects, library = graph.object_graph_def, graph.graph_def.library
  yield from objects.concrete_functions
  for node in objects.nodes:
    yield from node.function.concrete_functions
    yield node.bare_concrete_function.concrete_function_name
  for gradient in (*library.registered_gradients, *library.gradient):
    yield gradient.gradient_func
  yield from (name for name, function in functions.items() if function.can_replace)


def _reached(roots: Iterable[str], functions: Mapping[str, _Function]) -> set[str]:
  """The functions that are called from some, themselves among them."""
  found: set[str] = set()
  waiting = [name for name in roots if name in functions]
  while waiting:
    name = waiting.pop()
    if name not in found:
      found.add(name)
      waiting += functions[name].names
  return found


def _asset_arguments(graph: Any, name: str, function: _Function) -> set[str]:
  """Arguments of a function that the loader binds to assets of the model."""
  nodes = graph.object_graph_def.nodes
  if name not in graph.object_graph_def.concrete_functions:
    return set()
  bound = list(graph.object_graph_def.concrete_functions[name].bound_inputs)
  if len(bound) > len(function.arguments) or any(not 0 <= index < len(nodes) for index in bound):
    return set()
  last = function.arguments[len(function.arguments) - len(bound) :]
  return {argument for argument, index in zip(last, bound, strict=True) if nodes[index].WhichOneof("kind") == "asset"}


def _check_assets(path: pathlib.Path, graph: Any) -> None:
  """Refuses assets that lie elsewhere than in the model's folder."""
  for asset in graph.asset_file_def:
    name = pathlib.PurePosixPath(asset.filename)
    if not asset.filename or name.is_absolute() or ".." in name.parts or ":" in asset.filename:
      raise InputError(f"{path}: refused, its asset {asset.filename[:80]!r} does not lie in its folder.")


# ------------------------------------------------------------------- functions that call each other


def _functions(library: Any) -> dict[str, _Function]:
  names = {found.signature.name for found in library.function}
  return {
    found.signature.name: _function(found.node_def, found.signature.input_arg, found.attr, names)
    for found in library.function
  }


def _function(nodes: Any, arguments: Iterable[Any], attributes: Mapping[str, Any], names: Any) -> _Function:
  """A function by its operations, its arguments, its own attributes, and the names of all functions."""
  inner = list(_values(value for node in nodes for value in node.attr.values()))
  calls = [node.op for node in nodes if node.op in names]
  calls += [function.name for value in inner for function in _named(value) if function.name in names]
  texts = (text for value in (*inner, *_values(attributes.values())) for text in _those(value, "s"))
  said = {text.decode("utf-8", "replace") for text in texts}
  said |= {function.name for value in _values(attributes.values()) for function in _named(value)}
  can_replace = any(key.endswith("implements") for key in attributes)
  found = tuple(argument.name for argument in arguments)
  return _Function(nodes, found, tuple(calls), frozenset(calls) | said & set(names), can_replace)


def _named(value: Any) -> list[Any]:
  """The functions that an attribute names."""
  return _those(value, "func")


def _those(value: Any, kind: str) -> list[Any]:
  """What an attribute has of a kind, by itself or in its list: "s", "func" or "tensor"."""
  # Asked first: of other kinds protobuf would make empty ones, which takes long of many attributes.
  held = value.WhichOneof("value")
  return [getattr(value, kind)] if held == kind else list(getattr(value.list, kind)) if held == "list" else []


def _unknown_functions(nodes: Iterable[Any], functions: Mapping[str, _Function]) -> Iterator[str]:
  for value in _values(value for node in nodes for value in node.attr.values()):
    yield from (each.name for each in _named(value) if each.name and each.name not in functions)


def _values(attributes: Iterable[Any]) -> Iterator[Any]:
  """Attributes, and those of the functions in them."""
  waiting = list(attributes)
  while waiting:
    value = waiting.pop()
    yield value
    waiting += [inner for function in _named(value) for inner in function.attr.values()]


def _check_calls(path: pathlib.Path, functions: Mapping[str, _Function]) -> None:
  """Refuses functions that call themselves, and few that become many once each call is replaced."""
  # Of each function that is done: its operations, and how deep its calls lie in each other.
  done: dict[str, tuple[int, int]] = {}
  for root in functions:
    waiting, open_ = [root], set()
    while waiting:
      name = waiting[-1]
      missing = [called for called in set(functions[name].calls) if called not in done]
      if name in done or not missing:
        waiting.pop()
        open_.discard(name)
        if name not in done:
          inner = [done[called] for called in functions[name].calls]
          size = len(functions[name].nodes) + sum(each[0] for each in inner)
          depth = 1 + max((each[1] for each in inner), default=0)
          if size > _MOST_OPERATIONS or depth > _DEEPEST:
            raise InputError(
              f"{path}: refused, its function {name} comes to {size} operations, {depth} functions deep; at most "
              f"{_MOST_OPERATIONS} and {_DEEPEST} are run."
            )
          done[name] = (size, depth)
        continue
      open_.add(name)
      if any(called in open_ for called in missing):
        raise InputError(f"{path}: damaged, its function {name} calls itself.")
      waiting += missing


# ------------------------------------------------------------------- sizes


def _parts(graph: Any) -> int:
  """How many there are; those within others are not looked for once there are too many."""
  functions, nodes = graph.graph_def.library.function, graph.graph_def.node
  count = len(functions) + len(nodes) + len(graph.object_graph_def.nodes)
  if count <= _MOST_PARTS:
    count += sum(len(each.node_def) + len(each.attr) + len(each.signature.input_arg) for each in functions)
  if count <= _MOST_PARTS:
    count += sum(len(node.attr) for body in (nodes, *(each.node_def for each in functions)) for node in body)
  return count


def _constants(graph: Any) -> int:
  """Bytes of the constants of a graph and of its functions once they are tensors."""
  nodes = [graph.node, *(function.node_def for function in graph.library.function)]
  attributes = (value for each in nodes for node in each for value in node.attr.values())
  return sum(
    tensor_bytes([dim.size for dim in tensor.tensor_shape.dim], tensor.dtype)
    for value in _values(attributes)
    for tensor in _those(value, "tensor")
    if tensor.dtype
  )
