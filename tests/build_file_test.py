"""Bazel's files against the tree, setup.py and buildifier."""

import ast
import collections
import os
import platform
import re
import shutil
import subprocess
import sys

import build_file
import pytest
from build_file import ROOT

_RULES = ("py_library", "py_binary", "py_test")


@pytest.fixture(scope="module")
def targets():
  """Attributes of every rule of BUILD, by rule and name; globs are left out."""
  found = {}
  for statement in ast.parse((ROOT / "BUILD").read_text(encoding="utf-8")).body:
    call = statement.value
    attributes = {k.arg: ast.literal_eval(k.value) for k in call.keywords if not isinstance(k.value, ast.Call)}
    if "name" in attributes:
      key = call.func.id, attributes["name"]
      assert key not in found, f"BUILD has two targets {key}."
      found[key] = attributes
  return found


def _normalized(name):
  return re.sub(r"[-_.]+", "_", name).lower()


def _setup_keyword(name):
  """The literal value of an argument of setuptools.setup in setup.py."""
  calls = [n for n in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(n, ast.Call)]
  return next(ast.literal_eval(k.value) for call in calls for k in call.keywords if k.arg == name)


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


def test_every_module_and_test_is_in_one_target(targets):
  counts = collections.Counter(src for (rule, _), t in targets.items() if rule in _RULES for src in t["srcs"])
  files = [*ROOT.glob("tla_tf/**/*.py"), *ROOT.glob("tests/**/*_test.py")]
  paths = [file.relative_to(ROOT).as_posix() for file in files]
  assert len(paths) > 50
  wrong = {path: counts[path] for path in paths if counts[path] != 1}
  assert not wrong, f"not in exactly one target of BUILD (file: targets): {wrong}"


def test_every_source_exists(targets):
  missing = [(name, src) for (_, name), t in targets.items() for src in t.get("srcs", []) if not (ROOT / src).is_file()]
  assert not missing, f"BUILD names files that are not there: {missing}"


def test_globs_of_reference_outputs_match_every_file(targets):
  assert ("filegroup", "golden") in targets
  files = [path for path in (ROOT / "tests/golden").rglob("*") if path.is_file()]
  assert files
  assert not [path for path in files if path.suffix not in (".json", ".npz") or path.parent.name != "golden"]


def test_binaries_are_the_console_scripts(targets):
  scripts = [line.split(" = ")[1] for line in _setup_keyword("entry_points")["console_scripts"]]
  mains = [t["main"] for (rule, _), t in targets.items() if rule == "py_binary"]
  binaries = [main.removesuffix(".py").replace("/", ".") + ":run" for main in mains]
  assert sorted(binaries) == sorted(scripts)
  assert not [name for (_, name), t in targets.items() if "main" in t and t["main"] not in t["srcs"]]


def test_dependencies_exist_and_form_no_cycle(targets):
  names = {name: t for (_, name), t in targets.items()}
  done = set()

  def visit(name, path):
    assert name in names, f"{path[-1]} needs a target {name} that BUILD does not have"
    assert name not in path, f"targets in a cycle: {' -> '.join([*path[path.index(name) :], name])}"
    if name not in done:
      for label in [*names[name].get("deps", []), *names[name].get("data", [])]:
        if label.startswith(":"):
          visit(label[1:], [*path, name])
      done.add(name)

  for name in names:
    visit(name, ["BUILD"])


def test_packages_are_pinned(targets):
  lines = (ROOT / "requirements_bazel.txt").read_text(encoding="utf-8").splitlines()
  pins = [line for line in lines if line and not line.startswith("#")]
  assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins), pins
  pinned = collections.Counter(_normalized(pin.split("==")[0]) for pin in pins)
  assert max(pinned.values()) == 1, pinned

  named = [*_setup_keyword("install_requires"), *_setup_keyword("extras_require")["dev"]]
  required = {_normalized(re.match(r"[\w.-]+", requirement)[0]) for requirement in named}
  assert required <= set(pinned)
  used = {label.removeprefix("@pypi//") for t in targets.values() for label in t.get("deps", []) if label[0] == "@"}
  assert used <= required, f"imported but not named in setup.py: {used - required}"


def test_build_is_what_the_tree_renders():
  text = (ROOT / "BUILD").read_text(encoding="utf-8")
  assert text == build_file.render(ROOT), "BUILD is out of date: run `python tests/build_file.py`."


@pytest.mark.parametrize("name", ["BUILD", "MODULE.bazel"])
def test_buildifier_accepts(name):
  command = [_buildifier(), "-mode=check", "-lint=warn", name]
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert result.returncode == 0, f"buildifier on {name}: {result.stdout}{result.stderr}"


@pytest.mark.parametrize(
  "source, message", [("import unheard_of\n", "pins no 'unheard_of'"), ("from . import config\n", "a relative import")]
)
def test_render_names_the_file_at_fault(tmp_path, source, message):
  (tmp_path / "requirements_bazel.txt").write_text("numpy==1.0\n")
  for path in ("tla_tf/__init__.py", "tla_tf/new.py", "tests/conftest.py", "tests/run_pytest.py"):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text('"""Text."""\n')
  assert '"tla_tf/new.py"' in build_file.render(tmp_path)
  (tmp_path / "tla_tf/new.py").write_text(source)
  with pytest.raises(ValueError, match=message) as error:
    build_file.render(tmp_path)
  assert "tla_tf/new.py" in str(error.value)
