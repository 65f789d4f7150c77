"""Random crops and flips, alone and within the batch stream."""

import functools

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tla_tf.data import BatchStream, ImageData
from tla_tf.data.augmentation import crop_and_flip
from tla_tf.ops import seeds

COUNT = 12


@functools.cache
def numbered(count, height=3, width=4, channels=2, dtype="uint8"):
  """Images without a zero whose pixels all differ, so that a crop shows its place."""
  pixels = 1 + np.arange(height * width * channels).reshape(height, width, channels)
  return np.broadcast_to(pixels, (count, height, width, channels)).astype(dtype)


def key(seed=0):
  return seeds.key(seed, "test")


def possible(image, pad, flip):
  """All crops of an image and, where it may be flipped, of its mirror image, by (row, column, flipped)."""
  height, width, _ = image.shape
  return {
    (row, column, mirrored): np.pad(source, ((pad, pad), (pad, pad), (0, 0)))[
      row : row + height, column : column + width
    ]
    for mirrored, source in enumerate([image, image[:, ::-1]][: 1 + flip])
    for row in range(2 * pad + 1)
    for column in range(2 * pad + 1)
  }


def drawn(images, found, pad, flip):
  """Which of the possible results every image became: [n, 3] of (row, column, flipped)."""
  places = {result.tobytes(): place for place, result in possible(images[0], pad, flip).items()}
  return np.array([places[image.tobytes()] for image in np.asarray(found)])


# ------------------------------------------------------------------- images


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_without_pad_and_flip_images_stay(dtype):
  images = numbered(5, dtype=dtype)
  assert crop_and_flip(images, key()) is images


@hypothesis.given(
  st.integers(1, 4),
  st.integers(1, 4),
  st.integers(1, 3),
  st.integers(1, 6),
  st.integers(0, 3),
  st.booleans(),
  st.integers(0, 2**31 - 1),
)
@hypothesis.settings(max_examples=100)
def test_every_result_is_a_crop_of_the_padded_image_or_of_its_mirror(height, width, channels, count, pad, flip, seed):
  images = np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), dtype=np.uint8)
  found = np.asarray(crop_and_flip(images, key(seed), pad, flip))
  assert found.dtype == np.uint8 and found.shape == images.shape
  for image, result in zip(images, found):
    assert result.tobytes() in {crop.tobytes() for crop in possible(image, pad, flip).values()}


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int32"])
@pytest.mark.parametrize("pad, flip", [(0, True), (2, False), (2, True)])
def test_images_keep_their_type(dtype, pad, flip):
  found = crop_and_flip(numbered(6, dtype=dtype), key(), pad, flip)
  assert found.dtype == dtype
  np.testing.assert_array_equal(found, crop_and_flip(numbered(6), key(), pad, flip))


@pytest.mark.parametrize("pad, flip", [(0, True), (1, True), (2, True), (3, False)])
def test_all_places_and_both_directions_are_equally_likely(pad, flip):
  count, cells = 6000, (2 * pad + 1) ** 2 * (1 + flip)
  images = numbered(count, 8, 8)
  places = drawn(images, crop_and_flip(images, key(), pad, flip), pad, flip)
  assert len({tuple(place) for place in places}) == cells
  # Chi-square over all cells: mean cells - 1, standard deviation sqrt(2 (cells - 1)).
  counts = np.unique(places, axis=0, return_counts=True)[1]
  chi_square = ((counts - count / cells) ** 2 / (count / cells)).sum()
  assert chi_square < cells - 1 + 4 * np.sqrt(2 * (cells - 1))


def test_row_column_and_flip_are_drawn_apart():
  images = numbered(6000, 8, 8)
  correlations = np.corrcoef(drawn(images, crop_and_flip(images, key(), 2, True), 2, True).T)
  assert np.abs(correlations - np.eye(3)).max() < 0.06  # 4.5 standard deviations


def test_neighbours_in_a_batch_are_drawn_apart():
  images = numbered(6000, 8, 8)
  places = drawn(images, crop_and_flip(images, key(), 2, True), 2, True)
  for column in places.T:
    assert abs(np.corrcoef(column[1:], column[:-1])[0, 1]) < 0.06


def test_results_are_a_function_of_the_key():
  images = numbered(50)
  first, again, other = (np.asarray(crop_and_flip(images, key(seed), 2, True)) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first, other)


@pytest.mark.parametrize("jit", [False, True])
def test_a_graph_gives_the_same_bits(jit):
  images = tf.constant(numbered(20))
  graph = tf.function(lambda x, k: crop_and_flip(x, k, 2, True), jit_compile=jit)
  np.testing.assert_array_equal(graph(images, key()), crop_and_flip(images, key(), 2, True))


def test_a_batch_of_unknown_size_is_augmented():
  any_size = tf.TensorSpec([None, 3, 4, 2], tf.uint8)
  graph = tf.function(lambda x: crop_and_flip(x, key(), 1, True), input_signature=[any_size])
  for count in (1, 7):
    np.testing.assert_array_equal(graph(numbered(count)), crop_and_flip(numbered(count), key(), 1, True))


def test_a_flip_mirrors_the_crop_that_there_is_without_it():
  images = numbered(200)
  cropped, both = (np.asarray(crop_and_flip(images, key(), 2, flip)) for flip in (False, True))
  mirrored = drawn(images, crop_and_flip(images, key(), 0, True), 0, True)[:, 2:, None, None]
  np.testing.assert_array_equal(both, np.where(mirrored, cropped[:, :, ::-1], cropped))


# ------------------------------------------------------------------- the stream


def stream(batch_size=6, images=None, dtype="uint8", **kwargs):
  images = numbered(COUNT, dtype=dtype) if images is None else images
  data = ImageData(images if dtype == "uint8" else images / np.float32(255), np.arange(COUNT) % 3, tuple("abc"))
  kwargs = {"pool_size": 5, "augment_pad": 2, "augment_flip": True, **kwargs}
  return BatchStream(data, batch_size, kwargs.pop("seed", 1), **kwargs)


def as_bytes(images):
  return np.rint(np.asarray(images) * 255).astype(np.uint8)


def assert_equal(left, right):
  assert set(left) == set(right)
  for name in left:
    np.testing.assert_array_equal(left[name], right[name], err_msg=name)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_step_has_the_same_bits_alone_and_in_a_run(dtype):
  run = list(stream(dtype=dtype).dataset(0, 6))
  for step in (0, 3, 5):
    assert_equal(stream(dtype=dtype).batch(step), run[step])
    assert_equal(next(iter(stream(dtype=dtype).dataset(step, step + 1))), run[step])


def test_augmented_batches_hold_crops_of_their_images():
  images = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 4, 2), dtype=np.uint8)
  made = stream(images=images)
  batch, indices = made.batch(4), made.indices(4)
  for name, images_name in (("anchor", "image"), ("positive", "positive"), ("pool", "pool")):
    for i, found in zip(indices[name].numpy(), as_bytes(batch[images_name])):
      assert found.tobytes() in {crop.tobytes() for crop in possible(images[i], 2, True).values()}


def test_augmentation_changes_no_draw_and_no_label():
  plain, augmented = stream(augment_pad=0, augment_flip=False), stream()
  assert_equal(plain.indices(3), augmented.indices(3))
  for name in ("label", "pool_label"):
    np.testing.assert_array_equal(plain.batch(3)[name], augmented.batch(3)[name])
  assert not np.array_equal(plain.batch(3)["image"], augmented.batch(3)["image"])


def test_anchors_class_mates_and_pool_are_augmented_apart():
  places = []
  for batch in stream(batch_size=COUNT, pool_size=COUNT).dataset(0, 40):
    places.append([drawn(numbered(COUNT), as_bytes(batch[name]), 2, True) for name in ("image", "positive", "pool")])
  anchors, positives, pool = np.stack(places, axis=1).reshape(3, -1, 3)
  for left, right in ((anchors, positives), (anchors, pool), (positives, pool)):
    # One of 50 agrees by chance: 9.6 of 480, within 4.5 standard deviations.
    assert (left == right).all(axis=1).sum() < 24
    assert np.abs([np.corrcoef(a, b)[0, 1] for a, b in zip(left.T, right.T)]).max() < 0.2


def test_a_lone_class_member_and_its_class_mate_differ_by_augmentation_alone():
  data = ImageData(numbered(COUNT), np.arange(COUNT), tuple("abcdefghijkl"))
  made = BatchStream(data, COUNT, seed=1, augment_pad=2, augment_flip=True)
  batch = made.batch(0)
  assert_equal({"x": made.indices(0)["anchor"]}, {"x": made.indices(0)["positive"]})
  assert not np.array_equal(batch["image"], batch["positive"])


def test_every_step_and_every_seed_has_its_own_augmentation():
  found = [
    drawn(numbered(COUNT), as_bytes(stream(batch_size=COUNT, seed=seed).batch(step)["image"]), 2, True).tobytes()
    for seed in (1, 2)
    for step in range(4)
  ]
  assert len(set(found)) == 8


@pytest.mark.parametrize("augmented", [False, True])
def test_images_of_a_memory_map_equal_those_in_memory(tmp_path, augmented):
  images = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 4, 2), dtype=np.uint8)
  np.save(tmp_path / "images.npy", images)
  options = {"augment_pad": 2 * augmented, "augment_flip": augmented}
  mapped = stream(images=np.load(tmp_path / "images.npy", mmap_mode="r"), **options)
  for left, right in zip(mapped.dataset(0, 5), stream(images=images, **options).dataset(0, 5), strict=True):
    assert_equal(left, right)


def test_augmented_images_are_floats_of_the_unit_interval():
  batch = stream(images=np.full((COUNT, 3, 4, 2), 255, np.uint8)).batch(0)
  for name in ("image", "positive", "pool"):
    assert batch[name].dtype == tf.float32 and set(np.unique(batch[name])) == {0.0, 1.0}
