"""Text from outside steers nothing: no terminal, no Markdown, no HTML, no shell, no figure."""

import ast
import pathlib
import re
import subprocess
import unicodedata

import hypothesis
import hypothesis.strategies as st
import markdown_it
import pytest
from page_support import Page

from tla_tf import reporting
from tla_tf.binaries import terminal
from tla_tf.reporting import drawing
from tla_tf.reporting.document import Bullets, Details, Document, Figure, Missing, Section, Text
from tla_tf.reporting.tables import Table
from tla_tf.visible import shell_word, visible

NASTY = (
  "[red]x[/red]",
  "a\nb",
  "a\r| b |\tc",
  "\x1b]0;title\x07\x1b[31mred\x1b[2J",
  "abc\u202etxt.exe\u2066",
  "a\u2028b\u2029c\x85d",
  "half \udcff \ud800 \ue000 \ufeff",
  "# heading #",
  "- list",
  "1. list",
  "    code",
  "> quote",
  "---",
  "_em_ *em* **b** ~~s~~ __b__ $x^2$",
  "`code` ``two`` `",
  "`<b>",
  "``<img src=x onerror=alert(1)>`",
  "[a](javascript:alert(1)) ![b](c) [d]: e <https://f.g> https://h.i www.j.k",
  "a|b\\|c\\",
  "&amp; &#x41; &lt;",
  "<script>alert('x')</script>",
  "$(touch x) `touch y`; rm -rf * & 'q' \"q\" \\",
  "-flag",
  "fé 数 👩\u200d🚀 \u0647\u200c\u0627",
)
texts = st.text(st.sampled_from("ab _*`~#-+=>|[]()<>&;!:/.$\\\n\t\r\x00\x1b\u202e\udc80\ue0001'\"数"), max_size=24)
COMMONMARK = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])


def steers(text):
  return any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and c not in "\u200c\u200d" for c in text)


def rendered(markdown):
  """What Markdown shows: (kinds of its blocks, its text, kinds of what is within lines)."""
  tokens = COMMONMARK.parse(markdown)
  children = [child for token in tokens for child in token.children or ()]
  return [token.type for token in tokens], "".join(c.content for c in children), {child.type for child in children}


def shown(text):
  """Text as Markdown and HTML show it: without spaces at its ends, with one for several."""
  return re.sub(r" +", " ", visible(text)).strip()


@pytest.mark.parametrize(
  "text, expected",
  [
    ("plain [red] ünï 数 👩\u200d🚀", "plain [red] ünï 数 👩\u200d🚀"),
    ("a\nb\tc\x1b[31m\x7f", "a\\nb\\tc\\x1b[31m\\x7f"),
    ("\u202ertl\u2028\udcff\ue000", "\\u202ertl\\u2028\\udcff\\ue000"),
    (pathlib.Path("a\n"), "a\\n"),
  ],
)
def test_what_would_steer_is_written_out(text, expected):
  assert visible(text) == expected


@hypothesis.given(st.one_of(texts, st.text(max_size=10)))
def test_nothing_that_is_shown_steers(text):
  once = visible(text)
  assert not steers(once)
  assert visible(once) == once
  once.encode()
  assert not steers(shell_word(text))


def test_half_a_character_is_shown_in_a_command():
  assert shell_word("a\ud800") == "$'a\\xed\\xa0\\x80'"


@pytest.mark.parametrize("text", [text for text in NASTY if "\ud800" not in text])
def test_a_word_of_a_command_is_that_word_in_a_shell(text, tmp_path):
  done = subprocess.run(["bash", "-c", f"printf %s {shell_word(text)}"], capture_output=True, check=True, cwd=tmp_path)
  assert done.stdout == text.encode(errors="surrogateescape")
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", NASTY)
def test_a_tool_says_lines_and_no_others(text, capfd):
  terminal.say(f"name {text}", "next")
  terminal.say(text, error=True)
  out, err = capfd.readouterr()
  assert out == f"name {visible(text)}\nnext\n"
  assert err == f"{visible(text)}\n"
  terminal.rewrite(text, over=False)
  assert capfd.readouterr().err == f"\r\x1b[K{visible(text)}"


def test_tools_print_by_one_function_alone():
  """Which shows what would steer the terminal."""
  folder = pathlib.Path(__file__).parent.parent / "tla_tf" / "binaries"
  for path in folder.glob("*.py"):
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    prints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert path.name == "terminal.py" or not prints, f"{path.name} prints: let `terminal.say` do it"


@pytest.mark.parametrize("text", NASTY)
def test_a_table_in_the_terminal_shows_names_on_their_lines(text, capfd):
  reporting.print_table(Table(f"Title {text}", ("Model", text), ((text, "1"), ("other", text))))
  lines = capfd.readouterr().out.splitlines()
  assert not steers("".join(lines))
  assert sum(visible(text).strip() in line for line in lines) == 4


@hypothesis.given(texts)
@hypothesis.settings(max_examples=200)
@hypothesis.example("")
def test_markdown_shows_the_text(text):
  _assert_shown(text)


@pytest.mark.parametrize("text", NASTY)
def test_markdown_shows_nasty_text(text):
  _assert_shown(text)
  assert not re.search(r"(?<!\\):(?=//)|(?<=www)\.", reporting.markdown_table(Table("", (text, "b"), ())))


def _assert_shown(text):
  table = reporting.markdown_table(Table("", ("a", text), ((text, "-"),)))
  kinds, words, inside = rendered(table)
  assert kinds.count("th_open") == kinds.count("td_open") == 2 and inside <= {"text"}
  assert re.sub(r" +", " ", words) == "a" + shown(text) + shown(text) + "-"
  blocks = (Text(f"{text} and `code`"), Missing(text), Bullets((text,)), Details(text, ()), Figure("f", text, b""))
  plain = text.replace("`", "'")
  for block in blocks:
    kinds, words, inside = rendered(reporting.to_markdown(Document("t", "s", (Section("s", (block,)),)), "f"))
    known = {"html_block", "heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline"}
    known |= {Missing: {"blockquote_open", "blockquote_close"}}.get(type(block), set())
    known |= {Bullets: {f"{what}_{end}" for what in ("bullet_list", "list_item") for end in ("open", "close")}}.get(
      type(block), set()
    )
    assert set(kinds) <= known and kinds.count("html_block") == 1
    assert inside <= {"text", "code_inline", "image"}
    if plain == text:
      assert shown(text) in re.sub(r" +", " ", words)


@pytest.mark.parametrize("text", NASTY)
def test_html_shows_the_text(text):
  def page(name):
    table = Table(name, ("a", name), ((name, "-"),))
    blocks = (Text(name), Missing(name), Bullets((name,)), Details(name, (table,)), Figure("f", name, b""))
    return Page(reporting.to_html(Document(name, name, (Section("s", blocks),))))

  found, plain = page(text), page("name")
  assert [tag for tag in found.tags if tag != "code"] == plain.tags
  assert [name for name, _ in found.attributes] == [name for name, _ in plain.attributes]
  assert not steers(found.text.replace("\n", ""))
  assert found.text.count(visible(text)) >= 2


def test_figures_draw_any_name_without_a_word(recwarn):
  """Legends have names that begin with an underscore, too, which matplotlib would leave out."""

  @drawing.themed
  def draw(names):
    figure = drawing.new_figure(4, 3)
    drawing.legend_below(figure, [drawing.dot("red", name) for name in names])
    drawing.set_title(figure, " ".join(names))
    figure.canvas.draw()
    return figure

  figure = draw(["_um", "数", "a\x1b\nb", "\u202e"])
  (legend,) = figure.legends
  assert legend.get_texts()[0].get_text().strip() == "_um"
  assert len(legend.get_texts()) == 4
  assert not [str(warning.message) for warning in recwarn]
