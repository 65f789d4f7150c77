"""Every flag that a message names is one of the tool that says it."""

import ast
import pathlib
import re

import pytest

from tla_tf import datasets, settings
from tla_tf.binaries import flag_names, reading_flags
from tla_tf.comparing.judging_flags import ANALYZE, JUDGE

ROOT = pathlib.Path(__file__).parent.parent / "tla_tf"
BINARIES = ROOT / "binaries"
SOURCES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}
# TensorBoard's, absl's, and what `entry` gives every tool.
FOREIGN = {"help", "flagfile", "logdir", "max_unpacked_gb", "verbosity", "version"}


def _defined(name):
  """The flags that a module of `binaries` defines by name."""
  calls = [node for node in ast.walk(SOURCES[BINARIES / f"{name}.py"]) if isinstance(node, ast.Call)]
  defines = [node for node in calls if re.search(r"\b(DEFINE|define)_(?!split)", ast.unparse(node.func)) and node.args]
  return {node.args[0].value for node in defines if isinstance(node.args[0], ast.Constant)}


_OTHER_TOOLS = ("analyze", "compare", "evaluate", "export", "import_tf1", "report", "reproduce")
TRAINING = (
  {"dataset", "method", *settings.flag_of_path().values()}
  | _defined("train")
  | _defined("training_flags")
  | _defined("presets")
  | {flag for name in datasets.names() for flag in datasets.get(name).reading_flags}
)
TOOLS = {f"tla-{name.replace('_', '-')}": _defined(name) for name in _OTHER_TOOLS}
# Models from elsewhere, beside runs.
JUDGING = _defined("model_flags") | {"data_source", *reading_flags.OF_JUDGING}
TOOLS["tla-analyze"] |= JUDGING
TOOLS["tla-evaluate"] |= JUDGING - {"embedding_layer"}
# Modules of `binaries` that only the training tools run.
TOOLS |= dict.fromkeys(("tla-train", "tla-train-{}"), TRAINING)
MODULES = {
  **{f"{name}.py": f"tla-{name.replace('_', '-')}" for name in _OTHER_TOOLS},
  **dict.fromkeys(("train.py", "training_flags.py", "presets.py"), "tla-train"),
  **dict.fromkeys(("model_flags.py", "reading_flags.py"), "tla-analyze"),
}
RENAMED = {"tla-analyze": {"k": "neighbors", "unit_length": "unit_embeddings"}}
RENAMED["tla-evaluate"] = {"suites": "suite", "source": "source_run_dir"}
_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z_0-9]*)")
_COMMAND = re.compile(r"tla-[a-z0-9-]+")


def _texts(path):
  """The texts of a module that people see: all but the docstrings of functions and classes; {} for what is put in."""
  tree = SOURCES[path]
  documented = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
  hidden = {
    id(node.body[0].value)
    for node in ast.walk(tree)
    if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
  }
  parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
    id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
  }
  for node in ast.walk(tree):
    if isinstance(node, ast.JoinedStr) and id(node) not in parts:
      yield "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (hidden | parts):
      yield node.value


def _named(text, tool):
  """(tool, flag) of every flag in a text: of the command that it stands in, else of the tool itself."""
  for line in re.split(r"\n\s*\n|(?<=[^\\])\n(?=\s*[a-z]+ )", text):
    for found in _FLAG.finditer(line):
      command = [match[0] for match in _COMMAND.finditer(line[: found.start()])]
      yield (command[-1] if command else tool), found[1]


def test_the_tools_are_read():
  assert {"run_dir", "suite", "epsilon", "num_examples", "dataset"} <= TOOLS["tla-evaluate"]
  assert {"weak_epsilon", "neighbors"} <= TOOLS["tla-analyze"]
  assert {"attack_steps", "triplet_weight", "output_dir", "preset", "resize"} <= TRAINING


@pytest.mark.parametrize("name, options", [("evaluate", JUDGE), ("analyze", ANALYZE)])
def test_a_plan_of_a_comparison_has_the_flags_of_judging_that_are_not_its_own(name, options):
  places = {"run_dir", "compare_dir", "output_dir", "data_dir", "cache_dir", "source_run_dir"}
  own = _defined(name) | {"split"}
  assert {option.flag for option in options} == own - places


@pytest.mark.parametrize("module", MODULES)
def test_a_tool_names_its_own_flags(module):
  for text in _texts(BINARIES / module):
    for tool, flag in _named(text, MODULES[module]):
      known = TOOLS.get(tool, TRAINING if tool.startswith("tla-train") else set())
      assert flag in known | FOREIGN, (module, tool, text)


def test_what_all_tools_share_names_no_flag():
  for module in ("entry.py", "flag_names.py", "progress.py"):
    # Those of XLA are no tool's.
    assert [text for text in _texts(BINARIES / module) if _FLAG.search(text) and "xla_gpu" not in text] == []


def test_the_library_names_flags_only_in_commands_of_tools_that_have_them():
  for path in SOURCES:
    # Help of settings that are flags of the training tools; a style sheet.
    if BINARIES in path.parents or path.name == "document.py":
      continue
    own = "tla-train" if path.name == "config.py" or path.parent.name in ("recipes", "datasets", "settings") else None
    for text in _texts(path):
      for tool, flag in _named(text, own):
        if "xla_gpu" in flag:
          continue  # XLA's.
        known = TOOLS.get(tool, TRAINING if (tool or "").startswith("tla-train") else set())
        if path.name == "report_parts.py":  # Of a tool that it is told: one that judges or analyses.
          known = TOOLS["tla-evaluate"] & TOOLS["tla-analyze"]
        assert flag in known | FOREIGN, (path, text)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_message_of_the_library_never_becomes_a_flag_that_the_tool_lacks(tool):
  """Whatever module raises it: some advise what only another tool can do."""
  names, renamed = TOOLS[tool], RENAMED.get(tool, {})
  told = 0
  for path in SOURCES:
    if BINARIES in path.parents:
      continue
    for text in _texts(path):
      if "`" not in text or not re.search(r"`[a-z][\w.]*(=[^`]*)?`", text):
        continue
      told += 1
      said = flag_names.in_flags(text, names, renamed)
      assert not re.search(r"`[a-z][\w.]*(=[^`]*)?`", said), said
      before = set(_FLAG.findall(text))
      assert set(_FLAG.findall(said)) - before <= names, said
      # Tools translate what `main` raised, and once more on the way out.
      assert flag_names.in_flags(said, names, renamed) == said
  assert told > 50


def test_what_a_tool_has_no_flag_for_is_said_to_be_pythons():
  text = "a.png: is 9x9, expected 8x8; `resize=stretch` scales it, `image_size` chooses the size; see `epsilon`."
  assert flag_names.in_flags(text, {"epsilon"}) == (
    "a.png: is 9x9, expected 8x8; resize=stretch scales it, image_size chooses the size; see --epsilon. "
    "(No flag of this tool sets resize and image_size; the functions of tla_tf do.)"
  )
