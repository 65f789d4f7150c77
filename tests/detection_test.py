"""Gaussians, ROC and the detector against closed forms, SciPy and scikit-learn."""

import json

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from scipy import stats
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.mixture import GaussianMixture

from tla_tf.config import AttackConfig
from tla_tf.detection import Detector, GraphDetector, auc_interval, fit_gaussians, roc_curve, scaled, threshold_at
from tla_tf.errors import InputError
from tla_tf.records import DetectorFacts
from tla_tf.types import Covariance


def _classes(counts=(200, 150), width=5, seed=0):
  """Embeddings of classes with means and shapes of their own, and their labels."""
  rng = np.random.default_rng(seed)
  parts = [
    rng.normal(size=(count, width)) @ rng.normal(size=(width, width)) + 3 * rng.normal(size=width) for count in counts
  ]
  return np.concatenate(parts).astype(np.float32), np.repeat(np.arange(len(counts)), counts)


def _sparse(count=60, width=1024, classes=3, seed=0):
  """What a ReLU leaves: few dimensions active, each class its own."""
  rng = np.random.default_rng(seed)
  labels = np.arange(count) % classes
  active = rng.random((classes, width)) < 0.05
  return (active[labels] * np.maximum(rng.normal(1, 1, (count, width)), 0)).astype(np.float32), labels


# --------------------------------------------------------------------------- Gaussians


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_densities_are_those_of_scikit_learn_and_scipy(covariance):
  embeddings, labels = _classes()
  kind = {"full": "full", "diagonal": "diag"}[covariance]
  ours = fit_gaussians(embeddings, labels, 2, covariance, shrinkage=0.0).log_densities(embeddings)
  for k in range(2):
    own = embeddings[labels == k].astype(np.float64)
    other = GaussianMixture(1, covariance_type=kind, reg_covar=0).fit(own)
    np.testing.assert_allclose(ours[:, k], other.score_samples(embeddings.astype(np.float64)), rtol=1e-5, atol=1e-4)
    matrix = np.cov(own.T, bias=True)
    matrix = np.diag(np.diag(matrix)) if kind == "diag" else matrix
    np.testing.assert_allclose(
      ours[:, k], stats.multivariate_normal(own.mean(0), matrix).logpdf(embeddings), rtol=1e-5, atol=1e-4
    )


def test_tied_densities_share_scikit_learns_pooled_covariance():
  embeddings, labels = _classes((120, 80, 40))
  ours = fit_gaussians(embeddings, labels, 3, "tied", shrinkage=0.0).log_densities(embeddings)
  pooled = LinearDiscriminantAnalysis(store_covariance=True, solver="lsqr").fit(embeddings.astype(np.float64), labels)
  for k in range(3):
    expected = stats.multivariate_normal(pooled.means_[k], pooled.covariance_).logpdf(embeddings)
    np.testing.assert_allclose(ours[:, k], expected, rtol=1e-5, atol=1e-4)


def test_shrinkage_is_that_of_ledoit_and_wolf():
  embeddings, labels = _classes((40, 30), width=20)
  found = fit_gaussians(embeddings, labels, 2)
  for k in range(2):
    own = embeddings[labels == k].astype(np.float64)
    other = LedoitWolf().fit(own)
    assert found.shrinkage[k] == pytest.approx(other.shrinkage_, rel=1e-9)
    inverse = found.whitening[k].astype(np.float64)
    np.testing.assert_allclose(inverse @ inverse.T, other.precision_, rtol=1e-3, atol=1e-3 * other.precision_.max())


def test_given_shrinkage_mixes_with_the_mean_variance():
  embeddings, labels = _classes((50,), width=3)
  own = embeddings.astype(np.float64)
  sample = np.cov(own.T, bias=True)
  matrix = 0.7 * sample + 0.3 * np.trace(sample) / 3 * np.eye(3)
  ours = fit_gaussians(embeddings, labels, 1, shrinkage=0.3).log_densities(embeddings)[:, 0]
  np.testing.assert_allclose(ours, stats.multivariate_normal(own.mean(0), matrix).logpdf(embeddings), rtol=1e-5)


@pytest.mark.parametrize("covariance", list(Covariance))
def test_a_wide_sparse_embedding_works_and_an_outlier_scores_low(covariance):
  embeddings, labels = _sparse()
  found = fit_gaussians(embeddings, labels, 3, covariance)
  inside = found.log_densities(embeddings).max(1)
  outside = found.log_densities(_sparse(seed=9)[0]).max(1)
  assert np.isfinite(inside).all() and np.isfinite(outside).all()
  assert np.all(outside < inside.min())
  np.testing.assert_array_equal(found.log_densities(embeddings).argmax(1), labels)


@pytest.mark.parametrize("covariance", list(Covariance))
def test_without_shrinkage_a_sparse_embedding_is_refused(covariance):
  embeddings, labels = _sparse()
  with pytest.raises(InputError, match="singular.*shrinkage"):
    fit_gaussians(embeddings, labels, 3, covariance, shrinkage=0.0)


@pytest.mark.parametrize("covariance", list(Covariance))
def test_a_class_that_does_not_vary_is_a_narrow_gaussian(covariance):
  embeddings, labels = _classes((30, 30))
  embeddings[labels == 1] = 1.0
  found = fit_gaussians(embeddings, labels, 2, covariance).log_densities(embeddings)
  assert np.isfinite(found).all()
  assert np.all(found[labels == 1].argmax(1) == 1)


def test_embeddings_may_have_any_scale():
  embeddings, labels = _classes()
  plain = fit_gaussians(embeddings, labels, 2).log_densities(embeddings)
  scaled = fit_gaussians(embeddings * 1e-4, labels, 2).log_densities(embeddings * 1e-4)
  np.testing.assert_allclose(scaled, plain + 5 * np.log(1e4), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
  "change, words",
  [
    (lambda e, y: (e, np.where(np.arange(len(y)) == 0, 2, y)), "Class 2 has 1 images"),
    (lambda e, y: (np.full_like(e, 3.0), y), "all the same"),
    (lambda e, y: (np.where(np.arange(len(e))[:, None] == 3, np.nan, e), y), "NaN"),
  ],
)
def test_fitting_refuses(change, words):
  embeddings, labels = change(*_classes((20, 20)))
  with pytest.raises(InputError, match=words):
    fit_gaussians(embeddings, labels, 3 if labels.max() == 2 else 2)


def test_shrinkage_and_width_are_checked():
  embeddings, labels = _classes((20, 20))
  with pytest.raises(InputError, match=r"\[0, 1\]"):
    fit_gaussians(embeddings, labels, 2, shrinkage=1.5)
  with pytest.raises(InputError, match=r"\[n, 5\]"):
    fit_gaussians(embeddings, labels, 2).log_densities(embeddings[:, :4])


# --------------------------------------------------------------------------- ROC


def test_roc_of_a_hand_made_case():
  # Pairs (positive, negative) with the positive lower: 1-2, 1-4, 3-4 of four.
  found = roc_curve([1, 2, 3, 4], [True, False, True, False])
  assert found.auc == 0.75
  np.testing.assert_array_equal(found.false_positive_rate, [0, 0, 0.5, 0.5, 1])
  np.testing.assert_array_equal(found.true_positive_rate, [0, 0.5, 0.5, 1, 1])


@hypothesis.given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=20))
def test_auc_is_the_chance_that_a_positive_scores_lower(pairs):
  scores, positive = np.array([score for score, _ in pairs]), np.array([flag for _, flag in pairs])
  found = roc_curve(scores, positive).auc
  if positive.all() or not positive.any():
    assert found is None
  else:
    left, right = scores[positive][:, None], scores[~positive][None]
    assert found == pytest.approx(np.mean((left < right) + 0.5 * (left == right)))


def test_interval_of_the_auc():
  rng = np.random.default_rng(0)
  positive = np.repeat([True, False], 300)
  scores = rng.normal(size=600) - positive
  low, high = auc_interval(scores, positive, np.tile(np.arange(300), 2), seed=1)
  area = roc_curve(scores, positive).auc
  assert low < area < high
  # Hanley and McNeil's standard error of independent images.
  assert high - low == pytest.approx(4 * np.sqrt(area * (1 - area) / 300 * 0.55), rel=0.4)
  assert auc_interval(scores, positive, np.tile(np.arange(300), 2), seed=1) == (low, high)
  assert auc_interval(scores, np.ones(600, bool), np.arange(600)) is None


def test_the_interval_draws_an_image_and_its_attacked_version_together():
  # An attack that lowers every score by the same: the pairs say more than as many strangers.
  clean = np.random.default_rng(0).normal(size=300)
  scores, positive = np.concatenate([clean - 1, clean]), np.repeat([True, False], 300)
  together = np.ptp(auc_interval(scores, positive, np.tile(np.arange(300), 2)))
  assert together < 0.7 * np.ptp(auc_interval(scores, positive, np.arange(600)))


# --------------------------------------------------------------------------- detector


@hypothesis.given(scores=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), rate=st.floats(0, 0.99))
def test_threshold_flags_at_most_the_chosen_share(scores, rate):
  threshold = threshold_at(np.array(scores), rate)
  assert np.mean(np.array(scores) < threshold) <= rate


def test_threshold_of_known_scores():
  assert threshold_at(np.arange(100.0)[::-1], 0.05) == 5
  for scores, rate in (([], 0.1), ([1.0], 1.0), ([1.0], -0.1)):
    with pytest.raises(InputError):
      threshold_at(np.array(scores), rate)


def _detector(covariance="full", width=64, unit_length=False):
  embeddings, labels = _sparse(90, width)
  shown = scaled(embeddings, unit_length)
  gaussians = fit_gaussians(shown, labels, 3, covariance)
  threshold = threshold_at(gaussians.log_densities(shown).max(1), 0.1)
  return Detector(gaussians, threshold, unit_length, DetectorFacts(checkpoint=3)), embeddings


@pytest.mark.parametrize("covariance", list(Covariance))
@pytest.mark.parametrize("width", [64, 1024])
@pytest.mark.parametrize("unit_length", [False, True])
def test_the_graph_computes_what_numpy_does(covariance, width, unit_length):
  detector, embeddings = _detector(covariance, width, unit_length)
  embeddings = np.concatenate([embeddings, _sparse(20, width, seed=5)[0], np.zeros((1, width), np.float32)])
  score, suspect = tf.function(GraphDetector(detector))(tf.constant(embeddings))
  np.testing.assert_allclose(score, detector.score(embeddings), rtol=1e-9, atol=1e-4)
  np.testing.assert_array_equal(suspect, detector.is_suspect(embeddings))
  assert 0 < np.mean(suspect) < 1


def test_unit_length_makes_the_score_blind_to_scale():
  detector, embeddings = _detector(unit_length=True)
  np.testing.assert_allclose(detector.score(embeddings * 7), detector.score(embeddings), rtol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(scaled(embeddings, True), axis=1), 1, rtol=1e-6)
  np.testing.assert_array_equal(scaled(np.zeros((1, 3)), True), np.zeros((1, 3)))


def test_nan_is_suspicious():
  detector, embeddings = _detector()
  embeddings[0, 0] = np.nan
  assert detector.is_suspect(embeddings)[0]
  assert GraphDetector(detector)(tf.constant(embeddings))[1][0]


@pytest.mark.parametrize("covariance", list(Covariance))
def test_a_saved_detector_is_the_same(covariance, tmp_path):
  detector, embeddings = _detector(covariance, unit_length=True)
  detector.save(tmp_path / "detector.npz")
  loaded = Detector.load(tmp_path / "detector.npz")
  np.testing.assert_array_equal(loaded.score(embeddings), detector.score(embeddings))
  assert loaded[1:] == detector[1:]
  assert [path.name for path in tmp_path.iterdir()] == ["detector.npz"]


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda _: b"", lambda _: b"x" * 99])
def test_a_damaged_detector_is_refused(damage, tmp_path):
  path = tmp_path / "detector.npz"
  _detector()[0].save(path)
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(InputError, match="damaged.*tla-analyze"):
    Detector.load(path)


CHANGES = {
  "a newer format": ({"format": 3}, {}, "format 3 of detector.npz is newer than this release reads"),
  "no threshold": ({"threshold": None}, {}, "'threshold' should be a number"),
  "another covariance": ({"covariance": "round"}, {}, "'covariance' should be one of"),
  "means of another number of classes": ({}, {"means": np.zeros((2, 64), np.float32)}, "do not belong together"),
  "other means": ({}, {"means": np.zeros((3, 64), np.float32)}, "do not belong together"),
  "another threshold": ({"threshold": -1.5}, {}, "does not fit its checksum"),
  "text for numbers": ({}, {"log_peaks": np.array(["a", "b", "c"])}, "do not belong together"),
  "NaN": ({}, {"shrinkage": np.full(3, np.nan)}, "do not belong together"),
  "objects": ({}, {"means": np.array([{}], object)}, "damaged"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_detector_of_another_form_is_refused(case, tmp_path):
  path = tmp_path / "detector.npz"
  _detector()[0].save(path)
  about_changes, array_changes, words = CHANGES[case]
  with np.load(path) as content:
    arrays = dict(content) | array_changes
  about = json.loads(str(arrays["about"])) | about_changes
  np.savez(path, **(arrays | {"about": np.array(json.dumps(about))}))
  with pytest.raises(InputError, match=f"{words}.*(tla-analyze|release that made it)"):
    Detector.load(path)


def test_facts_of_a_detector_of_an_earlier_release_are_read(tmp_path):
  path = tmp_path / "detector.npz"
  _detector()[0].save(path)
  with np.load(path) as content:
    arrays = dict(content)
  facts = {"checkpoint": 7, "checkpoint_digest": "ab", "false_positive_rate": 0.05, "fit_examples": 3, "seed": 0}
  about = json.loads(str(arrays["about"])) | {"facts": {**facts, "attack": AttackConfig().to_dict()}, "format": 1}
  del about["sha256"], about["arrays_digest"]
  np.savez(path, **(arrays | {"about": np.array(json.dumps(about))}))
  assert Detector.load(path).facts == DetectorFacts(**facts, attack=AttackConfig())
