"""Embeddings for TensorBoard's projector: vectors and metadata as TSV, pictures as one sprite."""

from __future__ import annotations

import io
import pathlib
import typing

import numpy as np
from PIL import Image

from tla_tf import files

_PLACE = "projector"
# Browsers refuse larger textures.
_LARGEST_SPRITE = 8192
# Pictures of points are shown small.
_LARGEST_PICTURE = 64


def write_projector(folder: pathlib.Path, embeddings: np.ndarray, images: np.ndarray, columns: dict[str, list]) -> None:
  """Writes what TensorBoard's projector loads: `tensorboard --logdir FOLDER`, tab Projector.

  `projector/` below the folder gets `vectors.tsv`, `metadata.tsv` and
  `sprite.png`, the folder itself `projector_config.pbtxt`, last; each is written
  whole or not at all.

  Args:
    folder: a folder of event files, or the log directory itself.
    embeddings: float [n, d].
    images: uint8 [n, height, width, channels].
    columns: dict from name to n texts: what is known of each point.
  """
  place = folder / _PLACE
  files.make_folder(place)
  rows = ["\t".join(f"{value:.5g}" for value in row) for row in embeddings]
  files.write_text(place / "vectors.tsv", "\n".join(rows) + "\n")
  lines = ["\t".join(columns), *("\t".join(_plain(cell) for cell in line) for line in zip(*columns.values()))]
  files.write_text(place / "metadata.tsv", "\n".join(lines) + "\n")
  sprite, (width, height) = _sprite(images)
  files.write_bytes(place / "sprite.png", sprite)
  files.write_text(
    folder / "projector_config.pbtxt",
    f"""embeddings {{
  tensor_name: "embeddings"
  tensor_path: "{_PLACE}/vectors.tsv"
  metadata_path: "{_PLACE}/metadata.tsv"
  sprite {{
    image_path: "{_PLACE}/sprite.png"
    single_image_dim: {width}
    single_image_dim: {height}
  }}
}}
""",
  )


def remove_projector(folder: pathlib.Path) -> None:
  """Takes away what `write_projector` wrote."""
  for path in (folder / "projector_config.pbtxt", *(folder / _PLACE).glob("*")):
    path.unlink(missing_ok=True)


def _plain(cell: typing.Any) -> str:
  return str(cell).replace("\t", " ").replace("\n", " ")


def _sprite(images: np.ndarray) -> tuple[bytes, tuple[int, int]]:
  """(PNG, (width, height) of a picture): the pictures row by row in a square."""
  side = int(np.ceil(np.sqrt(len(images))))
  height, width = images.shape[1:3]
  factor = min(1.0, _LARGEST_PICTURE / max(height, width), _LARGEST_SPRITE / side / max(height, width))
  size = max(1, int(width * factor)), max(1, int(height * factor))
  sheet = Image.new("RGB", (side * size[0], side * size[1]), "white")
  for i, image in enumerate(images):
    picture = Image.fromarray(image.squeeze() if image.shape[-1] == 1 else image).convert("RGB")
    sheet.paste(
      picture.resize(size, Image.Resampling.BOX) if factor < 1 else picture, (i % side * size[0], i // side * size[1])
    )
  content = io.BytesIO()
  sheet.save(content, format="PNG")
  return content.getvalue(), size
