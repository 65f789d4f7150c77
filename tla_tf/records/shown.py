"""How numbers of records are shown to people."""

from __future__ import annotations


def pixels(value: float) -> str:
  """A length in pixels of [0, 1] as people know it: 8/255 or 0.3."""
  grey_levels = round(value * 255)
  few = 0 < grey_levels <= 32 and value == grey_levels / 255
  return f"{grey_levels}/255" if few else f"{value:.4g}"
