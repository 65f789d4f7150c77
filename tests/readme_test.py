"""The README's code runs, and the commands that it names exist."""

import pathlib
import re

from tla_tf import settings

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run_one_after_the_other(capsys):
  blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
  assert len(blocks) == 2
  names = {}
  for block in blocks:
    exec(compile(block, "README.md", "exec"), names)
  printed = capsys.readouterr().out
  assert "robust_accuracy" in printed
  assert "robust accuracy" in printed


def test_named_commands_exist():
  scripts = set(re.findall(r'"(tla-[a-z0-9-]+) = ', (ROOT / "setup.py").read_text()))
  tools = r"\b(tla-(?:train|import|evaluate|export|analyze|report|compare|reproduce)(?:-[a-z0-9]+)*)\b"
  assert set(re.findall(tools, README)) <= scripts
  assert set(re.findall(tools, (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8"))) == scripts
  rules = re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
  targets = {target for rule in rules for target in rule.split()}
  assert set(re.findall(r"(?:`|^    )make ([a-z-]+)", README, re.MULTILINE)) <= targets


def test_the_readme_is_for_the_first_ten_minutes():
  assert len(README.splitlines()) <= 110
  (picture,) = re.findall(r"^!\[[^\]]+\]\((docs/[^)]+\.png)\)", README, re.MULTILINE)
  assert (ROOT / picture).stat().st_size < 200_000


def test_named_files_exist():
  for path in re.findall(r"\]\((docs/[^)]+)\)", README) + re.findall(r"--flagfile=(\S+)", README):
    assert (ROOT / path).is_file(), path


def test_named_flags_are_defined():
  sources = "".join(path.read_text() for path in (ROOT / "tla_tf" / "binaries").glob("*.py"))
  known = {*settings.shared_options(), *settings.recipe_options(), "logdir", "flagfile", "help"}
  for flag in set(re.findall(r"--([a-z_]{3,})", README)) - known:
    assert f'"{flag}"' in sources, flag
