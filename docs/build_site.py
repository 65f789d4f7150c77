"""Builds the pages and the reference of the library's docstrings as a site: `make docs`.

Pages are README.md, docs/*.md and others beside it, as they stand; the reference has
a page for every public package, read from the sources without running them. Broken
links, and arguments that a docstring names and a function lacks, end the build.

Usage: python docs/build_site.py [FOLDER]   (build/docs without)
"""

import ast
import pathlib
import re
import shutil
import subprocess
import sys

import griffe
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Pages by menu; a page of docs/ that is in none ends the build.
MENUS = {
  "Start": ["README.md", "docs/README.md", "docs/tutorial.md", "docs/judge_a_model.md"],
  "Guides": [
    f"docs/{name}.md"
    for name in (
      "command_line",
      "data",
      "keras",
      "own_networks",
      "scaling",
      "library",
      "evaluation",
      "alarms",
      "analysis",
      "comparing",
      "serving",
      "reliability",
      "importing",
    )
  ],
  "Background": ["docs/faithful.md", "docs/results.md", "docs/measurements.md", "CONTRIBUTING.md", "CHANGELOG.md"],
}
# What pages link to besides.
_LINKED = ("LICENSE", "examples/*", "docs/*.png")
# The tools parse flags and define no functions for others: `--help` is their reference.
_LEFT_OUT = {"binaries"}


class Examples(griffe.Extension):
  """Shows what stands below "Example:" in a docstring as code."""

  def on_object(self, *, obj, **_) -> None:
    if obj.docstring:
      obj.docstring.value = re.sub(
        r"^Example:\n((?:  .*\n?|\n(?=  ))+)",
        lambda found: f"Example:\n  ```python\n{found[1].rstrip()}\n  ```\n",
        obj.docstring.value,
        flags=re.MULTILINE,
      )


def main() -> None:
  site = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "docs").absolute()
  pages = site.with_name(f"{site.name}_pages")
  for folder in (site, pages):
    shutil.rmtree(folder, ignore_errors=True)
  for path in (path for pattern in (*sum(MENUS.values(), []), *_LINKED) for path in ROOT.glob(pattern)):
    place = pages / path.relative_to(ROOT)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, place)
  left = {f"docs/{path.name}" for path in ROOT.glob("docs/*.md")} - set(
    MENUS["Start"] + MENUS["Guides"] + MENUS["Background"]
  )
  if left:
    sys.exit(f"docs/build_site.py: {', '.join(sorted(left))}: in no menu of MENUS.")
  settings = pages.with_suffix(".yml")
  settings.write_text(yaml.safe_dump(configuration(site, pages, write_reference(pages / "reference"))))
  command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(settings)]
  done = subprocess.run(command, check=False, capture_output=True, text=True)
  if done.returncode:
    print("\n".join(line for line in done.stderr.splitlines() if not line.startswith("INFO")), file=sys.stderr)
    sys.exit(done.returncode)
  print(f"Done. Look at {site / 'index.html'}")


def write_reference(folder: pathlib.Path) -> list[str]:
  """Writes a page for every public package and module of the package; returns their names under `folder`'s parent."""
  folder.mkdir()
  lines, names = [], []
  for path in sorted((ROOT / "tla_tf").iterdir()):
    name = path.stem
    source = path / "__init__.py" if path.is_dir() else path
    if name.startswith("_") or name in _LEFT_OUT or source.suffix != ".py" or not source.exists():
      continue
    summary = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))).splitlines()[0]
    (folder / f"{name}.md").write_text(f"# tla_tf.{name}\n\n::: tla_tf.{name}\n", encoding="utf-8")
    lines.append(f"- [`tla_tf.{name}`]({name}.md): {summary}\n")
    names.append(f"{folder.name}/{name}.md")
  index = folder / "index.md"
  index.write_text(f"# Reference\n\nThe library, package by package.\n\n{''.join(lines)}", encoding="utf-8")
  return [f"{folder.name}/index.md", *names]


def configuration(site: pathlib.Path, pages: pathlib.Path, reference: list[str]) -> dict:
  """mkdocs's settings."""
  # Pages that are not there yet are no error here, but links to them are.
  menus = [{menu: [name for name in names if (pages / name).exists()]} for menu, names in MENUS.items()]
  options = {
    "docstring_style": "google",
    "extensions": [f"{ROOT / 'docs' / 'build_site.py'}:Examples"],
    "filters": ["!^_"],
    "heading_level": 2,
    "members_order": "source",
    "separate_signature": True,
    "line_length": 100,
    "show_if_no_docstring": False,
    "show_root_heading": False,
    "show_root_toc_entry": False,
    "show_signature_annotations": True,
    "show_source": False,
    "show_submodules": True,
    "show_symbol_type_heading": True,
    "docstring_section_style": "list",
  }
  return {
    "site_name": "tla_tf",
    "docs_dir": str(pages),
    "site_dir": str(site),
    "use_directory_urls": False,
    "theme": {"name": "mkdocs", "color_mode": "auto", "user_color_mode_toggle": True, "navigation_depth": 3},
    "nav": [*menus, {"Reference": reference}],
    "validation": {
      "anchors": "warn",
      "absolute_links": "warn",
      "unrecognized_links": "warn",
      "not_found": "warn",
      "omitted_files": "warn",
    },
    "markdown_extensions": ["tables", "fenced_code", {"toc": {"permalink": True}}],
    "plugins": ["search", {"mkdocstrings": {"handlers": {"python": {"paths": [str(ROOT)], "options": options}}}}],
  }


if __name__ == "__main__":
  main()
