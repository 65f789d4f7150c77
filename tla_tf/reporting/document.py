"""A document of sections and blocks, rendered as one self-contained HTML page or as Markdown."""

from __future__ import annotations

import base64
import collections.abc
import re
import typing
import urllib.parse

from tla_tf.reporting.escaping import inline_html, markdown, markdown_block, plain_html
from tla_tf.reporting.tables import Table, markdown_table

# Begins every Markdown file of ours, so that another one is not replaced.
MARKDOWN_MARK = "<!-- Written by tla-report. -->"


class Text(typing.NamedTuple):
  """A paragraph; `code` stands between backticks."""

  text: str


class Bullets(typing.NamedTuple):
  """A list of paragraphs."""

  items: tuple


class Missing(typing.NamedTuple):
  """Something that is not there, and how to get it."""

  text: str


class Figure(typing.NamedTuple):
  """A picture with its caption.

  Attributes:
    name: of its file, where it needs one.
    caption: what it shows; also the text for those who do not see it.
    light: PNG.
    dark: the same for dark pages; None shows the light one on white.
  """

  name: str
  caption: str
  light: bytes
  dark: bytes | None = None


class Details(typing.NamedTuple):
  """Blocks that are folded away where the medium can."""

  title: str
  blocks: tuple


class Section(typing.NamedTuple):
  """A heading with what stands below it."""

  title: str
  blocks: tuple


class Document(typing.NamedTuple):
  """A title, a line below it, and sections."""

  title: str
  subtitle: str
  sections: tuple


_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1f2937; --soft: #5b6470; --line: #d6dae0; --band: #f4f6f8;
  --link: #1d5fa8; --note: #fff4dc; --note-line: #d9a441; }
@media (prefers-color-scheme: dark) { :root { --paper: #161b22; --ink: #e2e8f0; --soft: #a3adbb; --line: #364050;
  --band: #1e2530; --link: #7db4ee; --note: #2e2818; --note-line: #a98437; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem 1.1rem 3rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .6rem 0 .2rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
.subtitle, figcaption, p.title { color: var(--soft); }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; list-style: none; padding: 0; margin: 1rem 0; }
a { color: var(--link); }
code { font: .88em ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; background: var(--band);
  padding: .1em .3em; border-radius: 3px; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
.table { margin: 1.2rem 0; }
.table .scroll { margin: 0; }
p.title { margin: 0 0 .3rem; font-size: .9rem; }
th, td { padding: .32rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; }
thead th { white-space: normal; border-bottom: 2px solid var(--line); vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
tbody th { font-weight: 600; position: sticky; left: 0; background: var(--paper); }
figure { margin: 1.2rem 0; }
figure .scroll { margin: 0; }
figure img { display: block; max-width: 100%; height: auto; border-radius: 4px; }
figure .plain { background: #ffffff; padding: 4px; border-radius: 4px; }
figcaption { font-size: .9rem; margin-top: .4rem; }
.missing { background: var(--note); border-left: 4px solid var(--note-line); padding: .55rem .9rem; margin: 1rem 0; }
details { margin: 1rem 0; }
summary { cursor: pointer; font-weight: 600; }
li { margin: .3rem 0; }
@media (max-width: 40rem) { body { font-size: 15px; padding: .6rem .8rem 2rem; } h1 { font-size: 1.4rem; }
  table { font-size: .82rem; } th, td { padding: .28rem .45rem; } figure img { width: 36rem; max-width: none; } }
@media print { :root { color-scheme: light; --paper: #ffffff; --ink: #000000; --soft: #444444; --line: #bbbbbb;
  --band: #f4f4f4; --link: #000000; --note: #ffffff; }
  body { max-width: none; font-size: 10pt; padding: 0; } nav { display: none; } a { text-decoration: none; }
  .scroll { overflow: visible; } figure img { width: auto; max-width: 100%; } table { font-size: 8pt; width: 100%; }
  th, td { padding: .2rem .3rem; white-space: normal; }
  details::details-content { content-visibility: visible; block-size: auto; }
  figure, tr, .missing { break-inside: avoid; } h2 { break-after: avoid; } }
"""


def to_html(document: Document) -> str:
  """The document as one HTML page; everything is inside it, nothing is fetched."""
  links = "".join(
    f'<li><a href="#{_anchor(section.title)}">{plain_html(section.title)}</a></li>' for section in document.sections
  )
  parts = [
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    # The browser is told to fetch nothing either.
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    "style-src 'unsafe-inline'\">\n"
    f"<title>{plain_html(document.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
    f'<h1>{plain_html(document.title)}</h1>\n<p class="subtitle">{inline_html(document.subtitle)}</p>\n'
    f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>\n'
  ]
  for section in document.sections:
    parts.append(f'<section id="{_anchor(section.title)}">\n<h2>{plain_html(section.title)}</h2>\n')
    parts += [_html_block(block) for block in section.blocks]
    parts.append("</section>\n")
  return "".join(parts) + "</main>\n</body>\n</html>\n"


def _anchor(title: str) -> str:
  return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _html_block(block: typing.Any) -> str:
  if isinstance(block, Text):
    return f"<p>{inline_html(block.text)}</p>\n"
  if isinstance(block, Missing):
    return f'<p class="missing">{inline_html(block.text)}</p>\n'
  if isinstance(block, Bullets):
    return "<ul>\n" + "".join(f"<li>{inline_html(item)}</li>\n" for item in block.items) + "</ul>\n"
  if isinstance(block, Details):
    inner = "".join(_html_block(part) for part in block.blocks)
    return f"<details>\n<summary>{plain_html(block.title)}</summary>\n{inner}</details>\n"
  if isinstance(block, Table):
    return _html_table(block)
  return _html_figure(block)


def _html_table(table: Table) -> str:
  head = "".join(f'<th scope="col">{plain_html(cell)}</th>' for cell in table.header)
  rows = "".join(
    f'<tr><th scope="row">{plain_html(row[0])}</th>'
    + "".join(f"<td>{plain_html(cell)}</td>" for cell in row[1:])
    + "</tr>\n"
    for row in table.rows
  )
  # Not a <caption>, which is no wider than its table.
  # What scrolls can be reached by keyboard, and says what it is.
  label = plain_html(table.title.replace("`", ""))
  return (
    f'<div class="table"><p class="title">{inline_html(table.title)}</p>\n'
    f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table aria-label="{label}">\n'
    f"<thead><tr>{head}</tr></thead>\n"
    f"<tbody>\n{rows}</tbody>\n</table></div></div>\n"
  )


def _html_figure(figure: Figure) -> str:
  # Short: the caption says what is shown.
  label = plain_html(figure.name.replace("_", " "))
  image = f'<img src="{_data(figure.light)}" alt="{label}">'
  if figure.dark is None:
    shown = f'<div class="plain">{image}</div>'
  else:
    # Paper is light whatever the screen is.
    source = f'<source media="screen and (prefers-color-scheme: dark)" srcset="{_data(figure.dark)}">'
    shown = f"<picture>{source}{image}</picture>"
  return (
    f'<figure><div class="scroll" tabindex="0" role="region" aria-label="{label}">{shown}</div>'
    f"<figcaption>{inline_html(figure.caption)}</figcaption></figure>\n"
  )


def _data(png: bytes) -> str:
  return "data:image/png;base64," + base64.b64encode(png).decode()


def figures_of(document: Document) -> list[Figure]:
  """All figures of a document, in order."""

  def among(blocks: tuple) -> collections.abc.Iterator[Figure]:
    for block in blocks:
      if isinstance(block, Figure):
        yield block
      elif isinstance(block, Details):
        yield from among(block.blocks)

  return [figure for section in document.sections for figure in among(section.blocks)]


def to_markdown(document: Document, figures_folder: str) -> str:
  """The document as Markdown; its figures are files `NAME.png` in a folder beside it."""
  parts = [f"{MARKDOWN_MARK}\n\n# {markdown(document.title)}\n\n{markdown_block(document.subtitle)}\n"]
  for section in document.sections:
    parts.append(f"## {markdown(section.title)}\n")
    parts += [_markdown_block(block, figures_folder) for block in section.blocks]
  return "\n".join(parts)


def _markdown_block(block: typing.Any, folder: str) -> str:
  if isinstance(block, Text):
    return f"{markdown_block(block.text)}\n"
  if isinstance(block, Missing):
    return f"> {markdown_block(block.text)}\n"
  if isinstance(block, Bullets):
    return "".join(f"- {markdown_block(item)}\n" for item in block.items)
  if isinstance(block, Details):
    return f"### {markdown(block.title)}\n\n" + "\n".join(_markdown_block(part, folder) for part in block.blocks)
  if isinstance(block, Table):
    return f"{markdown_block(block.title)}\n\n{markdown_table(block)}"
  place = f"<{urllib.parse.quote(f'{folder}/{block.name}.png')}>"
  return f"![{markdown(block.name)}]({place})\n\n{markdown_block(block.caption)}\n"
