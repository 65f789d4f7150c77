"""Decoding many JPEG and PNG files into one uint8 array, with all cores."""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import itertools
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tla_tf.errors import InputError
from tla_tf.types import Resize

# What a whole file ends with; some writers add padding after it.
_ENDINGS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_MOST_PIXELS = 1 << 26
_CHUNK = 64
_Result = TypeVar("_Result")


def content_digest(paths: Sequence[pathlib.Path], *facts: Any) -> str:
  """SHA-256 over the contents of files, in order, and over further facts.

  Args:
    paths: the files.
    *facts: values whose `repr` says what else the result depends on.

  Returns:
    Hexadecimal digest.

  Raises:
    InputError: if a file cannot be read.
  """
  result = hashlib.sha256(repr(facts).encode())
  with _pool() as pool:
    for digest in _in_order(pool, lambda path: hashlib.sha256(_content(path)).digest(), paths):
      result.update(digest)
  return result.hexdigest()


def read_image(
  path: pathlib.Path, size: Sequence[int] | None = None, resize: Resize = Resize.REFUSE, channels: int = 3
) -> np.ndarray:
  """One image file as `decode` reads it, by default in its own size: uint8 [height, width, channels], upright."""
  return _decode(path, _content(path), size, resize, channels)


def decode(
  paths: Sequence[pathlib.Path],
  size: Sequence[int],
  output: np.ndarray,
  resize: Resize = Resize.REFUSE,
  channels: int = 3,
  progress: Callable[[int, int], object] | None = None,
) -> None:
  """Decodes image files into an array.

  Args:
    paths: the files, JPEG or PNG, colour or grey, of any depth.
    size: (height, width).
    output: uint8 [n, height, width, channels] to write into, for instance a
      memory map.
    resize: what is done with an image of another size: `refuse`; `stretch`,
      whatever its proportions; `crop`, scaled until it covers the size, the
      middle kept. Bicubic, with antialiasing.
    channels: 3, or 1 for grey (ITU-R 601 luma).
    progress: called with the number of files done and to do, or None.

  Raises:
    InputError: for a file that is missing, damaged, no image, or of another
      size where that is refused.
  """
  with _pool() as pool:
    decoded = _in_order(pool, lambda path: read_image(path, size, resize, channels), paths)
    for i, image in enumerate(decoded):
      output[i] = image
      if progress and ((i + 1) % 1000 == 0 or i + 1 == len(paths)):
        progress(i + 1, len(paths))


def _pool() -> concurrent.futures.ThreadPoolExecutor:
  return concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0)))


def _in_order(
  pool: concurrent.futures.Executor, function: Callable[[pathlib.Path], _Result], paths: Sequence[pathlib.Path]
) -> Iterator[_Result]:
  """Results in the order of the paths; only a few chunks are under way, so that memory stays bounded."""
  chunks = (paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK))
  waiting = [pool.submit(lambda c: [function(p) for p in c], chunk) for chunk in itertools.islice(chunks, 16)]
  try:
    while waiting:
      done = waiting.pop(0).result()
      for chunk in itertools.islice(chunks, 1):
        waiting.append(pool.submit(lambda c: [function(p) for p in c], chunk))
      yield from done
  finally:
    for future in waiting:
      future.cancel()


def _content(path: pathlib.Path) -> bytes:
  try:
    return path.read_bytes()
  except FileNotFoundError:
    raise InputError(f"{path}: no such file.") from None
  except OSError as error:
    raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None


def _decode(
  path: pathlib.Path, content: bytes, size: Sequence[int] | None, resize: Resize, channels: int
) -> np.ndarray:
  try:
    with warnings.catch_warnings():
      # Pillow warns of large images before we refuse them.
      warnings.simplefilter("ignore", Image.DecompressionBombWarning)
      image: Image.Image = Image.open(io.BytesIO(content), formats=tuple(_ENDINGS))
    if image.width * image.height > _MOST_PIXELS:
      raise InputError(f"{path}: {image.width}x{image.height} pixels are too many for a training image.")
    # A decoder may forgive a missing end.
    # MPO is what Pillow calls a JPEG file with a second image, as cameras make them.
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    if _ENDINGS[kind] not in content:
      raise InputError(f"{path}: the image file is truncated; copy it again.")
    image = ImageOps.exif_transpose(image) if image.getexif() else image
    if image.mode.startswith("I"):  # 16 bits of grey, which `convert` would clip.
      image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("RGB" if channels == 3 else "L")
  except InputError:
    raise
  except Exception as error:
    # Pillow raises OSError, SyntaxError, ValueError and others on damaged files.
    what = (str(error) or repr(error)).splitlines()[0].strip()[:80]
    if isinstance(error, UnidentifiedImageError):
      what = "of another or no image format"
    raise InputError(f"{path}: no whole JPEG or PNG image ({what}); remove it or copy it again.") from None
  if size and (image.height, image.width) != tuple(size):
    image = _resized(path, image, size, resize)
  return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)


def _resized(path: pathlib.Path, image: Image.Image, size: Sequence[int], resize: Resize) -> Image.Image:
  height, width = size
  if resize is Resize.REFUSE:
    raise InputError(
      f"{path}: is {image.height}x{image.width}, expected {height}x{width}; `resize=stretch` or crop "
      "scales it, `image_size` chooses the size."
    )
  if resize is Resize.CROP:
    return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
  return image.resize((width, height), Image.Resampling.BICUBIC)
