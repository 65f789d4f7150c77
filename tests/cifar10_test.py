"""CIFAR-10: what was written is read, and neither damage nor malice goes further than an InputError."""

import copyreg
import functools
import os
import pathlib
import pickle
import struct
import time
import tracemalloc

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tla_tf import datasets
from tla_tf.data import ImageData, pickled_arrays, tfds_reader
from tla_tf.datasets.cifar10 import CLASS_NAMES, load_cifar10
from tla_tf.errors import InputError

MANY = hypothesis.settings(max_examples=100)
NAMES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


# ------------------------------------------------------------------- writing the files


def text(string):
  """A string as Python 2 pickles it."""
  content = string if isinstance(string, bytes) else string.encode()
  return b"U" + struct.pack("<B", len(content)) + content if len(content) < 256 else long_text(content)


def long_text(content):
  return b"T" + struct.pack("<i", len(content)) + content


def number(n):
  return b"J" + struct.pack("<i", n)


DTYPE = b"cnumpy\ndtype\n" + text("u1") + b"K\x00K\x01\x87R(K\x03" + text("|") + b"NNN" + 2 * number(-1) + b"K\x00tb"


def array2(content, *shape, dtype=DTYPE, shape_code=None):
  """A NumPy array as Python 2 pickles it."""
  shape_code = shape_code or b"(" + b"".join(map(number, shape)) + b"t"
  return (
    b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85q\x03"
    + text("b")
    + b"\x87q\x04Rq\x05(K\x01"
    + shape_code
    + dtype
    + b"\x89"
    + content
    + b"tb"
  )


def dict2(**entries):
  """A dict of pickled entries as Python 2 pickles it."""
  return b"\x80\x02}q\x00(" + b"".join(text(key) + entry for key, entry in entries.items()) + b"u."


def python2(planes, labels):
  """A batch file as Python 2's cPickle wrote the official ones."""
  return dict2(
    batch_label=text("training batch 1 of 5"),
    labels=b"]q\x06(" + b"".join(map(number, labels)) + b"e",
    data=array2(long_text(planes.tobytes()), *planes.shape),
    filenames=b"](" + b"".join(text(f"{i}.png") for i in range(len(labels))) + b"e",
  )


def python3(planes, labels, protocol=4):
  return pickle.dumps({"batch_label": "training batch 1 of 5", "labels": labels, "data": planes}, protocol)


def binary(planes, labels):
  return np.column_stack([np.array(labels, np.uint8), planes]).tobytes()


WRITERS = {
  "binary": binary,
  "python2": python2,
  **{f"protocol{p}": functools.partial(python3, protocol=p) for p in range(5)},
}
PICKLES = [name for name in WRITERS if name != "binary"]


def batch(seed, count=4):
  """Planes [count, 3072] and labels of a batch file."""
  random = np.random.default_rng(seed)
  return random.integers(0, 256, (count, 3072), dtype=np.uint8), random.integers(0, 10, count).tolist()


def write(folder, writer="binary", count=4):
  """Writes the six files; returns their paths."""
  folder.mkdir(parents=True, exist_ok=True)
  paths = [folder / (f"{name}.bin" if writer == "binary" else name) for name in NAMES]
  for i, path in enumerate(paths):
    path.write_bytes(WRITERS[writer](*batch(i, count)))
  return paths


def is_whole(splits):
  """Whether splits are what training expects of them."""
  return all(
    part.images.dtype == np.uint8
    and part.image_shape == (32, 32, 3)
    and len(part) == len(part.labels)
    and set(part.labels) <= set(range(10))
    for part in (splits.train, splits.heldout, splits.test)
  )


@pytest.fixture(scope="module", params=["binary", "python2", "protocol0", "protocol4"])
def files(request, tmp_path_factory):
  """The six files, of which hypothesis spoils one, and the content of that one."""
  paths = write(tmp_path_factory.mktemp(request.param), request.param, count=1)
  return paths, paths[2].read_bytes()


# ------------------------------------------------------------------- what was written is read


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("source", ["files", "auto"])
def test_cifar10_is_read_and_its_first_images_held_out(tmp_path, writer, source):
  write(tmp_path, writer)
  splits = load_cifar10(tmp_path, source, heldout=3)
  images, labels = (np.concatenate(part) for part in zip(*(batch(i) for i in range(6))))
  images = np.moveaxis(images.reshape(24, 3, 32, 32), 1, 3)
  for part, selection in ((splits.heldout, slice(3)), (splits.train, slice(3, 20)), (splits.test, slice(20, None))):
    np.testing.assert_array_equal(part.images, images[selection])
    np.testing.assert_array_equal(part.labels, labels[selection])
    assert part.images.dtype == np.uint8 and part.labels.dtype == np.int32
    assert part.class_names == CLASS_NAMES and part.class_names[3] == "cat"


@pytest.mark.parametrize("writer", WRITERS)
def test_planes_are_red_green_blue_row_by_row(tmp_path, writer):
  planes = np.zeros((1, 3072), np.uint8)
  planes[0, [0, 1, 32, 1023, 1024, 2048, 3071]] = [1, 2, 3, 4, 5, 6, 7]
  paths = write(tmp_path, writer)
  paths[-1].write_bytes(WRITERS[writer](planes, [9]))
  test = load_cifar10(tmp_path).test
  places = {(0, 0, 0): 1, (0, 1, 0): 2, (1, 0, 0): 3, (31, 31, 0): 4, (0, 0, 1): 5, (0, 0, 2): 6, (31, 31, 2): 7}
  assert {place: test.images[0][place] for place in places} == places
  assert np.count_nonzero(test.images) == 7 and test.labels.tolist() == [9]


@pytest.mark.parametrize("writer, above", [("binary", "cifar-10-batches-bin"), ("python2", "cifar-10-batches-py")])
def test_the_folder_above_is_accepted(tmp_path, writer, above):
  write(tmp_path / above, writer)
  assert load_cifar10(tmp_path).digest() == load_cifar10(tmp_path / above).digest()


def test_all_versions_read_alike(tmp_path):
  for writer in WRITERS:
    write(tmp_path / writer, writer)
  assert len({load_cifar10(tmp_path / writer).digest() for writer in WRITERS}) == 1


def test_columns_first_arrays_are_read(tmp_path):
  paths = write(tmp_path, "protocol2")
  planes, labels = batch(5)
  paths[5].write_bytes(python3(np.asfortranarray(planes), labels, 2))
  write(tmp_path / "rows", "protocol2")
  assert load_cifar10(tmp_path).digest() == load_cifar10(tmp_path / "rows").digest()


def test_older_and_newer_numpys_names_are_read(tmp_path):
  paths = write(tmp_path, "protocol2")
  content = paths[0].read_bytes()
  before = load_cifar10(tmp_path).digest()
  old, new = b"numpy.core.multiarray", b"numpy._core.multiarray"
  paths[0].write_bytes(content.replace(new, old) if new in content else content.replace(old, new))
  assert content != paths[0].read_bytes() and load_cifar10(tmp_path).digest() == before


def test_other_files_beside_the_batches_are_left_alone(tmp_path):
  for writer, others in (("binary", ["batches.meta.txt", "readme.html"]), ("python2", ["batches.meta", "readme.html"])):
    write(tmp_path / writer, writer)
    for name in others:
      (tmp_path / writer / name).write_text("airplane")
    assert is_whole(load_cifar10(tmp_path / writer))


@pytest.mark.parametrize("count, asked, heldout", [(1, 0, 1), (4, 0, 2), (40, 0, 20), (4, 7, 7), (4, 19, 19)])
def test_a_tenth_is_held_out_unless_a_number_is_asked_for(tmp_path, count, asked, heldout):
  write(tmp_path, count=count)
  splits = load_cifar10(tmp_path, heldout=asked)
  assert (len(splits.heldout), len(splits.train), len(splits.test)) == (heldout, 5 * count - heldout, count)


def test_no_more_than_1000_are_held_out_by_default(tmp_path, monkeypatch):
  parts = [
    ImageData(np.zeros((count, 1, 1, 3), np.uint8), np.zeros(count, int), CLASS_NAMES) for count in (50_000, 10_000)
  ]
  monkeypatch.setattr(tfds_reader, "read", lambda name, data_dir: parts)
  splits = load_cifar10(tmp_path, "tfds")
  assert (len(splits.train), len(splits.heldout), len(splits.test)) == (49_000, 1_000, 10_000)


def test_an_image_is_left_to_train_on(tmp_path):
  write(tmp_path)
  with pytest.raises(InputError, match="20 training images are too few to hold out 20"):
    load_cifar10(tmp_path, heldout=20)


def test_cifar10_is_loaded_by_name(tmp_path):
  write(tmp_path)
  assert datasets.load("cifar10", tmp_path).digest() == load_cifar10(tmp_path).digest()


# ------------------------------------------------------------------- damage


@hypothesis.given(st.data())
@MANY
def test_a_truncated_batch_is_refused(files, choose):
  paths, content = files
  paths[2].write_bytes(content[: choose.draw(st.integers(0, len(content) - 1))])
  with pytest.raises(InputError, match="data_batch_3.*download it again"):
    load_cifar10(paths[0].parent)


@hypothesis.given(st.data())
@MANY
def test_a_truncated_binary_batch_of_several_records_is_refused_or_has_whole_ones(tmp_path_factory, choose):
  length = choose.draw(st.one_of(st.integers(0, 3 * 3073 - 1), st.integers(0, 2).map(lambda n: n * 3073)))
  folder = tmp_path_factory.mktemp("truncated")
  paths = write(folder, count=3)
  paths[5].write_bytes(paths[5].read_bytes()[:length])
  if length and length % 3073 == 0:
    assert len(load_cifar10(folder).test) == length // 3073
  else:
    with pytest.raises(InputError, match="test_batch.bin.*truncated or damaged"):
      load_cifar10(folder)


@pytest.mark.parametrize("files", ["python2", "protocol0", "protocol4"], indirect=True)
@hypothesis.given(choose=st.data())
@MANY
def test_a_changed_byte_of_a_batch_is_refused_or_changes_values_only(files, choose):
  paths, content = files
  # The pixels are most of a file, and the least of its structure.
  pixels = content.find(batch(2, 1)[0].tobytes()[-9:])
  place = choose.draw(st.one_of(st.integers(0, 400), st.integers(pixels, len(content) - 1), st.integers(0, 3000)))
  paths[2].write_bytes(content[:place] + bytes([choose.draw(st.integers(0, 255))]) + content[place + 1 :])
  try:
    assert is_whole(load_cifar10(paths[0].parent))
  except InputError as error:
    assert "data_batch_3" in str(error) and "\n" not in str(error)


SMALL = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2]}
SMALL_PICKLES = {
  **{str(p): pickle.dumps(SMALL, p) for p in range(5)},
  "python2": dict2(data=array2(text(bytes(range(6))), 2, 3), labels=b"](K\x01K\x02e"),
}


def read_or_refuse(content):
  """What a pickle holds, if it is not refused."""
  try:
    found = pickled_arrays.read("here", content)
  except InputError as error:
    assert str(error).startswith("here: ") and "\n" not in str(error)
    return None
  assert all(isinstance(key, str) for key in found)
  assert all(value.dtype == np.uint8 for value in found.values() if isinstance(value, np.ndarray))
  return found


@pytest.mark.parametrize("content", SMALL_PICKLES.values(), ids=SMALL_PICKLES)
def test_every_flipped_bit_of_a_pickle_is_refused_or_read(content):
  assert read_or_refuse(content)["data"].tolist() == SMALL["data"].tolist()
  for place in range(len(content)):
    for bit in range(8):
      read_or_refuse(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])


@pytest.mark.parametrize("content", SMALL_PICKLES.values(), ids=SMALL_PICKLES)
def test_every_truncation_of_a_pickle_is_refused(content):
  assert [n for n in range(len(content)) if read_or_refuse(content[:n]) is not None] == []


@hypothesis.given(
  st.sampled_from(sorted(SMALL_PICKLES)),
  st.lists(st.tuples(st.integers(0, 400), st.integers(0, 20), st.binary(max_size=20)), min_size=1, max_size=4),
)
@hypothesis.settings(max_examples=200)
def test_pickles_with_pieces_replaced_are_refused_or_read(name, changes):
  content = SMALL_PICKLES[name]
  for place, length, piece in changes:
    content = content[:place] + piece + content[place + length :]
  read_or_refuse(content)


@hypothesis.given(
  st.lists(
    st.sampled_from(
      [
        *(bytes([b]) for b in b"()]}.12345RbtsuaelNOQPq0h\x81\x85\x86\x87\x93\x94"),
        b"q\x00",
        b"h\x00",
        b"K\x01",
        text("data"),
        text("u1"),
        b"cnumpy\ndtype\n",
        b"cnumpy\nndarray\n",
        b"c_codecs\nencode\n",
        DTYPE,
        b"cnumpy.core.multiarray\n_reconstruct\n",
      ]
    ),
    max_size=25,
  )
)
@hypothesis.settings(max_examples=200)
def test_any_sequence_of_operations_is_refused_or_read(operations):
  read_or_refuse(b"}" + b"".join(operations) + b".")


@pytest.mark.parametrize("writer", ["binary", "python2", "protocol4"])
@pytest.mark.parametrize("name", NAMES)
def test_a_missing_batch_is_named(tmp_path, writer, name):
  paths = write(tmp_path, writer)
  missing = paths[NAMES.index(name)]
  missing.unlink()
  with pytest.raises(InputError, match=f"{missing.name}: no such file; CIFAR-10 has five"):
    load_cifar10(tmp_path)


@pytest.mark.parametrize(
  "writer, surplus",
  [
    ("binary", "data_batch_6.bin"),
    ("binary", "data_batch_10.bin"),
    ("binary", "my_batch.bin"),
    ("python2", "data_batch_6"),
    ("protocol4", "test_batch_2"),
  ],
)
def test_a_surplus_batch_is_refused(tmp_path, writer, surplus):
  content = write(tmp_path, writer)[0].read_bytes()
  (tmp_path / surplus).write_bytes(content)
  with pytest.raises(InputError, match=f"{surplus}: is none of CIFAR-10's six"):
    load_cifar10(tmp_path)


@pytest.mark.parametrize("writer", ["binary", "python2", "protocol4"])
@pytest.mark.parametrize("label", [10, 255])
def test_a_label_out_of_range_is_refused(tmp_path, writer, label):
  paths = write(tmp_path, writer)
  paths[1].write_bytes(WRITERS[writer](batch(1)[0], [0, 1, label, 2]))
  with pytest.raises(InputError, match=rf"data_batch_2.*label {label} is outside 0\.\.9"):
    load_cifar10(tmp_path)


@pytest.mark.parametrize("writer", ["binary", "python2"])
def test_a_folder_in_place_of_a_batch_is_refused(tmp_path, writer):
  paths = write(tmp_path, writer)
  paths[1].unlink()
  paths[1].mkdir()
  with pytest.raises(InputError, match="data_batch_2.*cannot be read"):
    load_cifar10(tmp_path)


def test_binary_files_without_their_suffix_are_refused(tmp_path):
  for path in write(tmp_path):
    path.rename(path.with_suffix(""))
  with pytest.raises(InputError, match="data_batch_1: "):
    load_cifar10(tmp_path)


@pytest.mark.parametrize(
  "folder, told", [("", "neither CIFAR-10's files nor data that TFDS prepared"), ("nowhere", "nowhere: no such folder")]
)
def test_a_folder_without_batches_is_refused(tmp_path, folder, told):
  with pytest.raises(InputError, match="none of CIFAR-10's batch files"):
    load_cifar10(tmp_path / folder, "files")
  with pytest.raises(InputError, match=told):
    load_cifar10(tmp_path / folder)


def test_files_without_a_folder_are_refused():
  with pytest.raises(InputError, match="`data_dir`"):
    load_cifar10(None, "files")


# ------------------------------------------------------------------- pickles of something else


PLANES = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
  "change, message",
  [
    ({"data": PLANES.astype(np.float32)}, "not uint8"),
    ({"data": PLANES.astype(">i2")}, "not uint8"),
    ({"data": PLANES.astype(bool)}, "not uint8"),
    ({"data": PLANES.astype(object)}, "not uint8"),
    ({"data": PLANES[:, 1:]}, r"no array \[n, 3072\]"),
    ({"data": PLANES.reshape(2, 3, 1024)}, "no array"),
    ({"data": PLANES.ravel()}, "no array"),
    ({"data": PLANES.reshape(2, 3, 8, 8, 16)}, "shape"),
    ({"data": PLANES.tolist()}, "no array"),
    ({"data": None}, "no array"),
    ({"data": PLANES[:0]}, "0 images"),
    ({"data": PLANES[0, 0]}, "multiarray.scalar"),
    ({"data": PLANES[:1]}, "1 images but 2 labels"),
    ({"labels": [1]}, "2 images but 1 labels"),
    ({"labels": [1, 2, 3]}, "2 images but 3 labels"),
    ({"labels": []}, "2 images but 0 labels"),
    ({"labels": (1, 2)}, "no list"),
    ({"labels": [1, 256]}, "no list"),
    ({"labels": np.array([1, 2], np.uint8)}, "no list"),
    ({"labels": [1, -1]}, "no list"),
    ({"labels": [True, False]}, "no list"),
    ({"labels": ["1", "2"]}, "no list"),
    ({"labels": [1, None]}, "no list"),
    ({"labels": [1, [2]]}, "no list"),
    ({"labels": [1, 2**200]}, "no list"),
    ({"labels": [1, 2.0]}, "BINFLOAT"),
    ({"labels": {1, 2}}, "refused"),
    ({"labels": [1, 10]}, "label 10 is outside"),
  ],
  ids=str,
)
def test_entries_of_another_kind_are_refused(tmp_path, change, message):
  paths = write(tmp_path, "protocol4", count=2)
  for protocol in (2, 4):
    paths[3].write_bytes(pickle.dumps({"data": PLANES, "labels": [1, 2], **change}, protocol))
    with pytest.raises(InputError, match=f"data_batch_4: .*{message if protocol == 4 else ''}"):
      load_cifar10(tmp_path)


@pytest.mark.parametrize("key", ["data", "labels"])
def test_a_missing_entry_is_named(tmp_path, key):
  paths = write(tmp_path, "protocol4", count=2)
  paths[0].write_bytes(pickle.dumps({k: v for k, v in {"data": PLANES, "labels": [1, 2]}.items() if k != key}, 4))
  with pytest.raises(InputError, match=f"data_batch_1: has no entry '{key}'"):
    load_cifar10(tmp_path)


def test_newer_protocols_are_refused_by_the_name_that_they_use():
  with pytest.raises(InputError, match="refers to 'numpy._core.numeric._frombuffer'"):
    pickled_arrays.read("here", pickle.dumps(SMALL, 5))


@pytest.mark.parametrize("thing", [[1], (1,), "x", 1, None, np.zeros(3, np.uint8)], ids=str)
def test_a_pickle_of_no_dict_is_refused(thing):
  with pytest.raises(InputError, match="here: holds a pickled .*expected a dict"):
    pickled_arrays.read("here", pickle.dumps(thing, 4))


@pytest.mark.parametrize("key", [1, None, True, (1, 2), ("data",), 2**61 - 1], ids=str)
def test_keys_that_are_no_strings_are_refused(key):
  for protocol in range(5):
    for content in ({key: 1}, {"data": 1, key: 2}, {"data": {key: 2}}):
      assert read_or_refuse(pickle.dumps(content, protocol)) is None


def test_byte_keys_become_strings():
  assert pickled_arrays.read("here", pickle.dumps({b"data": 1, b"\xff": 2}, 4)) == {"data": 1, "\xff": 2}


FOUR = text(b"abcd")


CALL = b"\x85R"
DTYPE_NAME, NDARRAY, ENCODE = b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"c_codecs\nencode\n"
SHAPES = {
  "a number": number(4),
  "a list": b"](K\x02K\x02e",
  "nothing": b"N\x85",
  "a string": text("4") + b"\x85",
  "2**64": b"\x8a\x09" + bytes(8) + b"\x01\x85",
  "2**2000": b"\x8a\xff" + b"\x7f" * 255 + b"\x85",
}
TYPES = {
  "a name": DTYPE_NAME,
  "no argument": DTYPE_NAME + b")R",
  "objects": DTYPE_NAME + text("O8") + CALL,
  "floats": DTYPE_NAME + text("f4") + CALL,
  "none": b"N",
  "an array": NDARRAY + text("u1") + CALL,
  "a string": text("u1"),
  "a list": DTYPE_NAME + b"]" + CALL,
}
CONTENTS = {
  "a number": b"K\x04",
  "a list": b"]",
  "none": b"N",
  "objects": b"]" + FOUR + b"a",
  "another encoding": ENCODE + b"(" + FOUR + text("rot13") + b"tR",
  "an encoded number": ENCODE + b"(K\x04" + text("latin1") + b"tR",
  "no argument": ENCODE + b")R",
  "no encoding": ENCODE + FOUR + CALL,
  "a letter that is no byte": b"X\x05\0\0\0abc\xc4\x80",
}
STATES = {"a number": b"K\x01b", "an empty tuple": b")b", "a dict": b"}b", "a list": b"]b"}
NO_ARRAYS = {
  **{
    f"shape {shape}": array2(FOUR, *shape)
    for shape in [(-1, 4), (-2, -2), (4, -1), (2, 3), (1, 1), (0, 4), (5,), (3,), (1, 1, 1, 1, 4), (1,) * 70]
  },
  **{f"shape: {name}": array2(FOUR, shape_code=code) for name, code in SHAPES.items()},
  **{f"type: {name}": array2(FOUR, 1, dtype=code) for name, code in TYPES.items()},
  **{f"content: {name}": array2(code, 4) for name, code in CONTENTS.items()},
  **{f"state: {name}": array2(FOUR, 4) + code for name, code in STATES.items()},
  "no state": array2(FOUR, 4).partition(b"(K\x01")[0],
  "a type": DTYPE,
  "made directly": NDARRAY + b"K\x04" + CALL,
  "encoded": ENCODE + FOUR + CALL,
}


@pytest.mark.parametrize("array", NO_ARRAYS.values(), ids=NO_ARRAYS)
def test_arrays_that_are_no_byte_arrays_are_refused(array):
  assert read_or_refuse(dict2(data=array2(FOUR, 2, 2)))["data"].tolist() == [[97, 98], [99, 100]]
  assert read_or_refuse(dict2(data=array, labels=b"]")) is None


def test_names_without_a_call_are_no_arrays(tmp_path):
  paths = write(tmp_path, "python2")
  paths[0].write_bytes(dict2(data=b"cnumpy\nndarray\n", labels=b"]K\x01a"))
  with pytest.raises(InputError, match="no array"):
    load_cifar10(tmp_path)


# ------------------------------------------------------------------- malice


class Touching:
  """Makes a file when it is made or set."""

  def __new__(cls, path=None):
    if path:
      pathlib.Path(path).touch()
    return super().__new__(cls)

  def __setstate__(self, state):
    pathlib.Path(state["path"] if isinstance(state, dict) else state).touch()


HERE = f"c{__name__}\nTouching\n".encode()
EXTENSION = 17


def unicode(string):
  return b"\x8c" + bytes([len(string)]) + string.encode()


# Pickled values that make the file `p` when they are loaded.
ATTACKS = {
  "GLOBAL os.system": lambda p: b"cos\nsystem\n(" + text(f"touch {p}") + b"tR",
  "GLOBAL posix.system": lambda p: b"cposix\nsystem\n" + text(f"touch {p}") + b"\x85R",
  "GLOBAL builtins.eval": lambda p: b"cbuiltins\neval\n" + text(f"open({str(p)!r}, 'w')") + b"\x85R",
  "GLOBAL __builtin__.eval": lambda p: b"c__builtin__\neval\n" + text(f"open({str(p)!r}, 'w')") + b"\x85R",
  "GLOBAL builtins.exec": lambda p: b"cbuiltins\nexec\n" + text(f"import numpy; open({str(p)!r}, 'w')") + b"\x85R",
  "STACK_GLOBAL": lambda p: unicode("os") + unicode("system") + b"\x93" + unicode(f"touch {p}") + b"\x85R",
  "STACK_GLOBAL memoized": lambda p: (
    unicode("os") + b"q\x200" + unicode("system") + b"q\x210h\x20h\x21\x93" + unicode(f"touch {p}") + b"\x85R"
  ),
  "STACK_GLOBAL dotted": lambda p: (
    b"\x80\x04" + unicode("shutil") + unicode("os.system") + b"\x93" + text(f"touch {p}") + b"\x85R"
  ),
  "INST": lambda p: b"(" + text(f"touch {p}") + b"ios\nsystem\n",
  "OBJ": lambda p: b"(cos\nsystem\n" + text(f"touch {p}") + b"o",
  "NEWOBJ": lambda p: HERE + text(str(p)) + b"\x85\x81",
  "NEWOBJ_EX": lambda p: HERE + text(str(p)) + b"\x85}\x92",
  "REDUCE": lambda p: HERE + text(str(p)) + b"\x85R",
  "BUILD __setstate__": lambda p: HERE + b")R" + text(str(p)) + b"b",
  "BUILD dict": lambda p: HERE + b")R}" + text("path") + text(str(p)) + b"sb",
  "EXT1": lambda p: b"\x82" + bytes([EXTENSION]) + text(str(p)) + b"\x85R",
  "EXT2": lambda p: b"\x83" + bytes([EXTENSION, 0]) + text(str(p)) + b"\x85R",
  "EXT4": lambda p: b"\x84" + bytes([EXTENSION, 0, 0, 0]) + text(str(p)) + b"\x85R",
}


@pytest.fixture
def extension():
  copyreg.add_extension(__name__, "Touching", EXTENSION)
  yield
  copyreg.remove_extension(__name__, "Touching", EXTENSION)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_malicious_pickle_runs_nothing(tmp_path, attack, extension):
  target = tmp_path / "touched"
  entry = attack(target)
  path = write(tmp_path / "data", "python2")[0]
  for content in (
    dict2(data=entry, labels=b"]"),
    b"\x80\x04" + entry + b".",
    dict2(x=b"]" + entry + b"a"),
    dict2(data=array2(entry, 4)),
    dict2(data=array2(FOUR, 4, dtype=entry)),
    entry + b"0}.",
    dict2(data=array2(FOUR, shape_code=entry)),
    b"}" + entry + b"K\x01s.",
    dict2(x=entry + b"0N"),
  ):
    assert read_or_refuse(content) is None
    path.write_bytes(content)
    with pytest.raises(InputError, match="data_batch_1"):
      load_cifar10(path.parent)
  assert not target.exists()


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_the_malicious_pickles_are_malicious(tmp_path, attack, extension):
  pickle.loads(dict2(data=attack(tmp_path / "touched")))
  assert (tmp_path / "touched").exists()


@pytest.mark.parametrize(
  "content, operation",
  [
    (b"}Pid\ns.", "PERSID"),
    (b"}" + text("data") + text("id") + b"Qs.", "BINPERSID"),
    (b"\x80\x05}\x97.", "NEXT_BUFFER"),
    (b"\x80\x05}\x98.", "READONLY_BUFFER"),
    (b"\x80\x04\x8f.", "EMPTY_SET"),
    (b"}F1.5\n.", "FLOAT"),
    (b"}2.", "DUP"),
    (b"(N1.", "POP_MARK"),
  ],
)
def test_operations_that_such_files_do_without_are_refused_by_name(content, operation):
  with pytest.raises(InputError, match=f"here: uses the pickle operation {operation}, .*refused"):
    pickled_arrays.read("here", content)


@pytest.mark.parametrize(
  "entry",
  [
    array2(FOUR, 2, 2) + b"}" + text("__class__") + text("x") + b"sb",
    array2(FOUR, 2, 2) + b"N}" + text("x") + b"K\x01s\x86b",
  ],
  ids=["dict", "slots"],
)
def test_a_state_of_attributes_is_refused(entry):
  assert read_or_refuse(dict2(data=entry)) is None


SIZES = (0xFFFFFFFF, 0x7FFFFFFF)
HUGE = {
  **{
    f"{name} {n:x}": code + struct.pack("<I", n) + b"x"
    for n in SIZES
    for name, code in {"BINUNICODE": b"X", "BINSTRING": b"T", "BINBYTES": b"B", "LONG4": b"\x8b"}.items()
  },
  **{
    f"{name} {n:x}": code + struct.pack("<Q", n) + b"x"
    for n in (1 << 40, 2**63 - 1, 2**64 - 1)
    for name, code in {"BINUNICODE8": b"\x8d", "BINBYTES8": b"\x8e", "BYTEARRAY8": b"\x96"}.items()
  },
  "INT": b"I" + b"9" * 100_000 + b"\n",
  "LONG": b"L" + b"9" * 100_000 + b"L\n",
  "FRAME": b"\x95" + b"\xff" * 8,
  "GET": b"g99999999999999\n",
  "LONG_BINGET": b"j\xff\xff\xff\xff",
  "marks": b"(" * 100_000,
  "marks, closed": b"t" * 9,
  "names of nested tuples": b")" + b"\x85" * 150_000 + text("x") + b"\x93",
  "names of shared tuples": b")" + b"q\x00h\x00\x86" * 60 + text("x") + b"\x93",
  "names of shared lists": b"]" + b"q\x00](h\x00h\x00e" * 60 + text("x") + b"\x93",
  "an array under many keys": array2(b"X\x40\x42\x0f\x00" + b"x" * 1_000_000, 1_000_000)
  + b"q\x10s"
  + b"".join(text(str(i)) + b"h\x10s" for i in range(1000))
  + text("data")
  + b"h\x10",
}


@pytest.mark.parametrize("entry", HUGE.values(), ids=HUGE)
def test_huge_numbers_take_neither_time_nor_memory(entry):
  begun = time.monotonic()
  tracemalloc.start()
  try:
    assert read_or_refuse(b"\x80\x04}" + text("data") + entry + b"s.") is None
    assert tracemalloc.get_traced_memory()[1] < 1_000_000 + 100 * len(entry)
  finally:
    tracemalloc.stop()
  assert time.monotonic() - begun < 30


def test_a_huge_memo_index_takes_no_memory():
  tracemalloc.start()
  try:
    assert read_or_refuse(b"}r\xff\xff\xff\xff" + text("a") + b"r\xff\xff\xff\x7fj\xff\xff\xff\x7fs.") == {"a": "a"}
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
  finally:
    tracemalloc.stop()


def test_a_message_stays_one_short_line():
  for name in ("x\ny", "\x1b[2J", "x" * 100_000):
    content = b"\x80\x04}" + text("data") + b"X" + struct.pack("<I", len(name)) + name.encode() + text("y") + b"\x93s."
    with pytest.raises(InputError) as caught:
      pickled_arrays.read("here", content)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


# ------------------------------------------------------------------- real records


@pytest.mark.real_data
def test_real_cifar10_has_its_counts():
  splits = load_cifar10(pathlib.Path(os.environ["TLA_TEST_DATA"]) / "cifar-10-batches-bin")
  assert (len(splits.train), len(splits.heldout), len(splits.test)) == (3425, 380, 761)
  train = np.concatenate([splits.heldout.labels, splits.train.labels])
  assert np.bincount(train).tolist() == [393, 397, 358, 363, 401, 358, 370, 393, 399, 373]
  assert np.bincount(splits.test.labels).tolist() == [74, 62, 77, 75, 67, 73, 88, 72, 83, 90]


@pytest.mark.real_data
def test_real_pixels_are_smooth_in_every_channel():
  images = load_cifar10(os.environ["TLA_TEST_DATA"]).test.images.astype(float)
  # Neighbours differ little only if planes, rows and columns are where they belong.
  for axis in (1, 2):
    assert (np.abs(np.diff(images, axis=axis)).mean(axis=(0, 1, 2)) < 18).all()
  assert np.abs(np.diff(images, axis=3)).mean() < 20
