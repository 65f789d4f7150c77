"""The batch stream: batch t is a pure function of (seed, t)."""

import functools

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tla_tf.data import BatchStream, ImageData

# Class 0 has 6 images, class 1 has 4, class 2 has 2, class 3 one, class 4 none.
LABELS = np.array([0, 1, 0, 2, 0, 1, 3, 0, 1, 0, 2, 0, 1])
COUNT = len(LABELS)


@functools.cache
def images(dtype="uint8"):
  """Images that no two of which are equal."""
  pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 2, 3, 1), dtype=np.uint8)
  pixels[:, 0, 0, 0] = np.arange(COUNT)
  found = pixels if dtype == "uint8" else pixels / np.float32(255)
  return ImageData(found, LABELS, ("a", "b", "c", "d", "e"))


def stream(batch_size=5, seed=1, dtype="uint8", pool_size=4, **kwargs):
  return BatchStream(images(dtype), batch_size, seed, pool_size=pool_size, **kwargs)


def assert_equal(left, right):
  assert set(left) == set(right)
  for name in left:
    np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def indices(made, stop, name="anchor"):
  """The indices of one kind of the steps below `stop`, one row a step."""
  return np.stack([made.indices(step)[name] for step in range(stop)])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_batch_is_the_same_alone_in_a_graph_and_in_a_long_run(dtype):
  made = stream(dtype=dtype)
  run = list(made.dataset(0, 8))
  for step in (0, 3, 7):
    alone = made.batch(tf.constant(step))
    assert_equal(alone, run[step])
    assert_equal(alone, next(iter(made.dataset(step, step + 1))))


def test_a_run_that_starts_later_goes_on_in_the_same_batches():
  made = stream()
  for late, early in zip(made.dataset(5, 9), list(made.dataset(0, 9))[5:], strict=True):
    assert_equal(late, early)


def test_two_streams_of_one_seed_are_equal():
  assert_equal(stream().batch(6), stream().batch(6))


def test_a_step_may_have_any_integer_type():
  for step in (tf.constant(6, tf.int32), tf.constant(6, tf.int64), np.int64(6)):
    assert_equal(stream().batch(6), stream().batch(step))


@pytest.mark.parametrize("name", ["anchor", "positive", "pool"])
def test_another_seed_gives_another_stream(name):
  assert not np.array_equal(indices(stream(seed=1), 6, name), indices(stream(seed=2), 6, name))


@hypothesis.given(st.integers(1, 30), st.integers(0, 1000))
@hypothesis.settings(max_examples=15, deadline=None)
def test_every_image_is_an_anchor_once_a_pass(batch_size, seed):
  steps = -(-3 * COUNT // batch_size)
  anchors = indices(stream(batch_size, seed), steps).ravel()[: 3 * COUNT].reshape(3, COUNT)
  np.testing.assert_array_equal(np.sort(anchors, axis=1), np.tile(np.arange(COUNT), (3, 1)))


def test_passes_have_their_own_order():
  anchors = indices(stream(COUNT), 6)
  assert len({tuple(row) for row in anchors}) == 6


def test_every_image_is_in_the_pool_once_a_pass():
  pool = indices(stream(pool_size=4), 3 * COUNT, "pool").reshape(12, COUNT)
  np.testing.assert_array_equal(np.sort(pool, axis=1), np.tile(np.arange(COUNT), (12, 1)))


def test_the_pool_has_its_own_order():
  made = stream(batch_size=COUNT, pool_size=COUNT)
  assert not np.any(np.all(indices(made, 6) == indices(made, 6, "pool"), axis=1))


def test_a_classmate_has_the_anchors_class():
  made = stream()
  np.testing.assert_array_equal(LABELS[indices(made, 20, "positive")], LABELS[indices(made, 20)])


def test_a_classmate_is_the_anchor_itself_only_if_it_is_alone():
  made = stream()
  anchors = indices(made, 20)
  np.testing.assert_array_equal(indices(made, 20, "positive") == anchors, LABELS[anchors] == 3)


def test_every_other_member_of_a_class_becomes_a_classmate():
  made = stream(batch_size=COUNT)
  pairs = set(zip(indices(made, 80).ravel().tolist(), indices(made, 80, "positive").ravel().tolist()))
  assert pairs == {
    (i, j) for i in range(COUNT) for j in range(COUNT) if LABELS[i] == LABELS[j] and (i != j or LABELS[i] == 3)
  }


def test_no_classmate_is_preferred():
  made = stream(batch_size=COUNT)
  positives = indices(made, 200, "positive")[indices(made, 200) == 0]
  assert len(positives) == 200
  counts = np.bincount(positives, minlength=COUNT)[[2, 4, 7, 9, 11]]
  assert counts.min() > 15 and counts.max() < 65  # 40 each, within 4.5 standard deviations


def test_anchors_of_one_class_draw_their_classmates_apart():
  data = ImageData(np.zeros((20, 1, 1, 1), np.uint8), np.zeros(20, int), ("a",))
  drawn = BatchStream(data, 20, seed=1).indices(0)
  shifts = (drawn["positive"].numpy() - drawn["anchor"].numpy()) % 20
  assert len(set(shifts)) > 5


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_and_labels_are_those_of_their_indices(dtype):
  made, data = stream(dtype=dtype), images(dtype)
  batch = next(iter(made.dataset(3, 4)))
  chosen = {name: index.numpy() for name, index in made.indices(3).items()}
  np.testing.assert_array_equal(batch["image"], data.float_images(chosen["anchor"]))
  np.testing.assert_array_equal(batch["label"], LABELS[chosen["anchor"]])
  np.testing.assert_array_equal(batch["positive"], data.float_images(chosen["positive"]))
  np.testing.assert_array_equal(batch["pool"], data.float_images(chosen["pool"]))
  np.testing.assert_array_equal(batch["pool_label"], LABELS[chosen["pool"]])


def test_a_batch_has_the_types_and_shapes_it_promises():
  batch = stream().batch(0)
  assert {name: (value.dtype.name, tuple(value.shape)) for name, value in batch.items()} == {
    "image": ("float32", (5, 2, 3, 1)),
    "label": ("int32", (5,)),
    "positive": ("float32", (5, 2, 3, 1)),
    "pool": ("float32", (4, 2, 3, 1)),
    "pool_label": ("int32", (4,)),
  }


def test_bytes_become_floats_of_the_unit_interval():
  data = ImageData(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1), np.array([0, 0]), ("a",))
  assert sorted(BatchStream(data, 2, seed=0).batch(0)["image"].numpy().ravel()) == [0.0, 1.0]


def test_what_is_not_asked_for_is_not_drawn():
  assert set(stream(pool_size=0, classmates=False).batch(0)) == {"image", "label"}
  assert set(stream(pool_size=0).batch(0)) == {"image", "label", "positive"}
  assert set(stream(classmates=False).batch(0)) == {"image", "label", "pool", "pool_label"}


def test_anchors_do_not_depend_on_what_else_is_drawn():
  np.testing.assert_array_equal(indices(stream(), 6), indices(stream(pool_size=0, classmates=False), 6))


def test_a_pool_larger_than_the_data_holds_every_image():
  pool = indices(stream(pool_size=2 * COUNT), 1, "pool")[0]
  np.testing.assert_array_equal(np.bincount(pool, minlength=COUNT), np.full(COUNT, 2))


def test_a_batch_larger_than_the_data_holds_every_image():
  drawn = stream(batch_size=2 * COUNT + 1).batch(0)
  assert drawn["image"].shape == drawn["positive"].shape == (2 * COUNT + 1, 2, 3, 1)
  assert np.bincount(drawn["label"], minlength=4).min() >= 2


def test_a_late_step_is_as_good_as_an_early_one():
  drawn = stream(batch_size=COUNT).indices(tf.constant(10**9, tf.int64))
  np.testing.assert_array_equal(np.sort(drawn["anchor"]), np.arange(COUNT))
  np.testing.assert_array_equal(LABELS[drawn["positive"]], LABELS[drawn["anchor"]])


def test_a_dataset_has_as_many_batches_as_steps():
  assert int(stream().dataset(3, 9).cardinality()) == len(list(stream().dataset(3, 9))) == 6
