"""Writes the notebooks of examples/ from the pages that they show: one text, two forms.

Prose becomes text cells, blocks of Python become code cells. A test holds them alike.

Usage: python docs/make_notebooks.py
"""

import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Notebook by page.
NOTEBOOKS = {
  "docs/tutorial.md": "examples/robust_classifier.ipynb",
  "docs/judge_a_model.md": "examples/judge_a_model.ipynb",
}


def notebook(page: str) -> str:
  """The notebook of a page, as JSON text (nbformat 4.5)."""
  cells = []
  for i, part in enumerate(re.split(r"^```python\n(.*?)^```\n", page, flags=re.DOTALL | re.MULTILINE)):
    text = part.strip("\n")
    if not text:
      continue
    cell = {"cell_type": "code" if i % 2 else "markdown", "id": f"cell-{len(cells)}", "metadata": {}}
    if i % 2:
      cell |= {"execution_count": None, "outputs": []}
    else:
      # Pages link to pages beside them.
      text = re.sub(r"\]\((?!https?:|#|\.\./)([^)]+)\)", r"](../docs/\1)", text)
    cells.append({**cell, "source": text.splitlines(keepends=True)})
  python = {"display_name": "Python 3", "language": "python", "name": "python3"}
  content = {
    "cells": cells,
    "metadata": {"kernelspec": python, "language_info": {"name": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
  }
  return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
  for page, name in NOTEBOOKS.items():
    (ROOT / name).write_text(notebook((ROOT / page).read_text(encoding="utf-8")), encoding="utf-8")
    print(name)


if __name__ == "__main__":
  main()
