"""Renders Bazel's BUILD from the tree; `python tests/build_file.py` rewrites it."""

import ast
import itertools
import json
import os
import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent

# Distributions that are not called as the module they provide.
_DISTRIBUTIONS = {
  "PIL": "pillow",
  "absl": "absl_py",
  "art": "adversarial_robustness_toolbox",
  "google": "protobuf",
  "sklearn": "scikit_learn",
  "yaml": "pyyaml",
}
# What a module needs at run time without importing or requiring it everywhere.
_ALSO_NEEDS = {
  "keras": ["tensorflow"],  # the backend
  "tensorflow_datasets": ["importlib_resources"],
}
_MODULE_NAME = re.compile(r"tla_tf(\.\w+)+")
# In tests whose files are not only those of `tests/golden`.
_READS_TREE = re.compile(r"parent\.parent|parents\[1\]|\bROOT\b")

_HEADER = """\
# Written by `python tests/build_file.py` from the tree: change that script, not this file.

load("@rules_python//python:py_binary.bzl", "py_binary")
load("@rules_python//python:py_library.bzl", "py_library")
load("@rules_python//python:py_test.bzl", "py_test")

package(default_visibility = ["//visibility:public"])
"""

_DATA = """\
# Outputs of the authors' code.
filegroup(
    name = "golden",
    testonly = True,
    srcs = glob([
        "tests/golden/*.json",
        "tests/golden/*.npz",
    ]),
)

# For tests that read the repository itself.
filegroup(
    name = "repository",
    testonly = True,
    srcs = glob(
        [
            "*",
            ".ci/**",
            "benchmarks/**",
            "checkpoints/**",
            "docs/**",
            "flags/**",
            "tests/**",
            "tla_tf/**",
        ],
        allow_empty = True,
        exclude = ["**/__pycache__/**"],
    ),
)
"""


def render(root=ROOT):
  """The text of BUILD for the tree at `root`, as buildifier formats it.

  Raises:
    ValueError: if a module imports what `requirements_bazel.txt` does not pin,
      or if two targets would have one name.
  """
  root = pathlib.Path(root)
  packages, binaries, helpers, tests = _sources(root)
  groups = {**packages, **binaries, "test_support": helpers, **tests}
  if len(groups) != len(packages) + len(binaries) + 1 + len(tests):
    raise ValueError("Two targets of BUILD would have one name: rename a test or a binary.")
  targets = {_module(path): name for name, paths in groups.items() for path in paths}
  pinned = _pinned(root)
  deps = {name: _deps(root, name, paths, targets, pinned) for name, paths in groups.items()}

  rules = [_HEADER]
  for name, paths in sorted(packages.items()):
    rules.append(_comment(root, paths) + _rule("py_library", name=name, srcs=paths, imports=["."], deps=deps[name]))
  for name, paths in sorted(binaries.items()):
    rules.append(_rule("py_binary", name=name, srcs=paths, main=paths[0], deps=deps[name]))
  rules.append(_DATA)
  rules.append(
    "# What the tests share.\n"
    + _rule(
      "py_library",
      name="test_support",
      testonly=True,
      srcs=helpers,
      data=[":golden"],
      imports=["tests"],
      deps=deps["test_support"],
    )
  )
  for name, (path,) in sorted(tests.items()):
    launcher = "tests/run_pytest.py"
    reads_tree = _READS_TREE.search((root / path).read_text(encoding="utf-8"))
    rules.append(
      _rule(
        "py_test",
        name=name,
        srcs=sorted([path, launcher]),
        args=[path],
        data=[":repository"] if reads_tree else ["pyproject.toml"],
        main=launcher,
        deps=deps[name],
      )
    )
  return "\n".join(rules)


def _sources(root):
  """Paths of the packages, the binaries, the tests' helpers and the tests, by target."""
  packages, binaries, helpers, tests = {}, {}, [], {}
  for file in sorted(root.glob("tla_tf/**/*.py")):
    path = file.relative_to(root).as_posix()
    if path.startswith("tla_tf/binaries/") and _is_runnable(file):
      binaries[file.stem] = [path]
    else:
      # Subpackages belong to their package: the two import each other.
      packages.setdefault("_".join(path.split("/")[:-1][:2]), []).append(path)
  for file in sorted(root.glob("tests/**/*.py")):
    path = file.relative_to(root).as_posix()
    if not path.endswith("_test.py"):
      helpers.append(path)
    elif file.stem in tests:
      raise ValueError(f"Two tests are called {file.name}: rename one.")
    else:
      tests[file.stem] = [path]
  helpers.remove("tests/run_pytest.py")  # belongs to every test
  return packages, binaries, helpers, tests


def _tree(file):
  return ast.parse(file.read_text(encoding="utf-8"), str(file))


def _is_runnable(file):
  return any(isinstance(n, ast.FunctionDef) and n.name == "run" and not n.args.args for n in _tree(file).body)


def _module(path):
  """The dotted name by which a file is imported."""
  return path.removeprefix("tests/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _pinned(root):
  """Names of the packages of Bazel's hub."""
  text = (root / "requirements_bazel.txt").read_text(encoding="utf-8")
  return {re.sub(r"[-_.]+", "_", name).lower() for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}


def _deps(root, name, paths, targets, pinned):
  """Labels of the targets that the files at `paths` need."""
  labels = {":test_support", "@pypi//pytest"} if paths[0].endswith("_test.py") else set()
  for path in paths:
    for used in _used_names(root, path):
      # To import a module is to run the packages above it, too.
      prefixes = itertools.accumulate(used.split("."), "{}.{}".format)
      ours = {f":{targets[prefix]}" for prefix in prefixes if prefix in targets}
      labels |= ours or _packages(path, used.partition(".")[0], pinned)
  return sorted(labels - {f":{name}"})


def _packages(path, module, pinned):
  """Labels of the packages that provide a module which is not ours."""
  if module in sys.stdlib_module_names:
    return set()
  packages = [_DISTRIBUTIONS.get(module, module).lower(), *_ALSO_NEEDS.get(module, [])]
  for package in packages:
    if package not in pinned:
      raise ValueError(f"{path}: requirements_bazel.txt pins no {package!r}, which the module {module!r} needs.")
  return {f"@pypi//{package}" for package in packages}


def _used_names(root, path):
  """Dotted names that a file imports or reaches through `tla_tf`, and its own."""
  yield _module(path)
  for node in ast.walk(_tree(root / path)):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      if node.level:
        raise ValueError(f"{path}, line {node.lineno}: a relative import; write it with the package's name.")
      yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
      if node.value.id == "tla_tf":
        yield f"tla_tf.{node.attr}"
      elif (node.value.id, node.attr) == ("tf", "summary"):
        yield "tensorboard"  # which TensorFlow does not require
    elif path.startswith("tests/") and isinstance(node, ast.Constant) and _MODULE_NAME.fullmatch(str(node.value)):
      yield node.value  # python -m tla_tf.binaries.evaluate


def _comment(root, paths):
  """The first line of the docstring of a package, as a comment."""
  package = next(path for path in paths if path.endswith("/__init__.py"))
  return f"# {ast.get_docstring(_tree(root / package)).splitlines()[0]}\n"


def _rule(kind, **attributes):
  lines = [f"    {name} = {_value(value)},\n" for name, value in attributes.items() if value]
  return f"{kind}(\n{''.join(lines)})\n"


def _value(value):
  if value is True:
    return "True"
  if isinstance(value, str):
    return json.dumps(value)
  if len(value) == 1:
    return f"[{json.dumps(value[0])}]"
  return "[\n" + "".join(f"        {json.dumps(item)},\n" for item in value) + "    ]"


def main():
  """Replaces BUILD in one step."""
  text = render()
  descriptor, temporary = tempfile.mkstemp(prefix=".BUILD.", dir=ROOT)
  try:
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
      file.write(text)
    os.chmod(temporary, 0o644)
    os.replace(temporary, ROOT / "BUILD")
  except BaseException:
    os.unlink(temporary)
    raise


if __name__ == "__main__":
  main()
