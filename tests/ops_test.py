"""Seeds, distances, objectives and mining against literals, closed forms and oracles."""

import functools

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from scipy import special, stats

from tla_tf import types
from tla_tf.ops import distances, examples, mining, objectives, seeds

GRAPH = functools.partial(tf.function, autograph=False)
XLA = functools.partial(tf.function, autograph=False, jit_compile=True)
FAST = hypothesis.settings(max_examples=25, deadline=None)
KEY = seeds.key(3, "test")
VECTORS = st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3).filter(lambda v: np.linalg.norm(v) > 0.1)
LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=9)


def rows(*vectors):
  return tf.constant(vectors, tf.float32)


# ------------------------------------------------------------------- seeds


@pytest.mark.parametrize(
  "arguments, expected", [((0,), 804681139), ((0, "a"), 1771091398), ((221760322, "stream", 3), 2117206594)]
)
def test_derived_seeds_never_change(arguments, expected):
  assert seeds.derive(*arguments) == expected


@hypothesis.given(st.integers(0, 2**63), st.lists(st.one_of(st.integers(0, 9), st.text(max_size=3)), max_size=3))
@FAST
def test_derived_seeds_fit_an_int32(seed, path):
  assert 0 <= seeds.derive(seed, *path) < 2**31


def test_derived_seeds_differ_by_seed_and_path():
  paths = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", 1), (0, "a", 2), (0, 1, "a")]
  assert len({seeds.derive(*path) for path in paths}) == len(paths)


def test_a_key_is_two_derived_seeds():
  key = seeds.key(5, "x", 1)
  assert key.dtype == tf.int32
  assert key.numpy().tolist() == [seeds.derive(5, "x", 1), seeds.derive(5, "x", 1, "second")]


@pytest.mark.parametrize("mode", [GRAPH, XLA], ids=["graph", "xla"])
def test_folding_is_the_same_in_every_mode(mode):
  np.testing.assert_array_equal(mode(lambda step: seeds.fold(KEY, step))(tf.constant(7)), seeds.fold(KEY, 7))


def test_folding_separates_values_and_keys():
  other = seeds.key(4, "test")
  keys = [seeds.fold(key, value).numpy() for key in (KEY, other) for value in range(20)]
  assert len({tuple(key) for key in keys}) == 40


def test_folds_of_folds_differ():
  assert not np.array_equal(seeds.fold(seeds.fold(KEY, 1), 2), seeds.fold(seeds.fold(KEY, 2), 1))


def test_a_fold_takes_steps_of_any_integer_type():
  np.testing.assert_array_equal(seeds.fold(KEY, tf.constant(7, tf.int64)), seeds.fold(KEY, 7))


def test_uniform_is_a_pure_function_of_its_key():
  np.testing.assert_array_equal(seeds.uniform([4, 3], KEY), seeds.uniform([4, 3], seeds.key(3, "test")))


def test_another_key_draws_something_else():
  assert not np.any(seeds.uniform([50], KEY) == seeds.uniform([50], seeds.fold(KEY, 0)))


@pytest.mark.parametrize("mode", [GRAPH, XLA], ids=["graph", "xla"])
def test_uniform_is_the_same_in_every_mode(mode):
  np.testing.assert_array_equal(mode(lambda key: seeds.uniform([5, 3], key))(KEY), seeds.uniform([5, 3], KEY))


@pytest.mark.parametrize("mode", [GRAPH, XLA], ids=["graph", "xla"])
def test_uniform_by_example_is_the_same_in_every_mode(mode):
  keys = seeds.example_keys(KEY, tf.range(3))
  np.testing.assert_array_equal(mode(lambda keys: seeds.uniform([3, 2, 2], keys))(keys), seeds.uniform([3, 2, 2], keys))


@hypothesis.given(st.floats(-10, 10, width=32), st.floats(0.125, 10, width=32), st.integers(0, 100))
@FAST
def test_uniform_stays_in_its_range(low, width, seed):
  draws = seeds.uniform([200], seeds.key(seed), low, low + width).numpy()
  assert draws.dtype == np.float32
  assert np.all(draws >= np.float32(low)) and np.all(draws <= np.float32(low + width))


def test_uniform_fills_its_range_evenly():
  counts, _ = np.histogram(seeds.uniform([10_000], KEY, -0.3, 0.3), bins=10, range=(-0.3, 0.3))
  assert counts.sum() == 10_000
  assert counts.min() > 850 and counts.max() < 1150  # five standard deviations


def test_uniform_takes_tensor_ends():
  half = tf.constant(0.5)
  np.testing.assert_array_equal(seeds.uniform([9], KEY, -half, half), seeds.uniform([9], KEY, -0.5, 0.5))


@hypothesis.given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=4))
@FAST
def test_an_examples_draw_depends_on_its_id_alone(ids):
  together = seeds.uniform([len(ids), 2, 2], seeds.example_keys(KEY, tf.constant(ids, tf.int32)))
  alone = [seeds.uniform([1, 2, 2], seeds.example_keys(KEY, tf.constant([i], tf.int32)))[0] for i in ids]
  np.testing.assert_array_equal(together, alone)


def test_examples_draw_apart():
  draws = seeds.uniform([30, 4], seeds.example_keys(KEY, tf.range(30))).numpy()
  assert len({tuple(row) for row in draws}) == 30


@FAST
@hypothesis.given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**31 - 1))
def test_part_of_a_batch_draws_the_rows_of_the_whole(count, before, after, seed):
  """Of uniform and normal draws and of random choices, whatever the part; keys by example know no batch."""
  key, total = seeds.key(seed), before + count + after
  labels, pool_labels = tf.zeros([total], tf.int32), tf.ones([7], tf.int32)

  def draws(rows):
    ids = tf.range(total)[rows]
    n = len(ids)
    by_example = seeds.uniform([n, 2], seeds.example_keys(key, ids))
    picks = mining.random_negative(labels[rows], pool_labels, key)
    return [seeds.uniform([n, 2, 3], key, -0.5), seeds.uniform([n], key), picks, by_example, seeds.normal([n, 5], key)]

  whole = draws(slice(None))
  with seeds.part_of_batch(before, total):
    part = draws(slice(before, before + count))
    with seeds.part_of_batch(0, total):  # the innermost scope counts
      inner = seeds.uniform([total, 2, 3], key, -0.5)
    again = seeds.uniform([count, 2, 3], key, -0.5)
    with seeds.part_of_batch(*seeds.place_of(count - 1, count)):  # a part of the part
      last = seeds.uniform([1, 2, 3], key, -0.5)
  for found, expected in zip(part[:-1], whole):
    np.testing.assert_array_equal(found, expected[before : before + count])
  # Logarithm and cosine may round by the place in a register.
  np.testing.assert_allclose(part[-1], whole[-1][before : before + count], atol=1e-5)
  np.testing.assert_array_equal(inner, whole[0])
  np.testing.assert_array_equal(again, part[0])
  np.testing.assert_array_equal(last, part[0][-1:])
  np.testing.assert_array_equal(seeds.uniform([total], key), whole[1])  # outside nothing changes


@pytest.mark.parametrize("mode", [GRAPH, XLA])
def test_part_of_a_batch_whose_place_is_a_tensor(mode):
  def draw(offset):
    with seeds.part_of_batch(offset, 9):
      return seeds.normal([3, 4], KEY)

  found = mode(draw)(tf.constant(4))
  assert found.shape == (3, 4)
  np.testing.assert_allclose(found, seeds.normal([9, 4], KEY)[4:7], atol=1e-5)


def test_an_empty_batch_draws_nothing():
  assert seeds.uniform([0, 3], seeds.example_keys(KEY, tf.zeros([0], tf.int32))).shape == (0, 3)


@hypothesis.given(st.integers(1, 70), st.integers(0, 1000))
@FAST
def test_every_pass_is_a_permutation(size, seed):
  positions = tf.range(3 * size, dtype=tf.int64)
  entries = seeds.permuted(positions, seeds.key(seed), size).numpy().reshape(3, size)
  np.testing.assert_array_equal(np.sort(entries, axis=1), np.tile(np.arange(size), (3, 1)))


def test_passes_are_different_permutations():
  entries = seeds.permuted(tf.range(8 * 20, dtype=tf.int64), KEY, 20).numpy().reshape(8, 20)
  assert len({tuple(row) for row in entries}) == 8


def test_keys_give_different_permutations():
  first = {tuple(seeds.permuted(tf.range(20, dtype=tf.int64), seeds.key(seed), 20).numpy()) for seed in range(8)}
  assert len(first) == 8


def test_a_permuted_entry_depends_on_its_position_alone():
  every = seeds.permuted(tf.range(30, dtype=tf.int64), KEY, 7).numpy()
  some = [29, 0, 13, 13, 7]
  np.testing.assert_array_equal(seeds.permuted(tf.constant(some, tf.int64), KEY, 7), every[some])


def test_permuted_is_the_same_in_a_graph():
  permuted = GRAPH(lambda positions: seeds.permuted(positions, KEY, 7))
  positions = tf.range(30, dtype=tf.int64)
  np.testing.assert_array_equal(permuted(positions), seeds.permuted(positions, KEY, 7))


def test_permuted_reaches_far_positions():
  size, late = 55_000, 10**12
  entries = seeds.permuted(tf.range(late, late + 100, dtype=tf.int64), KEY, size).numpy()
  assert len(set(entries)) == 100 and entries.min() >= 0 and entries.max() < size


# ------------------------------------------------------------------- distances


@pytest.mark.parametrize(
  "u, v, cosine",
  [([3, 4], [6, 8], 1.0), ([3, 4], [-3, -4], -1.0), ([3, 4], [-4, 3], 0.0), ([1, 0], [1, 1], np.sqrt(0.5))],
)
def test_cosine_of_known_angles(u, v, cosine):
  np.testing.assert_allclose(distances.cosine_similarity(rows(u), rows(v)), [cosine], atol=1e-6)


@pytest.mark.parametrize(
  "u, v, distance",
  [
    ([3, 4], [6, 8], 0.0),
    ([3, 4], [-3, -4], 0.0),
    ([3, 4], [-4, 3], 1.0),
    ([1, 0], [1, 1], 1 - np.sqrt(0.5)),
    ([0, 0], [1, 1], 1.0),
    ([0, 0], [0, 0], 1.0),
  ],
)
def test_angular_distance_of_known_angles(u, v, distance):
  np.testing.assert_allclose(distances.angular(rows(u), rows(v)), [distance], atol=1e-6)


@hypothesis.given(VECTORS, VECTORS, st.floats(0.01, 100), st.floats(0.01, 100))
@FAST
def test_angular_distance_ignores_length(u, v, a, b):
  scaled = distances.angular(a * rows(u), -b * rows(v))
  np.testing.assert_allclose(scaled, distances.angular(rows(u), rows(v)), atol=1e-5)


@hypothesis.given(VECTORS, VECTORS)
@FAST
def test_angular_distance_is_symmetric_and_in_the_unit_interval(u, v):
  distance = float(distances.angular(rows(u), rows(v))[0])
  assert -1e-6 <= distance <= 1
  assert distance == float(distances.angular(rows(v), rows(u))[0])


def test_squared_euclidean_by_hand():
  u, v = rows([1, 2], [0, 0]), rows([4, 6], [0, 0])
  np.testing.assert_array_equal(distances.squared_euclidean(u, v), [25, 0])


@hypothesis.given(VECTORS, VECTORS)
@FAST
def test_symmetrised_kl_equals_scipy(u, v):
  p, q = special.softmax(np.float64(u)), special.softmax(np.float64(v))
  expected = (stats.entropy(p, q) + stats.entropy(q, p)) / 2
  np.testing.assert_allclose(distances.symmetrised_kl(rows(u), rows(v)), [expected], rtol=1e-4, atol=1e-6)


@hypothesis.given(VECTORS, VECTORS)
@FAST
def test_symmetrised_kl_is_symmetric_and_not_negative(u, v):
  distance = float(distances.symmetrised_kl(rows(u), rows(v))[0])
  np.testing.assert_allclose(distances.symmetrised_kl(rows(v), rows(u)), [distance], rtol=1e-6)
  assert distance >= 0


@hypothesis.given(VECTORS)
@FAST
def test_symmetrised_kl_of_equal_vectors_is_0(u):
  assert float(distances.symmetrised_kl(rows(u), rows(u))[0]) == 0


def test_symmetrised_kl_of_extreme_vectors_is_finite():
  distance = distances.symmetrised_kl(rows([1000, 0]), rows([0, 1000]))
  np.testing.assert_allclose(distance, [1000.0], rtol=1e-6)


@pytest.mark.parametrize("kind", types.Distance)
def test_distances_are_taken_row_by_row(kind):
  rng = np.random.default_rng(0)
  u, v = rng.normal(size=(2, 5, 4)).astype(np.float32)
  alone = [float(distances.get(kind)(rows(a), rows(b))[0]) for a, b in zip(u, v)]
  np.testing.assert_allclose(distances.get(kind)(u, v), alone, rtol=1e-5)


@pytest.mark.parametrize("kind", types.Distance)
@pytest.mark.parametrize(
  "u, v", [([0, 0], [1, 2]), ([1, 2], [0, 0]), ([0, 0], [0, 0]), ([1, 0], [0, 1]), ([1, 2], [1, 2])]
)
def test_gradients_are_finite_where_directions_or_signs_vanish(kind, u, v):
  u, v = rows(u), rows(v)
  with tf.GradientTape() as tape:
    tape.watch([u, v])
    distance = distances.get(kind)(u, v)
  assert all(np.all(np.isfinite(gradient)) for gradient in tape.gradient(distance, [u, v]))


@pytest.mark.parametrize("scale_products", [False, True])
def test_pairwise_cosines_are_those_of_all_rows(scale_products):
  rng = np.random.default_rng(0)
  u, v = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(5, 4)).astype(np.float32)
  v[1], v[2, 0] = 0.0, np.nan  # a place of a memory that is still empty, and a network that diverged
  pairs = distances.pairwise_cosine_similarity(u, v, scale_products)
  assert np.all(pairs[:, 1] == 0.0) and np.all(np.isnan(pairs[:, 2]))
  expected = [[float(distances.cosine_similarity(rows(a), rows(b))[0]) for b in v] for a in u]
  np.testing.assert_allclose(pairs, expected, atol=1e-6)


@pytest.mark.parametrize(
  "value, function",
  [
    ("angular", distances.angular),
    ("squared_euclidean", distances.squared_euclidean),
    ("symmetrised_kl", distances.symmetrised_kl),
  ],
)
def test_distances_are_found_by_their_values(value, function):
  assert distances.get(value) is function


# ------------------------------------------------------------------- objectives


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 1.0])
def test_cross_entropy_equals_keras(smoothing):
  rng = np.random.default_rng(0)
  logits, labels = rng.normal(size=(6, 4)).astype(np.float32), np.arange(6) % 4
  oracle = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, reduction=None)
  np.testing.assert_allclose(
    objectives.cross_entropy(logits, labels, smoothing), oracle(np.eye(4)[labels], logits), rtol=1e-5
  )


def test_cross_entropy_of_even_logits_is_the_logarithm_of_the_classes():
  np.testing.assert_allclose(objectives.cross_entropy(tf.zeros([2, 10]), [3, 9], 0.1), np.log([10, 10]), rtol=1e-6)


def test_smoothing_as_a_tensor_equals_smoothing_as_a_number():
  logits = rows([1, 2, 4], [0, 0, 1])
  for smoothing in (0.0, 0.1):
    np.testing.assert_allclose(
      objectives.cross_entropy(logits, [0, 2], tf.constant(smoothing)),
      objectives.cross_entropy(logits, [0, 2], smoothing),
      rtol=1e-6,
    )


def test_cross_entropy_of_extreme_logits_is_finite():
  np.testing.assert_allclose(objectives.cross_entropy(rows([1e4, 0], [1e4, 0]), [0, 1]), [0, 1e4])


def test_margin_by_hand():
  logits = rows([3, 1, 2], [3, 1, 2], [60, 0, 0], [0, 60, 0])
  np.testing.assert_allclose(objectives.margin(logits, [0, 1, 0, 0]), [-51, -48, -110, 0])


def test_margin_saturates_at_the_confidence():
  logits = rows([0, 49, 0], [0, 51, 0])
  with tf.GradientTape() as tape:
    tape.watch(logits)
    values = objectives.margin(logits, [0, 0])
  np.testing.assert_allclose(values, [-1, 0])
  np.testing.assert_array_equal(tape.gradient(values, logits), [[-1, 1, 0], [0, 0, 0]])


def test_margin_has_no_use_for_smoothing():
  logits = rows([3, 1, 2])
  np.testing.assert_array_equal(objectives.margin(logits, [0], 0.5), objectives.margin(logits, [0]))


@pytest.mark.parametrize(
  "value, function", [("cross_entropy", objectives.cross_entropy), ("margin", objectives.margin)]
)
def test_objectives_are_found_by_their_values(value, function):
  assert objectives.get(value) is function


# ------------------------------------------------------------------- examples


@pytest.mark.parametrize("shape, expected", [((3, 5), (3, 1)), ((3, 2, 2, 1), (3, 1, 1, 1))])
def test_numbers_by_example_broadcast_against_images(shape, expected):
  assert examples.per_example(tf.constant([1.0, 2.0, 3.0]), tf.zeros(shape)).shape == expected


def test_whole_examples_are_chosen():
  chosen = examples.choose(tf.constant([True, False]), tf.ones([2, 2, 1]), tf.zeros([2, 2, 1]))
  np.testing.assert_array_equal(chosen, [[[1], [1]], [[0], [0]]])


# ------------------------------------------------------------------- mining


def pick_randomly(labels, pool_labels, seed, **kwargs):
  return mining.random_negative(tf.constant(labels), tf.constant(pool_labels), seeds.key(seed), **kwargs).numpy()


def test_the_nearest_negative_has_the_smallest_angle():
  anchors = rows([1, 0], [0, 1])
  pool = rows([9, 0.1], [1, 1], [-5, 0], [0, -1])
  picks = mining.nearest_negative(anchors, pool, tf.constant([0, 1]), tf.constant([0, 2, 2, 2]))
  assert picks.numpy().tolist() == [1, 1]
  assert picks.dtype == tf.int32


def test_an_opposite_vector_is_farthest():
  picks = mining.nearest_negative(rows([1, 0]), rows([-1, 0], [-1, 9]), tf.constant([0]), tf.constant([1, 1]))
  assert picks.numpy().tolist() == [1]


def test_similarity_scores_exclude_the_own_class():
  pool = rows([6, 8], [4, -3], [4, 3])
  scores = mining.similarity_scores(rows([3, 4]), pool, tf.constant([1]), tf.constant([1, 0, 2]))
  np.testing.assert_allclose(scores, [[-np.inf, 0, 0.96]], atol=1e-6)


@hypothesis.given(LABELS, LABELS, st.integers(0, 99))
@FAST
def test_a_negative_never_has_the_anchors_class_if_another_is_there(labels, pool_labels, seed):
  rng = np.random.default_rng(seed)
  anchors, pool = (rng.normal(size=(len(x), 2)).astype(np.float32) for x in (labels, pool_labels))
  nearest = mining.nearest_negative(anchors, pool, tf.constant(labels), tf.constant(pool_labels)).numpy()
  for picks in (nearest, pick_randomly(labels, pool_labels, seed)):
    for label, pick in zip(labels, picks):
      assert pool_labels[pick] != label or (pick == 0 and set(pool_labels) == {label})


def test_mining_takes_labels_of_two_integer_types():
  picks = mining.nearest_negative(
    rows([1, 0]), rows([1, 0], [0, 1]), tf.constant([1], tf.int32), tf.constant([1, 2], tf.int64)
  )
  assert picks.numpy().tolist() == [1]


def test_every_image_of_another_class_is_drawn():
  picks = np.concatenate([pick_randomly([0, 1], [0, 1, 1, 2, 0], seed)[:, None] for seed in range(60)], axis=1)
  assert set(picks[0]) == {1, 2, 3} and set(picks[1]) == {0, 3, 4}


def test_the_authors_random_negative_can_have_any_class():
  picks = np.concatenate([pick_randomly([0, 1], [0, 1, 2], seed, other_class=False) for seed in range(60)])
  assert set(picks) == {0, 1, 2}


def test_random_negatives_of_a_batch_are_drawn_apart():
  assert len(set(pick_randomly([0] * 50, [1] * 50, 0))) > 20


def test_random_negatives_depend_on_the_key_alone():
  np.testing.assert_array_equal(pick_randomly([0] * 9, [1] * 9, 5), pick_randomly([0] * 9, [1] * 9, 5))


@hypothesis.given(LABELS, st.integers(0, 99))
@FAST
def test_a_classmate_is_another_image_of_the_class_unless_alone(labels, seed):
  picks = mining.random_classmate(tf.constant(labels), seeds.key(seed)).numpy()
  assert picks.dtype == np.int32
  for i, pick in enumerate(picks):
    assert labels[pick] == labels[i]
    assert (pick == i) == (labels.count(labels[i]) == 1)


def test_every_classmate_is_drawn():
  labels = tf.constant([0, 1, 0, 0, 1, 2])
  picks = np.stack([mining.random_classmate(labels, seeds.key(seed)) for seed in range(60)])
  assert [set(column) for column in picks.T] == [{2, 3}, {4}, {0, 3}, {0, 2}, {1}, {5}]


# --------------------------------------------------------------------------- threefry


@pytest.mark.parametrize(
  "key, counter, expected",
  [
    # The published known answers of Random123 for 20 rounds.
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
  ],
)
def test_threefry_gives_the_published_answers(key, counter, expected):
  pair = [[tf.constant(word, tf.uint32) for word in words] for words in (key, counter)]
  assert tuple(int(word) for word in seeds.threefry2x32(*pair)) == expected


def test_folded_keys_differ_by_example_and_by_number():
  keys = seeds.example_keys(KEY, tf.range(50))
  folded = np.concatenate([seeds.fold_each(keys, i) for i in range(4)])
  assert len(np.unique(folded, axis=0)) == 200
  np.testing.assert_array_equal(seeds.fold_each(keys[7:8], 3)[0], seeds.fold_each(keys, 3)[7])
