"""Data sets of image files: layouts, decoding, order and the cache of what was decoded."""

import collections
import concurrent.futures
import io
import os
import pathlib
import tarfile
import threading
import zlib

import hypothesis
import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import strategies as st
from PIL import Image

from tla_tf import data, datasets
from tla_tf.config import ReadingConfig
from tla_tf.data import cache, decoding, labelled_files
from tla_tf.data.labelled_files import LabelledFiles
from tla_tf.datasets.images import load_image_folders
from tla_tf.datasets.tiny_imagenet import load_tiny_imagenet
from tla_tf.errors import InputError, RecordWarning
from tla_tf.types import Resize

MANY = hypothesis.settings(max_examples=100)
WNIDS = ("n03", "n01", "n02")


def encoded(image, file_format="PNG", **kwargs):
  """The bytes of an image file; `image` is an array or a Pillow image."""
  stream = io.BytesIO()
  (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(stream, file_format, **kwargs)
  return stream.getvalue()


def write(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content if isinstance(content, bytes) else encoded(content))
  return path


def plain(colour, height=8, width=8):
  """An image of one colour, (red, green, blue) or one number for grey."""
  return np.full((height, width, *np.shape(colour)), colour, np.uint8)


def noise(height=16, width=16, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def decoded(content, tmp_path, *args, **kwargs):
  return decoding.read_image(write(tmp_path / "image", content), *args, **kwargs)


def by_label(part):
  """The colours of one-colour images, sorted, by label."""
  assert (part.images == part.images[:, :1, :1]).all()
  result = collections.defaultdict(list)
  for image, label in zip(part.images, part.labels):
    result[int(label)].append(tuple(image[0, 0].tolist()))
  return {label: sorted(colours) for label, colours in sorted(result.items())}


def everything(splits):
  """Training images with the held-out ones."""
  return data.ImageData(
    np.concatenate([splits.heldout.images, splits.train.images]),
    np.concatenate([splits.heldout.labels, splits.train.labels]),
    splits.train.class_names,
  )


# ------------------------------------------------------------------- Tiny ImageNet


def write_tiny(folder, train=4, test=2):
  """Writes a small Tiny ImageNet: images of one colour (class, number, part)."""
  lines = []
  for c, wnid in enumerate(WNIDS):
    for i in range(train):
      write(folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", plain((c, i, 0), 64, 64))
    for i in range(test):
      # Names that are in no order of the classes.
      name = f"val_{i * len(WNIDS) + c}.JPEG"
      write(folder / "val" / "images" / name, plain((c, i, 1), 64, 64))
      lines.append(f"{name}\t{wnid}\t0\t0\t63\t63")
    write(folder / "train" / wnid / f"{wnid}_boxes.txt", b"boxes")
  write(folder / "wnids.txt", "\n".join(WNIDS).encode())
  write(folder / "words.txt", b"n01\tgoldfish\n")
  write(folder / "val" / "val_annotations.txt", "\n".join(lines).encode())
  return folder


@pytest.fixture
def tiny(tmp_path):
  return write_tiny(tmp_path / "tiny-imagenet-200")


@pytest.fixture
def read_tiny(tiny, tmp_path):
  """Reads the small Tiny ImageNet, with a cache of its own."""
  return lambda **reading: load_tiny_imagenet(tiny, "auto", ReadingConfig(**reading), tmp_path / "cache")


def test_classes_are_in_the_order_of_wnids(read_tiny):
  splits = read_tiny(heldout=3)
  assert splits.train.class_names == splits.test.class_names == WNIDS
  assert by_label(everything(splits)) == {c: [(c, i, 0) for i in range(4)] for c in range(3)}


def test_validation_images_have_the_labels_of_their_annotations(read_tiny):
  assert by_label(read_tiny().test) == {c: [(c, i, 1) for i in range(2)] for c in range(3)}


def test_images_are_bytes_of_64_by_64_colours(read_tiny):
  splits = read_tiny(heldout=2)
  assert [part.images.shape for part in (splits.train, splits.heldout, splits.test)] == [
    (10, 64, 64, 3),
    (2, 64, 64, 3),
    (6, 64, 64, 3),
  ]
  assert splits.train.images.dtype == np.uint8


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_grey_images_become_colour(tiny, read_tiny, file_format):
  write(tiny / "val" / "images" / "val_0.JPEG", encoded(plain(77, 64, 64), file_format))
  assert by_label(read_tiny().test)[0] == [(0, 1, 1), (77, 77, 77)]


def test_the_folder_above_tiny_imagenet_is_accepted(tiny, tmp_path, read_tiny):
  above = datasets.load("tiny_imagenet", tiny.parent, cache_dir=tmp_path / "cache")
  assert above.digest() == read_tiny().digest()


def test_a_tenth_is_held_out_and_the_first_images_have_all_classes(read_tiny):
  assert len(read_tiny().heldout) == 1
  assert sorted(read_tiny(heldout=3).heldout.labels) == sorted(read_tiny().test.labels[:3]) == [0, 1, 2]
  with pytest.raises(InputError, match="12 training images are too few to hold out 12"):
    read_tiny(heldout=12)


def test_chosen_classes_have_the_labels_of_their_place(read_tiny):
  splits = read_tiny(classes=("n02", "n03"))
  assert splits.train.class_names == ("n02", "n03")
  assert by_label(everything(splits)) == {0: [(2, i, 0) for i in range(4)], 1: [(0, i, 0) for i in range(4)]}
  assert by_label(splits.test) == {0: [(2, 0, 1), (2, 1, 1)], 1: [(0, 0, 1), (0, 1, 1)]}


@pytest.mark.parametrize(
  "classes, message",
  [(("n03", "n09"), "no class 'n09'; its 3 classes begin with n03, n01, n02"), (("n01",), "at least two are needed")],
)
def test_wrong_choices_of_classes_are_refused(read_tiny, classes, message):
  with pytest.raises(InputError, match=message):
    read_tiny(classes=classes)


def test_folders_of_classes_that_are_not_chosen_do_not_matter(tiny, read_tiny):
  before = read_tiny(classes=("n01", "n02")).digest()
  (tiny / "train" / "n09").mkdir()
  (tiny / "train" / "n03" / "images").rename(tiny / "elsewhere")
  assert read_tiny(classes=("n01", "n02")).digest() == before


def drop(*path):
  return lambda folder: folder.joinpath(*path).unlink()


def move(old, new):
  return lambda folder: (folder / old).rename(folder / new)


def put(path, content):
  return lambda folder: write(folder / path, content)


def change(path, old, new):
  return lambda folder: (folder / path).write_text((folder / path).read_text().replace(old, new))


LABELS, IMAGE = "val/val_annotations.txt", plain((1, 2, 3), 64, 64)


@pytest.mark.parametrize(
  "spoil, message",
  [
    (move("train", "x"), "/train: no such folder; Tiny ImageNet has"),
    (move("train/n01", "train/n01x"), "train/n01: no such folder, but wnids.txt names it"),
    (move("train/n01", "n01"), "train/n01: no such folder, but wnids.txt names it"),
    (move("train/n01/images", "x"), "train/n01/images: no such folder"),
    (move("val/images", "x"), "val/images: no such folder"),
    (move("val", "x"), "val_annotations.txt: no such file"),
    (drop("val", "val_annotations.txt"), "val_annotations.txt: no such file"),
    (drop("val", "images", "val_3.JPEG"), "val_3.JPEG: no such file, but val_annotations.txt names it"),
    (put("train/n09/images/a.png", IMAGE), "train/n09: is not named in wnids.txt"),
    (put("train/n01/images/sub/a.png", IMAGE), "images/sub: is a folder among image files"),
    (put("val/images/sub/a.png", IMAGE), "images/sub: is a folder among image files"),
    (put("val/images/a.png", IMAGE), "a.png: is not named in val_annotations.txt"),
    (put("train/n01/images/a.png", plain((1, 2, 3), 64, 63)), "n01/images/a.png: is 64x63, expected 64x64"),
    (put("train/n01/images/readme.txt", b"hello"), "readme.txt: no whole JPEG, PNG"),
    (put("val/images/val_3.JPEG", b""), "val_3.JPEG: no whole JPEG, PNG"),
    (put("wnids.txt", b""), "wnids.txt: is empty"),
    (put("wnids.txt", b"n01\nn02\nn01\nn03"), "wnids.txt: names n01 twice"),
    (put("wnids.txt", b"\xff\xfe"), "wnids.txt: damaged, no text file"),
    (put("wnids.txt", b"n01\n../n02\nn03"), "wnids.txt: names '../n02', which is no class"),
    (put("wnids.txt", b"n01\n" + b"n" * 5000), "wnids.txt: names 'nnn.*', which is no class"),
    (put("wnids.txt", b"n01"), "at least two are needed"),
    (put("wnids.txt", b"n01\nn02\nn03\nn04"), "train/n04: no such folder"),
    (put("wnids.txt", b"n01\nn02"), "n03: is not named in wnids.txt"),
    (put(LABELS, b""), "annotations.txt: is empty"),
    (put(LABELS, b"val_0.JPEG"), "annotations.txt: line 1 is not"),
    (put(LABELS, b"\xff"), "annotations.txt: damaged"),
    (change(LABELS, "val_3.JPEG\t", "val_3.JPEG "), "line 2 has class '0'"),
    (change(LABELS, "val_3.JPEG", "../val_3.JPEG"), "annotations.txt: line 2 is not"),
    (change(LABELS, "val_3.JPEG", "val_9.JPEG"), "val_3.JPEG: is not named in val_annotations.txt"),
    (change(LABELS, "val_3.JPEG\tn03", "val_3.JPEG\tn07"), "line 2 has class 'n07', which wnids.txt does not name"),
    (change(LABELS, "val_3.JPEG\tn03", "val_0.JPEG\tn01"), "annotations.txt: names val_0.JPEG twice"),
    (change(LABELS, "val_3.JPEG\t", "val_0.JPEG\t"), "annotations.txt: names val_0.JPEG\t.* twice"),
    (change(LABELS, "n03", "n01"), "val/images: holds no image of class n03"),
  ],
)
def test_a_spoilt_tiny_imagenet_is_refused_by_the_name_of_the_file(tiny, read_tiny, spoil, message):
  assert "val_3.JPEG\tn03" in (tiny / LABELS).read_text().splitlines()[1]
  spoil(tiny)
  with pytest.raises(InputError, match=message) as caught:
    read_tiny()
  assert "\n" not in str(caught.value)


def test_an_empty_class_is_named(tiny, read_tiny):
  for path in (tiny / "train" / "n02" / "images").iterdir():
    path.unlink()
  with pytest.raises(InputError, match="train/n02/images: holds no images"):
    read_tiny()


@pytest.mark.parametrize(
  "folder, told",
  [("", "neither Tiny ImageNet's files nor data that TFDS prepared"), ("nowhere", "nowhere: no such folder")],
)
def test_a_folder_without_wnids_is_refused(tmp_path, folder, told):
  with pytest.raises(InputError, match="holds no wnids.txt; give the folder tiny-imagenet-200"):
    load_tiny_imagenet(tmp_path / folder, "files")
  with pytest.raises(InputError, match=told):
    load_tiny_imagenet(tmp_path / folder)


def test_lines_may_end_as_on_windows(tiny, read_tiny):
  before = read_tiny().digest()
  for name in ("wnids.txt", LABELS):
    write(tiny / name, (tiny / name).read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
  assert read_tiny().digest() == before


# ------------------------------------------------------------------- Tiny ImageNet through TFDS


@pytest.fixture
def downloaded(tiny, monkeypatch):
  """Makes TFDS find the archive downloaded and unpacked."""
  monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", lambda self, url: tiny.parent)
  return tiny


def test_tfds_gives_the_same_images_and_labels_as_the_files(downloaded, tmp_path, read_tiny):
  write(downloaded / "train" / "n01" / "images" / "n01_0.JPEG", encoded(plain(50, 64, 64), "JPEG"))
  through = load_tiny_imagenet(tmp_path / "tfds", "tfds", ReadingConfig(heldout=3))
  files = read_tiny(heldout=3)
  assert by_label(everything(through)) == by_label(everything(files)) and by_label(through.test) == by_label(files.test)
  assert by_label(everything(through))[1][-1] == (50, 50, 50)
  assert through.train.class_names == files.train.class_names == WNIDS
  assert [len(part) for part in (through.train, through.heldout, through.test)] == [9, 3, 6]
  # What was prepared is found again, without the files.
  downloaded.rename(tmp_path / "gone")
  assert load_tiny_imagenet(tmp_path / "tfds", "auto", ReadingConfig(heldout=3)).digest() == through.digest()


def test_files_that_tfds_cannot_prepare_are_named(downloaded, tmp_path):
  write(downloaded / "val" / "images" / "val_3.JPEG", b"no image")
  with pytest.raises(InputError, match="TFDS could not prepare 'tiny_imagenet'.*val_3.JPEG: no whole JPEG, PNG"):
    load_tiny_imagenet(tmp_path / "tfds", "tfds")


def test_classes_cannot_be_chosen_through_tfds(tmp_path):
  with pytest.raises(InputError, match="`classes`: .*`data_source=files`"):
    load_tiny_imagenet(tmp_path, "tfds", ReadingConfig(classes=("n01", "n02")))


# ------------------------------------------------------------------- image folders


def write_folders(root, **images):
  """Writes train/<class>/<i>.png and test/<class>/<i>.png of classes b, C and a: colours (class, number, part)."""
  for part, (name, count) in enumerate((("train", 4), ("test", 2))):
    for c, label in enumerate("bCa"):
      for i in range(count):
        write(root / name / label / f"{i}.png", images.get(f"{name}_{label}_{i}", plain((c, i, part), 6, 5)))
  return root


@pytest.fixture
def folders(tmp_path):
  return write_folders(tmp_path / "mine")


@pytest.fixture
def read_folders(folders, tmp_path):
  """Reads the small image folders, with a cache of their own."""
  return lambda **reading: load_image_folders(folders, ReadingConfig(**reading), tmp_path / "cache")


def test_labels_are_the_sorted_names_of_folders(read_folders):
  splits = read_folders(heldout=3)
  assert splits.train.class_names == ("C", "a", "b")
  assert by_label(everything(splits)) == {label: [(c, i, 0) for i in range(4)] for label, c in enumerate((1, 2, 0))}
  assert by_label(splits.test) == {label: [(c, i, 1) for i in range(2)] for label, c in enumerate((1, 2, 0))}


def test_images_keep_the_size_of_the_first(read_folders):
  assert read_folders().test.images.shape == (6, 6, 5, 3)


def test_the_first_image_by_name_says_the_size(folders, read_folders):
  write(folders / "train" / "C" / "0.png", plain((1, 2, 3), 9, 7))
  with pytest.raises(InputError, match="is 6x5, expected 9x7"):
    read_folders()


def test_folders_are_loaded_by_name(folders, tmp_path, read_folders):
  found = datasets.load("images", folders, reading=ReadingConfig(heldout=2), cache_dir=tmp_path / "cache")
  assert found.digest() == read_folders(heldout=2).digest() and len(found.heldout) == 2


def test_chosen_folders_are_read_in_their_order(folders, read_folders):
  (folders / "test" / "surplus").mkdir()
  splits = read_folders(classes=("b", "C"))
  assert splits.test.class_names == ("b", "C")
  assert by_label(splits.test) == {0: [(0, 0, 1), (0, 1, 1)], 1: [(1, 0, 1), (1, 1, 1)]}


def test_hidden_and_left_behind_files_are_ignored(folders, read_folders):
  before = read_folders().digest()
  for name in (
    ".DS_Store",
    "train/.hidden/x.png",
    "train/a/.DS_Store",
    "train/a/Thumbs.db",
    "test/b/desktop.ini",
    "readme.txt",
    "elsewhere/x.png",
  ):
    write(folders / name, b"no image")
  assert read_folders().digest() == before


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_file_among_the_classes_is_refused(folders, read_folders, part):
  write(folders / part / "stray.png", plain((1, 2, 3), 6, 5))
  with pytest.raises(InputError, match=f"{part}/stray.png: is a file among the folders of classes"):
    read_folders()


def test_without_a_home_a_cache_must_be_named(folders, monkeypatch):
  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  monkeypatch.setattr(cache.pathlib.Path, "home", classmethod(lambda cls: (_ for _ in ()).throw(RuntimeError())))
  with pytest.raises(InputError, match="`cache_dir`"):
    load_image_folders(folders)


def test_grey_images_have_one_channel_of_luma(folders, read_folders):
  for i, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)]):
    write(folders / "train" / "a" / f"{i}.png", plain(colour, 6, 5))
  write(folders / "test" / "a" / "0.png", plain(200, 6, 5))
  splits = read_folders(channels=1)
  assert splits.test.images.shape == (6, 6, 5, 1)
  assert by_label(everything(splits))[1] == [(9,), (29,), (76,), (150,)] and (200,) in by_label(splits.test)[1]


def test_other_sizes_are_refused_unless_a_way_to_resize_is_given(folders, read_folders):
  write(folders / "test" / "b" / "1.png", plain((7, 8, 9), 12, 20))
  with pytest.raises(InputError, match="test/b/1.png: is 12x20, expected 6x5; .*`resize=stretch` or crop"):
    read_folders()
  with pytest.raises(InputError, match="is 6x5, expected 12x20"):
    read_folders(image_size=(12, 20))
  for resize in (Resize.STRETCH, Resize.CROP):
    assert by_label(read_folders(resize=resize).test)[2] == [(0, 0, 1), (7, 8, 9)]


@pytest.mark.parametrize("resize", [Resize.STRETCH, Resize.CROP])
def test_images_of_one_colour_stay_so_in_any_size(read_folders, resize):
  splits = read_folders(resize=resize, image_size=(9, 3))
  assert splits.test.images.shape == (6, 9, 3, 3)
  assert by_label(splits.test)[0] == [(1, 0, 1), (1, 1, 1)]


@pytest.mark.parametrize(
  "spoil, message",
  [
    (move("train", "x"), "/train: no such folder; image folders have train"),
    (move("test", "x"), "/test: no such folder; image folders have train"),
    (move("test/a", "x"), "test/a: no such folder"),
    (move("train/a", "x"), "test/a: there is no training folder"),
    (put("test/z/0.png", plain((1, 2, 3), 6, 5)), "test/z: there is no training folder of this class"),
    (put("train/a/sub/0.png", plain((1, 2, 3), 6, 5)), "train/a/sub: is a folder among image files"),
    (put("train/a/readme.txt", b"hello"), "train/a/readme.txt: no whole JPEG, PNG, .*`skip_bad`"),
    (put("test/a/empty.png", b""), "test/a/empty.png: no whole JPEG, PNG, .*`skip_bad`"),
    (lambda folder: (folder / "train" / "z").mkdir(), "train/z: holds no images"),
    (
      lambda folder: (folder / "test" / "a" / "gone.png").symlink_to(folder / "nowhere"),
      "test/a/gone.png: no such file",
    ),
  ],
)
def test_spoilt_image_folders_are_refused_by_the_name_of_the_file(folders, read_folders, spoil, message):
  spoil(folders)
  with pytest.raises(InputError, match=message) as caught:
    read_folders()
  assert "\n" not in str(caught.value)


def val_folder(folders, count=2):
  for c, label in enumerate("bCa"):
    for i in range(count):
      write(folders / "val" / label / f"{i}.png", plain((c, i, 2), 6, 5))


def test_images_of_val_are_held_out_and_those_of_training_are_not(folders, read_folders):
  before = read_folders(heldout=3, use_val=False)
  val_folder(folders)
  splits = read_folders()
  assert by_label(splits.heldout) == {label: [(c, i, 2) for i in range(2)] for label, c in enumerate((1, 2, 0))}
  assert by_label(splits.train) == by_label(everything(before)) and by_label(splits.test) == by_label(before.test)
  assert sorted(read_folders(heldout=3).heldout.labels) == [0, 1, 2]
  assert read_folders(heldout=3, use_val=False).digest() == before.digest()


def test_spoilt_val_folders_are_refused(folders, read_folders):
  val_folder(folders)
  with pytest.raises(InputError, match="6 held-out images, fewer than the 7"):
    read_folders(heldout=7)
  move("val/a", "val/z")(folders)
  with pytest.raises(InputError, match="val/z: there is no training folder"):
    read_folders()
  (folders / "val" / "z").rename(folders / "z")
  with pytest.raises(InputError, match="val/a: no such folder"):
    read_folders()


def one_folder(root, count=10):
  for c, label in enumerate("bCa"):
    for i in range(count + c):
      write(root / label / f"{i}.png", plain((c, i, 0), 6, 5))
  return root


@pytest.mark.parametrize("below", ["", "train"])
def test_one_folder_is_divided_class_by_class(tmp_path, below):
  one_folder(tmp_path / "mine" / below)

  def read(**reading):
    return load_image_folders(tmp_path / "mine", ReadingConfig(heldout=1, **reading), tmp_path / "cache")

  splits = read(test_fraction=0.3)
  assert splits.train.class_names == ("C", "a", "b")
  assert np.bincount(splits.test.labels).tolist() == [3, 4, 3]
  whole, test = by_label(everything(splits)), by_label(splits.test)
  for label, (c, count) in enumerate(((1, 11), (2, 12), (0, 10))):
    assert sorted(whole[label] + test[label]) == [(c, i, 0) for i in range(count)]
  assert read(test_fraction=0.3).digest() == splits.digest() != read(test_fraction=0.3, split_seed=1).digest()


def test_the_division_is_known():
  # A function of names and seed alone: runs that are years old read the same test images.
  files = LabelledFiles(tuple(pathlib.Path(f"/x/{i // 6}/{i}.png") for i in range(12)), (0,) * 6 + (1,) * 6)
  stay, go = labelled_files.split_off(files, 0.34, 5)
  assert [int(path.stem) for path in go.paths] == [0, 4, 8, 10] and go.labels == (0, 0, 1, 1)
  assert set(stay.paths) | set(go.paths) == set(files.paths) and len(stay.paths) == 8
  elsewhere = LabelledFiles(tuple(pathlib.Path(f"/y/{i // 6}/{i}.png") for i in range(12)), files.labels)
  assert [path.name for path in labelled_files.split_off(elsewhere, 0.34, 5)[1].paths] == [p.name for p in go.paths]


def test_every_class_has_images_in_both_parts(tmp_path):
  one_folder(tmp_path, 2)
  for fraction, counts in ((0.01, [1, 1, 1]), (0.99, [2, 3, 1])):
    splits = load_image_folders(tmp_path, ReadingConfig(heldout=1, test_fraction=fraction), tmp_path / ".cache")
    assert np.bincount(splits.test.labels).tolist() == counts


@pytest.mark.parametrize(
  "prepare, reading, message",
  [
    (write_folders, {"test_fraction": 0.2}, "test: holds test images already; leave out `test_fraction`"),
    (one_folder, {}, "train: no such folder; .*`test_fraction=0.2`"),
    (lambda root: one_folder(root, 1), {"test_fraction": 0.2}, "b: holds one image, of which `test_fraction=0.2`"),
    (lambda root: one_folder(root / "val"), {"test_fraction": 0.2}, "train: no such folder"),
    (lambda root: None, {"test_fraction": 0.2}, "mine: no such folder; image folders have"),
  ],
)
def test_folders_that_cannot_be_divided_are_refused(tmp_path, prepare, reading, message):
  prepare(tmp_path / "mine")
  with pytest.raises(InputError, match=message):
    load_image_folders(tmp_path / "mine", ReadingConfig(**reading), tmp_path / "cache")


def add_bad_files(folders):
  """Files that cannot be read beside the whole ones; returns their names with words of the reasons."""
  write(folders / "train" / "a" / "readme.txt", b"hello")
  whole = encoded(plain((1, 2, 3), 6, 5))
  write(folders / "train" / "C" / "00.png", whole[:-20])
  (folders / "test" / "b" / "gone.png").symlink_to(folders / "nowhere")
  return {"train/C/00.png": "truncated", "train/a/readme.txt": "no whole JPEG, PNG", "test/b/gone.png": "no such file"}


def test_bad_files_are_left_out_and_listed_where_asked_for(folders, tmp_path, read_folders, monkeypatch):
  before = read_folders(heldout=2)
  assert before.left_out == read_folders(skip_bad=True).left_out == ()
  bad = add_bad_files(folders)
  splits = read_folders(heldout=2, skip_bad=True)
  assert splits.digest() == before.digest()
  assert {path.removeprefix(f"{folders}/"): reason for path, reason in splits.left_out}.keys() == bad.keys()
  assert all(bad[path.removeprefix(f"{folders}/")] in reason for path, reason in splits.left_out)
  # Known from the cache the next time, and not after a repair.
  with monkeypatch.context() as patched:
    patched.setattr(decoding, "unreadable_files", fail)
    assert read_folders(heldout=2, skip_bad=True).left_out == splits.left_out
  write(folders / "train" / "C" / "00.png", plain((1, 2, 3), 6, 5))
  assert len(read_folders(skip_bad=True).left_out) == 2


def test_without_being_asked_a_bad_file_is_refused_with_the_remedies(folders, read_folders):
  write(folders / "train" / "C" / "00.png", encoded(plain((1, 2, 3), 6, 5))[:-20])
  with pytest.raises(InputError, match="train/C/00.png: the image file is truncated; copy it again, or .*`skip_bad`"):
    read_folders()


def test_other_sizes_are_no_bad_files(folders, read_folders):
  write(folders / "test" / "b" / "1.png", plain((7, 8, 9), 12, 20))
  with pytest.raises(InputError, match="is 12x20"):
    read_folders(skip_bad=True)


def test_a_class_of_bad_files_alone_is_named(folders, read_folders):
  for path in (folders / "test" / "a").iterdir():
    path.write_bytes(b"no image")
  with pytest.raises(InputError, match="test/a: holds no image that can be read"):
    read_folders(skip_bad=True)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_classes_are_refused(tmp_path, count):
  for part in ("train", "test"):
    (tmp_path / part).mkdir()
    for c in range(count):
      write(tmp_path / part / str(c) / "0.png", plain((1, 2, 3)))
  with pytest.raises(InputError, match="train: .*at least two are needed"):
    load_image_folders(tmp_path)


@pytest.mark.parametrize("folder", [None, "nowhere"])
def test_missing_image_folders_are_refused(tmp_path, folder):
  with pytest.raises(InputError, match="image folders have train/<class>"):
    load_image_folders(folder and tmp_path / folder)


# ------------------------------------------------------------------- decoding


def test_png_pixels_are_exact_and_jpeg_pixels_near(tmp_path):
  np.testing.assert_array_equal(decoded(noise(5, 7), tmp_path), noise(5, 7))
  smooth = np.broadcast_to(np.arange(0, 128, 4, dtype=np.uint8)[:, None, None], (32, 32, 3))
  found = decoded(encoded(np.ascontiguousarray(smooth), "JPEG", quality=95), tmp_path)
  np.testing.assert_allclose(found.astype(int), smooth, atol=4)


def test_a_crop_keeps_the_middle_and_a_stretch_all(tmp_path):
  image = noise(8, 20)
  np.testing.assert_array_equal(decoded(image, tmp_path, (8, 8), Resize.CROP), image[:, 6:14])
  np.testing.assert_array_equal(
    decoded(image.swapaxes(0, 1).copy(), tmp_path, (8, 8), Resize.CROP), image.swapaxes(0, 1)[6:14]
  )
  halves = np.repeat(plain((0, 100, 255), 8, 2), 8, axis=1)
  halves[:, 8:] = (255, 0, 100)
  small = decoded(halves, tmp_path, (4, 4), Resize.STRETCH)
  assert small.shape == (4, 4, 3) and (small == small[:1]).all()
  np.testing.assert_allclose(small[0, [0, -1]].astype(int), [[0, 100, 255], [255, 0, 100]], atol=8)


def test_a_larger_crop_is_scaled_until_it_covers(tmp_path):
  striped = np.concatenate([plain((9, 9, 9), 4, 8), plain((50, 60, 70), 4, 16), plain((9, 9, 9), 4, 8)], axis=1)
  found = decoded(striped, tmp_path, (8, 8), Resize.CROP)
  np.testing.assert_array_equal(found, plain((50, 60, 70), 8, 8))


UPRIGHT = {
  1: lambda x: x,
  2: np.fliplr,
  3: lambda x: np.rot90(x, 2),
  4: np.flipud,
  5: lambda x: x.swapaxes(0, 1),
  6: lambda x: np.rot90(x, -1),
  7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
  8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_an_image_is_turned_upright(tmp_path, orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  expected = UPRIGHT[orientation](noise(4, 6))
  found = decoded(encoded(noise(4, 6), exif=exif), tmp_path, expected.shape[:2])
  np.testing.assert_array_equal(found, expected)


def test_a_jpeg_is_turned_upright(tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 6
  assert decoded(encoded(plain((1, 2, 3), 4, 8), "JPEG", exif=exif), tmp_path).shape == (8, 4, 3)


@pytest.mark.parametrize(
  "mode, colour, expected",
  [
    ("1", 1, [255] * 3),
    ("L", 70, [70] * 3),
    ("LA", (70, 0), [70] * 3),
    ("RGBA", (1, 2, 3, 0), [1, 2, 3]),
    ("P", 0, [0] * 3),
    ("I;16", 0x1234, [0x12] * 3),
    ("I;16", 0xFFFF, [255] * 3),
    ("I;16", 255, [0] * 3),
  ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_depth_are_read(tmp_path, mode, colour, expected, channels):
  found = decoded(Image.new(mode, (3, 2), colour), tmp_path, channels=channels)
  assert found.shape == (2, 3, channels) and found.dtype == np.uint8
  np.testing.assert_array_equal(
    found[1, 2], expected if channels == 3 else [round(np.dot(expected, (0.299, 0.587, 0.114)))]
  )


def test_an_inverted_cmyk_jpeg_is_read(tmp_path):
  assert decoded(encoded(Image.new("CMYK", (3, 2)), "JPEG"), tmp_path).tolist() == plain((255,) * 3, 2, 3).tolist()


def test_a_jpeg_with_a_second_image_is_read(tmp_path):
  first, second = (Image.new("RGB", (8, 8), (c, c, c)) for c in (10, 200))
  content = encoded(first, "MPO", save_all=True, append_images=[second])
  np.testing.assert_allclose(decoded(content, tmp_path).astype(int), 10, atol=2)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP"])
def test_the_first_of_moving_images_is_read(tmp_path, file_format):
  first, second = (Image.new("RGB", (8, 8), (c, c, c)) for c in (10, 200))
  content = encoded(first, file_format, save_all=True, append_images=[second], **LOSSLESS.get(file_format, {}))
  np.testing.assert_array_equal(decoded(content, tmp_path), plain((10, 10, 10)))


LOSSLESS = {"WEBP": {"lossless": True, "exact": True}}


@pytest.mark.parametrize(
  "mode, colour, file_format, expected",
  [
    ("RGBA", (1, 2, 3, 0), "WEBP", [1, 2, 3]),
    ("L", 70, "WEBP", [70] * 3),
    ("L", 70, "GIF", [70] * 3),
    ("1", 1, "GIF", [255] * 3),
    ("RGB", (1, 2, 3), "BMP", [1, 2, 3]),
    ("RGBA", (1, 2, 3, 0), "BMP", [1, 2, 3]),
    ("L", 70, "BMP", [70] * 3),
    ("1", 1, "BMP", [255] * 3),
  ],
)
def test_other_formats_are_read_in_any_depth(tmp_path, mode, colour, file_format, expected):
  content = encoded(Image.new(mode, (3, 2), colour), file_format, **LOSSLESS.get(file_format, {}))
  assert decoded(content, tmp_path).tolist() == plain(expected, 2, 3).tolist()


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
@pytest.mark.filterwarnings("error")
def test_colours_of_a_palette_are_read_whether_transparent_or_not(tmp_path, file_format, transparency):
  if file_format == "GIF" and isinstance(transparency, bytes):
    transparency = 0
  image = Image.new("P", (3, 2), 1)
  image.putpalette([9, 9, 9, 10, 20, 30])
  assert decoded(encoded(image, file_format, transparency=transparency), tmp_path)[1, 2].tolist() == [10, 20, 30]


def test_the_upper_bytes_of_deep_colours_are_read(tmp_path):
  def chunk(name, content):
    return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")

  header = (1).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
  pixels = zlib.compress(bytes([0, 0x12, 0xFF, 0x34, 0x00, 0xFF, 0x80]))
  content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
  assert decoded(content, tmp_path).tolist() == [[[0x12, 0x34, 0xFF]]]


@pytest.mark.parametrize("file_format", ["TIFF", "PPM", "ICO"])
def test_other_formats_are_refused(tmp_path, file_format):
  with pytest.raises(InputError, match="a.png: no whole JPEG, PNG, GIF, WebP or BMP image"):
    decoding.read_image(write(tmp_path / "a.png", encoded(Image.new("RGB", (16, 16)), file_format)))


def test_an_image_of_too_many_pixels_is_refused(tmp_path):
  content = bytearray(encoded(Image.new("1", (8, 8))))
  for side in (1 << 14, 1 << 20):
    header = content[12:16] + side.to_bytes(4, "big") * 2 + content[24:29]
    content[12:33] = header + np.uint32(zlib.crc32(header)).byteswap().tobytes()
    with pytest.raises(InputError, match="image: "):
      decoded(bytes(content), tmp_path)


FILES = {
  "PNG": encoded(noise()),
  "grey PNG": encoded(noise()[..., 0]),
  "deep PNG": encoded(noise()[..., 0].astype(np.uint16)),
  "JPEG": encoded(noise(), "JPEG"),
  "progressive JPEG": encoded(noise(), "JPEG", progressive=True),
  "grey JPEG": encoded(noise()[..., 0], "JPEG"),
  "GIF": encoded(noise(), "GIF"),
  "WebP": encoded(noise(), "WEBP"),
  "lossless WebP": encoded(noise(), "WEBP", lossless=True),
  "BMP": encoded(noise(), "BMP"),
  "grey BMP": encoded(noise()[..., 0], "BMP"),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
@hypothesis.given(choose=st.data())
@MANY
def test_a_truncated_image_is_refused(tmp_path_factory, content, choose):
  path = tmp_path_factory.getbasetemp() / "truncated"
  path.write_bytes(content[: choose.draw(st.integers(0, len(content) - 1))])
  with pytest.raises(InputError, match="truncated: "):
    decoding.read_image(path, (16, 16))


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
@hypothesis.given(choose=st.data())
@MANY
def test_changed_bytes_of_an_image_are_refused_or_leave_its_shape(tmp_path_factory, content, choose):
  path = tmp_path_factory.getbasetemp() / "changed"
  place = choose.draw(st.integers(0, len(content) - 1))
  piece = choose.draw(st.binary(min_size=1, max_size=4))
  path.write_bytes(content[:place] + piece + content[place + len(piece) :])
  try:
    assert decoding.read_image(path, (16, 16)).shape == (16, 16, 3)
  except InputError as error:
    assert "changed: " in str(error) and "\n" not in str(error)


def test_bytes_after_the_end_are_no_damage(tmp_path):
  for content in FILES.values():
    np.testing.assert_array_equal(decoded(content + bytes(9), tmp_path), decoded(content, tmp_path))


def test_many_images_keep_their_order(tmp_path):
  files = [encoded(plain((i % 256, i // 256, 0), 2, 2)) for i in range(1100)]
  paths = [write(tmp_path / str(i), content) for i, content in enumerate(files)]
  output, told = np.zeros((1100, 2, 2, 3), np.uint8), []
  decoding.decode(paths, (2, 2), output, progress=lambda *counts: told.append(counts))
  np.testing.assert_array_equal(output[:, 0, 0, 0] + 256 * output[:, 1, 1, 1].astype(int), np.arange(1100))
  assert told == [(1000, 1100), (1100, 1100)]
  paths[700].unlink()
  with pytest.raises(InputError, match="/700: no such file"):
    decoding.decode(paths, (2, 2), output)


# ------------------------------------------------------------------- order


@hypothesis.given(
  st.lists(st.integers(1, 30), min_size=1, max_size=6).flatmap(
    lambda counts: st.permutations([label for label, count in enumerate(counts) for _ in range(count)])
  )
)
@MANY
def test_every_beginning_has_all_classes_in_proportion(labels):
  found = labelled_files.in_proportion(LabelledFiles(tuple(range(len(labels))), tuple(labels)))
  assert sorted(found.paths) == list(range(len(labels))) and [labels[i] for i in found.paths] == list(found.labels)
  seen = np.cumsum(np.array(found.labels)[:, None] == np.arange(max(labels) + 1), axis=0)
  share = seen[-1] / len(labels)
  expected = np.arange(1, len(labels) + 1)[:, None] * share
  assert (np.abs(seen - expected) <= 0.5 + share * len(share) / 2 + 1e-9).all()


def test_files_of_a_class_keep_their_order():
  found = labelled_files.in_proportion(LabelledFiles(tuple("abcdefgh"), (0, 0, 0, 0, 1, 1, 2, 2)))
  assert "".join(path for path in found.paths if path in "abcd") == "abcd"
  assert found.paths.index("e") < found.paths.index("f") and found.paths.index("g") < found.paths.index("h")


# ------------------------------------------------------------------- the cache


KEY = "0123456789abcdef" * 4


def make(folder, value=7):
  np.save(folder / "first.npy", np.full((2, 3), value, np.uint8))
  np.save(folder / "second.npy", np.arange(4, dtype=np.int32))


def fail(*args, **kwargs):
  raise AssertionError("called")


def is_right(arrays):
  return arrays["first"].tolist() == [[7] * 3] * 2 and arrays["second"].tolist() == [0, 1, 2, 3] and len(arrays) == 2


def test_an_entry_is_made_once(tmp_path):
  assert is_right(cache.load(tmp_path, KEY, make)) and is_right(cache.load(tmp_path, KEY, fail))


def test_cached_arrays_are_read_only_maps(tmp_path):
  for array in cache.load(tmp_path, KEY, make).values():
    assert isinstance(array, np.memmap) and not array.flags.writeable


def entries(folder):
  """The names of the entries of a cache, and of what its makers forgot there."""
  return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


@pytest.mark.filterwarnings("ignore::tla_tf.errors.RecordWarning")
@pytest.mark.parametrize("name", ["first.npy", "second.npy", "meta.json"])
@hypothesis.given(choose=st.data())
@hypothesis.settings(max_examples=50)
def test_a_damaged_entry_is_made_anew(tmp_path_factory, name, choose):
  folder = tmp_path_factory.getbasetemp() / "damaged"
  cache.load(folder, KEY, make)
  path = folder / KEY[:32] / name
  content = path.read_bytes()
  place = choose.draw(st.integers(0, len(content) - 1))
  rest = choose.draw(st.one_of(st.just(b""), st.integers(0, 255).map(lambda b: bytes([b]) + content[place + 1 :])))
  path.write_bytes(content[:place] + rest)
  assert is_right(cache.load(folder, KEY, make)) and is_right(cache.load(folder, KEY, fail))
  assert entries(folder) == [KEY[:32]]


@pytest.mark.parametrize(
  "spoil",
  [
    drop("first.npy"),
    drop("meta.json"),
    put("meta.json", b"[]"),
    put("meta.json", b'{"format": 1}'),
    lambda entry: (entry.rename(entry.with_name("x")), entry.write_bytes(b"")),
    lambda entry: (entry.rename(entry.with_name("x")), entry.mkdir()),
    lambda entry: (entry.rename(entry.with_name("x")), entry.symlink_to("nowhere")),
  ],
  ids=["no array", "no meta", "no dict", "no key", "file", "empty", "link"],
)
def test_what_is_no_entry_is_replaced(tmp_path, spoil):
  cache.load(tmp_path, KEY, make)
  spoil(tmp_path / KEY[:32])
  with pytest.warns(RecordWarning, match="damaged; what it held is made again"):
    assert is_right(cache.load(tmp_path, KEY, make))
  assert is_right(cache.load(tmp_path, KEY, fail))


@pytest.mark.parametrize("error", [InputError, KeyboardInterrupt, MemoryError])
def test_a_maker_that_is_stopped_leaves_no_entry(tmp_path, error):
  def stopped(folder):
    make(folder)
    raise error("stopped")

  with pytest.raises(error, match="stopped"):
    cache.load(tmp_path, KEY, stopped)
  assert entries(tmp_path) == []
  assert is_right(cache.load(tmp_path, KEY, make))


def test_two_makers_of_one_entry_agree(tmp_path):
  begun = threading.Barrier(2)

  def load():
    begun.wait(timeout=60)
    return cache.load(tmp_path, KEY, make)

  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    assert all(is_right(found.result(timeout=60)) for found in [pool.submit(load), pool.submit(load)])
  assert entries(tmp_path) == [KEY[:32]]


def test_a_cache_that_cannot_be_written_is_told(tmp_path):
  write(tmp_path / "file", b"")
  with pytest.raises(InputError, match="file.*`cache_dir`"):
    cache.load(tmp_path / "file" / "sub", KEY, make)
  with pytest.raises(InputError, match="file.*`cache_dir`"):
    cache.load(tmp_path / "file", KEY, make)


def test_an_entry_that_cannot_be_replaced_is_told(tmp_path, monkeypatch):
  def denied(folder):
    raise PermissionError(13, "Permission denied")

  cache.load(tmp_path, KEY, make)
  write(tmp_path / KEY[:32] / "first.npy", b"")
  monkeypatch.setattr(cache.files, "remove_folder", denied)
  warned = pytest.warns(RecordWarning, match="made again")
  with warned, pytest.raises(InputError, match="Permission denied.*`cache_dir`"):
    cache.load(tmp_path, KEY, make)


def test_a_full_disk_is_told_with_the_remedy(tmp_path):
  def full(folder):
    raise OSError(28, "No space left on device")

  with pytest.raises(InputError, match="No space left on device.*`cache_dir`"):
    cache.load(tmp_path, KEY, full)


def test_the_cache_has_a_place_of_its_own(tmp_path, monkeypatch, folders):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
  load_image_folders(folders)
  assert len(entries(tmp_path / "home" / "tla_tf")) == 1
  monkeypatch.setenv("XDG_CACHE_HOME", "")
  assert cache.default_folder() == pathlib.Path.home() / ".cache" / "tla_tf"


@pytest.mark.parametrize("read", ["read_folders", "read_tiny"])
def test_a_second_load_decodes_nothing(request, monkeypatch, read):
  load = request.getfixturevalue(read)
  before = load(heldout=2).digest()
  monkeypatch.setattr(decoding, "decode", fail)
  again = load(heldout=2)
  assert again.digest() == before
  for part in (again.train, again.heldout, again.test):
    assert isinstance(part.images, np.memmap) and not part.images.flags.writeable


def test_another_number_held_out_needs_no_decoding(read_folders, monkeypatch):
  read_folders(heldout=2)
  monkeypatch.setattr(decoding, "decode", fail)
  assert len(read_folders(heldout=5).heldout) == 5


def test_changed_content_makes_a_new_entry(folders, tmp_path, read_folders):
  before = read_folders().digest()
  path = folders / "test" / "a" / "0.png"
  content = path.read_bytes()
  write(path, plain((99, 98, 97), 6, 5))
  assert (99, 98, 97) in by_label(read_folders().test)[1]
  write(path, content)
  assert read_folders().digest() == before and len(entries(tmp_path / "cache")) == 2


def test_whatever_changes_the_arrays_makes_a_new_entry(folders, tmp_path, read_folders):
  for reading in (
    {},
    {"channels": 1},
    {"image_size": (3, 3), "resize": Resize.CROP},
    {"classes": ("b", "a")},
    {"image_size": (3, 3), "resize": Resize.STRETCH},
    {"classes": ("a", "b")},
    # Which find entries that are there.
    {"test_fraction": 0.0, "split_seed": 3},
    {"use_val": False},
  ):
    read_folders(**reading)
  (folders / "test" / "a" / "0.png").rename(folders / "test" / "b" / "9.png")
  read_folders()
  assert len(entries(tmp_path / "cache")) == 7


def test_a_copy_elsewhere_shares_the_entry(tmp_path, monkeypatch, read_folders):
  before = read_folders().digest()
  monkeypatch.setattr(decoding, "decode", fail)
  assert load_image_folders(write_folders(tmp_path / "copy"), cache_dir=tmp_path / "cache").digest() == before


def test_a_damaged_image_leaves_no_entry(folders, tmp_path, read_folders):
  path = folders / "test" / "b" / "1.png"
  write(path, path.read_bytes()[:-20])
  with pytest.raises(InputError, match="b/1.png") as caught:
    read_folders()
  assert "cache" not in str(caught.value) and entries(tmp_path / "cache") == []


def test_progress_counts_both_parts(folders, tmp_path):
  told = []
  load_image_folders(folders, cache_dir=tmp_path / "cache", progress=lambda *counts: told.append(counts))
  assert told == [(12, 18), (18, 18)]


# ------------------------------------------------------------------- real images


@pytest.fixture(scope="module")
def real_tiny(tmp_path_factory):
  folder = tmp_path_factory.mktemp("real")
  with tarfile.open(pathlib.Path(os.environ["TLA_TEST_DATA"]) / "tiny-imagenet-20.tar") as archive:
    archive.extractall(folder, filter="data")
  return folder


@pytest.mark.real_data
def test_real_tiny_imagenet_has_its_counts_and_its_grey_images(real_tiny, tmp_path):
  splits = load_tiny_imagenet(real_tiny, cache_dir=tmp_path)
  whole = everything(splits)
  assert np.bincount(whole.labels).tolist() == [500] * 20 and np.bincount(splits.test.labels).tolist() == [50] * 20
  assert np.bincount(splits.heldout.labels).tolist() == [50] * 20
  assert list(splits.train.class_names) == (real_tiny / "tiny-imagenet-200" / "wnids.txt").read_text().split()
  grey = 0
  for path in real_tiny.rglob("*.JPEG"):
    with Image.open(path) as image:
      grey += image.mode == "L"
  images = np.concatenate([whole.images, splits.test.images])
  assert grey == 153 <= (images == images[..., :1]).all((1, 2, 3)).sum() < 300


@pytest.mark.real_data
def test_real_labels_are_those_of_the_files(real_tiny, tmp_path):
  folder = real_tiny / "tiny-imagenet-200"
  test = load_tiny_imagenet(folder, "files", ReadingConfig(classes=("n02124075", "n01641577")), tmp_path).test
  wnid = dict(line.split("\t")[:2] for line in (folder / LABELS).read_text().splitlines())
  for label, name in enumerate(test.class_names):
    paths = sorted(folder / "val" / "images" / file for file in wnid if wnid[file] == name)
    np.testing.assert_array_equal(test.images[test.labels == label], [decoding.read_image(path) for path in paths])
