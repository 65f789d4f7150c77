"""The notebooks of examples/ say what their pages say, and run."""

import importlib.util
import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent


def _notebooks():
  """The module docs/make_notebooks.py."""
  spec = importlib.util.spec_from_file_location("make_notebooks", ROOT / "docs" / "make_notebooks.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize("page, name", _notebooks().NOTEBOOKS.items())
def test_a_notebook_says_what_its_page_says(page, name):
  made = _notebooks().notebook((ROOT / page).read_text(encoding="utf-8"))
  assert (ROOT / name).read_text(encoding="utf-8") == made, "run python docs/make_notebooks.py"


# What makes a notebook quick, by its name.
SMALL = {
  "robust_classifier": {
    "STEPS = 1500": "STEPS = 60",
    '"auto_attack", 300': '"quick", 40',
    "mlp_256": "mlp_16",
    "enumerate(zip(digits.images": "enumerate(zip(digits.images[:600]",
  },
  "judge_a_model": {'"auto_attack", 200': '"quick", 40', "epochs=20": "epochs=4"},
}


@pytest.mark.parametrize("name", SMALL)
def test_notebooks_run(name, tmp_path, monkeypatch, capsys, without_xla):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  cells = json.loads((ROOT / "examples" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
  code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
  for long, short in SMALL[name].items():
    assert any(long in cell for cell in code), long
    code = [cell.replace(long, short) for cell in code]
  names = {}
  for cell in code:
    exec(compile(cell, name, "exec"), names)
  printed = capsys.readouterr().out
  expected = {
    "robust_classifier": r"at: clean [\d.]+%, worst case .*\nflags .*\nread report.html\nserved serve embed detect .*"
    r"a camera that was moved: [\d.]+% suspicious, ALARM",
    "judge_a_model": r"accuracy [\d.]+%\n.*clean [\d.]+%, worst case .*linf epsilon 0.1: .* withstand all.*PGD leaves",
  }
  assert re.search(expected[name], printed, re.DOTALL), printed
