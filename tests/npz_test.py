"""Arrays of the user's own: what is read, in which order, and what is refused."""

import numpy as np
import pytest

from tla_tf import datasets
from tla_tf.config import ReadingConfig
from tla_tf.errors import InputError


def arrays(**changes):
  """Sorted by class, as files of own arrays often are; the first pixel numbers the image."""
  made = {}
  for part, count in (("train", 60), ("test", 30)):
    images = np.zeros((count, 4, 5, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    made |= {f"x_{part}": images, f"y_{part}": np.repeat(np.arange(3), count // 3)}
  made |= changes
  return {name: array for name, array in made.items() if array is not None}


@pytest.fixture
def read(tmp_path):
  def load(heldout=0, **changes):
    np.savez(tmp_path / "mine.npz", **arrays(**changes))
    return datasets.load("npz", tmp_path / "mine.npz", reading=ReadingConfig(heldout=heldout))

  return load


def test_every_image_is_read_once_with_its_label_and_classes_in_proportion(read):
  splits = read()
  assert [len(part) for part in (splits.train, splits.heldout, splits.test)] == [54, 6, 30]
  whole = np.concatenate([splits.heldout.images, splits.train.images])[:, 0, 0, 0]
  labels = np.concatenate([splits.heldout.labels, splits.train.labels])
  np.testing.assert_array_equal(labels, whole // 20)
  assert sorted(whole) == list(range(60))
  assert np.bincount(splits.heldout.labels).tolist() == [2, 2, 2]
  assert sorted(splits.test.labels[:3]) == [0, 1, 2]
  assert splits.train.class_names == ("0", "1", "2")


def test_floats_in_0_1_channels_and_columns_of_labels_are_taken(read):
  given = arrays()
  floats = {f"x_{part}": given[f"x_{part}"][..., 0] / 255.0 for part in ("train", "test")}
  columns = {f"y_{part}": given[f"y_{part}"][:, None] for part in ("train", "test")}
  splits = read(**floats, **columns)
  assert (splits.test.images.dtype, splits.test.image_shape) == (np.float32, (4, 5, 1))
  np.testing.assert_allclose(splits.test.images, read().test.float_images())


def test_validation_images_and_names_are_taken(read):
  val = {"x_val": np.full((6, 4, 5, 1), 9, np.uint8), "y_val": np.array([0, 1, 2] * 2)}
  splits = read(**val, class_names=np.array(["a", "b", "c"]))
  assert (len(splits.train), len(splits.heldout), splits.train.class_names) == (60, 6, ("a", "b", "c"))
  assert (splits.heldout.images == 9).all() and sorted(read(heldout=3, **val).heldout.labels) == [0, 1, 2]
  with pytest.raises(InputError, match="x_val has 6 images, fewer than the 7"):
    read(heldout=7, **val)


@pytest.mark.parametrize(
  "changes, words",
  [
    ({"y_train": None}, "holds no array y_train among .*x_train and x_test"),
    ({"x_val": np.zeros((2, 4, 5, 1))}, "holds no array y_val"),
    ({"y_test": np.zeros(29, int)}, "30 images but 29 labels"),
    ({"y_train": np.eye(3)[np.repeat(np.arange(3), 20)]}, "float64 of shape .60, 3., .*one-hot"),
    ({"y_train": np.repeat(np.arange(3.0), 20)}, "y_train is float64"),
    ({"y_train": np.repeat(np.arange(1, 4), 20)}, "y_train has no image of class 0"),
    ({"y_test": np.repeat([0, 1, 5], 10)}, "y_train has no image of class 3"),
    ({"y_test": np.repeat([0, 1, -1], 10)}, "label -1"),
    ({"y_test": np.repeat([0, 1, 5000], 10)}, "labels reach to 5000"),
    ({"class_names": np.array(["a", "b"])}, "label 2 is outside 0..1"),
    ({"class_names": np.arange(3)}, "class_names is int"),
    ({"class_names": np.array([97, 98, 0x110000], np.uint32).view("U1")}, "array 'class_names' holds what is no text"),
    ({"class_names": np.array([97, 98, 0xD800], np.uint32).view("U1")}, "array 'class_names' holds what is no text"),
    ({"x_test": np.zeros((30, 5, 4, 1), np.uint8)}, "differ in shape"),
    ({"x_train": np.full((60, 4, 5, 1), 255.0)}, r"x_train.*must lie in \[0, 1\].*255"),
    ({"x_train": np.full((60, 4, 5, 1), np.nan)}, r"must lie in \[0, 1\]"),
    ({"x_train": np.zeros((60, 4, 5, 1), int)}, "expected uint8 or float32 images, got int64"),
    ({"x_train": np.zeros((60, 20), np.uint8)}, "expected images"),
    ({"x_train": np.array([{}] * 60)}, "mine.npz: cannot be read as .npz without pickle"),
  ],
)
def test_arrays_that_cannot_be_used_are_named(read, changes, words):
  with pytest.raises(InputError, match=words) as caught:
    read(**changes)
  assert "mine.npz" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_files_that_are_none_are_named(tmp_path, content):
  path = tmp_path / "mine.npz"
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(InputError, match="mine.npz: (cannot be read as .npz|no such file)"):
    datasets.load("npz", path)
  with pytest.raises(InputError, match="`data_dir`"):
    datasets.load("npz")
