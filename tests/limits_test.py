"""Files that cost more than they look: pipes, devices, holes, and archives that unpack to gigabytes."""

import os
import pathlib
import re
import resource
import socket
import struct
import zipfile
import zlib

import numpy as np
import pytest
from campaigns.bombs import changed_member, gif, gzipped, inflating_npz, jpeg, laughs, npy, npz, png

import tla_tf
from tla_tf import datasets, files, limits, yaml_file
from tla_tf.config import ReadingConfig
from tla_tf.data import decoding
from tla_tf.data.decoding import UnreadableImageError
from tla_tf.data.idx import read_idx
from tla_tf.detection import Detector
from tla_tf.errors import InputError
from tla_tf.evaluation.journal import Journal
from tla_tf.persistence import RunFolder
from tla_tf.records import AnalysisArrays, read_object

PACKAGE = pathlib.Path(tla_tf.__file__).parent
GIGABYTE = 10**9


@pytest.fixture(scope="module", autouse=True)
def little_memory():
  """A bomb that goes off fails by MemoryError here, not by the end of the machine."""
  before = resource.getrlimit(resource.RLIMIT_AS)
  used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
  resource.setrlimit(resource.RLIMIT_AS, (used + GIGABYTE // 2, before[1]))
  yield
  resource.setrlimit(resource.RLIMIT_AS, before)


def odd_file(folder, kind):
  """Something that is opened like a file and is none."""
  path = folder / kind
  if kind == "pipe":
    os.mkfifo(path)
  elif kind == "device":
    path.symlink_to("/dev/zero")
  elif kind == "socket":
    with socket.socket(socket.AF_UNIX) as made:
      made.bind(os.path.relpath(path))
  return path


def write(path, content):
  path.write_bytes(content)
  return path


def holes(path, size):
  """A file of nothing but a hole."""
  with open(path, "wb") as file:
    file.truncate(size)
  return path


# ------------------------------------------------------------------- what is opened


@pytest.mark.parametrize("kind, words", [("pipe", "named pipe"), ("device", "device"), ("socket", "socket")])
def test_only_regular_files_are_opened(tmp_path, monkeypatch, kind, words):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(limits.LimitError, match=f"{words}, not a regular file") as caught:
    limits.open_regular(odd_file(tmp_path, kind))
  assert caught.value.filename == str(tmp_path / kind)


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
  regular, pipe = tmp_path / "regular", odd_file(tmp_path, "pipe")
  regular.write_bytes(b"x")
  found = os.stat(regular)
  monkeypatch.setattr(os, "stat", lambda path: found)
  with pytest.raises(limits.LimitError, match="named pipe"):
    limits.open_regular(pipe)


def test_a_file_is_read_no_further_than_it_was_long(tmp_path):
  path = tmp_path / "x"
  path.write_bytes(b"abc\r\nd\re")
  assert limits.read_bytes(path) == b"abc\r\nd\re" and limits.read_text(path) == path.read_text() == "abc\nd\ne"
  assert limits.read_bytes("/proc/self/maps") == b""
  with pytest.raises(limits.LimitError, match="8 bytes, at most 7 bytes"):
    limits.read_bytes(path, 7)
  for missing, kind in ((tmp_path, IsADirectoryError), (tmp_path / "y", FileNotFoundError)):
    with pytest.raises(kind):
      limits.read_bytes(missing)


def test_holes_are_counted(tmp_path, monkeypatch):
  path = holes(tmp_path / "x", 4 * GIGABYTE)
  with pytest.raises(limits.LimitError, match="holds 4 GB in 0 bytes of disk.*`max_unpacked_gb=4` allows it"):
    limits.read_bytes(path)
  with pytest.raises(limits.LimitError):
    files.digest(path)
  monkeypatch.setenv(limits.VARIABLE, "4")
  with limits.open_regular(path) as file:
    assert file.read(3) == bytes(3)
  monkeypatch.setenv(limits.VARIABLE, "0")
  path.write_bytes(bytes(100_000))
  assert limits.read_bytes(path) == bytes(100_000)


@pytest.mark.parametrize("text", ["many", "nan", "-1", "inf", "1e300"])
def test_a_limit_that_is_no_number_is_refused(monkeypatch, text):
  monkeypatch.setenv(limits.VARIABLE, text)
  with pytest.raises(InputError, match=f"{limits.VARIABLE}={text}"):
    limits.unpacked_bytes()
  if text != "many":
    with pytest.raises(InputError, match="`max_unpacked_gb"):
      limits.allow_unpacked(float(text))


# ------------------------------------------------------------------- .npz


def test_arrays_are_read_back(tmp_path):
  arrays = {"a": np.arange(6).reshape(2, 3), "b": np.array(["x", "yz"]), "c": np.array(2.5), "d": np.zeros((0, 3))}
  arrays["e"] = np.asfortranarray(arrays["a"])
  for save in (np.savez, np.savez_compressed):
    save(tmp_path / "x.npz", **arrays)
    found = files.read_arrays(tmp_path / "x.npz")
    assert list(found) == list(arrays) == files.array_names(tmp_path / "x.npz")
    for name, array in arrays.items():
      np.testing.assert_array_equal(found[name], array)
      assert found[name].dtype == array.dtype
  assert list(files.read_arrays(tmp_path / "x.npz", ("b", "z"))) == ["b"]


def test_an_archive_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path):
  write(tmp_path / "x.npz", inflating_npz("x_train", 150))
  with pytest.raises(limits.LimitError, match="holds 2.52 GB in 2.4[0-9] MB of disk.*`max_unpacked_gb=3`"):
    files.read_arrays(tmp_path / "x.npz")
  with pytest.raises(InputError, match="x.npz: refused .*`max_unpacked_gb=3` allows it"):
    datasets.load("npz", tmp_path / "x.npz")


@pytest.mark.parametrize(
  "content, words",
  [
    (npy((4 * GIGABYTE,)), "declares uint8"),
    (npy((2**40, 2**40, 2**40)), "declares uint8"),
    (npy((3,), content=b"ab"), "declares uint8"),
    (npy((1,), content=b"ab"), "declares uint8"),
    (npy((10**12,), "<U0"), "declares <U0"),
    (npy((-1,), content=b"a"), "declares uint8"),
    (b"\x93NUMPY\2\0" + struct.pack("<I", 2**31), "header of an array is too long"),
    (b"\x93NUMPY\1\0" + struct.pack("<H", 60_000) + b"  ", "header of an array is too long"),
    (b"\x93NUMPY\1\0\x0a\0" + b"(" * 10, "Error: "),
    (b"", "no array"),
    (b"no array at all", "no array"),
  ],
)
def test_arrays_that_are_not_what_they_declare_are_not_made(tmp_path, content, words):
  with pytest.raises(ValueError, match=words):
    files.read_arrays(write(tmp_path / "x.npz", npz({"x": content})))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [10, 500_000_000])
def test_members_that_hold_more_or_less_than_they_declare_are_refused(tmp_path, method, size):
  content = npz({"x": npy((1000,), content=bytes(1000))}, method)
  with pytest.raises(ValueError, match="BadZipFile|ValueError|EOFError"):
    files.read_arrays(write(tmp_path / "x.npz", changed_member(content, 24, "<I", size)))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_end_are_refused(tmp_path, method):
  with pytest.raises(ValueError, match="neither stored nor deflated"):
    files.read_arrays(write(tmp_path / "x.npz", npz({"x": npy((1,), content=b"a")}, method)))


def test_names_that_are_there_twice_are_refused(tmp_path):
  with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
    for _ in range(2):
      archive.writestr("x.npy", npy((1,), content=b"a"))
  with pytest.raises(ValueError, match="twice"):
    files.read_arrays(tmp_path / "x.npz")


# ------------------------------------------------------------------- IDX


@pytest.mark.parametrize(
  "count, words",
  [
    (3, "23 bytes or more, but its header .* asks for 22"),
    (2**31, "refused .holds 4.29 GB in 2.4[0-9] MB of disk.*`max_unpacked_gb=5`"),
  ],
)
def test_a_gzip_file_is_unpacked_no_further_than_its_header_says(tmp_path, count, words):
  with pytest.raises(InputError, match=words):
    read_idx(write(tmp_path / "x.gz", gzipped(struct.pack(">4B3I", 0, 0, 8, 3, count, 2, 1), 150)), 3)


def test_an_idx_file_that_is_none_is_not_waited_for(tmp_path):
  for kind in ("pipe", "device"):
    with pytest.raises(InputError, match=f"{kind}: refused .*not a regular file"):
      read_idx(odd_file(tmp_path, kind), 3)
  with pytest.raises(InputError, match="holds 3 GB in"):
    read_idx(holes(tmp_path / "x", 3 * GIGABYTE), 3)


# ------------------------------------------------------------------- images


@pytest.mark.parametrize(
  "content, words",
  [
    (jpeg(600, 16), "a JPEG image of 600 scans"),
    (jpeg(300, 3000), "a JPEG image of 300 scans"),
    (png(*[(b"abCd", b"")] * 6_000), "too many small pieces"),
    (png(*[(b"iCCP", b"a\0\0" + zlib.compress(bytes(9)))] * 40), "many colour profiles"),
    (gif(b"\x21\xfe" + b"\x01a" * 6_000 + b"\0"), "too many small pieces"),
  ],
  ids=["scans", "scanned pixels", "chunks", "profiles", "blocks"],
)
def test_images_that_would_take_long_are_not_decoded(tmp_path, monkeypatch, content, words):
  monkeypatch.setattr(limits, "IMAGE_READS", 10_000)
  (tmp_path / "x").write_bytes(content)
  with pytest.raises(UnreadableImageError, match=f"x: .*{words}.*; save it again"):
    decoding.read_image(tmp_path / "x")


@pytest.mark.parametrize(
  "content", [jpeg(100, 16), png(*[(b"abCd", b"")] * 1000), gif(b"\x21\xfe\x01a\0")], ids=["jpeg", "png", "gif"]
)
def test_images_that_take_no_time_are_decoded(tmp_path, content):
  (tmp_path / "x").write_bytes(content)
  assert decoding.read_image(tmp_path / "x").shape == (16, 16, 3)


@pytest.mark.parametrize("kind", ["pipe", "device", "holes"])
def test_what_is_no_file_among_images_is_named_or_left_out(tmp_path, kind):
  for i in range(2):
    for part in ("train", "test"):
      for j in range(3):
        path = tmp_path / "data" / part / f"class_{i}" / f"{j}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png())
  odd = tmp_path / "data" / "train" / "class_0"
  odd = holes(odd / kind, 10**12) if kind == "holes" else odd_file(odd, kind)
  with pytest.raises(InputError, match=f"{odd}: refused .*(not a regular file|1 TB, at most 537 MB)"):
    datasets.load("images", tmp_path / "data", cache_dir=tmp_path / "cache")
  without = ReadingConfig(skip_bad=True)
  splits = datasets.load("images", tmp_path / "data", reading=without, cache_dir=tmp_path / "cache")
  assert [left.path for left in splits.left_out] == [str(odd)]
  assert len(splits.train) + len(splits.heldout) == len(splits.test) == 6


# ------------------------------------------------------------------- YAML


@pytest.mark.parametrize(
  "text, words",
  [
    (laughs(), "aliases that stand for more than 100,000 values in line 6"),
    ("a: &a [1, *a]\n", "an alias of what it is a part of in line 1"),
    ("a: &a {b: {c: *a}}\n", "an alias of what it is a part of in line 1"),
    ("".join(f"k{i}: 1\n" for i in range(20_000)), "refused .189 kB, at most 131 kB"),
    ("[" * 2000, "nested too deeply in line 1, column 65"),
    ("? [a]\n: 1\n", "a name is expected before ':' in line 1"),
  ],
  ids=["laughs", "itself", "its part", "long", "deep", "list as name"],
)
def test_yaml_that_stands_for_more_than_it_says_is_refused(tmp_path, text, words):
  (tmp_path / "x.yaml").write_text(text)
  with pytest.raises(InputError, match=f"x.yaml: .*{words}"):
    yaml_file.read(tmp_path / "x.yaml")


def test_aliases_that_people_write_are_read():
  assert yaml_file.parse("a: &a [1, 2]\nb: *a\nc: [*a, *a]\n") == {"a": [1, 2], "b": [1, 2], "c": [[1, 2], [1, 2]]}


# ------------------------------------------------------------------- JSON


def test_json_of_too_many_values_is_not_parsed(tmp_path):
  for text in ('{"a": [' + "[]," * 1_100_000 + "[]]}", '{"a": [' + "1," * 1_100_000 + "1]}"):
    (tmp_path / "x.json").write_text(text)
    for read in (read_object, yaml_file.read):
      with pytest.raises(InputError, match="x.json: refused .JSON of more than 1,048,576 values"):
        read(tmp_path / "x.json")


# ------------------------------------------------------------------- everywhere


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize(
  "read",
  [
    yaml_file.read,
    read_object,
    files.digest,
    Detector.load,
    AnalysisArrays.read,
    lambda path: RunFolder(path.parent).read_metrics(),
    lambda path: files.locked(path, "taken").__enter__(),
    lambda path: Journal(path.parent, 1).open().__enter__(),
  ],
  ids=["yaml", "json", "digest", "detector", "arrays", "metrics", "lock", "journal"],
)
def test_no_reader_waits_for_what_is_no_file(tmp_path, kind, read):
  path = odd_file(tmp_path, kind)
  path.rename(tmp_path / "metrics.jsonl")
  (Journal(tmp_path, 1).path).symlink_to("metrics.jsonl")
  with pytest.raises((InputError, OSError), match="metrics.jsonl|symbolic"):
    read(tmp_path / "metrics.jsonl")


def test_a_lock_or_journal_that_is_a_link_does_not_change_another_file(tmp_path):
  (tmp_path / "dear").write_text("text\n")
  for place in (tmp_path / "lock", Journal(tmp_path, 1).path):
    place.symlink_to("dear")
  for opened in (lambda: files.locked(tmp_path / "lock", "taken"), Journal(tmp_path, 1).open):
    with pytest.raises((InputError, OSError), match="symbolic"), opened():
      pass
  assert (tmp_path / "dear").read_text() == "text\n"


# What opens files; a run folder is none.
OPENS = (
  r"(?<!limits)\.read_(?:text|bytes)\(|(?<![\w.])(?<!def )open\(|[\w)\]]*(?<!\bRunFolder)\.open\("
  r"|\bnp(?:\.\w+)*\.(?:load|loadtxt|genfromtxt|fromfile|memmap|open_memmap)\("
  r"|\b(?:ZipFile|GzipFile|h5py\.File|TFRecordDataset|GFile|io\.read_file)\("
)
# Files that this package brings along or the system makes, logs that are written only, arrays whose digests were
# compared before, a journal that is open already, and what `limits` has opened or read.
OWN = {
  "binaries/entry.py": {"os.open("},
  "comparing/jobs.py": {"open("},
  "data/decoding.py": {"Image.open("},
  "data/idx.py": {"GzipFile("},
  "evaluation/journal.py": {"open("},
  "evaluation/run_evaluation.py": {"journal.open("},
  "settings/presets.py": {".read_text("},
  "training/event_files.py": {"TFRecordDataset("},
  "training/machine.py": {".read_text("},
  "persistence/keras_file_check.py": {"h5py.File("},
  "files.py": {"os.open(", "open(", "archive.open(", "np.load(", "np.lib.format.open_memmap("},
  "limits.py": {"os.open(", "ZipFile("},
}


def test_the_library_opens_files_through_limits():
  for path in PACKAGE.rglob("*.py"):
    name = path.relative_to(PACKAGE).as_posix()
    assert {*re.findall(OPENS, path.read_text("utf-8"))} <= OWN.get(name, set()), name


def test_what_opens_a_file_is_known():
  for text in (
    *("open(path)", "path.open()", '(path / "a").open("rb")', "gzip.open(path)", "os.open(path, 0)", "GFile(path)"),
    *("path.read_text()", "path.read_bytes()", "np.load(path)", "np.fromfile(path)", "np.memmap(path)"),
    *("h5py.File(path)", "tf.data.TFRecordDataset(path)", "zipfile.ZipFile(path)"),
  ):
    assert re.search(OPENS, text), text
  for text in ("limits.read_text(path)", "limits.open_zip(path)", "RunFolder.open(path)", "def open(self)"):
    assert not re.search(OPENS, text), text
