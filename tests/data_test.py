"""Readers, checks and splits: what is read is what was written, and damage is named."""

import contextlib
import gzip
import os
import pathlib
import struct

import hypothesis
import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import strategies as st
from idx_support import NAMES, idx_bytes, write
from sklearn import datasets as sklearn_datasets

from tla_tf import data, datasets
from tla_tf.data import ImageData, tfds_reader
from tla_tf.data.idx import read_idx
from tla_tf.data.image_data import split
from tla_tf.datasets.digits import load_digits
from tla_tf.datasets.mnist import load_mnist
from tla_tf.errors import InputError

MANY = hypothesis.settings(max_examples=100, deadline=None)


def images_of(count, seed=0, size=28):
  return np.random.default_rng(seed).integers(0, 256, (count, size, size), dtype=np.uint8)


def mnist_arrays(train=12, test=4):
  """The contents of the four files, by name."""
  labels = (np.arange(train) % 10).astype(np.uint8), (np.arange(test) % 10).astype(np.uint8)
  return dict(zip(NAMES, (images_of(train), labels[0], images_of(test, seed=1), labels[1])))


def write_mnist(folder, suffix="", **changes):
  """Writes the four files; a change replaces the array of a file."""
  arrays = mnist_arrays()
  for name, array in arrays.items():
    write(folder / f"{name}{suffix}", idx_bytes(changes.pop(name.replace("-", "_"), array)))
  assert not changes
  return arrays


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
  """A file to overwrite, for hypothesis."""
  return tmp_path_factory.mktemp("idx") / "file"


# ------------------------------------------------------------------- IDX


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
  "array",
  [
    np.arange(24, dtype=np.uint8).reshape(4, 3, 2),
    np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 3, 2),
    np.array([3, 0, 255], np.uint8),
    np.zeros((0, 3, 2), np.uint8),
  ],
  ids=["bytes", "floats", "labels", "none"],
)
def test_an_array_is_read_back(tmp_path, array, suffix):
  found = read_idx(write(tmp_path / f"x{suffix}", idx_bytes(array)), array.ndim)
  assert found.dtype == array.dtype and found.dtype.isnative
  np.testing.assert_array_equal(found, array)


def test_a_file_is_read_byte_by_byte_as_the_format_says(tmp_path):
  content = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])
  assert read_idx(write(tmp_path / "x", content), 2).tolist() == [[1, 2, 3], [4, 5, 6]]


ARRAYS = st.builds(
  np.ones, st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple), st.sampled_from([np.uint8, np.float32])
)


@hypothesis.given(ARRAYS, st.data())
@MANY
def test_a_truncated_file_is_refused(scratch, array, choose):
  content = idx_bytes(array)
  write(scratch, content[: choose.draw(st.integers(0, len(content) - 1))])
  with pytest.raises(InputError, match="download it again"):
    read_idx(scratch, array.ndim)


@hypothesis.given(ARRAYS, st.binary(min_size=1, max_size=20))
@MANY
def test_a_file_with_further_bytes_is_refused(scratch, array, extra):
  write(scratch, idx_bytes(array) + extra)
  with pytest.raises(InputError, match="truncated or damaged"):
    read_idx(scratch, array.ndim)


@hypothesis.given(ARRAYS, st.data())
@MANY
def test_a_changed_header_is_refused_or_read(scratch, array, choose):
  content = bytearray(idx_bytes(array))
  content[choose.draw(st.integers(0, 3 + 4 * array.ndim))] = choose.draw(st.integers(0, 255))
  write(scratch, bytes(content))
  try:
    found = read_idx(scratch, array.ndim)
  except InputError:
    return
  assert found.ndim == array.ndim and found.size == array.size


@hypothesis.given(
  st.sampled_from([0x08, 0x0D]), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4), st.binary(max_size=8)
)
@hypothesis.example(0x08, [0, 2**32 - 1, 2**32 - 1], b"")
@hypothesis.example(0x0D, [2**31, 0, 2**31], b"")
@MANY
def test_any_header_is_refused_or_read(scratch, code, shape, content):
  write(scratch, struct.pack(f">4B{len(shape)}I", 0, 0, code, len(shape), *shape) + content)
  with contextlib.suppress(InputError):
    assert read_idx(scratch, len(shape)).shape == tuple(shape)


@hypothesis.given(st.binary(max_size=40))
@MANY
def test_any_bytes_are_refused_or_read(scratch, content):
  write(scratch, content)
  with contextlib.suppress(InputError):
    assert read_idx(scratch, 1).ndim == 1


@pytest.mark.parametrize(
  "content, message",
  [
    (b"", "missing"),
    (b"\x89PNG\r\n", "89504e47"),
    (b"\0\0\x0b\x01\0\0\0\0", "00000b01"),
    (b"\0\0\x08\x05", "00000805"),
  ],
)
def test_a_file_of_another_format_is_told_by_its_magic_number(tmp_path, content, message):
  with pytest.raises(InputError, match=f"not an IDX file.*{message}"):
    read_idx(write(tmp_path / "x", content), 1)


def test_a_header_that_ends_early_is_told(tmp_path):
  with pytest.raises(InputError, match="ends within its header"):
    read_idx(write(tmp_path / "x", b"\0\0\x08\x03\0\0\0\x01\0\0"), 3)


@hypothesis.given(st.data())
@MANY
def test_a_truncated_gzip_file_is_refused(scratch, choose):
  content = gzip.compress(idx_bytes(images_of(1, size=4)), mtime=0)
  path = scratch.with_suffix(".gz")
  path.write_bytes(content[: choose.draw(st.integers(0, len(content) - 1))])
  with pytest.raises(InputError, match="download it again"):
    read_idx(path, 3)


@hypothesis.given(st.data())
@MANY
def test_a_gzip_file_with_a_changed_byte_is_refused_or_read_right(scratch, choose):
  array = images_of(1, size=4)
  content = bytearray(gzip.compress(idx_bytes(array), mtime=0))
  content[choose.draw(st.integers(0, len(content) - 1))] = choose.draw(st.integers(0, 255))
  path = scratch.with_suffix(".gz")
  path.write_bytes(bytes(content))
  with contextlib.suppress(InputError):
    np.testing.assert_array_equal(read_idx(path, 3), array)


def test_a_plain_file_called_gz_is_refused(tmp_path):
  path = tmp_path / "x.gz"
  path.write_bytes(idx_bytes(images_of(1)))
  with pytest.raises(InputError, match="gzip"):
    read_idx(path, 3)


@pytest.mark.parametrize("name", ["x", "x.gz"])
def test_a_missing_file_is_named(tmp_path, name):
  with pytest.raises(InputError, match=f"{name}: no such file"):
    read_idx(tmp_path / name, 3)


@pytest.mark.parametrize("name", ["x", "x.gz"])
def test_a_folder_in_place_of_a_file_is_refused(tmp_path, name):
  (tmp_path / name).mkdir()
  with pytest.raises(InputError, match="cannot be read"):
    read_idx(tmp_path / name, 3)


# ------------------------------------------------------------------- MNIST from files


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("source", ["files", "auto"])
def test_mnist_is_read_and_its_first_images_held_out(tmp_path, suffix, source):
  arrays = write_mnist(tmp_path, suffix)
  splits = load_mnist(tmp_path, source, heldout=5)
  for part, images, labels in (
    (splits.heldout, arrays[NAMES[0]][:5], arrays[NAMES[1]][:5]),
    (splits.train, arrays[NAMES[0]][5:], arrays[NAMES[1]][5:]),
    (splits.test, arrays[NAMES[2]], arrays[NAMES[3]]),
  ):
    np.testing.assert_array_equal(part.images, images[..., None])
    np.testing.assert_array_equal(part.labels, labels)
    assert part.image_shape == (28, 28, 1) and part.num_classes == 10


def test_mnists_class_names_are_the_digits(tmp_path):
  write_mnist(tmp_path)
  assert load_mnist(tmp_path, heldout=5).test.class_names == tuple("0123456789")


def test_mnist_holds_out_5000_by_default(tmp_path):
  write_mnist(tmp_path)
  with pytest.raises(InputError, match="12 training images are too few to hold out 5000"):
    load_mnist(tmp_path)


def test_plain_and_gzipped_files_can_be_mixed(tmp_path):
  arrays = write_mnist(tmp_path)
  (tmp_path / NAMES[0]).unlink()
  write(tmp_path / f"{NAMES[0]}.gz", idx_bytes(arrays[NAMES[0]]))
  assert len(load_mnist(tmp_path, heldout=5).train) == 7


def test_float_images_are_read_as_they_are(tmp_path):
  images = (images_of(12) / np.float32(255)).astype(np.float32)
  write_mnist(tmp_path, train_images_idx3_ubyte=images)
  np.testing.assert_array_equal(load_mnist(tmp_path, heldout=5).train.images, images[5:, ..., None])


@pytest.mark.parametrize(
  "value, fault",
  [(1.5, "clip"), (255, "divide by 255"), (-0.1, "clip"), (-9, "scale"), (np.nan, "NaN"), (np.inf, "NaN")],
)
def test_float_images_outside_the_unit_interval_are_refused(tmp_path, value, fault):
  images = np.zeros((12, 28, 28), np.float32)
  images[3, 4, 5] = value
  write_mnist(tmp_path, train_images_idx3_ubyte=images)
  with pytest.raises(InputError, match=rf"train-images.*must lie in \[0, 1\].*{fault}"):
    load_mnist(tmp_path, heldout=5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("source", ["files", "auto"])
def test_a_missing_mnist_file_is_named(tmp_path, name, source):
  write_mnist(tmp_path)
  (tmp_path / name).unlink()
  with pytest.raises(InputError, match=f"{name}.gz: no such file"):
    load_mnist(tmp_path, source, heldout=5)


def test_swapped_images_and_labels_are_told(tmp_path):
  arrays = mnist_arrays()
  write_mnist(tmp_path, train_images_idx3_ubyte=arrays[NAMES[1]], train_labels_idx1_ubyte=arrays[NAMES[0]])
  with pytest.raises(InputError, match="holds labels, expected images; are the files swapped"):
    load_mnist(tmp_path, heldout=5)


def test_images_in_place_of_labels_are_told(tmp_path):
  write_mnist(tmp_path, t10k_labels_idx1_ubyte=images_of(4))
  with pytest.raises(InputError, match="t10k-labels.*holds images, expected labels; are the files swapped"):
    load_mnist(tmp_path, heldout=5)


def test_a_label_out_of_range_is_refused(tmp_path):
  write_mnist(tmp_path, train_labels_idx1_ubyte=np.array([10] + [0] * 11, np.uint8))
  with pytest.raises(InputError, match=r"label 10 is outside 0\.\.9"):
    load_mnist(tmp_path, heldout=5)


@pytest.mark.parametrize("labels", [[0.5] * 12, [np.nan] * 12], ids=["fractions", "nan"])
def test_labels_that_are_no_whole_numbers_are_refused(tmp_path, labels):
  write_mnist(tmp_path, train_labels_idx1_ubyte=np.array(labels, np.float32))
  with pytest.raises(InputError, match="label"):
    load_mnist(tmp_path, heldout=5)


def test_another_number_of_labels_than_images_is_refused(tmp_path):
  write_mnist(tmp_path, train_labels_idx1_ubyte=np.zeros(11, np.uint8))
  with pytest.raises(InputError, match="12 images but 11 labels"):
    load_mnist(tmp_path, heldout=5)


def test_training_and_test_images_of_different_sizes_are_refused(tmp_path):
  write_mnist(tmp_path, t10k_images_idx3_ubyte=images_of(4, size=20))
  with pytest.raises(InputError, match="do not belong together"):
    load_mnist(tmp_path, heldout=5)


def test_a_file_without_images_is_refused(tmp_path):
  write_mnist(tmp_path, t10k_images_idx3_ubyte=images_of(0), t10k_labels_idx1_ubyte=np.zeros(0, np.uint8))
  with pytest.raises(InputError, match="no images"):
    load_mnist(tmp_path, heldout=5)


def test_files_without_a_folder_are_refused():
  with pytest.raises(InputError, match="`data_dir`"):
    load_mnist(None, "files")


def test_a_missing_folder_is_named(tmp_path):
  with pytest.raises(InputError, match="nowhere: no such folder"):
    load_mnist(tmp_path / "nowhere", "files")


def test_a_folder_of_neither_kind_starts_no_download(tmp_path):
  with pytest.raises(InputError, match="neither MNIST's files nor data that TFDS prepared"):
    load_mnist(tmp_path, "auto")


@pytest.mark.parametrize("source, folder", [("auto", "prepared"), ("auto", None), ("tfds", "empty")])
def test_without_files_mnist_comes_from_tfds(tmp_path, monkeypatch, source, folder):
  image = ImageData(np.zeros((9, 28, 28, 1), np.uint8), np.zeros(9, int), tuple("0123456789"))
  asked = []
  monkeypatch.setattr(tfds_reader, "read", lambda name, data_dir: asked.append((name, data_dir)) or (image, image))
  data_dir = folder and tmp_path
  if folder == "prepared":
    (tmp_path / "mnist").mkdir()
  assert len(load_mnist(data_dir, source, heldout=2).train) == 7
  assert asked == [("mnist", data_dir)]


# ------------------------------------------------------------------- MNIST through TFDS


@pytest.fixture(params=["tfrecord", "array_record"])
def prepared(request, tmp_path):
  """A TFDS folder with `mnist` as TFDS itself writes it, in several shards; with its contents."""
  builder = tfds.builder("mnist", data_dir=tmp_path, file_format=request.param)
  builder.data_path.mkdir(parents=True)
  writer = tfds.core.SequentialWriter(builder.info, 5, file_format=request.param)
  writer.initialize_splits(["train", "test"])
  arrays = mnist_arrays()
  for part, images, labels in (("train", NAMES[0], NAMES[1]), ("test", NAMES[2], NAMES[3])):
    writer.add_examples(
      {part: [{"image": image[..., None], "label": int(label)} for image, label in zip(arrays[images], arrays[labels])]}
    )
  writer.close_splits(["train", "test"])
  return tmp_path, arrays


def test_a_prepared_data_set_is_read_back_in_its_order(prepared):
  folder, arrays = prepared
  splits = load_mnist(folder, "tfds", heldout=5)
  np.testing.assert_array_equal(splits.heldout.images, arrays[NAMES[0]][:5, ..., None])
  np.testing.assert_array_equal(splits.train.images, arrays[NAMES[0]][5:, ..., None])
  np.testing.assert_array_equal(splits.train.labels, arrays[NAMES[1]][5:])
  np.testing.assert_array_equal(splits.test.images, arrays[NAMES[2]][..., None])
  np.testing.assert_array_equal(splits.test.labels, arrays[NAMES[3]])
  assert splits.train.images.dtype == np.uint8 and splits.train.class_names == tuple("0123456789")


def test_a_prepared_data_set_needs_no_download(prepared, monkeypatch):
  monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", unreachable)
  assert len(load_mnist(prepared[0], "tfds", heldout=5).test) == 4


def test_a_prepared_data_set_equals_the_files(prepared, tmp_path_factory):
  files = tmp_path_factory.mktemp("files")
  write_mnist(files)
  assert load_mnist(prepared[0], "auto", heldout=5).digest() == load_mnist(files, "auto", heldout=5).digest()


def test_a_truncated_shard_is_refused(prepared):
  folder, _ = prepared
  shard = sorted(path for path in folder.rglob("mnist-train*") if path.is_file())[0]
  shard.write_bytes(shard.read_bytes()[:-20])
  with pytest.raises(InputError, match="mnist"):
    load_mnist(folder, "tfds", heldout=5)


def test_a_missing_shard_is_refused(prepared):
  folder, _ = prepared
  sorted(path for path in folder.rglob("mnist-test*") if path.is_file())[0].unlink()
  with pytest.raises(InputError, match="mnist"):
    load_mnist(folder, "tfds", heldout=5)


def test_damaged_facts_of_a_prepared_data_set_are_refused(prepared):
  folder, _ = prepared
  next(folder.rglob("dataset_info.json")).write_text("{")
  with pytest.raises(InputError, match="mnist"):
    load_mnist(folder, "tfds", heldout=5)


def unreachable(*args, **kwargs):
  raise ConnectionError("Name or service not known\nand more")


def test_without_network_the_remedy_is_told(tmp_path, monkeypatch):
  monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", unreachable)
  with pytest.raises(InputError, match=r"'mnist' \(ConnectionError: Name or service not known\).*`data_dir`") as caught:
    load_mnist(tmp_path, "tfds")
  assert "\n" not in str(caught.value)


def test_a_failed_download_leaves_nothing_that_looks_prepared(tmp_path, monkeypatch):
  monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", unreachable)
  for _ in range(2):
    with pytest.raises(InputError, match="could not prepare"):
      load_mnist(tmp_path, "tfds")


# ------------------------------------------------------------------- digits, by name


def test_digits_have_their_counts_shape_and_range():
  splits = load_digits()
  assert (len(splits.train), len(splits.heldout), len(splits.test)) == (1237, 200, 360)
  for part in (splits.train, splits.heldout, splits.test):
    assert part.images.dtype == np.uint8 and part.labels.dtype == np.int32
    assert part.image_shape == (8, 8, 1) and part.num_classes == 10
    assert set(part.labels) == set(range(10))


def test_digits_have_17_grey_levels_over_the_whole_range():
  levels = np.unique(load_digits().train.images)
  assert len(levels) == 17 and levels[0] == 0 and levels[8] == 128 and levels[16] == 255


def test_digits_are_scikit_learns_in_its_order():
  splits, bunch = load_digits(), sklearn_datasets.load_digits()
  images = np.concatenate([splits.heldout.images, splits.train.images, splits.test.images])
  np.testing.assert_allclose(images[..., 0] / 255 * 16, bunch.images, atol=0.04)
  labels = np.concatenate([splits.heldout.labels, splits.train.labels, splits.test.labels])
  np.testing.assert_array_equal(labels, bunch.target)


def test_no_digit_is_in_two_splits():
  splits = load_digits()
  train, heldout, test = (
    {image.tobytes() for image in part.images} for part in (splits.train, splits.heldout, splits.test)
  )
  assert not train & heldout and not train & test and not heldout & test


def test_digits_never_change():
  assert load_digits().digest() == "079db57b3a821938cbdddf521842911698690b7a3920992d1182e16f7c5c4578"


def test_data_sets_are_loaded_by_name():
  assert datasets.load("digits").digest() == load_digits().digest()


def test_mnist_is_loaded_by_name(tmp_path):
  write_mnist(tmp_path)
  with pytest.raises(InputError, match="too few to hold out 5000"):
    datasets.load("mnist", tmp_path, "files")


def test_an_unknown_data_set_is_refused():
  with pytest.raises(
    InputError, match=r"'imagenet': did you mean 'tiny_imagenet'\? expected one of \['digits', 'mnist',"
  ):
    datasets.load("imagenet")


# ------------------------------------------------------------------- arrays and splits


def small(images=None, labels=(0, 1, 1), names=("a", "b")):
  images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1) if images is None else images
  return ImageData(images, np.asarray(labels), names, source="here")


def test_labels_become_int32():
  assert small(labels=np.array([0, 1, 1], np.uint8)).labels.dtype == np.int32


def test_floating_images_become_float32():
  assert small(np.full((3, 2, 2, 1), 0.5)).images.dtype == np.float32


@pytest.mark.parametrize(
  "images, message",
  [
    (np.zeros((3, 2, 2), np.uint8), r"expected images \[n, height, width, channels\], got shape \(3, 2, 2\)"),
    (np.zeros((2, 2, 2, 1), np.uint8), "2 images but 3 labels"),
    (np.zeros((3, 2, 2, 1), np.int64), "got int64"),
    (np.full((3, 2, 2, 1), 1.01), r"reach from 1.01 to 1.01"),
    (np.full((3, 2, 2, 1), np.nan), "hold NaN or infinity"),
    (np.zeros((3, 0, 2, 1), np.float32), r"\(3, 0, 2, 1\)"),
    (np.zeros((3, 0, 2, 1), np.uint8), r"\(3, 0, 2, 1\)"),
  ],
  ids=["rank", "count", "integers", "range", "nan", "no pixels, floats", "no pixels, bytes"],
)
def test_wrong_images_are_refused(images, message):
  with pytest.raises(InputError, match=f"here: .*{message}"):
    small(images)


@pytest.mark.parametrize(
  "labels, message",
  [
    ([0, 1, 2], r"label 2 is outside 0\.\.1"),
    ([0, -1, 1], "label -1 is outside"),
    ([[0], [1], [1]], "label"),
    ([0.5, 0, 1], "label"),
    ([np.nan, 0, 1], "label"),
  ],
  ids=["high", "low", "rank", "fraction", "nan"],
)
def test_wrong_labels_are_refused(labels, message):
  with pytest.raises(InputError, match=f"here: .*{message}"):
    small(labels=labels)


def test_no_images_are_refused():
  with pytest.raises(InputError, match="here: no images"):
    small(np.zeros((0, 2, 2, 1), np.uint8), labels=np.zeros(0, int))


def test_take_selects_images_with_their_labels():
  part = small().take([2, 0])
  np.testing.assert_array_equal(part.images, small().images[[2, 0]])
  assert part.labels.tolist() == [1, 0] and part.class_names == ("a", "b") and part.source == "here"


def test_float_images_are_bytes_over_255():
  images = np.array([0, 51, 128, 255], np.uint8).reshape(1, 2, 2, 1)
  found = small(images, labels=[0]).float_images()
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found.ravel(), np.float32([0, 51, 128, 255]) / np.float32(255))


def test_float_images_of_a_selection():
  np.testing.assert_array_equal(small().float_images([1]), small().float_images()[1:2])


def test_the_digest_depends_on_pixels_labels_shape_and_type():
  base = small()
  pixel = base.images.copy()
  pixel[1, 1, 0, 0] += 1
  others = [
    small(pixel),
    small(labels=[0, 1, 0]),
    small(base.images.reshape(3, 4, 1, 1)),
    small(base.images.reshape(3, 1, 2, 2)),
    small(np.float32(base.images) / 255),
    base.take([0, 2, 1]),
  ]
  assert len({base.digest(), *(other.digest() for other in others)}) == 7
  assert base.digest() == small().digest()


def test_the_digest_of_splits_tells_the_parts_apart():
  first, second = small().take([0]), small().take([1])
  digests = {
    data.Splits(*parts).digest() for parts in ((first, first, second), (first, second, first), (second, first, first))
  }
  assert len(digests) == 3


def test_a_split_needs_an_image_to_train_on():
  assert len(split(small(), small(), 2).train) == 1
  with pytest.raises(InputError, match="here: 3 training images are too few to hold out 3"):
    split(small(), small(), 3)


def test_arrays_are_frozen_in_their_place():
  with pytest.raises(AttributeError):
    small().images = None


# ------------------------------------------------------------------- the real MNIST


@pytest.fixture(scope="module")
def real_mnist():
  folder = pathlib.Path(os.environ["TLA_TEST_DATA"]) / "mnist"
  return folder, load_mnist(folder)


@pytest.mark.real_data
def test_real_mnist_has_its_counts(real_mnist):
  _, splits = real_mnist
  assert [part.images.shape for part in (splits.train, splits.heldout, splits.test)] == [
    (55_000, 28, 28, 1),
    (5_000, 28, 28, 1),
    (10_000, 28, 28, 1),
  ]
  assert np.bincount(np.concatenate([splits.heldout.labels, splits.train.labels])).tolist() == [
    5923,
    6742,
    5958,
    6131,
    5842,
    5421,
    5918,
    6265,
    5851,
    5949,
  ]
  assert np.bincount(splits.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.real_data
def test_real_mnists_first_5000_images_are_held_out(real_mnist):
  folder, splits = real_mnist
  with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
    first = file.read(16 + 5000 * 784)[16:]
  assert splits.heldout.images.tobytes() == first
  with gzip.open(folder / "train-labels-idx1-ubyte.gz") as file:
    labels = file.read()[8:]
  assert bytes(splits.heldout.labels.astype(np.uint8)) == labels[:5000]
  assert bytes(splits.train.labels.astype(np.uint8)) == labels[5000:]
