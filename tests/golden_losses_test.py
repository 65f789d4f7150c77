"""Golden: triplet and pairing losses with their gradients, and mining."""

import golden_support as golden
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import losses
from tla_tf.ops import mining

LOSS = 1e-5
_TYPES = {"cos": "angular", "l2": "squared_euclidean", "xent_after_softmax": "symmetrised_kl"}
_ALL_CASES = golden.numbers("triplet")["cases"]
CASES = [c for c in _ALL_CASES if "loss_type" in c]
ARRAYS = golden.arrays("triplet")


def _evaluate(case):
  a, p, n = (tf.constant(ARRAYS[f"{case['set']}/{role}"]) for role in "apn")
  with tf.GradientTape() as tape:
    tape.watch([a, p, n])
    parts = losses.triplet_parts(a, p, n, case["margin"], _TYPES[case["loss_type"]])
    norm = losses.feature_norm([a, p, n])
    loss = tf.reduce_mean(parts.loss) + case["regularize"] * norm
  return parts, norm, loss, tape.gradient(loss, [a, p, n], unconnected_gradients="zero")


def test_every_distance_and_set_is_there():
  seen = {(c["set"], c["loss_type"]) for c in CASES}
  assert seen >= {("edge", "cos"), ("normal", "l2"), ("relu", "xent_after_softmax")}
  assert len(CASES) == 108


@pytest.mark.parametrize("kind", _TYPES)
def test_triplet_losses(kind):
  for case in (c for c in CASES if c["loss_type"] == kind):
    parts, norm, loss, gradients = _evaluate(case)
    label = f"triplet {kind}, values"
    golden.assert_close(loss, case["loss"], LOSS, label)
    golden.assert_close(tf.reduce_mean(parts.positive_distance), case["pos_dist"], LOSS, label)
    golden.assert_close(tf.reduce_mean(parts.negative_distance), case["neg_dist"], LOSS, label)
    golden.assert_close(norm, case["norm"], LOSS, label)
    for gradient, size in zip(gradients, case["gradient_l2"]):
      golden.assert_close(np.linalg.norm(gradient), size, LOSS, f"triplet {kind}, gradients")


def test_triplet_gradients():
  cases = [c for c in CASES if "gradient_arrays" in c]
  assert cases
  for case in cases:
    gradients = _evaluate(case)[3]
    for role, gradient in zip("apn", gradients):
      expected = ARRAYS[f"{case['gradient_arrays']}/grad_{role}"]
      golden.assert_close(gradient, expected, LOSS, f"triplet {case['loss_type']}, gradients")


def test_pairing():
  for case in (c for c in _ALL_CASES if c.get("function") == "mse_loss"):
    a, p, n = (tf.constant(ARRAYS[f"{case['set']}/{role}"]) for role in "apn")
    golden.assert_close(tf.reduce_mean(losses.pairing(a, p)), case["a_p"], LOSS, "pairing")
    golden.assert_close(tf.reduce_mean(losses.pairing(a, n)), case["a_n"], LOSS, "pairing")


@pytest.mark.parametrize("name", ["positive", "signed", "quirk", "zero_anchor"])
def test_mining_picks_the_nearest_of_another_class(name):
  reference = {k.split("/", 1)[1]: v for k, v in golden.arrays("mining").items() if k.startswith(f"{name}/")}
  anchors, pool = tf.constant(reference["anchors"]), tf.constant(reference["pool"])
  labels, pool_labels = reference["anchor_labels"], reference["pool_labels"]
  picks = mining.nearest_negative(anchors, pool, tf.constant(labels), tf.constant(pool_labels)).numpy()
  scores = mining.similarity_scores(anchors, pool, tf.constant(labels), tf.constant(pool_labels)).numpy()
  other = labels[:, None] != pool_labels[None, :]
  np.testing.assert_allclose(scores[other], reference["score"][other], atol=1e-6)
  assert np.all(np.isneginf(scores[~other]))
  # A zero anchor is equally far from everything: any pick of another class is right.
  clear = np.linalg.norm(reference["anchors"], axis=1) > 0
  np.testing.assert_array_equal(picks[clear], reference["argmax_other_class_only"][clear])
  assert np.all(pool_labels[picks] != labels)


def test_the_authors_rule_differs_where_similarities_are_negative():
  reference = golden.arrays("mining")
  differs = reference["quirk/argmax"] != reference["quirk/argmax_other_class_only"]
  assert differs.sum() == golden.numbers("mining")["quirk"]["picks_differing_from_other_class_only"] == 10
