"""The house: imports run downward only, and tools start without TensorFlow."""

import ast
import graphlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

import tla_tf

ROOT = pathlib.Path(__file__).parent.parent
FLOORS = (
  (
    "errors",
    "types",
    "lazy",
    "registration",
    "registry",
    "config",
    "attack_configs",
    "published",
    "limits",
    "files",
    "records",
    "user_code",
    "visible",
    "xla_flags",
    "yaml_file",
  ),
  ("balls", "ops"),
  ("networks", "data"),
  ("datasets",),
  ("attacks", "losses"),
  ("recipes",),
  ("models",),
  ("persistence", "analysis", "detection", "summaries", "settings"),
  ("training", "evaluation", "reporting"),
  ("api",),
  ("comparing",),
  ("reproducing",),
  ("binaries",),
)
FLOOR = {package: floor for floor, packages in enumerate(FLOORS) for package in packages}
# Arrows along a floor: the foundation's modules, in their order, and what balls draw from.
SIDEWAYS = {
  ("config", "registry"),
  ("config", "types"),
  ("published", "registry"),
  ("records", "registry"),
  ("config", "errors"),
  ("published", "config"),
  ("published", "types"),
  ("published", "errors"),
  ("attack_configs", "config"),
  ("attack_configs", "errors"),
  ("attack_configs", "types"),
  ("limits", "errors"),
  ("files", "errors"),
  ("files", "limits"),
  ("yaml_file", "errors"),
  ("yaml_file", "limits"),
  ("yaml_file", "files"),
  ("records", "attack_configs"),
  ("records", "config"),
  ("records", "errors"),
  ("records", "files"),
  ("records", "limits"),
  ("records", "types"),
  ("registry", "errors"),
  ("user_code", "errors"),
  ("balls", "ops"),
}
HEAVY = {"tensorflow", "keras"}
SOURCES = {
  ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text("utf-8")
  for path in sorted((ROOT / "tla_tf").rglob("*.py"))
}
LIBRARY = [module for module in SOURCES if not module.startswith("tla_tf.binaries")]
BINARIES = [module for module in SOURCES if module.startswith("tla_tf.binaries.")]


def package(module):
  """`ops` of `tla_tf.ops.seeds`; "" of `tla_tf`; None of a foreign module."""
  parts = module.split(".")
  return None if parts[0] != "tla_tf" else (parts[1] if len(parts) > 1 else "")


def imports(source, at_import_time=False):
  """Dotted names that a source imports, anywhere or outside functions only."""

  def visit(node):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, "relative imports hide where an arrow points"
      yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
      if not (at_import_time and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))):
        yield from visit(child)

  return list(visit(ast.parse(source)))


def forbidden(module, imported):
  """Whether the house forbids this arrow."""
  below, above = package(imported), package(module)
  if not below or below.startswith("__") or above in ("", below):
    return False
  return (above, below) not in SIDEWAYS and FLOOR[below] >= FLOOR[above]


def reached(module):
  """All modules that importing a module of ours loads, foreign ones by their full name."""
  seen, todo = set(), [module]
  while todo:
    name = todo.pop()
    parts = name.split(".")
    for used in (".".join(parts[:i]) for i in range(1, len(parts) + 1)):
      if used not in seen:
        seen.add(used)
        todo += imports(SOURCES[used], at_import_time=True) if used in SOURCES else []
  return seen


def fresh(statement):
  """Names of the modules that a fresh interpreter holds after a statement."""
  code = f"{statement}; import sys; print(*sys.modules)"
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
  )
  assert not done.returncode, done.stderr
  return set(done.stdout.split())


def test_every_package_has_a_floor():
  assert {package(module) for module in SOURCES} - {""} <= set(FLOOR)


@pytest.mark.parametrize("module", SOURCES)
def test_imports_run_downward(module):
  wrong = sorted({name for name in imports(SOURCES[module]) if forbidden(module, name)})
  assert not wrong, f"{module} may not import {wrong}"


@pytest.mark.parametrize(
  "module, imported",
  [
    ("tla_tf.ops.seeds", "tla_tf.balls"),
    ("tla_tf.networks.mlp", "tla_tf.models"),
    ("tla_tf.networks.mlp", "tla_tf.data.idx"),
    ("tla_tf.networks.mlp", "tla_tf.attacks.presets"),
    ("tla_tf.losses.triplet", "tla_tf.attacks"),
    ("tla_tf.data.mnist", "tla_tf.networks"),
    ("tla_tf.training.trainer", "tla_tf.evaluation.judge"),
    ("tla_tf.evaluation.judge", "tla_tf.reporting"),
    ("tla_tf.reporting.figures", "tla_tf.training"),
    ("tla_tf.errors", "tla_tf.config.TrainingConfig"),
    ("tla_tf.config", "tla_tf.ops"),
    ("tla_tf.models.factory", "tla_tf.binaries.entry"),
  ],
)
def test_the_rule_forbids_upward_and_sideways_arrows(module, imported):
  assert forbidden(module, imported)


@pytest.mark.parametrize(
  "module, imported",
  [
    ("tla_tf.balls.linf", "tla_tf.ops.seeds"),
    ("tla_tf.networks.lenet", "tla_tf.networks.blocks"),
    ("tla_tf.models.triplet", "tla_tf.losses"),
    ("tla_tf.binaries.evaluate", "tla_tf.types"),
    ("tla_tf.ops.seeds", "numpy"),
  ],
)
def test_the_rule_allows_downward_arrows(module, imported):
  assert not forbidden(module, imported)


def test_imports_are_found_in_functions_too():
  source = "import a.b\ndef f():\n  from c import d, e\n"
  assert imports(source) == ["a.b", "c.d", "c.e"]
  assert imports(source, at_import_time=True) == ["a.b"]


@pytest.mark.parametrize("module", LIBRARY)
def test_the_library_knows_no_flags(module):
  assert not re.search(r"\bFLAGS\b|\babsl\b", SOURCES[module])


@pytest.mark.parametrize("module", ["errors", "types", "config", "attack_configs", "published", "records"])
def test_the_foundation_reaches_no_tensorflow(module):
  assert not reached(f"tla_tf.{module}") & HEAVY
  assert not any(name.split(".")[0] in HEAVY for name in imports(SOURCES[f"tla_tf.{module}"]))


def test_reporting_reaches_no_tensorflow():
  modules = [module for module in SOURCES if package(module) == "reporting"]
  assert modules
  for module in modules:
    assert not reached(module) & HEAVY, module
    assert not {name.split(".")[0] for name in imports(SOURCES[module])} & HEAVY, module


def test_reached_follows_our_modules():
  assert reached("tla_tf.balls") >= {"tla_tf", "tla_tf.ops.seeds", "tensorflow"}


def test_networks_import_neither_models_nor_attacks():
  for module in SOURCES:
    if package(module) == "networks":
      assert not {package(name) for name in imports(SOURCES[module])} & {"models", "attacks"}, module


def test_importing_the_package_loads_no_tensorflow():
  assert not fresh("import tla_tf, tla_tf.config, tla_tf.published, tla_tf.types, tla_tf.errors") & HEAVY


def test_importing_reporting_loads_no_tensorflow():
  assert not fresh("import tla_tf.reporting") & HEAVY


@pytest.mark.parametrize("module", BINARIES)
def test_importing_a_tool_loads_no_tensorflow(module):
  assert not fresh(f"import {module}") & HEAVY


def test_the_library_lists_its_packages():
  packages = {package(module) for module in LIBRARY} - {""}
  functions = {
    "ModelFile",
    "train",
    "evaluate_run",
    "evaluate_runs",
    "evaluate_model",
    "read_evaluations",
    "analyze_runs",
    "export_run",
    "write_report",
  }
  assert set(dir(tla_tf)) == packages | functions | {"__version__"}
  assert all(callable(getattr(tla_tf, name)) for name in functions)


@pytest.mark.parametrize("name", FLOORS[0])
def test_the_foundation_is_an_attribute_of_the_library(name):
  assert f"tla_tf.{name}" in fresh(f"import tla_tf; tla_tf.{name}")


def test_another_attribute_of_the_library_is_an_attribute_error():
  with pytest.raises(AttributeError, match="'no_such_package'"):
    _ = tla_tf.no_such_package


def test_no_modules_import_each_other():
  """Not even by an import within a function."""
  used = {
    module: {found for name in imports(source) for found in (name, name.rpartition(".")[0]) if found in SOURCES}
    for module, source in SOURCES.items()
  }
  # Importing a module of one's own package is no arrow to the package itself.
  graphlib.TopologicalSorter(
    {module: {name for name in names if not f"{module}.".startswith(f"{name}.")} for module, names in used.items()}
  ).prepare()
