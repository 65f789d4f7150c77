"""Files that cost more than they look, read by whoever reads such: what becomes of each, in which time and memory.

    PYTHONPATH=tests python -m campaigns.bombs --json=bombs.json

Ends with status 1 if one ends in anything but data or one sentence, takes more than 10 seconds of a processor, or more
than 1 GB beyond its own size.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import pathlib
import shutil
import struct
import sys
import tempfile
import time
import typing
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
from campaigns import bounds
from PIL import Image


def npy(shape: tuple[int, ...], dtype: typing.Any = np.uint8, content: bytes = b"") -> bytes:
  """A `.npy` file that declares an array, with other content."""
  file = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    file, {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
  )
  return file.getvalue() + content


def npz(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
  """An archive of `.npy` files."""
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w", method) as archive:
    for name, content in members.items():
      archive.writestr(f"{name}.npy", content)
  return file.getvalue()


def zeros(parts: int) -> tuple[bytes, int]:
  """Deflated zeros and their number: one part of 16 MB, many times."""
  packer = zlib.compressobj(9, zlib.DEFLATED, -15)
  packed = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
  return packed * parts + b"\3\0", parts << 24


def deflated(header: bytes, parts: int) -> tuple[bytes, int, int]:
  """A header and zeros, deflated, their number, and their checksum, if they are few enough to be read."""
  first = zlib.compressobj(9, zlib.DEFLATED, -15)
  packed, size = zeros(parts)
  checksum = zlib.crc32(header)
  for _ in range(parts if parts < 60 else 0):
    checksum = zlib.crc32(bytes(1 << 24), checksum)
  return first.compress(header) + first.flush(zlib.Z_FULL_FLUSH) + packed, len(header) + size, checksum


def gzipped(header: bytes, parts: int) -> bytes:
  """A gzip file of a header, and of 16 MB of zeros many times."""
  body, size, checksum = deflated(header, parts)
  return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + body + struct.pack("<II", checksum, size & 0xFFFFFFFF)


def inflating_npz(name: str, parts: int) -> bytes:
  """An archive of one array of zeros, as large as it says."""
  header = npy((parts << 24,))
  body, size, checksum = deflated(header, parts)
  # Written by hand: zipfile would take half a minute to pack it.
  raw = npz({name: header}, zipfile.ZIP_STORED)
  at = raw.index(b"PK\1\2")
  local, directory = raw[: at - len(header)] + body, bytearray(raw[at:])
  struct.pack_into("<H", directory, 10, zipfile.ZIP_DEFLATED)
  struct.pack_into("<III", directory, 16, checksum, len(body), size)
  struct.pack_into("<I", directory, directory.index(b"PK\5\6") + 16, len(local))
  return local + bytes(directory)


def changed_member(content: bytes, offset: int, form: str, value: int) -> bytes:
  """Changes a field of the first entry of an archive's directory."""
  raw = bytearray(content)
  struct.pack_into(form, raw, raw.index(b"PK\1\2") + offset, value)
  return bytes(raw)


def png(*chunks: tuple[bytes, bytes], side: int = 16, depth: int = 8, colour: int = 2, interlaced: int = 0) -> bytes:
  """A black PNG file with further chunks (name, content) before its pixels."""
  width = {2: 3, 6: 4}[colour] * depth // 8 * side + 1
  rows = zlib.compress(bytes(width * side + interlaced * 15 * side), 1)
  header = struct.pack(">2I5B", side, side, depth, colour, 0, 0, interlaced)
  parts = [(b"IHDR", header), *chunks, (b"IDAT", rows), (b"IEND", b"")]
  framed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
  return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def encoded(side: int, kind: str, mode: str = "L", **settings: typing.Any) -> bytes:
  """A black image in one of Pillow's formats."""
  file = io.BytesIO()
  Image.new(mode, (side, side)).save(file, kind, **settings)
  return file.getvalue()


def jpeg(scans: int, side: int) -> bytes:
  """A progressive JPEG file whose last scan is there again and again."""
  content = encoded(side, "JPEG", progressive=True)
  begin, end = content.rindex(b"\xff\xda"), content.rindex(b"\xff\xd9")
  return content[:end] + content[begin:end] * (scans - content.count(b"\xff\xda")) + content[end:]


def gif(between: bytes) -> bytes:
  """A GIF file with something before its pixels."""
  content = encoded(16, "GIF", "P")
  at = content.rindex(b",\0\0\0\0")
  return content[:at] + between + content[at:]


def bmp(side: int, runs: bytes) -> bytes:
  """A run-length encoded BMP file."""
  sizes = struct.pack("<IHHI", 54 + 1024 + len(runs), 0, 0, 54 + 1024)
  about = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(runs), 0, 0, 256, 0)
  return b"BM" + sizes + about + bytes(1024) + runs


def laughs(width: int = 9) -> str:
  """YAML whose aliases stand for 9 to the power of 9 values."""
  lines = (f"{c}: &{c} [{', '.join([f'*{b}'] * width)}]\n" for b, c in itertools.pairwise("abcdefghi"))
  return f"a: &a [{', '.join('1' * width)}]\n" + "".join(lines)


def embedded(field: int, content: bytes) -> bytes:
  """A protocol buffer of one field that holds a text or another."""
  length, left = b"", len(content)
  while left > 127:
    length, left = length + bytes([left & 127 | 128]), left >> 7
  return bytes([field << 3 | 2]) + length + bytes([left]) + content


def graph_of(nodes: bytes) -> bytes:
  """`saved_model.pb` of a graph."""
  return embedded(2, embedded(2, nodes))


def _cases(folder: pathlib.Path) -> typing.Iterator[tuple[str, Callable, typing.Any]]:
  """(name, reader of a path, content, or size of a hole, or what to make) of every file."""
  from tla_tf import datasets, yaml_file
  from tla_tf.data import decoding
  from tla_tf.data.idx import read_idx
  from tla_tf.detection import Detector
  from tla_tf.persistence.checkpoint_reader import reading
  from tla_tf.persistence.saved_model_check import check_saved_model
  from tla_tf.records import AnalysisArrays, read_object

  def idx(path: pathlib.Path) -> typing.Any:
    return read_idx(path, 3)

  def own_arrays(path: pathlib.Path) -> typing.Any:
    return datasets.load("npz", path)

  def saved_model(path: pathlib.Path) -> typing.Any:
    folder = pathlib.Path(f"{path}.folder")
    folder.mkdir()
    try:
      os.link(path, folder / "saved_model.pb")
      with reading(f"{folder}: cannot load it"):
        return check_saved_model(folder)
    finally:
      shutil.rmtree(folder)

  header = struct.pack(">4B3I", 0, 0, 8, 3, 3, 2, 1)
  yield "IDX.gz, 2.5 GB behind 6 bytes.gz", idx, gzipped(header, 150)
  yield "IDX.gz, 4.3 GB as it says.gz", idx, gzipped(struct.pack(">4B3I", 0, 0, 8, 3, 2**31, 2, 1), 256)
  yield "IDX.gz, 0.9 GB as it says.gz", idx, gzipped(struct.pack(">4B3I", 0, 0, 8, 3, 53 << 21, 8, 1), 53)
  yield "npz of 2.5 GB", own_arrays, inflating_npz("x_train", 150)
  yield "npz of 0.9 GB", own_arrays, inflating_npz("x_train", 53)
  yield "npz whose array declares 4 GB", own_arrays, npz({"x_train": npy((4 * 10**9,))})
  yield "npz whose array declares 10^36 bytes", own_arrays, npz({"x_train": npy((2**40,) * 3)})
  yield "npz of 10^12 empty texts", own_arrays, npz({"class_names": npy((10**12,), "<U0")})
  whole = npz({"x_train": npy((1000,), content=bytes(1000))})
  yield "npz whose member declares 4 GB", own_arrays, changed_member(whole, 24, "<I", 4 * 10**9)
  yield "npz, packed by bzip2", own_arrays, npz({"x_train": npy((10**8,), content=bytes(10**8))}, zipfile.ZIP_BZIP2)
  yield "analysis.npz of 4.3 GB", AnalysisArrays.read, inflating_npz("figures", 255)
  yield "detector of 4.3 GB", Detector.load, inflating_npz("means", 255)
  yield "JPEG of 20,000 scans", decoding.read_image, jpeg(20_000, 256)
  yield "JPEG of 500 scans, 4 megapixels", decoding.read_image, jpeg(500, 2048)
  yield "JPEG of 32 scans, 67 megapixels", decoding.read_image, jpeg(32, 8191)
  yield "JPEG of 67 megapixels, turned", decoding.read_image, encoded(8191, "JPEG", "RGB", exif=_turned())
  megabyte = b"a\0\0" + zlib.compress(bytes(10**6))
  yield "PNG of 1,000,000 chunks", decoding.read_image, png(*[(b"abCd", b"")] * 10**6)
  yield ("PNG of 5,000 colour profiles", decoding.read_image, png(*[(b"iCCP", megabyte)] * 5000))
  yield "PNG of texts of 1 GB", decoding.read_image, png(*[(b"zTXt", megabyte)] * 1000)
  yield "PNG with 1 GB behind its pixels", decoding.read_image, _long_png()
  yield "PNG of 67 megapixels, 16 bits, 4 channels", decoding.read_image, png(side=8191, depth=16, colour=6)
  yield "PNG of 10^10 pixels", decoding.read_image, _huge_png()
  yield "GIF of 4,000,000 blocks", decoding.read_image, gif(b"\x21\xfe" + b"\x01a" * 4_000_000 + b"\0")
  yield "GIF of 67 megapixels", decoding.read_image, encoded(8191, "GIF")
  yield "BMP of 16,000,000 runs", decoding.read_image, bmp(4000, (b"\1\0" * 4000 + b"\0\0") * 4000 + b"\0\1")
  yield "BMP that skips 67 megapixels", decoding.read_image, bmp(8191, b"\0\2\xff\xff" * 33 + b"\0\1")
  yield "WebP of 50 megapixels", decoding.read_image, encoded(7071, "WEBP", "RGB", lossless=True)
  yield "YAML of a billion laughs", yaml_file.read, laughs().encode()
  yield "YAML nested 100,000 times", yaml_file.read, b"[" * 100_000
  yield "YAML of 65,000 numbers", yaml_file.read, b"[" + b"1," * 65_000 + b"]"
  yield "YAML of 17,000 names", yaml_file.read, "".join(f"k{i}:\n" for i in range(17_000)).encode()
  yield "YAML of 5 MB", yaml_file.read, b"[" + b"1," * 2_500_000 + b"]"
  yield "JSON of 11,000,000 lists", read_object, b'{"a":[' + b"[]," * 11_000_000 + b"[]]}"
  yield "JSON of 500,000 lists", read_object, b'{"a":[' + b"[]," * 500_000 + b"[]]}"
  yield "JSON nested 16,000,000 times", read_object, b"[" * 16_000_000
  yield "JSON of 200 MB", read_object, b'{"a":"' + b"a" * 200_000_000 + b'"}'
  yield "SavedModel of 7,000,000 empty operations", saved_model, graph_of(b"\x0a\0" * 7_000_000)
  yield "SavedModel of 7,000,000 empty functions", saved_model, graph_of(embedded(2, b"\x0a\0" * 7_000_000))
  yield "SavedModel of 300,000 empty operations", saved_model, graph_of(b"\x0a\0" * 300_000)
  yield (
    "SavedModel of 490,000 attributes",
    saved_model,
    graph_of(
      embedded(1, b"".join(embedded(5, embedded(1, b"%d" % i) + embedded(2, b"\x30\1")) for i in range(490_000)))
    ),
  )
  yield "SavedModel of 40,000,000 empty operations", saved_model, graph_of(b"\x0a\0" * 40_000_000)
  yield "SavedModel of 20,000,000 empty arguments", saved_model, graph_of(embedded(1, b"\x1a\0" * 20_000_000))
  readers = {"IDX": idx, "npz": own_arrays, "image": decoding.read_image, "YAML": yaml_file.read, "JSON": read_object}
  for name, read in readers.items():
    yield f"{name}, a hole of 1 TB", read, 10**12
    yield f"{name}, a named pipe", read, os.mkfifo
    yield f"{name}, a link to /dev/zero", read, lambda path: os.symlink("/dev/zero", path)


def _turned() -> Image.Exif:
  exif = Image.Exif()
  exif[0x0112] = 6
  return exif


def _long_png() -> bytes:
  content, (packed, _, _) = png(), deflated(b"", 60)
  at = content.index(b"IDAT") - 4
  chunk = b"IDAT" + b"\x78\xda" + packed
  return content[:at] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png()[-12:]


def _huge_png() -> bytes:
  content = bytearray(png())
  struct.pack_into(">2I", content, 16, 10**5, 10**5)
  struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
  return bytes(content)


def outcome(read: Callable, path: pathlib.Path) -> str:
  """What a reader makes of a file: "read", its sentence about "x", or what begins with CRASH."""
  from tla_tf.errors import InputError

  try:
    read(path)
    return "read"
  except InputError as error:
    words = str(error)
  except OSError as error:  # As the tools say it.
    words = f"{error.filename}: {error.strerror or error}."
  except BaseException as error:
    return f"CRASH {type(error).__name__}: {str(error)[:80]}"
  return words.replace(str(path), "x") if bounds.is_sentence(words, path) else f"CRASH no sentence: {words[:80]!r}"


def _read(read: Callable, path: pathlib.Path) -> dict[str, typing.Any]:
  """What becomes of a file, in a process of its own."""
  receiver, sender = os.pipe()
  child = os.fork()
  if child:
    os.close(sender)
    with os.fdopen(receiver) as file:
      said = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return json.loads(said) if said else {"outcome": f"CRASH exit code {code}", "seconds": 0.0, "bytes": 0}
  try:
    before, since = bounds.forget_peak(), time.process_time()
    found = outcome(read, path)
    report = {"outcome": found, "seconds": time.process_time() - since, "bytes": max(0, bounds.peak() - before)}
    os.write(sender, json.dumps(report).encode())
  finally:  # Whatever happens, main goes on in the parent alone.
    os._exit(0)


def main() -> int:
  """Reads every file and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--json", help="file for the table")
  parser.add_argument("--only", default="", help="words of the names of the files to read")
  flags = parser.parse_args()
  rows, failed = [], 0
  print("| file | on disk (MB) | outcome | seconds | memory (MB) |\n| --- | ---: | --- | ---: | ---: |")
  with tempfile.TemporaryDirectory() as temporary:
    for name, read, content in _cases(pathlib.Path(temporary)):
      if flags.only not in name:
        continue
      path = pathlib.Path(temporary) / ("x.gz" if name.endswith(".gz") else "x")
      if isinstance(content, int):
        with open(path, "wb") as file:
          file.truncate(content)
      elif isinstance(content, bytes):
        path.write_bytes(content)
      else:
        content(path)
      size = len(content) if isinstance(content, bytes) else 0
      del content
      report = _read(read, path)
      path.unlink()
      failed += (
        report["outcome"].startswith("CRASH")
        or report["seconds"] > bounds.SECONDS
        or report["bytes"] - size > bounds.BYTES
      )
      rows.append({"file": name.removesuffix(".gz"), "on_disk": size, **report})
      print(
        f"| {rows[-1]['file']} | {size / 1e6:.2f} | {report['outcome']} | {report['seconds']:.2f} | "
        f"{report['bytes'] / 1e6:.0f} |",
        flush=True,
      )
  print(f"{len(rows)} files, {failed} over the limits")
  if flags.json:
    pathlib.Path(flags.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
  return int(failed > 0)


if __name__ == "__main__":
  sys.exit(main())
