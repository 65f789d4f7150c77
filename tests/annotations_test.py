"""Public functions and methods say the types of what they take and return."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.joinpath("tla_tf").rglob("*.py"))


def public(body, prefix=""):
  """(Qualified name, node) of the public functions and methods of a body, called objects and constructors too."""
  for node in body:
    name = getattr(node, "name", "_")
    if isinstance(node, ast.ClassDef) and not name.startswith("_"):
      yield from public(node.body, f"{name}.")
    elif isinstance(node, ast.FunctionDef) and (not name.startswith("_") or name in ("__init__", "__call__")):
      yield f"{prefix}{name}", node


def unannotated(name, function):
  """What of a function has no annotation, as text."""
  arguments = function.args
  named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
  is_method = "." in name and not any(getattr(d, "id", None) == "staticmethod" for d in function.decorator_list)
  missing = [a.arg for a in named[is_method:] if a is not None and a.annotation is None]
  return missing + ["return"] * (function.returns is None and function.name != "__init__")


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_public_signatures_are_annotated(module):
  functions = public(ast.parse(ROOT.joinpath(module).read_text(encoding="utf-8")).body)
  missing = {name: what for name, function in functions if (what := unannotated(name, function))}
  assert not missing


def test_the_whole_package_is_walked():
  assert pathlib.Path("tla_tf", "types.py") in MODULES
  assert pathlib.Path("tla_tf", "attacks", "auto_attack", "square.py") in MODULES


@pytest.mark.parametrize(
  "source, expected",
  [
    ("def f(a, *, b: int): pass", ["a", "return"]),
    ("def f(*a, **b) -> None: pass", ["a", "b"]),
    ("class C:\n  def m(self, a) -> int: pass", ["a"]),
    ("class C:\n  def __init__(self, a): pass", ["a"]),
    ("class C:\n  @staticmethod\n  def m(a) -> int: pass", ["a"]),
    ("class C:\n  @property\n  def m(self): pass", ["return"]),
    ("def f(a: int = 1) -> None: pass", []),
  ],
)
def test_what_is_missing_is_found(source, expected):
  ((name, function),) = public(ast.parse(source).body)
  assert unannotated(name, function) == expected


def test_private_functions_may_do_without():
  assert not list(public(ast.parse("def _f(a): pass\nclass _C:\n  def m(self, a): pass").body))


def invented(function, of_class=None):
  """Names below "Args:" of a docstring that are no arguments."""
  listed = re.search(r"^Args:\n((?:  .*\n?|\n)+)", ast.get_docstring(of_class or function) or "", re.MULTILINE)
  named = re.findall(r"^  (\S[^:]*):", listed[1], re.MULTILINE) if listed else []
  arguments = function.args
  every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
  known = {argument.arg for argument in every}
  known |= {f"*{arguments.vararg.arg}"} if arguments.vararg else set()
  known |= {f"**{arguments.kwarg.arg}"} if arguments.kwarg else set()
  return [name for name in named if name not in known]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_docstrings_name_arguments_that_exist(module):
  tree = ast.parse(ROOT.joinpath(module).read_text(encoding="utf-8"))
  wrong = {name: found for name, function in public(tree.body) if (found := invented(function))}
  for node in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
    for function in node.body:
      if getattr(function, "name", "") == "__init__" and (found := invented(function, node)):
        wrong[node.name] = found
  assert not wrong


def test_an_argument_that_does_not_exist_is_found():
  (function,) = ast.parse(
    'def f(a, *b, **c):\n  """F.\n\n  Args:\n    a: one.\n    d: two.\n    **c: more.\n  """'
  ).body
  assert invented(function) == ["d"]
