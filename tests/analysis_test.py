"""Separation ratio, nearest neighbours and t-SNE on embeddings whose answers are known."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.neighbors import KNeighborsClassifier

from tla_tf.analysis import Neighbours, angular_distances, project, separation_ratio
from tla_tf.errors import InputError
from tla_tf.ops import distances


def _at(*degrees, length=1.0):
  """Plane embeddings at angles."""
  angles = np.radians(degrees)
  return (length * np.stack([np.cos(angles), np.sin(angles)], 1)).astype(np.float32)


def _embeddings(count, width=7, seed=0):
  return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


# --------------------------------------------------------------------------- D


def test_angular_distance_of_known_angles():
  expected = [[0, 0.5, 1, 0.5, 0], [0.5, 0, 1 - np.sqrt(0.75), 1 - 0.5, 0.5]]
  np.testing.assert_allclose(angular_distances(_at(0, 60), _at(0, 60, 90, 120, 180)), expected, atol=1e-6)


def test_angular_distance_is_that_of_the_losses_and_of_scikit_learn():
  left, right = np.abs(_embeddings(6)), np.abs(_embeddings(6, seed=1))
  ours = angular_distances(left, right)
  np.testing.assert_allclose(np.diag(ours), distances.angular(left, right), atol=1e-6)
  np.testing.assert_allclose(ours, metrics.pairwise.cosine_distances(left, right), atol=1e-6)


@hypothesis.given(exponents=st.lists(st.integers(-30, 30), min_size=8, max_size=8), seed=st.integers(0, 99))
def test_angular_distance_does_not_change_with_scale(exponents, seed):
  left, right = _embeddings(4, seed=seed), _embeddings(4, seed=seed + 100)
  scales = (10.0 ** np.array(exponents)).astype(np.float32)[:, None]
  np.testing.assert_allclose(
    angular_distances(left * scales[:4], right * scales[4:]), angular_distances(left, right), atol=2e-6
  )


def test_an_embedding_of_zeros_is_far_from_all():
  np.testing.assert_array_equal(angular_distances(np.zeros((1, 2)), [[1, 0], [0, 0]]), [[1, 1]])


# --------------------------------------------------------------------------- Table 5


def test_ratio_of_a_hand_made_case():
  # Class 0 at 0 and 60 degrees: within 1 - cos 60 = 0.5. Taken for it: 90 degrees, and 30 degrees.
  natural, labels = np.concatenate([_at(0, 60), _at(90, 90, length=3)]), [0, 0, 1, 1]
  found = separation_ratio(natural, labels, _at(90, 30, 45), [1, 1, 0], [0, 0, 0], 3)
  first, second, third = found.classes
  between = np.mean([1, 1 - np.sqrt(0.75), 1 - np.sqrt(0.75), 1 - np.sqrt(0.75)])
  assert (first.natural, first.adversarial) == (2, 2)
  assert first.within == pytest.approx(0.5, abs=1e-6)
  assert first.between == pytest.approx(between, abs=1e-6)
  assert found.ratio == first.ratio == pytest.approx(between / 0.5, abs=1e-5)
  # The third image was classified correctly; nothing is taken for class 1; class 2 has no images.
  assert (second.adversarial, second.between, second.ratio) == (0, None, None)
  assert (third.natural, third.within) == (0, None)
  assert found.left_out == (1, 2)


def test_ratio_is_the_mean_over_classes_not_over_images():
  natural, labels = np.concatenate([_at(0, 60), _at(0, 90)]), np.array([0, 0, 1, 1])
  found = separation_ratio(natural, labels, _at(0, 0, 0, 45), [1, 1, 1, 0], [0, 0, 0, 1], 2)
  ratios = [0.25 / 0.5, (1 - np.sqrt(0.5)) / 1]
  assert [part.ratio for part in found.classes] == pytest.approx(ratios, abs=1e-6)
  assert found.ratio == pytest.approx(np.mean(ratios), abs=1e-6)


def test_ratio_is_exact_over_all_pairs_in_blocks(monkeypatch):
  rng = np.random.default_rng(3)
  natural, adversarial = _embeddings(400, 24, 1), _embeddings(300, 24, 2)
  labels, truth, said = (rng.integers(0, 5, count) for count in (400, 300, 300))
  expected = []
  for k in range(5):
    own = natural[labels == k].astype(np.float64)
    fooled = adversarial[(said == k) & (truth != k)].astype(np.float64)
    similarity = np.abs(metrics.pairwise.cosine_similarity(own))
    within = 1 - similarity[np.triu_indices(len(own), 1)].mean()
    expected.append((1 - np.abs(metrics.pairwise.cosine_similarity(fooled, own)).mean()) / within)
  for block in (7, 64, 10_000):
    monkeypatch.setattr("tla_tf.analysis.separation._BLOCK", block)
    found = separation_ratio(natural, labels, adversarial, truth, said, 5)
    assert [part.ratio for part in found.classes] == pytest.approx(expected, rel=1e-5)
    assert found.ratio == pytest.approx(np.mean(expected), rel=1e-5)


def test_classes_without_spread_or_with_one_image_are_left_out():
  natural = np.concatenate([_at(10, 10), _at(20)])
  found = separation_ratio(natural, [0, 0, 1], _at(50, 50), [1, 0], [0, 1], 2)
  assert found.ratio is None and found.left_out == (0, 1)


def test_nothing_misclassified_gives_no_ratio():
  found = separation_ratio(_at(0, 60), [0, 0], np.zeros((0, 2)), [], [], 1)
  assert found.ratio is None


@pytest.mark.parametrize(
  "adversarial, truth, words",
  [
    (np.ones((2, 3)), [0, 0], "dimensions"),
    (np.ones((2, 2)), [0], "Expected embeddings"),
    (np.full((2, 2), np.nan), [0, 0], "NaN"),
  ],
)
def test_separation_refuses(adversarial, truth, words):
  with pytest.raises(InputError, match=words):
    separation_ratio(_at(0, 60), [0, 0], adversarial, truth, [1, 1], 2)


# --------------------------------------------------------------------------- Table 6 and Figure 4


def test_neighbours_of_a_hand_made_case():
  # Two at 0 degrees, three at 90: the nearest three of 10 degrees are 0, 0 and one of 90.
  found = Neighbours(_at(0, 2, 88, 90, 91), [5, 5, 7, 7, 7], k=3)
  np.testing.assert_array_equal(found.predict(_at(10, 80)), [5, 7])
  assert found.accuracy(_at(10, 80), [5, 5]) == 0.5
  np.testing.assert_array_equal(found.nearest(_at(1.5, 100), 3), [[1, 0, 2], [4, 3, 2]])


def test_of_equally_many_votes_the_lowest_class_wins():
  assert Neighbours(_at(0, 10), [3, 1], k=2).predict(_at(0)) == [1]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbours_are_those_of_a_full_sort(metric):
  reference, queries = _embeddings(200, 16), _embeddings(50, 16, 1)
  labels = np.random.default_rng(0).integers(0, 4, 200)
  found = Neighbours(reference, labels, k=9, metric=metric)
  order = np.argsort(metrics.pairwise_distances(queries, reference, metric=metric), 1)
  np.testing.assert_array_equal(found.nearest(queries, 9), order[:, :9])
  votes = np.array([np.bincount(row, minlength=4).argmax() for row in labels[order[:, :9]]])
  np.testing.assert_array_equal(found.predict(queries), votes)
  plain = KNeighborsClassifier(9, metric=metric, algorithm="brute").fit(reference, labels)
  np.testing.assert_array_equal(found.predict(queries), plain.predict(queries))


def test_no_queries_have_no_neighbours():
  found = Neighbours(_embeddings(5), np.zeros(5, int), k=2)
  assert found.predict(np.zeros((0, 7))).shape == (0,)
  assert found.nearest(np.zeros((0, 7)), 3).shape == (0, 3)


@pytest.mark.parametrize("k", [0, 6])
def test_neighbours_refuse_more_votes_than_images(k):
  with pytest.raises(InputError, match="5 training"):
    Neighbours(_embeddings(5), np.zeros(5, int), k=k)


# --------------------------------------------------------------------------- Figures 1 and 2


def test_projection_reproduces_and_follows_its_seed():
  embeddings = _embeddings(90, 12)
  np.testing.assert_array_equal(project(embeddings, seed=1), project(embeddings, seed=1))
  assert project(embeddings, seed=1).shape == (90, 2)


def test_projection_keeps_clusters_apart():
  labels = np.repeat(np.arange(3), 40)
  embeddings = np.abs(np.eye(3, 10)[labels] + 0.05 * _embeddings(120, 10))
  points = project(embeddings, seed=0)
  assert KNeighborsClassifier(5).fit(points, labels).score(points, labels) == 1


@pytest.mark.parametrize("count", [3, 4, 10])
def test_projection_of_few_points(count):
  assert np.isfinite(project(_embeddings(count))).all()


@pytest.mark.parametrize("embeddings", [np.zeros((10, 5)), np.ones((40, 16)), np.outer(np.arange(1, 11), np.ones(4))])
def test_projection_of_one_point_many_times(embeddings):
  np.testing.assert_array_equal(project(embeddings), np.zeros((len(embeddings), 2)))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_projection_of_embeddings_with_little_spread(metric):
  wide, narrow = np.zeros((30, 6), np.float32), _embeddings(30, 1)
  wide[:15, 0], wide[15:, 1] = 1, 1
  for embeddings in (wide, narrow):
    assert np.isfinite(project(embeddings, metric=metric)).all()


def test_projection_refuses_two_points():
  with pytest.raises(InputError, match="at least 3"):
    project(_embeddings(2))
