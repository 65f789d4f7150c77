"""YAML as people mean it: a key once, `off` a word and not False, 1e-4 a number, 50000:0.01 a text (YAML 1.2)."""

from __future__ import annotations

import json
import pathlib
import re
import typing

import yaml

from tla_tf import files, limits
from tla_tf.errors import InputError
from tla_tf.files import AnyPath


class _Loader(yaml.SafeLoader):
  yaml_implicit_resolvers: typing.ClassVar[dict] = {}
  # Of the node that is being read.
  _depth = 0

  def construct_mapping(self, node: typing.Any, deep: bool = False) -> dict:
    seen: set[str] = set()
    for key, _ in node.value:
      if not isinstance(key, yaml.ScalarNode):
        raise yaml.MarkedYAMLError(problem="a name is expected before ':'", problem_mark=key.start_mark)
      if key.value in seen:
        raise yaml.MarkedYAMLError(problem=f"{key.value!r} is there twice", problem_mark=key.start_mark)
      seen.add(key.value)
    return super().construct_mapping(node, deep)

  def compose_node(self, parent: yaml.Node | None, index: typing.Any) -> yaml.Node | None:
    if self._depth >= limits.YAML_DEPTH:
      raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=self.peek_event().start_mark)
    self._depth += 1
    node = super().compose_node(parent, index)
    self._depth -= 1
    return node

  def get_single_node(self) -> yaml.Node | None:
    node = super().get_single_node()
    if node is not None:
      _refuse_bombs(node)
    return node


def _refuse_bombs(root: yaml.Node) -> None:
  """Raises yaml.MarkedYAMLError for aliases that stand for too much, or for what they are a part of.

  A node that several aliases stand for is one object: it is what goes through the result
  that would meet each of its values as often as it is named.
  """
  # Values of a node with all of its parts; None while these are counted.
  counts: dict[yaml.Node, int | None] = {}
  todo = [root]
  while todo:
    node = todo[-1]
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    parts = [part for pair in pairs for part in pair] or (node.value if isinstance(node, yaml.SequenceNode) else [])
    if node not in counts:
      counts[node] = None
      if any(counts.get(part, 0) is None for part in parts):
        raise yaml.MarkedYAMLError(problem="an alias of what it is a part of", problem_mark=node.start_mark)
      todo += [part for part in parts if part not in counts]
      continue
    todo.pop()
    if counts[node] is None:
      counts[node] = count = 1 + sum(counts[part] or 0 for part in parts)
      if count > limits.YAML_VALUES:
        raise yaml.MarkedYAMLError(
          problem=f"aliases that stand for more than {limits.YAML_VALUES:,} values", problem_mark=node.start_mark
        )


for _tag, _pattern, _first in (
  ("null", "~|null|", ["~", "n", ""]),
  ("bool", "true|false", ["t", "f"]),
  ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
  ("float", r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)", list("-+.0123456789")),
):
  _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def parse(text: str) -> typing.Any:
  """What YAML or JSON says; raises yaml.YAMLError."""
  return yaml.load(text, _Loader)


def read(path: AnyPath) -> typing.Any:
  """What a YAML or, by its ending, JSON file holds.

  Raises:
    InputError: naming the file and the line, if it cannot be read.
  """
  try:
    is_json = pathlib.Path(path).suffix == ".json"
    return json.loads(limits.read_json_text(path)) if is_json else parse(limits.read_text(path, limits.YAML_BYTES))
  except OSError as error:
    raise InputError(f"{path}: {files.refusal(error)}.") from None
  except yaml.MarkedYAMLError as error:
    mark = error.problem_mark
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    raise InputError(f"{path}: neither YAML nor JSON ({error.problem}{where}).") from None
  except (ValueError, RecursionError, yaml.YAMLError) as error:
    raise InputError(f"{path}: neither YAML nor JSON ({str(error).splitlines()[0]}).") from None


def text_of(content: typing.Any) -> str:
  """YAML that `read` understands, with keys in their order; of what JSON can hold."""
  plain = json.loads(json.dumps(content))
  return yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, allow_unicode=True, width=118)
