"""Losses: known batches, Keras round trips, feature norm and weight decay by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import losses, networks, types
from tla_tf.losses import PairingLoss, TripletLoss

A, B, C = [3.0, 4.0], [-4.0, 3.0], [6.0, 8.0]  # B is orthogonal to A, C parallel


def rows(*vectors):
  return tf.constant(vectors, tf.float32)


def random_embeddings(seed=0, count=4):
  return np.random.default_rng(seed).normal(size=(3, count, 5)).astype(np.float32)


# ------------------------------------------------------------------- triplet


def test_a_perfect_batch_costs_nothing():
  parts = losses.triplet_parts(rows(A, A), rows(C, A), rows(B, B), margin=0.05)
  np.testing.assert_allclose(parts.loss, [0, 0], atol=1e-6)
  np.testing.assert_allclose(parts.positive_distance, [0, 0], atol=1e-6)
  np.testing.assert_allclose(parts.negative_distance, [1, 1], atol=1e-6)


def test_the_worst_batch_costs_1_and_the_margin():
  np.testing.assert_allclose(losses.triplet(rows(A, B), rows(B, C), rows(C, B), margin=0.05), [1.05, 1.05], rtol=1e-6)


def test_a_triplet_without_preference_costs_the_margin():
  np.testing.assert_allclose(losses.triplet(rows(A), rows(C), rows(A), margin=0.05), [0.05], rtol=1e-5)


def test_an_opposite_negative_is_as_near_as_a_parallel_one():
  np.testing.assert_allclose(losses.triplet(rows(A), rows(B), rows([-3, -4]), margin=0.05), [1.05], rtol=1e-6)


@pytest.mark.parametrize(
  "kind, to_positive, to_negative",
  [
    # Softmaxes of two logits are sigmoids of their gaps, here 1, 7 and 2.
    ("angular", 1.0, 0.0),
    ("squared_euclidean", 50.0, 25.0),
    ("symmetrised_kl", 0.80409111, 0.07486925),
  ],
)
def test_the_distance_is_chosen_by_member_or_value(kind, to_positive, to_negative):
  for distance in (kind, types.Distance(kind)):
    found = losses.triplet_parts(rows(A), rows(B), rows(C), 0.05, distance)
    np.testing.assert_allclose(found.positive_distance, [to_positive], atol=1e-6)
    np.testing.assert_allclose(found.negative_distance, [to_negative], atol=1e-6)
    np.testing.assert_allclose(found.loss, [to_positive - to_negative + 0.05], atol=1e-6)


def test_a_satisfied_triplet_has_no_gradient():
  embeddings = [rows(A), rows(C), rows(B)]
  with tf.GradientTape() as tape:
    tape.watch(embeddings)
    loss = losses.triplet(*embeddings, margin=0.05)
  for gradient in tape.gradient(loss, embeddings):
    np.testing.assert_array_equal(gradient, [[0, 0]])


def test_triplet_loss_is_the_mean_of_the_pure_function():
  a, p, n = random_embeddings()
  loss = TripletLoss(margin=0.5)(a, tf.stack([p, n], axis=1))
  np.testing.assert_allclose(loss, np.mean(losses.triplet(a, p, n, 0.5)), rtol=1e-6)


def test_triplet_loss_tells_positive_from_negative():
  assert float(TripletLoss(margin=0.05)(rows(A), tf.stack([rows(C), rows(B)], axis=1))) == pytest.approx(0, abs=1e-6)
  assert float(TripletLoss(margin=0.05)(rows(A), tf.stack([rows(B), rows(C)], axis=1))) == pytest.approx(1.05)


@pytest.mark.parametrize("reduction, fold", [("sum", np.sum), (None, np.asarray), ("none", np.asarray)])
def test_triplet_loss_reduces_as_it_is_told(reduction, fold):
  a, p, n = random_embeddings()
  loss = TripletLoss(0.5, reduction=reduction)(a, tf.stack([p, n], axis=1))
  np.testing.assert_allclose(loss, fold(losses.triplet(a, p, n, 0.5)), rtol=1e-6)


# ------------------------------------------------------------------- pairing


def test_pairing_by_hand():
  np.testing.assert_array_equal(losses.pairing(rows([1, 2], [0, 0]), rows([4, 6], [0, 0])), [25, 0])


def test_pairing_loss_is_the_mean_of_the_pure_function():
  a, b, _ = random_embeddings()
  np.testing.assert_allclose(PairingLoss()(a, b), np.mean(losses.pairing(b, a)), rtol=1e-6)


def test_equal_logits_pair_for_nothing():
  a, _, _ = random_embeddings()
  assert float(PairingLoss()(a, a)) == 0


# ------------------------------------------------------------------- Keras round trips

LOSSES = [
  (TripletLoss(), {"margin": 0.05, "distance": "angular", "name": "triplet", "reduction": "sum_over_batch_size"}),
  (
    TripletLoss(0.2, types.Distance.SYMMETRISED_KL, name="t", reduction="sum"),
    {"margin": 0.2, "distance": "symmetrised_kl", "name": "t", "reduction": "sum"},
  ),
  (PairingLoss(), {"name": "pairing", "reduction": "sum_over_batch_size"}),
  (PairingLoss(name="p", reduction="sum"), {"name": "p", "reduction": "sum"}),
]


def value_of(loss):
  a, p, n = random_embeddings()
  return float(loss(a, tf.stack([p, n], axis=1) if isinstance(loss, TripletLoss) else p))


@pytest.mark.parametrize("loss, config", LOSSES)
def test_the_config_of_a_loss_is_plain(loss, config):
  assert loss.get_config() == config


@pytest.mark.parametrize("loss, config", LOSSES)
def test_a_loss_is_rebuilt_from_its_config(loss, config):
  rebuilt = type(loss).from_config(config)
  assert rebuilt.get_config() == config and value_of(rebuilt) == value_of(loss)


@pytest.mark.parametrize("loss, config", LOSSES)
def test_a_loss_is_deserialized_without_custom_objects(loss, config):
  rebuilt = keras.losses.deserialize(keras.losses.serialize(loss))
  assert type(rebuilt) is type(loss)
  assert rebuilt.get_config() == config and value_of(rebuilt) == value_of(loss)


def test_an_unknown_distance_is_refused():
  with pytest.raises(ValueError, match="'manhattan'"):
    TripletLoss(distance="manhattan")


# ------------------------------------------------------------------- feature norm


def test_the_mean_square_is_over_batch_and_features_and_summed_over_embeddings():
  assert float(losses.feature_norm([rows([1, 2], [3, 4]), rows([2, 0], [0, 0])])) == 30 / 4 + 4 / 4


def test_the_l2_norm_is_averaged_over_the_batch_and_summed_over_embeddings():
  assert float(losses.feature_norm([rows([3, 4], [0, 1]), rows([0, 2], [0, 0])], "l2")) == pytest.approx(6 / 2 + 2 / 2)


def test_the_gradient_of_the_mean_square_by_hand():
  embedding = rows([1, 2], [3, 4])
  with tf.GradientTape() as tape:
    tape.watch(embedding)
    norm = losses.feature_norm([embedding], "mean_square")
  np.testing.assert_allclose(tape.gradient(norm, embedding), np.array([[1, 2], [3, 4]]) * 2 / 4)


def test_the_gradient_of_the_l2_norm_is_finite_at_0():
  embedding = rows([3, 4], [0, 0])
  with tf.GradientTape() as tape:
    tape.watch(embedding)
    norm = losses.feature_norm([embedding], "l2")
  np.testing.assert_allclose(tape.gradient(norm, embedding), [[0.3, 0.4], [0, 0]], rtol=1e-6)


def test_the_l2_norm_of_0_is_0():
  assert float(losses.feature_norm([rows([0, 0])], "l2")) == pytest.approx(0, abs=1e-5)


# ------------------------------------------------------------------- weight decay


def filled(value):
  """A network with convolution, both kinds of batch normalisation and dense layers; every weight has one value."""
  model = keras.Sequential(
    [
      keras.Input((4, 4, 1)),
      keras.layers.Conv2D(2, 3),
      keras.layers.BatchNormalization(),
      networks.BranchBatchNormalization(),
      keras.layers.Flatten(),
      keras.layers.Dense(3),
    ]
  )
  for variable in model.variables:
    if variable.dtype == "float32":
      variable.assign(tf.fill(variable.shape, value))
  return model


def test_weight_decay_counts_kernels_alone():
  kernels = 3 * 3 * 1 * 2 + 2 * 2 * 2 * 3
  assert float(losses.weight_decay(filled(2.0).trainable_variables)) == kernels * 2.0**2 / 2


def test_weight_decay_of_all_variables_is_that_of_the_trainable_ones():
  model = filled(2.0)
  assert float(losses.weight_decay(model.variables)) == float(losses.weight_decay(model.trainable_variables))


@pytest.mark.parametrize(
  "name, kernels",
  [("mlp_4", 4 * 16 + 4 * 4 * 2 + 4 * 3), ("lenet_1", 9 + 9 * 2 + 9 * 2 * 4 + 9 * 4 * 8 + 8 * 32 + 32 * 3)],
)
def test_weight_decay_of_our_networks_counts_every_kernel(name, kernels):
  network = networks.build(name, (4, 4, 1), 3)
  for variable in network.trainable_variables:
    variable.assign(tf.ones(variable.shape))
  assert float(losses.weight_decay(network.trainable_variables)) == kernels / 2


def test_the_gradient_of_weight_decay_is_the_weight():
  model = filled(2.0)
  with tf.GradientTape() as tape:
    loss = losses.weight_decay(model.trainable_variables)
  gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
  found = {v.path: None if g is None else g.numpy() for v, g in zip(model.trainable_variables, gradients)}
  assert {path for path, gradient in found.items() if gradient is not None} == {
    path for path in found if path.endswith("kernel")
  }
  assert all(np.all(gradient == 2.0) for gradient in found.values() if gradient is not None)


def test_nothing_decays_without_kernels():
  assert float(losses.weight_decay([])) == 0
  layer = networks.BranchBatchNormalization()
  layer.build((None, 3))
  assert float(losses.weight_decay(layer.trainable_variables)) == 0
