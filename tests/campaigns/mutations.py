"""Damaged versions of a file: bytes that change, go or are doubled, and other values where a format has some.

All is a pure function of the content and of a `random.Random`.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import typing
import zipfile

import numpy as np

Mutator = typing.Callable[[bytes, random.Random], bytes]

# Written in place of a JSON text: what json.dumps would not write.
_RAW = {
  "@deep@": "[" * 100_000 + "]" * 100_000,
  "@deep object@": '{"a":' * 3000 + "1" + "}" * 3000,
  "@somewhat deep@": "[" * 60 + "]" * 60,
  "@long@": "9" * 5000,
  "@exponent@": "1e999",
}
_VALUES: tuple[typing.Any, ...] = (
  *(None, True, False, 0, 1, -1, 7, 2**31, 2**63 - 1, 2**63, 2**64, 10**40, 0.5, -0.0, 1e-320, 1e308),
  *(float("nan"), float("inf"), -float("inf"), "", "a", "0.5", "nan", "\x1b[2J", "../../x", "a\nb", "\ud800"),
  "x" * 3000,
  *([], {}, [None], [[]], [0, 0], {"a": 1}, {"": {}}, ["a", 1], *_RAW),
)


def of_bytes(content: bytes, rng: random.Random) -> bytes:
  """A file of any format."""
  at, length = rng.randrange(len(content) + 1), len(content)
  span = min(length - at, rng.choice((1, 1, 2, 4, 8, 64, 512, length)))
  kind = rng.randrange(11)
  if kind == 0 and length:
    place = rng.randrange(length)
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
  if kind == 1:
    return content[:at] + rng.randbytes(1) + content[at + 1 :]
  if kind == 2:
    return content[:at]
  if kind == 3:
    return content[:at] + content[at + span :]
  if kind == 4:
    return content[:at] + content[at : at + span] * 2 + content[at + span :]
  if kind == 5:
    return content[:at] + bytes(span) + content[at + span :]
  if kind == 6:
    return content[:at] + rng.randbytes(rng.choice((1, 4, 16, 1000))) + content[at:]
  if kind == 7:
    return (
      content[:at]
      + rng.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff\xff\xff\xff\x7f"))
      + content[at + 4 :]
    )
  if kind == 8:
    return content + rng.choice((b"\0", b"\n", b"x" * 100, content[:64], content))
  if kind == 9:
    other = rng.randrange(length + 1)
    part = content[other : other + span]
    return content[:at] + part + content[at + len(part) :]
  return rng.choice((b"", b"\0" * length, content[::-1]))


def of_digits(content: bytes, rng: random.Random) -> bytes:
  """A text in which a digit changes, or a letter: what leaves a file whole."""
  places = [i for i, byte in enumerate(content) if chr(byte).isalnum()]
  if not places:
    return of_bytes(content, rng)
  at = rng.choice(places)
  letters = "0123456789" if chr(content[at]).isdigit() else "abcdefghijklmnopqrstuvwxyzABCDEF"
  return content[:at] + rng.choice(letters).encode() + content[at + 1 :]


def with_other_value(value: typing.Any, rng: random.Random) -> typing.Any:
  """A JSON value with a part that is another, gone, doubled, or under another name."""
  if isinstance(value, (dict, list)) and value and rng.random() < 0.85:
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = rng.choice(list(keys))
    changed: typing.Any = dict(value) if isinstance(value, dict) else list(value)
    # Deep down, most of the time.
    if isinstance(value[key], (dict, list)) and rng.random() < 0.8:
      changed[key] = with_other_value(value[key], rng)
      return changed
    kind = rng.randrange(6)
    if kind == 0:
      del changed[key]
    elif kind == 1 and isinstance(changed, dict):
      changed[rng.choice(("a", "", key + "x", "format", "sha256"))] = changed.pop(key)
    elif kind == 1:
      changed.insert(key, changed[key])
    elif kind == 2:
      changed[key] = value[rng.choice(list(keys))]
    elif kind == 3 and isinstance(value[key], (int, float)) and not isinstance(value[key], bool):
      changed[key] = rng.choice((-value[key], value[key] + 1, value[key] * 2, value[key] / 3, str(value[key])))
    else:
      changed[key] = rng.choice(_VALUES)
    return changed
  return rng.choice(_VALUES)


def json_text(value: typing.Any, **how: typing.Any) -> str:
  """A JSON text; strings of `_RAW` stand for what they name."""
  text = json.dumps(value, **how)
  for name, raw in _RAW.items():
    text = text.replace(json.dumps(name), raw)
  return text


def of_json(content: bytes, rng: random.Random) -> bytes:
  """A JSON file."""
  if rng.random() < 0.4:
    return rng.choice((of_bytes, of_digits, of_digits))(content, rng)
  try:
    return json_text(with_other_value(json.loads(content), rng), indent=1).encode()
  except (ValueError, RecursionError):
    return of_bytes(content, rng)


def of_lines(content: bytes, rng: random.Random) -> bytes:
  """A file of JSON objects or lists, one a line."""
  lines = content.splitlines(keepends=True)
  if not lines or rng.random() < 0.3:
    return of_bytes(content, rng)
  at, kind = rng.randrange(len(lines)), rng.randrange(8)
  if kind == 0:
    del lines[at]
  elif kind == 1:
    lines.insert(rng.randrange(len(lines) + 1), lines[at])
  elif kind == 2:
    other = rng.randrange(len(lines))
    lines[at], lines[other] = lines[other], lines[at]
  elif kind == 3:
    lines[at] = lines[at].rstrip(b"\n")
  elif kind in (4, 5):
    lines[at] = of_digits(lines[at], rng)
  else:
    lines[at] = of_json(lines[at].rstrip(b"\n"), rng).replace(b"\n", b" ") + b"\n"
  return b"".join(lines)


def of_text(content: bytes, rng: random.Random) -> bytes:
  """A text of lines and words, YAML among them."""
  if rng.random() < 0.3:
    return of_bytes(content, rng)
  words = content.replace(b"\n", b" \n ").split(b" ")
  at, kind = rng.randrange(len(words)), rng.randrange(6)
  odd = (b"", b"~", b"[]", b"{}", b"- -", b"*a", b"&a", b"!!python/object:os.system", b"1" + b"0" * 5000, b".nan")
  more = (b"[" * 5000, b"\0", b"\xff\xfe", b": :", b"'", b'"', b"\t", b"1e999", b"-1", b"2020-01-01", b"<<: *a")
  if kind == 0:
    del words[at]
  elif kind == 1:
    words.insert(at, words[rng.randrange(len(words))])
  elif kind == 2:
    words[at] = of_digits(words[at], rng) if words[at] else b"0"
  elif kind == 3:
    other = rng.randrange(len(words))
    words[at], words[other] = words[other], words[at]
  else:
    words[at] = rng.choice(odd + more)
  return b" ".join(words).replace(b" \n ", b"\n")


def with_other_arrays(arrays: dict[str, np.ndarray], rng: random.Random) -> dict[str, np.ndarray]:
  """Arrays of which one has other values, another shape or kind, or is gone."""
  name = rng.choice(list(arrays))
  array, changed = arrays[name], dict(arrays)
  kind = rng.randrange(10)
  if kind == 0:
    del changed[name]
  elif kind == 1:
    changed[rng.choice(("a", "../a", f"{name}x"))] = changed.pop(name)
  elif kind == 2:
    changed[name] = arrays[rng.choice(list(arrays))]
  elif kind == 3:
    changed[name] = array[..., None] if rng.random() < 0.5 or not array.ndim else array[0]
  elif kind == 4 and array.ndim:
    changed[name] = array[: rng.randrange(len(array) + 1)] if rng.random() < 0.5 else np.concatenate([array, array])
  elif kind == 5:
    changed[name] = np.array(rng.choice(("x", "", 3, 1j, np.nan, True, b"x", np.datetime64("2020-01-01"))))
  elif kind == 6 and array.dtype.kind in "iufb":
    changed[name] = array.astype(rng.choice(("f8", "f2", "i8", "u1", "c16", "?", ">f4", "U8")))
  elif kind == 7 and array.dtype.kind == "f" and array.size:
    other = array.copy()
    other.flat[rng.randrange(array.size)] = rng.choice((np.nan, np.inf, -np.inf, 1e30, -1.0))
    changed[name] = other
  elif array.size and array.dtype.kind in "iufb":
    other = array.copy()
    other.flat[rng.randrange(array.size)] = rng.choice((0, 1, 100))
    changed[name] = other
  else:
    changed[name] = np.zeros(0)
  return changed


def of_npz(content: bytes, rng: random.Random) -> bytes:
  """A `.npz` file."""
  if rng.random() < 0.4:
    return of_bytes(content, rng)
  if rng.random() < 0.3:
    return of_zip(of_npy)(content, rng)
  try:
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
      arrays = dict(found)
    result = io.BytesIO()
    rng.choice((np.savez, np.savez_compressed))(result, **with_other_arrays(arrays, rng))
    return result.getvalue()
  except Exception:  # A file that was damaged before.
    return of_bytes(content, rng)


def of_npy(content: bytes, rng: random.Random) -> bytes:
  """A `.npy` file."""
  if rng.random() < 0.4:
    return of_bytes(content, rng)
  head, end, rest = content.partition(b"\n")
  changed = rng.choice(
    (
      lambda: of_digits(head, rng),
      lambda: head.replace(b"(", rng.choice((b"(99999999999, ", b"(-1, ", b"(0, ", b"(1, ", b"(2.5, ", b"((1,), "))),
      lambda: head.replace(b"'<", b"'>"),
      lambda: head.replace(b"f4", b"O1").replace(b"f8", b"O1"),
      lambda: head.replace(b"False", b"True"),
      lambda: head + b" " * 70_000,
      lambda: head.replace(b"{", b"{" + b"(" * 300),
    )
  )()
  return changed + end + rest


def of_zip(inner: Mutator) -> Mutator:
  """A zip archive, of whose members one is mutated, with checksums that are right."""

  def mutate(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
      return of_bytes(content, rng)
    try:
      with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info), info.compress_type) for info in archive.infolist()]
    except Exception:  # As above.
      return of_bytes(content, rng)
    at, kind = rng.randrange(len(members)), rng.randrange(8)
    name, data, how = members[at]
    if kind == 0:
      del members[at]
    elif kind == 1:
      members[at] = (rng.choice(("../x", "/x", f"{name}x", "")), data, how)
    elif kind == 2:
      members[at] = (name, bytes(rng.choice((0, 100_000_000))), zipfile.ZIP_DEFLATED)
    else:
      members[at] = (name, inner(data, rng), how)
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive:
      for name, data, how in members:
        archive.writestr(zipfile.ZipInfo(name), data, how)
    return result.getvalue()

  return mutate


def of_gzip(inner: Mutator) -> Mutator:
  """A gzipped file, or one whose content is mutated before it is packed."""

  def mutate(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
      return of_bytes(content, rng)
    try:
      plain = gzip.decompress(content)
    except Exception:  # As above.
      return of_bytes(content, rng)
    return gzip.compress(inner(plain, rng) if rng.random() < 0.9 else plain + bytes(50_000_000), mtime=0)

  return mutate


def several(mutate: Mutator) -> Mutator:
  """One mutation, or now and then two or three."""

  def mutated(content: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
      content = mutate(content, rng)
    return content

  return mutated
