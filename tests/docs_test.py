"""The code in docs/ runs, and the commands and flags that it names exist."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from tla_tf.evaluation import read_suite

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
SOURCES = "".join(path.read_text() for path in (ROOT / "tla_tf" / "binaries").glob("*.py"))


def test_the_example_of_own_networks_runs_on_image_folders(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  for part, count in (("train", 25), ("test", 10)):
    for i, name in enumerate(("cats", "dogs")):
      folder = tmp_path / "images" / part / name
      folder.mkdir(parents=True)
      for j in range(count):
        Image.fromarray(np.full((70, 90, 3), 100 * i + j, np.uint8)).save(folder / f"{j}.png")
  block, = re.findall(r"```python\n(.*?)```", PAGES["own_networks.md"], re.DOTALL)
  exec(compile(block.replace('"DIR"', repr(str(tmp_path / "images"))), "own_networks.md", "exec"), {})
  assert "robust_accuracy" in capsys.readouterr().out


def test_the_example_of_evaluation_runs(capsys):
  block, = re.findall(r"```python\n(.*?)```", PAGES["evaluation.md"], re.DOTALL)
  exec(compile(block, "evaluation.md", "exec"), {})
  assert "median change" in capsys.readouterr().out


def test_the_list_of_attacks_in_evaluation_is_read(tmp_path):
  block, = re.findall(r"```yaml\n(.*?)```", PAGES["evaluation.md"], re.DOTALL)
  (tmp_path / "mine.yaml").write_text(block)
  assert [attack.name for attack in read_suite(tmp_path / "mine.yaml", "cifar10")] == [
    "PGD-200", "apgd", "carlini_wagner", "square"]  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_named_tools_and_flags_exist(page):
  scripts = set(re.findall(r'"(tla-[a-z0-9-]+) = ', (ROOT / "setup.py").read_text()))
  named = set(re.findall(r"\b(tla-(?:train|import|evaluate|export)[a-z0-9-]+)\b", PAGES[page]))
  assert named <= scripts | {"tla-train-"}
  for flag in set(re.findall(r"--([a-z_0-9]{3,})", PAGES[page])) - {"logdir", "flagfile", "help", "repeats", "tiny"}:
    assert f'"{flag}"' in SOURCES, flag
  for path in re.findall(r"(?:^|[ `])((?:flags|benchmarks|docs)/[\w.]+\.\w+)", PAGES[page]):
    assert (ROOT / path).is_file(), path
