"""YAML as people mean it: a key once, `off` a word and not False, 1e-4 a number, 50000:0.01 a text (YAML 1.2)."""

from __future__ import annotations

import json
import pathlib
import re
import typing

import yaml

from tla_tf.errors import InputError
from tla_tf.files import AnyPath


class _Loader(yaml.SafeLoader):
  yaml_implicit_resolvers: typing.ClassVar[dict] = {}

  def construct_mapping(self, node: typing.Any, deep: bool = False) -> dict:
    seen: list[typing.Any] = []
    for key, _ in node.value:
      if key.value in seen:
        raise yaml.MarkedYAMLError(problem=f"{key.value!r} is there twice", problem_mark=key.start_mark)
      seen.append(key.value)
    return super().construct_mapping(node, deep)


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
    text = pathlib.Path(path).read_text(encoding="utf-8")
    return json.loads(text) if pathlib.Path(path).suffix == ".json" else parse(text)
  except OSError as error:
    raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None
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
