"""Golden: total losses, parts, gradients and optimiser steps of the training step."""

import golden_support as golden
import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import models
from tla_tf.config import TrainingConfig
from tla_tf.ops import distances
from tla_tf.recipes.triplet import TripletConfig
from tla_tf.training import Momentum, make_optimizer
from tla_tf.types import Role

LOSS = 1e-5
GRADIENT = 1e-4
FORWARD = 3e-5
# Biases before batch normalisation: no gradient but rounding; Adam turns it
# into steps of the size of the learning rate.
ZERO_GRADIENT = 1e-5
ADAM_NOISE = 4e-4
SMOOTHING = {"mlp": 0.0, "lenet": 0.1}
DECAY = 2e-4
INPUT_OF = {Role.TWIN: "A", Role.ADVERSARIAL: "A_adv", Role.NEGATIVE: "B", Role.POSITIVE: "A1"}


def _fixed_images(data, roles):
  labels = {role: data["y_B" if role == Role.NEGATIVE else "y_A"].astype(np.int32) for role in roles}
  return {role: (tf.constant(data[INPUT_OF[role]]), tf.constant(labels[role])) for role in roles}


class _FixedImages:
  """A training step on the reference images, instead of attacked and mined ones."""

  def step_images(self, batch, seed, step=0):
    return _fixed_images(golden.inputs(), self.fixed_roles)


class _Triplet(_FixedImages, models.TripletTraining):
  @property
  def fixed_roles(self):
    positives, settings = self.settings.triplet.positives.value, self.settings
    clean_twin = positives in ("twin", "both") or settings.pairing_weight or settings.clean_weight
    positive = [Role.POSITIVE] if positives in ("classmate", "both") else []
    return [*[Role.TWIN] * bool(clean_twin), Role.ADVERSARIAL, Role.NEGATIVE, *positive]


class _Adversarial(_FixedImages, models.AdversarialTraining):
  fixed_roles = (Role.ADVERSARIAL,)


class _Pairing(_FixedImages, models.LogitPairing):
  fixed_roles = (Role.TWIN, Role.ADVERSARIAL)


def _values_and_gradients(model):
  images = model.step_images(None, None)
  split = {role: x for role, (x, _) in images.items()}, {role: y for role, (_, y) in images.items()}
  return tf.function(lambda: model.compute(*split)[:2])()


def _norm(gradient):
  # In float64: a float32 sum over LeNet's 13 million entries is off by 1e-4.
  return np.linalg.norm(np.asarray(gradient, np.float64))


def _before_normalisation(name):
  return name.endswith("biases") and "fcb2" not in name


def _assert_gradients(gradients, variables, sizes, arrays, prefix, what):
  """`gradients` by the authors' names against their L2 norms and arrays."""
  assert set(sizes) == set(gradients)
  for name, size in sizes.items():
    if _before_normalisation(name):
      assert _norm(gradients[name]) < ZERO_GRADIENT
    else:
      golden.assert_close(_norm(gradients[name]), size, GRADIENT, f"{what} gradients")
  compared = [key for key in arrays if key.startswith(f"{prefix}grad/")]
  assert compared
  for key in compared:
    name = key.removeprefix(f"{prefix}grad/")
    if not _before_normalisation(name):
      golden.assert_close(gradients[name], arrays[key], GRADIENT, f"{what} gradients")


def _by_name(model, variables, gradients):
  paths = {v.path: g for v, g in zip(model.network.trainable_variables, gradients)}
  return {name: paths[v.path] for name, v in variables.items() if v.path in paths}


@pytest.mark.parametrize("name", golden.MODELS)
def test_tla_loss_parts_and_gradients(name):
  network, variables = golden.golden_network(name)
  model = _Triplet(network, triplet=TripletConfig(), weight_decay=DECAY, label_smoothing=SMOOTHING[name])
  values, gradients = _values_and_gradients(model)
  expected = golden.numbers(f"{golden.MODELS[name]}_loss")
  parts, triplet = expected["parts"], expected["parts"]["triplet_A1_Ap_B"]
  what = f"{name} TLA"
  golden.assert_close(values["loss"], parts["total_loss"], LOSS, f"{what} loss")
  golden.assert_close(values["cross_entropy"], parts["mean_xent_adv"], LOSS, f"{what} loss")
  golden.assert_close(values["weight_decay"], parts["weight_decay_loss"], LOSS, f"{what} loss")
  golden.assert_close(values["feature_norm"], triplet["norm"], LOSS, f"{what} loss")
  golden.assert_close(values["triplet"] + 1e-4 * values["feature_norm"], triplet["triplet_loss"], LOSS, f"{what} loss")
  golden.assert_close(values["positive_distance"], triplet["pos_dist"], LOSS, f"{what} loss")
  golden.assert_close(values["negative_distance"], triplet["neg_dist"], LOSS, f"{what} loss")
  arrays = golden.arrays(f"{golden.MODELS[name]}_loss")
  _assert_gradients(_by_name(model, variables, gradients), variables, expected["gradient_l2"], arrays, "", what)


@pytest.mark.parametrize("name", golden.MODELS)
def test_embeddings_of_every_branch(name):
  from tla_tf import networks

  network, _ = golden.golden_network(name)
  images = _fixed_images(golden.inputs(), [Role.TWIN, Role.ADVERSARIAL, Role.NEGATIVE, Role.POSITIVE])
  outputs = networks.forward_branches(network, {role: x for role, (x, _) in images.items()}, training=True)
  arrays = golden.arrays(f"{golden.MODELS[name]}_loss")
  for role, output in outputs.items():
    golden.assert_close(output["embedding"], arrays[f"x4/{INPUT_OF[role]}"], FORWARD, f"{name} branch embeddings")


@pytest.mark.parametrize("name", golden.MODELS)
def test_at_loss_and_gradients(name):
  network, variables = golden.golden_network(name)
  # The authors' AT script does not smooth, not even LeNet's labels.
  model = _Adversarial(network, weight_decay=DECAY)
  values, gradients = _values_and_gradients(model)
  expected = golden.numbers(f"{golden.MODELS[name]}_at")
  golden.assert_close(values["loss"], expected["parts"]["total_loss"], LOSS, f"{name} AT loss")
  golden.assert_close(values["cross_entropy"], expected["parts"]["mean_xent"], LOSS, f"{name} AT loss")
  arrays = golden.arrays(f"{golden.MODELS[name]}_at")
  _assert_gradients(_by_name(model, variables, gradients), variables, expected["gradient_l2"], arrays, "", f"{name} AT")


@pytest.mark.parametrize("name", golden.MODELS)
def test_three_adam_steps(name):
  network, variables = golden.golden_network(name)
  model = _Triplet(network, triplet=TripletConfig(), weight_decay=DECAY, label_smoothing=SMOOTHING[name])
  model.compile(make_optimizer(TrainingConfig(optimizer="adam", learning_rate=1e-4)), jit_compile=False)
  arrays = golden.arrays(f"{golden.MODELS[name]}_loss")
  per_step = golden.numbers(f"{golden.MODELS[name]}_loss")["loss_at_each_step"]
  data = golden.inputs()
  for step in (1, 2, 3):
    loss = model.train_on_batch(data["A"], data["y_A"], return_dict=True)["loss"]
    model.reset_metrics()
    golden.assert_close(loss, per_step[step - 1]["total_loss"], LOSS, f"{name} loss, Adam step {step}")
    for key in (k for k in arrays if k.startswith(f"after{step}/") and "/low/" not in k and "/high/" not in k):
      variable_name = key.removeprefix(f"after{step}/").removeprefix("in_order/")
      value = np.array(variables[variable_name])
      what = f"{name} values after Adam step {step}"
      if _before_normalisation(variable_name):
        np.testing.assert_allclose(value, arrays[key], atol=ADAM_NOISE)
      elif "moving" in variable_name:
        if step > 1 and "moving_mean" in variable_name:
          # Follows the biases before it, which are noise under Adam: see ADAM_NOISE.
          np.testing.assert_allclose(value, arrays[key], atol=ADAM_NOISE)
        else:
          golden.assert_close(value, arrays[key], FORWARD, f"{name} moving averages after Adam step {step}")
      else:
        golden.assert_close(value, arrays[key], GRADIENT, what)


VARIANTS = {
  "switch_a_n": {"triplet": TripletConfig(switch_anchor=True)},
  "switch_a_n_both_terms": {"triplet": TripletConfig(switch_anchor=True, positives="both")},
  "both_terms": {"triplet": TripletConfig(positives="both")},
  "both_terms_match_l2": {"triplet": TripletConfig(positives="both"), "pairing_weight": 0.5},
  "margin_mul_30": {"triplet": TripletConfig(positives="both", twin_margin=1.5), "pairing_weight": 0.5},
  "with_natural_xent": {"triplet": TripletConfig(positives="both"), "clean_weight": 1.0},
  "l2_one_term": {"triplet": TripletConfig(positives="twin", twin_margin=1.0, distance="squared_euclidean")},
  "xent_after_softmax_one_term": {
    "triplet": TripletConfig(positives="twin", twin_margin=5.0, distance="symmetrised_kl")
  },
}


@pytest.mark.parametrize("variant", [*VARIANTS, "alp_like_x4", "alp_like_logits"])
def test_variants(variant):
  network, variables = golden.golden_network("mlp")
  if variant.startswith("alp"):
    target = "logits" if variant.endswith("logits") else "embedding"
    model = _Pairing(network, pairing=target, pairing_weight=0.5, weight_decay=DECAY)
  else:
    model = _Triplet(network, weight_decay=DECAY, **VARIANTS[variant])
  values, gradients = _values_and_gradients(model)
  expected = golden.numbers("mlp_variants")[variant]
  # The authors' symmetrised KL is a difference of two cross-entropies near 7: its
  # rounding is 5e-5 of the value (see test_symmetrised_kl_against_float64).
  loss_tolerance = 1e-4 if variant.startswith("xent_after_softmax") else LOSS
  golden.assert_close(values["loss"], expected["parts"]["total_loss"], LOSS, "variants, loss")
  golden.assert_close(values["cross_entropy"], expected["parts"]["mean_xent_adv"], LOSS, "variants, loss")
  terms = [expected["parts"][k] for k in ("triplet_A_Ap_B", "triplet_A1_Ap_B") if k in expected["parts"]]
  if not variant.startswith("alp"):
    triplet = values["triplet"] + 1e-4 * values["feature_norm"]
    golden.assert_close(triplet, sum(t["triplet_loss"] for t in terms), loss_tolerance, "variants, loss")
    distance = np.mean([t["pos_dist"] for t in terms])
    golden.assert_close(values["positive_distance"], distance, loss_tolerance, "variants, loss")
  if "pairing" in values:
    golden.assert_close(values["pairing"], expected["parts"]["mse_A_Ap"], LOSS, "variants, loss")
  _assert_gradients(
    _by_name(model, variables, gradients),
    variables,
    expected["gradient_l2"],
    golden.arrays("mlp_variants"),
    f"{variant}/",
    "variants,",
  )


def test_symmetrised_kl_against_float64():
  arrays = golden.arrays("mlp_loss")
  u, v = (arrays[f"x4/{name}"].astype(np.float64) for name in ("A_adv", "A"))
  p, q = (e - np.log(np.exp(e).sum(-1, keepdims=True)) for e in (u, v))
  exact = 0.5 * ((np.exp(p) - np.exp(q)) * (p - q)).sum(-1).mean()
  ours = np.mean(distances.symmetrised_kl(u.astype(np.float32), v.astype(np.float32)))
  theirs = golden.numbers("mlp_variants")["xent_after_softmax_one_term"]["parts"]["triplet_A_Ap_B"]["pos_dist"]
  assert abs(ours - exact) < 1e-6 * exact
  assert abs(theirs - exact) < 1e-4 * exact


@pytest.mark.parametrize(
  "variant, rate",
  [
    ("sgd_three_steps", 0.01),
    ("sgd_rate_change", keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.01, 0.001])),
  ],
)
def test_momentum_steps(variant, rate):
  network, variables = golden.golden_network("mlp")
  model = _Triplet(network, triplet=TripletConfig(), weight_decay=DECAY)
  model.compile(Momentum(rate), jit_compile=False)
  arrays, info = golden.arrays("mlp_variants"), golden.numbers("mlp_variants")[variant]
  data = golden.inputs()
  for step in (1, 2, 3):
    expected = info["loss_at_each_step"][step - 1]
    assert float(model.optimizer.learning_rate) == pytest.approx(expected["learning_rate"])
    loss = model.train_on_batch(data["A"], data["y_A"], return_dict=True)["loss"]
    model.reset_metrics()
    golden.assert_close(loss, expected["total_loss"], GRADIENT, f"{variant} loss")
    for key in (k for k in arrays if k.startswith(f"{variant}/after{step}/")):
      golden.assert_close(
        variables[key.removeprefix(f"{variant}/after{step}/")], arrays[key], GRADIENT, f"{variant} values"
      )
