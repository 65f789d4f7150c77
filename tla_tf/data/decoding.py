"""Decoding many image files into one uint8 array, with all cores: JPEG, PNG, GIF, WebP and BMP."""

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

from tla_tf import files, limits
from tla_tf.errors import InputError
from tla_tf.types import Resize

# Pillow's name of a format -> whether a file is whole, since a decoder may forgive a missing end. Some writers add
# padding after it.
_IS_WHOLE: dict[str, Callable[[bytes], bool]] = {
  "JPEG": lambda content: b"\xff\xd9" in content,
  "PNG": lambda content: b"IEND\xaeB`\x82" in content,
  "GIF": lambda content: content.rstrip(b"\0").endswith(b";"),
  "WEBP": lambda content: int.from_bytes(content[4:8], "little") + 8 <= len(content),
  "BMP": lambda content: int.from_bytes(content[2:6], "little") <= len(content),
}
_FORMATS = "JPEG, PNG, GIF, WebP or BMP"
_CHUNK = 64
_Result = TypeVar("_Result")


class UnreadableImageError(InputError):
  """A file that holds no image that can be read.

  Args:
    path: the file.
    reason: why it cannot be read.
    remedy: what to do about it.
  """

  def __init__(self, path: pathlib.Path, reason: str, remedy: str):
    super().__init__(f"{path}: {reason}; {remedy}.")
    self.path, self.reason = path, reason


class _CountedReads(io.BytesIO):
  """A file in memory that a decoder may ask for so many pieces: those that read byte by byte do so in Python."""

  def __init__(self, path: pathlib.Path, content: bytes):
    super().__init__(content)
    self._path, self._reads = path, 0

  def read(self, size: int | None = -1, /) -> bytes:
    self._reads += 1
    if self._reads > limits.IMAGE_READS:
      raise UnreadableImageError(self._path, "it is in too many small pieces", "save it again by another program")
    return super().read(size)


def content_digest(paths: Sequence[pathlib.Path], *facts: Any, unreadable: bool = False) -> str:
  """SHA-256 over the contents of files, in order, and over further facts.

  Args:
    paths: the files.
    *facts: values whose `repr` says what else the result depends on.
    unreadable: whether a file may be one that cannot be read; the reason then
      stands for its content.

  Returns:
    Hexadecimal digest.

  Raises:
    UnreadableImageError: if a file cannot be read and may not be so.
  """

  def one(path: pathlib.Path) -> bytes:
    try:
      return hashlib.sha256(_content(path)).digest()
    except UnreadableImageError as error:
      if not unreadable:
        raise
      return hashlib.sha256(error.reason.encode()).digest()

  result = hashlib.sha256(repr(facts).encode())
  with _pool() as pool:
    for digest in _in_order(pool, one, paths):
      result.update(digest)
  return result.hexdigest()


def unreadable_files(
  paths: Sequence[pathlib.Path], progress: Callable[[int, int], object] | None = None
) -> dict[int, str]:
  """Decodes files to find those that cannot be read.

  Args:
    paths: the files.
    progress: called with the number of files done and to do, or None.

  Returns:
    Dict from a file's position to the reason why it cannot be read.
  """

  def reason(path: pathlib.Path) -> str | None:
    try:
      read_image(path)
    except UnreadableImageError as error:
      return error.reason
    return None

  found = {}
  with _pool() as pool:
    for i, text in enumerate(_in_order(pool, reason, paths)):
      if text is not None:
        found[i] = text
      _report(progress, i + 1, len(paths))
  return found


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
    paths: the files, in one of `_IS_WHOLE`'s formats, colour or grey, of any
      depth; of moving images the first is taken, transparency is left away.
    size: (height, width).
    output: uint8 [n, height, width, channels] to write into, for instance a
      memory map.
    resize: what is done with an image of another size: `refuse`; `stretch`,
      whatever its proportions; `crop`, scaled until it covers the size, the
      middle kept. Bicubic, with antialiasing.
    channels: 3, or 1 for grey (ITU-R 601 luma).
    progress: called with the number of files done and to do, or None.

  Raises:
    UnreadableImageError: for a file that is missing, damaged or no image.
    InputError: for one of another size where that is refused.
  """
  with _pool() as pool:
    decoded = _in_order(pool, lambda path: read_image(path, size, resize, channels), paths)
    for i, image in enumerate(decoded):
      output[i] = image
      _report(progress, i + 1, len(paths))


def _report(progress: Callable[[int, int], object] | None, done: int, total: int) -> None:
  if progress and (done % 1000 == 0 or done == total):
    progress(done, total)


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
    return limits.read_bytes(path, limits.IMAGE_BYTES)
  except FileNotFoundError:
    raise UnreadableImageError(path, "no such file", "copy it again") from None
  except OSError as error:
    remedy = "move it elsewhere" if isinstance(error, limits.LimitError) else "allow it, or copy the file again"
    raise UnreadableImageError(path, files.refusal(error), remedy) from None


def _decode(
  path: pathlib.Path, content: bytes, size: Sequence[int] | None, resize: Resize, channels: int
) -> np.ndarray:
  # Pillow inflates them when it opens a file.
  if content.startswith(b"\x89PNG") and content.count(b"iCCP") > limits.PNG_PROFILES:
    raise UnreadableImageError(path, "a PNG image of many colour profiles", "save it again by another program")
  try:
    with warnings.catch_warnings():
      # Pillow warns of large images before we refuse them.
      warnings.simplefilter("ignore", Image.DecompressionBombWarning)
      image: Image.Image = Image.open(_CountedReads(path, content), formats=tuple(_IS_WHOLE))
    _refuse_costly(path, content, image)
    # MPO is what Pillow calls a JPEG file with a second image, as cameras make them.
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    if not _IS_WHOLE[kind](content):
      raise UnreadableImageError(path, "the image file is truncated", "copy it again")
    image = ImageOps.exif_transpose(image) if image.getexif() else image
    if image.mode.startswith("I"):  # 16 bits of grey, which `convert` would clip.
      image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    # Of a palette, Pillow would warn of every image that it is left away.
    image.info.pop("transparency", None)
    image = image.convert("RGB" if channels == 3 else "L")
  except InputError:
    raise
  except Exception as error:
    # Pillow raises OSError, SyntaxError, ValueError and others on damaged files.
    what = (str(error) or repr(error)).splitlines()[0].strip()[:80]
    if isinstance(error, UnidentifiedImageError):
      what = "of another or no image format"
    raise UnreadableImageError(path, f"no whole {_FORMATS} image ({what})", "remove it or copy it again") from None
  if size and (image.height, image.width) != tuple(size):
    image = _resized(path, image, size, resize)
  return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)


def _refuse_costly(path: pathlib.Path, content: bytes, image: Image.Image) -> None:
  """Raises UnreadableImageError for an image that would take more time or memory than any for training does."""
  pixels = image.width * image.height
  if pixels > (limits.WEBP_PIXELS if image.format == "WEBP" else limits.IMAGE_PIXELS):
    size_text = f"{image.width}x{image.height} pixels are too many for a training image"
    raise UnreadableImageError(path, size_text, "make it smaller")
  # In the pixels' data the byte ff is followed by 00: what is counted are scans, and those of thumbnails.
  scans = content.count(b"\xff\xda") if image.format in ("JPEG", "MPO") else 0
  if scans > limits.JPEG_SCANS or scans * pixels > limits.JPEG_SCANNED_PIXELS:
    raise UnreadableImageError(path, f"a JPEG image of {scans} scans", "save it again by another program")


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
