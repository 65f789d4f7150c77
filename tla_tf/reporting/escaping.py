"""Text in Markdown and HTML that shows it as it is, whatever it says; `code` between backticks is code."""

from __future__ import annotations

import html
import re

from tla_tf.visible import visible

# Beside single signs an emphasis that begins, a character entity, an address that becomes a link, the end of a heading.
_SIGNS = re.compile(r"[\\`*\[\]<>|~$]|(?<![^\W_])_|&(?=#?\w+;)|:(?=//)|(?<=\bwww)\.|#(?=#*$)")
# What makes a heading, a list or a rule of a paragraph, or a code block of what follows spaces.
_BEGINNING = re.compile(r"\s*(?:([#+=-])|\d+([.)]))")
_CODE = re.compile(r"`([^`]+)`")


def markdown(text: str) -> str:
  """A cell or a part of a line in Markdown."""
  return _SIGNS.sub(r"\\\g<0>", visible(text))


def markdown_block(text: str) -> str:
  """A paragraph in Markdown, in which `code` between backticks is code."""
  parts = _CODE.split(text)
  shown = "".join(f"`{visible(part)}`" if i % 2 else markdown(part) for i, part in enumerate(parts)).lstrip()
  begins = _BEGINNING.match(shown)
  at = begins.start(begins.lastindex or 0) if begins else 0
  return f"{shown[:at]}\\{shown[at:]}" if begins else shown


def plain_html(text: str) -> str:
  """Text in HTML."""
  return html.escape(visible(text))


def inline_html(text: str) -> str:
  """Text in HTML, in which `code` between backticks is code."""
  return _CODE.sub(r"<code>\1</code>", plain_html(text))
