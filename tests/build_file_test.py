"""Bazel's files against the tree, setup.py and buildifier."""

import ast
import collections
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# Distributions that are not called as the module they provide.
DISTRIBUTIONS = {
  "PIL": "pillow",
  "absl": "absl_py",
  "art": "adversarial_robustness_toolbox",
  "google": "protobuf",
  "markdown_it": "markdown_it_py",
  "sklearn": "scikit_learn",
  "yaml": "pyyaml",
}


def glob(include, exclude=(), allow_empty=False):
  """Bazel's: paths of the files below BUILD that match one pattern of `include` and none of `exclude`."""

  def matching(patterns):
    # pathlib's trailing ** finds folders only.
    found = (path for p in patterns for path in ROOT.glob(f"{p}/*" if p.endswith("**") else p) if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found}

  found = sorted(matching(include) - matching(exclude))
  assert found or allow_empty, f"BUILD has a glob without files: {include}"
  return found


def evaluated():
  """Attributes of every target of BUILD by its name, with its rule: BUILD is Python as far as it goes."""
  found = {}

  def rule(kind):
    def add(name, **attributes):
      assert name not in found, f"BUILD has two targets {name}."
      found[name] = {"rule": kind, "srcs": [], "data": [], "deps": [], **attributes}

    return add

  kinds = ("py_library", "py_binary", "py_test", "filegroup")
  names = {kind: rule(kind) for kind in kinds} | {"glob": glob, "load": lambda *_: None, "package": lambda **_: None}
  exec(compile((ROOT / "BUILD").read_text(encoding="utf-8"), "BUILD", "exec"), names)
  return found


@pytest.fixture(scope="module")
def targets():
  return evaluated()


def of_rule(targets, rule):
  return {name: target for name, target in targets.items() if target["rule"] == rule}


def packages(target):
  """The names of the packages that a target takes from Bazel's hub."""
  return {label.removeprefix("@pypi//") for label in target["deps"] if label.startswith("@")}


def _normalized(name):
  return re.sub(r"[-_.]+", "_", name).lower()


def _setup_keyword(name):
  """The literal value of an argument of setuptools.setup in setup.py."""
  calls = [n for n in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(n, ast.Call)]
  return next(ast.literal_eval(k.value) for call in calls for k in call.keywords if k.arg == name)


def required(extra=None):
  """Normalized names of what setup.py requires, or of what an extra of it adds."""
  named = _setup_keyword("extras_require")[extra] if extra else _setup_keyword("install_requires")
  return {_normalized(re.match(r"[\w.-]+", requirement)[0]) for requirement in named}


def imported(folder):
  """Normalized distributions of the foreign modules that the sources below a folder import, with their files."""
  found = collections.defaultdict(set)
  ours = {path.stem for path in (ROOT / "tests").rglob("*") if path.suffix == ".py" or path.is_dir()} | {"tla_tf"}
  for path in sorted((ROOT / folder).rglob("*.py")):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
      if isinstance(node, ast.ImportFrom):
        names = [node.module]
      for name in {name.partition(".")[0] for name in names} - ours - set(sys.stdlib_module_names):
        found[_normalized(DISTRIBUTIONS.get(name, name))].add(path.relative_to(ROOT).as_posix())
  return found


def _buildifier():
  """The program: that of $BUILDIFIER, of node_modules, or on the PATH.

  The npm package's command is a Node script that starts one of the native
  programs beside it; the native program is taken where its name is known.
  """
  if os.environ.get("BUILDIFIER"):
    candidates = [os.environ["BUILDIFIER"]]
  else:
    modules = ROOT / "node_modules"
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    native = modules / "@bazel/buildifier" / f"buildifier-{sys.platform}_{machine}"
    candidates = [str(native), str(modules / ".bin/buildifier"), "buildifier"]
  found = next(filter(None, map(shutil.which, candidates)), None)
  if found is None:
    pytest.fail(f"No buildifier at {', '.join(candidates)}: `make test` installs it (npm install).", pytrace=False)
  return found


def test_every_module_is_in_the_library(targets):
  modules = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("tla_tf/**/*.py"))]
  assert len(modules) > 50
  assert targets["tla_tf"]["srcs"] == modules
  assert targets["tla_tf"]["imports"] == ["."]


def test_every_test_is_a_target_of_its_own(targets):
  tests = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/**/*_test.py"))
  found = of_rule(targets, "py_test")
  assert sorted(argument for target in found.values() for argument in target["args"]) == tests
  for target in found.values():
    assert target["srcs"] == [*target["args"], target["main"]]
    assert target["deps"] == [":test_support"]


def test_every_helper_of_the_tests_is_among_what_they_share(targets):
  helpers = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/**/*.py")} - {
    target["args"][0] for target in of_rule(targets, "py_test").values()
  }
  assert {"tests/conftest.py", "tests/run_pytest.py"} <= helpers
  assert set(targets["test_support"]["srcs"]) == helpers


def test_tests_find_every_file_of_the_repository(targets):
  paths = glob(["*.md", "docs/*", "flags/*", "requirements/*", "tests/golden/*"])
  if shutil.which("git"):
    paths += subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
      "\n"
    )
  assert ":repository" in targets["test_support"]["data"]
  missing = {path for path in paths if (ROOT / path).is_file()} - set(targets["repository"]["srcs"])
  assert not missing - {".gitignore", ".gitattributes"}


def test_the_library_carries_its_flag_files_and_plans(targets):
  files = [*ROOT.glob("flags/*"), *ROOT.glob("tla_tf/**/*.yaml")]
  presets = [path.relative_to(ROOT).as_posix() for path in sorted(files)]
  assert presets and "tla_tf/reproducing/paper.yaml" in presets
  assert set(presets) <= set(targets["tla_tf"]["data"])


def test_every_source_exists(targets):
  missing = [(name, src) for name, t in targets.items() for src in t["srcs"] if not (ROOT / src).is_file()]
  assert not missing, f"BUILD names files that are not there: {missing}"


def test_binaries_are_the_console_scripts(targets):
  scripts = [line.split(" = ")[1] for line in _setup_keyword("entry_points")["console_scripts"]]
  found = of_rule(targets, "py_binary").values()
  assert sorted(t["main"].removesuffix(".py").replace("/", ".") + ":run" for t in found) == sorted(set(scripts))
  assert all(t["srcs"] == [t["main"]] and t["deps"] == [":tla_tf"] for t in found)


def test_targets_that_are_needed_exist(targets):
  labels = {label for t in targets.values() for label in [*t["deps"], *t["data"]] if label.startswith(":")}
  assert {label[1:] for label in labels} <= set(targets)


def test_packages_are_those_of_setup_py(targets):
  assert packages(targets["tla_tf"]) == required() | required("crosscheck")
  assert packages(targets["test_support"]) <= required("dev")


@pytest.mark.parametrize("target, folder", [("tla_tf", "tla_tf"), ("test_support", "tests")])
def test_packages_that_are_imported_are_named(targets, target, folder):
  named = packages(targets["tla_tf"]) | packages(targets[target])
  used = imported(folder)
  assert {"numpy", "tensorflow"} <= set(used)
  surplus = {name: files for name, files in used.items() if name not in named}
  assert not surplus, f"imported, but BUILD's {target} does not name them: {surplus}"


def test_packages_are_pinned():
  lines = (ROOT / "requirements_bazel.txt").read_text(encoding="utf-8").splitlines()
  pins = [line for line in lines if line and not line.startswith("#")]
  assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins), pins
  pinned = collections.Counter(_normalized(pin.split("==")[0]) for pin in pins)
  assert max(pinned.values()) == 1, pinned
  assert required() | required("dev") <= set(pinned)


@pytest.mark.parametrize("name", ["BUILD", "MODULE.bazel"])
def test_buildifier_accepts(name):
  command = [_buildifier(), "-mode=check", "-lint=warn", name]
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert result.returncode == 0, f"buildifier on {name}: {result.stdout}{result.stderr}"
