"""Library errors name arguments; tools say their flags."""

import ast
import pathlib
import re
import types

import pytest
from absl import flags

from tla_tf.binaries import flag_names
from tla_tf.errors import DivergedError, InputError

ROOT = pathlib.Path(__file__).parent.parent
NAMES = {"epsilon", "num_examples", "neighbors", "suite"}


@pytest.mark.parametrize(
  "text, expected",
  [
    ("`epsilon` is wrong", "--epsilon is wrong"),
    ("`num_examples=9999`: only 360", "--num_examples=9999: only 360"),
    ("`k=50` of 3; `suites` too", "--neighbors=50 of 3; --suite too"),
    ("`tla-train --epsilon=1` stays", "`tla-train --epsilon=1` stays"),
    ("field 'epsilon' of a file stays", "field 'epsilon' of a file stays"),
    ("an odd ` and `epsilon`", "an odd ` and --epsilon"),
  ],
)
def test_arguments_become_flags_where_there_are_such(text, expected):
  assert flag_names.in_flags(text, NAMES, {"k": "neighbors", "suites": "suite"}) == expected


def test_what_the_user_gave_is_no_argument(monkeypatch):
  monkeypatch.setattr("sys.argv", ["tla-train", "--output_dir=runs/`seed` `k`", "`b`"])
  text = "/home/runs/`seed` `k`/a, `b`: choose another `suite`."
  assert flag_names.in_flags(text, NAMES) == "/home/runs/`seed` `k`/a, `b`: choose another --suite."


def test_a_tool_speaks_of_its_flags(monkeypatch):
  # A tool's own: all tools of one process would define the same flags twice.
  own = flags.FlagValues()
  for name in ("neighbors", "seed"):
    flags.DEFINE_string(name, None, "help", flag_values=own, module_name="tla_tf.binaries.some")
  flags.DEFINE_string("verbosity", None, "help", flag_values=own, module_name="absl.logging")
  monkeypatch.setattr(flag_names, "flags", types.SimpleNamespace(FLAGS=own))

  @flag_names.translated(k="neighbors")
  def main(error):
    """What it does."""
    raise error

  with pytest.raises(
    InputError, match="^--neighbors=3 and --seed, not verbosity. .No flag of this tool sets verbosity"
  ):
    main(InputError("`k=3` and `seed`, not `verbosity`."))
  with pytest.raises(DivergedError, match="^`seed`$"):
    main(DivergedError("`seed`"))
  assert (main.__doc__, main.__module__) == ("What it does.", __name__)


@pytest.mark.parametrize("tool", ["evaluate", "analyze"])
def test_what_is_renamed_is_a_flag(tool):
  source = (ROOT / "tla_tf" / "binaries" / f"{tool}.py").read_text(encoding="utf-8")
  renamed = ast.literal_eval(re.search(r"^_RENAMED = (\{.*\})$", source, re.MULTILINE)[1])
  assert renamed
  for argument, flag in renamed.items():
    assert re.search(rf'DEFINE_\w+\(\s*"{flag}"', source), flag
    assert not re.search(rf'DEFINE_\w+\(\s*"{argument}"', source), argument
