"""What all figures share: themes, colours and markers of models, texts that fit their place, bounded sizes.

A figure is at most `MAX_WIDTH` by `MAX_HEIGHT` inches, whatever it shows: more models
than `GROUP` are drawn in groups, more than `MOST` are named as left out.
"""

from __future__ import annotations

import collections.abc
import functools
import io
import pathlib
import typing
import warnings

from tla_tf import files

Figure = typing.Any  # of matplotlib, which is imported when something is drawn
Axes = typing.Any
Place = str | pathlib.Path | typing.BinaryIO
T = typing.TypeVar("T")

# Inches.
MAX_WIDTH, MAX_HEIGHT = 12.0, 25.0
# Models that are told apart on the same axes.
GROUP = 8
# Models that a figure shows.
MOST = 60
_DPI = 150

# Colours of models, in order, and of what is drawn around them; beside a colour each model has a marker.
_PALETTES = {
  "light": ("#6b7280", "#2563a8", "#c8571b", "#2f855a", "#805ad5", "#b7791f", "#0b8f9c", "#c2417f"),
  "dark": ("#a3adbb", "#6aa9ea", "#f0955f", "#68c08e", "#b79cf0", "#dcb264", "#4fcbd6", "#f28cb8"),
}
_MARKERS = "osD^vPX*"
# Paper and ink.
_PAPER = {"light": ("#ffffff", "#1f2937"), "dark": ("#161b22", "#e2e8f0")}


def themed(draw: typing.Callable) -> typing.Callable:
  """Gives a function that draws a figure the argument `theme`, "light" or "dark"."""

  @functools.wraps(draw)
  def drawn(*args: typing.Any, theme: str = "light", **kwargs: typing.Any) -> typing.Any:
    import matplotlib
    from matplotlib.rcsetup import cycler

    paper, ink = _PAPER[theme]
    settings: typing.Any = {
      "axes.prop_cycle": cycler(color=_PALETTES[theme]),
      "text.color": ink,
      "axes.labelcolor": ink,
      "axes.edgecolor": ink,
      "xtick.color": ink,
      "ytick.color": ink,
      "figure.facecolor": paper,
      "axes.facecolor": paper,
      "savefig.facecolor": paper,
      # A class may be called US$.
      "text.parse_math": False,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
      # Names may be in any script; what the font has not is drawn as boxes.
      warnings.filterwarnings("ignore", "Glyph .* missing from font")
      return draw(*args, **kwargs)

  return drawn


def color(i: int) -> str:
  """The colour of the i-th model of a group under the theme at hand."""
  import matplotlib

  colors = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
  return colors[i % len(colors)]


def marker(i: int) -> str:
  """The marker of the i-th model of a group."""
  return _MARKERS[i % len(_MARKERS)]


def ink() -> str:
  """The colour of texts under the theme at hand."""
  import matplotlib

  return matplotlib.rcParams["text.color"]


def paper() -> str:
  """The colour of the background under the theme at hand."""
  import matplotlib

  return matplotlib.rcParams["figure.facecolor"]


def contrast(first: typing.Any, second: typing.Any) -> float:
  """Ratio of the luminances of two colours, 1 to 21 (WCAG 2)."""
  from matplotlib.colors import to_rgb

  def luminance(shade: typing.Any) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(shade)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear)) + 0.05

  dark, light = sorted((luminance(first), luminance(second)))
  return light / dark


def new_figure(width: float, height: float) -> Figure:
  """A figure of a size in inches, cut to the largest, that needs no window system."""
  from matplotlib.figure import Figure

  return Figure((min(width, MAX_WIDTH), min(height, MAX_HEIGHT)), layout="constrained")


def save(figure: Figure, path: Place) -> Place:
  """Writes a PNG to a path, whole or not at all, or into an open binary file; returns either."""
  content = io.BytesIO()
  figure.savefig(content, format="png", dpi=_DPI)
  if hasattr(path, "write"):
    path.write(content.getvalue())
    return path
  path = pathlib.Path(path)
  files.make_folder(path.parent)
  files.write_bytes(path, content.getvalue())
  return path


# --------------------------------------------------------------------------- texts


@functools.lru_cache(4096)
def text_width(text: str, size: float) -> float:
  """Width in inches of one line in the usual font at a size in points."""
  from matplotlib.font_manager import FontProperties
  from matplotlib.textpath import text_to_path

  return text_to_path.get_text_width_height_descent(text, FontProperties(size=size), False)[0] / 72


def shortened(text: str, inches: float, size: float) -> str:
  """The text, or its two ends around an ellipsis where it is wider than a place."""
  if text_width(text, size) <= inches:
    return text
  for kept in range(len(text) - 1, 1, -1):
    candidate = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    if text_width(candidate, size) <= inches:
      return candidate
  return "…"


def shortened_names(names: collections.abc.Iterable[str], inches: float, size: float) -> dict[str, str]:
  """Dict from name to a text that fits a place; names that are cut to the same text are numbered."""
  names = list(names)
  shown = {name: shortened(name, inches, size) for name in names}
  if len(set(shown.values())) < len(names):
    room = text_width(f" #{len(names)}", size)
    shown = {
      name: text if text == name else f"{shortened(name, inches - room, size)} #{i + 1}"
      for i, (name, text) in enumerate(shown.items())
    }
  return shown


def wrapped(text: str, inches: float, size: float, lines: int = 3) -> str:
  """The text in lines that fit a place; what goes beyond the last line is cut."""
  found = [""]
  for word in text.split():
    longer = f"{found[-1]} {word}".strip()
    if text_width(longer, size) <= inches or not found[-1]:
      found[-1] = longer
    else:
      found.append(word)
  if len(found) > lines:
    found[lines - 1 :] = [" ".join(found[lines - 1 :])]
  return "\n".join(shortened(line, inches, size) for line in found)


def set_title(figure: Figure, text: str, size: float = 10) -> None:
  """A title above everything, in lines as wide as the figure."""
  figure.suptitle(wrapped(text, figure.get_figwidth() - 0.3, size), fontsize=size)


# --------------------------------------------------------------------------- legends and groups


def dot(shade: typing.Any, label: str, marker: str = "o", line: typing.Any = "") -> typing.Any:
  """A handle of a legend."""
  from matplotlib.lines import Line2D

  return Line2D([], [], color=shade, marker=marker, linestyle=line, markersize=5, label=legend_label(label))


def legend_label(text: str) -> str:
  """A label that stands in a legend: matplotlib leaves out what begins with an underscore."""
  return f" {text}" if text.startswith("_") else text


def legend_below(figure: Figure, handles: list) -> None:
  """A legend below everything, in as many columns as fit."""
  room, size = figure.get_figwidth() - 0.5, 8
  for handle in handles:
    handle.set_label(legend_label(wrapped(handle.get_label(), room - 0.4, size)))
  width = 0.4 + max(text_width(line, size) for handle in handles for line in handle.get_label().splitlines())
  figure.legend(
    handles=handles,
    loc="outside lower center",
    ncols=max(1, min(len(handles), int(room / width))),
    frameon=False,
    fontsize=size,
    handletextpad=0.3,
    columnspacing=0.9,
  )


def limited(models: collections.abc.Mapping[str, T], most: int = MOST) -> tuple[dict[str, T], str]:
  """(The first models, as many as a figure shows, and a sentence on the others, or "")."""
  kept = dict(list(models.items())[:most])
  return kept, f"the first {most} of {len(models)} models" if len(models) > most else ""


def paired_panels(
  labels: collections.abc.Mapping[str, str], legend_title: str = "", height: float = 3.3, count: int = 2
) -> tuple[Figure, dict[str, tuple[typing.Any, ...]], list[tuple[Axes, ...]]]:
  """Two panels side by side with a legend beside them, once for every `GROUP` models.

  Args:
    labels: dict from model name to what the legend says of it; one model without a
      title of the legend gets none.
    legend_title: what the legend is headed with.
    height: of a row of panels, in inches.
    count: 1 for a single panel in their place.

  Returns:
    (figure, dict from model name to (left panel, right panel, position in its group),
    list of (left, right)).
  """
  names = list(labels)
  groups = [names[i : i + GROUP] for i in range(0, len(names), GROUP)] or [[]]
  has_legend = len(names) > 1 or bool(legend_title)
  # Inches of texts and of what stands before them.
  wide = max([text_width(text, 8) for text in (*labels.values(), *legend_title.splitlines())], default=0) + 0.6
  panel = min(4.2, (MAX_WIDTH - wide * has_legend) / count)
  # Rows that are as high as one alone would be too high together.
  height = min(height, (MAX_HEIGHT - 0.6) / len(groups))
  figure = new_figure(count * panel + wide * has_legend, height * len(groups) + 0.4)
  grid = figure.subplots(
    len(groups), count + has_legend, squeeze=False, width_ratios=[*[panel] * count, wide][: count + has_legend]
  )
  places: dict[str, tuple[typing.Any, ...]] = {}
  for row, group in zip(grid, groups):
    panels, aside = row[:count], row[count:]
    places |= {name: (*panels, i) for i, name in enumerate(group)}
    for axes in panels:
      axes.grid(alpha=0.25)
      axes.spines[["top", "right"]].set_visible(False)
    for axes in aside:
      axes.set_axis_off()
      handles = [dot(color(i), labels[name], marker(i), "-") for i, name in enumerate(group)]
      axes.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(0, 0.5),
        borderaxespad=0,
        frameon=False,
        fontsize=8,
        title=legend_title or None,
        title_fontsize=8,
        alignment="left",
      )
  return figure, places, [tuple(row[:count]) for row in grid]
