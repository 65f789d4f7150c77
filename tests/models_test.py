"""Models: one training step of every method, its logged values, gradients, seeds, saving, strategies."""

import json
import typing

import cli_support as cli
import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import data, models, networks, recipes
from tla_tf.balls import LinfBall
from tla_tf.config import AttackConfig, TrainingConfig
from tla_tf.errors import InputError
from tla_tf.models.factory import make_model
from tla_tf.ops import objectives, seeds
from tla_tf.recipes.triplet import TripletConfig
from tla_tf.types import Negatives, PassMode, Role

SHAPE = (8, 8, 1)
BATCH, POOL = 12, 20
ATTACK = AttackConfig(epsilon=0.1, step_size=0.05, steps=3)
SETTINGS = TrainingConfig(
  method="um", attack=ATTACK, validation_attack=ATTACK, batch_size=BATCH, weight_decay=1e-3, seed=5
)
METHODS = {
  "um": SETTINGS,
  "at": SETTINGS.replace(method="at"),
  "alp": SETTINGS.replace(method="alp", pairing_weight=0.5),
  "tla": SETTINGS.replace(method="tla"),
  "tla_rn": SETTINGS.replace(method="tla_rn"),
  "tla_sa": SETTINGS.replace(method="tla_sa"),
  "trades": SETTINGS.replace(method="trades", beta=2.0),
  "memory_bank": SETTINGS.replace(method="tla", negative_pool="memory_bank", memory_bank_size=30, memory_bank_start=1),
  "batch": SETTINGS.replace(method="tla", negative_pool="batch"),
}
TRIPLETS = ("tla", "tla_rn", "tla_sa", "memory_bank", "batch")
TRIPLET_NAMES = {"triplet", "feature_norm", "positive_distance", "negative_distance"}
NAMES = {method: {"loss", "cross_entropy", "weight_decay", "accuracy"} for method in METHODS}
NAMES["alp"] |= {"pairing"}
NAMES["trades"] |= {"kl"}
for _method in TRIPLETS:
  NAMES[_method] |= TRIPLET_NAMES


@pytest.fixture(scope="module")
def digits_like():
  """120 random images of four classes, each class with its own bright rows."""
  rng = np.random.default_rng(0)
  labels = np.arange(120) % 4
  images = 0.5 * rng.random((120, *SHAPE), np.float32)
  for i, label in enumerate(labels):
    images[i, 2 * label : 2 * label + 2] += 0.5
  return data.ImageData(images.astype(np.float32), labels, ("a", "b", "c", "d"))


def _network(seed=0):
  return networks.build("mlp_16", SHAPE, 4, seed=seed)


def _model(config, jit=False, rate=0.1):
  model = make_model(config, _network())
  model.compile(keras.optimizers.SGD(rate), jit_compile=jit)
  return model


def _stream(digits_like, seed=1):
  return data.BatchStream(digits_like, BATCH, seed, classmates=True, pool_size=POOL)


def _fit(model, dataset):
  return {name: values[-1] for name, values in model.fit(dataset, verbose=0, shuffle=False).history.items()}


def _branches(digits_like, roles):
  """Fixed images and labels of some roles: dicts as `compute` takes them."""
  # Labels run 0, 1, 2, 3, 0, ...: the odd shift gives every anchor a negative of another class.
  parts = {
    role: slice(20 * i + (role == Role.NEGATIVE), 20 * i + (role == Role.NEGATIVE) + BATCH)
    for i, role in enumerate(roles)
  }
  return (
    {role: tf.constant(digits_like.images[part]) for role, part in parts.items()},
    {role: tf.constant(digits_like.labels[part]) for role, part in parts.items()},
  )


def _assert_gradients_equal(first, second):
  assert len(first) == len(second)
  for a, b in zip(first, second):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def _assert_weights_equal(first, second, tolerance=1e-6):
  assert len(first) == len(second)
  for a, b in zip(first, second):
    np.testing.assert_allclose(a, b, atol=tolerance)


# --------------------------------------------------------------------------- fit


class _Logs(typing.NamedTuple):
  """What `fit` says of the same three steps: in one epoch, and one by one."""

  epoch: dict
  steps: list
  trace_count: int


@pytest.fixture(scope="module", params=METHODS)
def logs(request, digits_like):
  """(method, _Logs)."""
  stream = _stream(digits_like)
  model = _model(METHODS[request.param])
  variables = [v for part in model.state().values() for v in part.variables]
  start = [v.numpy() for v in variables]
  epoch = _fit(model, stream.dataset(0, 3))
  # The same model from its start again, so that it is traced once.
  for variable, value in zip(variables, start, strict=True):
    variable.assign(value)
  steps = [_fit(model, stream.dataset(t, t + 1)) for t in range(3)]
  return request.param, _Logs(epoch, steps, model.trace_count)


def test_several_fits_trace_once(logs):
  assert logs[1].trace_count == 1


def test_logged_names(logs):
  method, found = logs
  assert set(found.epoch) == NAMES[method]


def test_epoch_means_are_the_means_of_the_steps(logs):
  found = logs[1]
  for name, value in found.epoch.items():
    assert value == pytest.approx(np.mean([step[name] for step in found.steps]), rel=1e-4), name
  # The steps differ: the mean is not the last value.
  assert np.std([step["loss"] for step in found.steps]) > 1e-3


# Weight of every term in the loss, by hand from SETTINGS.
WEIGHTS = {method: {"cross_entropy": 1.0, "weight_decay": 1e-3} for method in METHODS}
WEIGHTS["alp"] |= {"pairing": 0.5}
WEIGHTS["trades"] |= {"kl": 2.0}
for _method in TRIPLETS:
  WEIGHTS[_method] |= {"triplet": 0.5, "feature_norm": 0.5 * 1e-4}


def test_loss_is_the_weighted_sum_of_its_terms(logs):
  method, found = logs
  by_hand = sum(weight * found.epoch[name] for name, weight in WEIGHTS[method].items())
  assert found.epoch["loss"] == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("method", ["um", "at", "alp", "tla", "trades", "memory_bank"])
def test_compiled_steps_equal_those_without_xla(digits_like, method):
  batches = _stream(digits_like).dataset(0, 2)
  plain, compiled = _model(METHODS[method]), _model(METHODS[method], jit=True)
  expected, found = _fit(plain, batches), _fit(compiled, batches)
  # A second run of the same steps takes the same trace, and other weights.
  assert _fit(compiled, batches)["loss"] != found["loss"]
  assert compiled.trace_count == 1
  for name, value in expected.items():
    assert found[name] == pytest.approx(value, rel=1e-3), name


@pytest.mark.parametrize("method", ["um", "at", "alp", "tla", "trades", "memory_bank", "batch"])
def test_loss_falls_on_plain_arrays(digits_like, method):
  model = _model(METHODS[method], rate=0.2)
  losses = model.fit(digits_like.images, digits_like.labels, batch_size=24, epochs=8, verbose=0).history["loss"]
  assert losses[-1] < 0.8 * losses[0]


EXTRA_NAMES = {
  "clean_weight": (SETTINGS.replace(method="at", clean_weight=0.5), NAMES["at"] | {"clean_cross_entropy"}),
  "no decay": (SETTINGS.replace(method="at", weight_decay=0.0), NAMES["at"] - {"weight_decay"}),
  "pairing": (SETTINGS.replace(method="tla", pairing_weight=0.5), NAMES["tla"] | {"pairing"}),
}


@pytest.mark.parametrize("case", EXTRA_NAMES)
def test_logged_names_of_optional_terms(digits_like, case):
  config, expected = EXTRA_NAMES[case]
  assert set(_fit(_model(config), _stream(digits_like).dataset(0, 1))) == expected


def test_papers_feature_norm_is_not_multiplied_by_the_triplet_weight(digits_like):
  triplet = TripletConfig(weight=0.5, feature_norm="l2", feature_norm_weight=0.01)
  logged = _fit(_model(METHODS["tla"].replace(triplet=triplet)), _stream(digits_like).dataset(0, 1))
  by_hand = (
    logged["cross_entropy"] + 1e-3 * logged["weight_decay"] + 0.5 * logged["triplet"] + 0.01 * logged["feature_norm"]
  )
  assert logged["loss"] == pytest.approx(by_hand, rel=1e-5)


def test_accuracy_of_the_log_is_that_of_the_adversarial_images(digits_like):
  # Far from the images: the attacked ones are misclassified, the clean ones are not.
  strong = METHODS["at"].replace(attack=AttackConfig(1.0, 1.0, 3))
  model = _model(METHODS["um"], rate=0.3)
  model.fit(digits_like.images, digits_like.labels, batch_size=24, epochs=10, verbose=0)
  attacked = make_model(strong, model.network)
  attacked.compile(keras.optimizers.SGD(0.0), jit_compile=False)
  clean = _model(METHODS["um"])
  clean.network.set_weights(model.network.get_weights())
  batch = _stream(digits_like).dataset(0, 1)
  assert _fit(clean, batch)["accuracy"] > 0.9
  assert _fit(attacked, batch)["accuracy"] < 0.1


# --------------------------------------------------------------------------- evaluate


@pytest.mark.parametrize("jit", [False, True])
def test_evaluate_returns_clean_and_robust_figures(digits_like, jit):
  model = _model(METHODS["um"].replace(validation_attack=AttackConfig(0.25, 0.1, 4)), jit, rate=0.3)
  model.fit(digits_like.images, digits_like.labels, batch_size=24, epochs=10, verbose=0)
  found = model.evaluate(digits_like.images, digits_like.labels, batch_size=50, verbose=0, return_dict=True)
  assert set(found) == {"loss", "accuracy", "robust_loss", "robust_accuracy"}
  logits = model.network(digits_like.images)["logits"]
  assert found["accuracy"] == pytest.approx(np.mean(np.argmax(logits, -1) == digits_like.labels))
  assert found["loss"] == pytest.approx(np.mean(objectives.cross_entropy(logits, digits_like.labels)), rel=1e-4)
  assert found["robust_accuracy"] < found["accuracy"]
  assert found["robust_loss"] > found["loss"]


def test_evaluate_uses_the_validation_attack(digits_like):
  weak, strong = AttackConfig(0.0, 0.0, 1), AttackConfig(1.0, 0.5, 3)
  model = _model(METHODS["at"].replace(attack=strong, validation_attack=weak))
  found = model.evaluate(digits_like.images, digits_like.labels, verbose=0, return_dict=True)
  assert found["robust_accuracy"] == found["accuracy"]
  assert found["robust_loss"] == pytest.approx(found["loss"], rel=1e-5)


def test_evaluate_does_not_count_a_wrong_image_as_robust(digits_like):
  # No step from the random start, and the classes seen there as labels: nothing is broken, but some clean images are
  # wrong.
  model = _model(METHODS["um"].replace(validation_attack=AttackConfig(0.5, 0.0, 0)), rate=0.3)
  model.fit(digits_like.images, digits_like.labels, batch_size=24, epochs=3, verbose=0)
  start = LinfBall().random_start(tf.constant(digits_like.images), 0.5, seeds.key(model.seed, "validation"))
  labels = np.argmax(model.network(tf.clip_by_value(start, 0, 1))["logits"], -1)
  found = model.evaluate(digits_like.images, labels, batch_size=120, verbose=0, return_dict=True)
  assert found["robust_accuracy"] == found["accuracy"] < 1.0


def test_evaluate_changes_no_weight(digits_like):
  model = _model(METHODS["tla"])
  before = model.network.get_weights()
  model.evaluate(digits_like.images, digits_like.labels, verbose=0)
  for a, b in zip(before, model.network.get_weights()):
    np.testing.assert_array_equal(a, b)


def test_validation_figures_appear_in_the_history(digits_like):
  model = _model(METHODS["at"])
  batches = _stream(digits_like).dataset(0, 1)
  history = model.fit(batches, validation_data=batches, verbose=0, shuffle=False).history
  assert {"val_loss", "val_accuracy", "val_robust_loss", "val_robust_accuracy"} <= set(history)


# --------------------------------------------------------------------------- methods against each other


def test_um_step_equals_plain_keras(digits_like):
  images, labels = digits_like.images[:24], digits_like.labels[:24]
  ours = _model(METHODS["um"].replace(weight_decay=0.0))
  ours.fit(images, labels, batch_size=24, verbose=0)
  network = _network()
  plain = keras.Model(network.inputs, network.output["logits"])
  plain.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
  plain.fit(images, labels, batch_size=24, verbose=0)
  _assert_weights_equal(ours.network.get_weights(), network.get_weights())
  assert max(np.abs(a - b).max() for a, b in zip(network.get_weights(), _network().get_weights())) > 1e-2


def test_at_step_with_epsilon_zero_equals_um_step(digits_like):
  batches = _stream(digits_like).dataset(0, 2)
  um = _model(METHODS["um"])
  at = _model(METHODS["at"].replace(attack=ATTACK.replace(epsilon=0.0)))
  _fit(um, batches)
  _fit(at, batches)
  _assert_weights_equal(um.network.get_weights(), at.network.get_weights())


def test_alp_of_weight_zero_has_the_gradients_of_at(digits_like):
  images, labels = _branches(digits_like, [Role.TWIN, Role.ADVERSARIAL])
  _, alp, *_ = _model(METHODS["alp"].replace(pairing_weight=0.0)).compute(images, labels)
  role = Role.ADVERSARIAL
  _, at, *_ = _model(METHODS["at"]).compute({role: images[role]}, {role: labels[role]})
  _assert_gradients_equal(alp, at)


def test_tla_of_weight_zero_has_the_gradients_of_at(digits_like):
  images, labels = _branches(digits_like, [Role.ADVERSARIAL, Role.NEGATIVE, Role.POSITIVE])
  off = TripletConfig(weight=0.0, feature_norm_weight=0.0)
  _, tla, *_ = _model(METHODS["tla"].replace(triplet=off)).compute(images, labels)
  role = Role.ADVERSARIAL
  _, at, *_ = _model(METHODS["at"]).compute({role: images[role]}, {role: labels[role]})
  _assert_gradients_equal(tla, at)


def test_tla_has_other_gradients_than_at(digits_like):
  images, labels = _branches(digits_like, [Role.ADVERSARIAL, Role.NEGATIVE, Role.POSITIVE])
  _, tla, *_ = _model(METHODS["tla"]).compute(images, labels)
  role = Role.ADVERSARIAL
  _, at, *_ = _model(METHODS["at"]).compute({role: images[role]}, {role: labels[role]})
  assert np.linalg.norm(tla[0] - at[0]) > 1e-3 * np.linalg.norm(at[0])


def test_tensors_out_of_range_are_refused(digits_like):
  model = _model(METHODS["um"])
  with pytest.raises(InputError, match="divide by 255"):
    model.fit(tf.constant(255 * digits_like.images), digits_like.labels)


def test_train_on_batch_takes_a_dict(digits_like):
  model = _model(METHODS["um"])
  model.train_on_batch({"image": digits_like.images[:8], "label": digits_like.labels[:8]})
  assert int(model.optimizer.iterations) == 1


def test_a_pool_without_another_class_gives_no_triplet_loss(digits_like):
  images, labels = _branches(digits_like, [Role.ADVERSARIAL, Role.NEGATIVE, Role.POSITIVE])
  labels[Role.NEGATIVE] = labels[Role.ADVERSARIAL]
  values, *_ = _model(METHODS["tla"]).compute(images, labels)
  assert float(values["triplet"]) == 0.0
  assert float(values["feature_norm"]) > 0.0


def test_switching_the_anchor_changes_the_negative_distance_alone(digits_like):
  images, labels = _branches(digits_like, [Role.ADVERSARIAL, Role.NEGATIVE, Role.POSITIVE])
  tla, *_ = _model(METHODS["tla"]).compute(images, labels)
  switched, *_ = _model(METHODS["tla_sa"]).compute(images, labels)
  for name in ("cross_entropy", "feature_norm", "positive_distance"):
    np.testing.assert_allclose(tla[name], switched[name], rtol=1e-5)
  assert abs(tla["negative_distance"] - switched["negative_distance"]) > 1e-3
  assert abs(tla["triplet"] - switched["triplet"]) > 1e-3


def test_clean_weight_adds_the_clean_cross_entropy(digits_like):
  images, labels = _branches(digits_like, [Role.TWIN, Role.ADVERSARIAL])
  config = METHODS["at"].replace(clean_weight=0.3, weight_decay=0.0)
  values, *_ = _model(config).compute(images, labels)
  network = _network()
  clean, adversarial = (
    np.mean(objectives.cross_entropy(network(images[role], training=True)["logits"], labels[role]))
    for role in (Role.TWIN, Role.ADVERSARIAL)
  )
  np.testing.assert_allclose(values["loss"], adversarial + 0.3 * clean, rtol=1e-5)


def test_label_smoothing_enters_the_loss(digits_like):
  images, labels = _branches(digits_like, [Role.ADVERSARIAL])
  config = METHODS["at"].replace(label_smoothing=0.2, weight_decay=0.0)
  values, *_ = _model(config).compute(images, labels)
  logs = tf.nn.log_softmax(_network()(images[Role.ADVERSARIAL], training=True)["logits"]).numpy()
  of_true = logs[np.arange(BATCH), labels[Role.ADVERSARIAL].numpy()]
  np.testing.assert_allclose(values["loss"], -np.mean(0.8 * of_true + 0.2 * logs.mean(1)), rtol=1e-5)


def test_label_smoothing_enters_the_training_attack(digits_like):
  batch = _stream(digits_like).batch(0)
  plain, smoothed = (
    _model(METHODS["at"].replace(label_smoothing=s)).step_examples(batch, 0)[Role.ADVERSARIAL].numpy()
    for s in (0.0, 0.9)
  )
  assert np.mean(np.abs(plain - smoothed) > 1e-3) > 0.05


@pytest.mark.parametrize("method", recipes.names())
def test_a_models_recipe_is_that_of_its_method(method):
  config = SETTINGS.replace(method=method)
  model = make_model(config, _network())
  assert (model.method, model.recipe, model.settings) == (method, recipes.get(method), config.recipe)


@pytest.mark.parametrize(
  "face, method",
  [
    (models.Undefended, "um"),
    (models.AdversarialTraining, "at"),
    (models.LogitPairing, "alp"),
    (models.TripletTraining, "tla"),
  ],
)
def test_a_face_takes_the_steps_of_its_method(digits_like, face, method):
  settings = {"attack": ATTACK, "weight_decay": 1e-3, "seed": 5}
  plain, faced = models.RobustModel(_network(), method, **settings), face(_network(), **settings)
  for model in (plain, faced):
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    _fit(model, _stream(digits_like).dataset(0, 2))
  for a, b in zip(plain.network.get_weights(), faced.network.get_weights()):
    np.testing.assert_array_equal(a, b)


def test_an_unknown_setting_of_a_method_is_refused():
  with pytest.raises(InputError, match="`betta` of method 'trades': did you mean 'beta'"):
    models.RobustModel(_network(), "trades", betta=3.0)


def test_tla_variants_differ_from_tla_in_one_setting():
  tla, random, switched = (make_model(METHODS[m], _network()).settings.triplet for m in ("tla", "tla_rn", "tla_sa"))
  assert random == tla.replace(negatives=Negatives.RANDOM)
  assert switched == tla.replace(switch_anchor=True)


# --------------------------------------------------------------------------- images of a step


def _images_and_labels(model, digits_like, step):
  batch = _stream(digits_like).batch(step)
  return batch, model.step_images(batch, model.step_seed(step))


ROLES = {
  "um": [Role.TWIN],
  "at": [Role.ADVERSARIAL],
  "alp": [Role.TWIN, Role.ADVERSARIAL],
  **{method: [Role.ADVERSARIAL, Role.NEGATIVE, Role.POSITIVE] for method in ("tla", "tla_rn", "tla_sa")},
  **{method: [Role.ADVERSARIAL, Role.POSITIVE] for method in ("memory_bank", "batch")},
  "trades": [Role.TWIN, Role.ADVERSARIAL],
}


@pytest.mark.parametrize("method", METHODS)
def test_roles_of_a_step(digits_like, method):
  _, chosen = _images_and_labels(_model(METHODS[method]), digits_like, 0)
  assert list(chosen) == ROLES[method]


def test_adversarial_images_of_a_step_stay_in_the_ball(digits_like):
  model = _model(METHODS["at"])
  batch, chosen = _images_and_labels(model, digits_like, 0)
  adversarial = chosen[Role.ADVERSARIAL][0].numpy()
  assert 0.09 < np.abs(adversarial - batch["image"]).max() <= 0.1 + 1e-6
  assert adversarial.min() >= 0 and adversarial.max() <= 1


def test_training_attack_raises_the_loss(digits_like):
  model = _model(METHODS["at"])
  batch, chosen = _images_and_labels(model, digits_like, 0)
  before, after = (
    np.mean(objectives.cross_entropy(model.network(x)["logits"], batch["label"]))
    for x in (batch["image"], chosen[Role.ADVERSARIAL][0])
  )
  assert after > before + 0.005


@pytest.mark.parametrize("step", [0, 7])
def test_nearest_negatives_are_those_of_brute_force(digits_like, step):
  model = _model(METHODS["tla"])
  batch, chosen = _images_and_labels(model, digits_like, step)
  anchors = model.network(chosen[Role.ADVERSARIAL][0])["embedding"].numpy()
  pool = model.network(batch["pool"])["embedding"].numpy()
  expected = []
  for anchor, label in zip(anchors, batch["label"].numpy()):
    cosines = [
      -np.inf if other == label else anchor @ row / np.linalg.norm(anchor) / np.linalg.norm(row)
      for row, other in zip(pool, batch["pool_label"].numpy())
    ]
    expected.append(int(np.argmax(cosines)))
  negatives, labels = chosen[Role.NEGATIVE]
  np.testing.assert_array_equal(negatives, batch["pool"].numpy()[expected])
  np.testing.assert_array_equal(labels, batch["pool_label"].numpy()[expected])


@pytest.mark.parametrize("method", ["tla", "tla_rn", "tla_sa"])
def test_negatives_come_from_another_class(digits_like, method):
  model = _model(METHODS[method])
  for step in range(5):
    batch, chosen = _images_and_labels(model, digits_like, step)
    assert np.all(chosen[Role.NEGATIVE][1].numpy() != batch["label"].numpy())


def test_authors_random_negatives_come_from_any_class(digits_like):
  triplet = TripletConfig(negatives="authors_random")
  model = _model(METHODS["tla"].replace(triplet=triplet))
  same = []
  for step in range(5):
    batch, chosen = _images_and_labels(model, digits_like, step)
    same.append(np.mean(chosen[Role.NEGATIVE][1].numpy() == batch["label"].numpy()))
  # One in four classes is the own.
  assert 0.05 < np.mean(same) < 0.5


def test_random_negatives_differ_from_step_to_step(digits_like):
  model = _model(METHODS["tla_rn"])
  batch = _stream(digits_like).batch(0)
  first, second = (model.step_images(batch, model.step_seed(step))[Role.NEGATIVE][0] for step in (0, 1))
  assert np.any(first != second)


def test_positives_are_the_streams_class_mates(digits_like):
  batch, chosen = _images_and_labels(_model(METHODS["tla"]), digits_like, 0)
  np.testing.assert_array_equal(chosen[Role.POSITIVE][0], batch["positive"])


def test_plain_arrays_get_class_mates_and_pool_from_the_batch(digits_like):
  model = _model(METHODS["tla"])
  images, labels = digits_like.images[:BATCH], digits_like.labels[:BATCH]
  batch = model.complete_batch((images, labels), model.step_seed(0))
  np.testing.assert_array_equal(batch["pool"], images)
  np.testing.assert_array_equal(batch["pool_label"], labels)
  places = [
    int(np.flatnonzero(np.all(images == positive, axis=(1, 2, 3)))[0]) for positive in batch["positive"].numpy()
  ]
  np.testing.assert_array_equal(labels[places], labels)
  assert all(place != i for i, place in enumerate(places))


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_twin_is_the_clean_image_with_rounded_noise(digits_like, noise):
  model = _model(METHODS["tla"].replace(triplet=TripletConfig(positives="twin", twin_noise=noise)))
  batch, chosen = _images_and_labels(model, digits_like, 0)
  twin = chosen[Role.TWIN][0].numpy()
  if not noise:
    np.testing.assert_array_equal(twin, batch["image"])
  else:
    np.testing.assert_allclose(twin * 255, np.rint(twin * 255), atol=1e-4)
    assert 0.02 < np.abs(twin - batch["image"]).max() <= 0.03 + 0.5 / 255 + 1e-6


@pytest.mark.parametrize("step,same", [(4, True), (5, False)])
def test_step_seeds(digits_like, step, same):
  model = _model(METHODS["at"])
  batch = _stream(digits_like).batch(0)
  first, second = (model.step_examples(batch, s)[Role.ADVERSARIAL].numpy() for s in (4, step))
  assert np.array_equal(first, second) == same


def test_other_seed_other_adversarial_images(digits_like):
  batch = _stream(digits_like).batch(0)
  first, second = (
    _model(METHODS["at"].replace(seed=seed)).step_examples(batch, 0)[Role.ADVERSARIAL].numpy() for seed in (5, 6)
  )
  assert np.any(first != second)


def test_step_takes_the_seed_of_its_number(digits_like):
  # The gradient with images held constant, applied by hand, is the whole step:
  # nothing reaches the weights through the adversarial images.
  stream = _stream(digits_like)
  model = _model(METHODS["tla"])
  _fit(model, stream.dataset(0, 1))
  chosen = {role: (x, y) for role, (x, y) in model.step_images(stream.batch(1), model.step_seed(1)).items()}
  before = [np.array(v) for v in model.network.trainable_variables]
  twin = _model(METHODS["tla"])
  twin.network.set_weights(model.network.get_weights())
  _, gradients, *_ = twin.compute(
    {role: tf.constant(x.numpy()) for role, (x, _) in chosen.items()}, {role: y for role, (_, y) in chosen.items()}
  )
  _fit(model, stream.dataset(1, 2))
  for old, gradient, new in zip(before, gradients, model.network.trainable_variables):
    np.testing.assert_allclose(old - 0.1 * gradient, np.array(new), atol=2e-5)


def test_perturbed_images_carry_no_gradient(digits_like):
  model = _model(METHODS["at"])
  batch = _stream(digits_like).batch(0)
  with tf.GradientTape() as tape:
    total = tf.reduce_sum(model.perturb(batch["image"], batch["label"], model.step_seed(0)))
  assert tape.gradient(total, model.network.trainable_variables) == [None] * 14


# --------------------------------------------------------------------------- attack in training mode


def _moving(network):
  return [np.array(v) for v in network.non_trainable_variables]


@pytest.mark.parametrize("mode", PassMode)
def test_attack_leaves_moving_statistics_alone(digits_like, mode):
  model = _model(METHODS["at"].replace(attack_mode=mode))
  batch = _stream(digits_like).batch(0)
  before = _moving(model.network)
  model.perturb(batch["image"], batch["label"], model.step_seed(0))
  for old, new in zip(before, _moving(model.network), strict=True):
    np.testing.assert_array_equal(old, new)


def test_step_with_attack_in_training_mode_moves_statistics_once(digits_like):
  stream = _stream(digits_like)
  model = _model(METHODS["at"].replace(attack_mode="training"))
  chosen = model.step_images(stream.batch(0), model.step_seed(0))
  twin = _network()
  networks.forward_branches(twin, {role: x for role, (x, _) in chosen.items()}, training=True)
  _fit(model, stream.dataset(0, 1))
  _assert_weights_equal(_moving(model.network), _moving(twin), 1e-5)


def test_attack_in_training_mode_sees_batch_statistics(digits_like):
  batch = _stream(digits_like).batch(0)
  inference, training = (
    _model(METHODS["at"].replace(attack_mode=mode)).step_examples(batch, 0)[Role.ADVERSARIAL].numpy()
    for mode in PassMode
  )
  assert np.mean(np.abs(inference - training) > 1e-3) > 0.05


def _users_classifier(normalised=False):
  layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(16, activation="relu", name="features")]
  layers += [keras.layers.BatchNormalization()] * normalised
  return keras.Sequential([*layers, keras.layers.Dense(4)])


def test_attack_in_training_mode_is_refused_with_keras_normalisation():
  network = networks.from_keras(_users_classifier(normalised=True))
  with pytest.raises(InputError, match="BranchBatchNormalization"):
    models.AdversarialTraining(network, attack_mode="training")


# --------------------------------------------------------------------------- use with Keras


@pytest.mark.parametrize("normalised", [False, True])
def test_users_own_network_trains_with_triplets(digits_like, normalised):
  keras.utils.set_random_seed(1)
  classifier = _users_classifier(normalised)
  model = models.TripletTraining(networks.from_keras(classifier), attack=ATTACK)
  model.compile(keras.optimizers.Adam(0.02), jit_compile=False)
  losses = model.fit(digits_like.images, digits_like.labels, batch_size=24, epochs=8, verbose=0).history["loss"]
  assert losses[-1] < 0.7 * losses[0]
  # The classifier itself was trained.
  assert np.mean(np.argmax(classifier(digits_like.images), -1) == digits_like.labels) > 0.8


def test_users_embedding_layer_is_the_embedding(digits_like):
  classifier = _users_classifier(normalised=True)
  network = networks.from_keras(classifier, embedding_layer="features")
  expected = keras.Model(classifier.inputs, classifier.get_layer("features").output)(digits_like.images)
  np.testing.assert_allclose(models.TripletTraining(network)(digits_like.images)["embedding"], expected, rtol=1e-6)


def test_compile_refuses_weights_of_losses():
  with pytest.raises(InputError, match="`loss_weights`"):
    make_model(METHODS["at"], _network()).compile("sgd", loss_weights=[1.0])


@pytest.mark.parametrize(
  "images",
  [lambda x: 255 * x, lambda x: (255 * x).astype(np.uint8), lambda x: x - 0.5, lambda x: x * np.nan],
  ids=["grey levels", "bytes", "negative", "NaN"],
)
def test_fit_refuses_images_out_of_range(digits_like, images):
  model = _model(METHODS["at"])
  with pytest.raises(InputError, match=r"\[0, 1\]"):
    model.fit(images(digits_like.images), digits_like.labels, verbose=0)


def test_fit_refuses_a_single_image_out_of_range(digits_like):
  images = np.tile(digits_like.images, [10, 1, 1, 1])
  images[-1] *= 255
  with pytest.raises(InputError, match=r"\[0, 1\]"):
    _model(METHODS["um"]).fit(images, np.tile(digits_like.labels, 10), verbose=0)


def test_evaluate_refuses_images_out_of_range(digits_like):
  with pytest.raises(InputError, match=r"\[0, 1\]"):
    _model(METHODS["um"]).evaluate(255 * digits_like.images, digits_like.labels, verbose=0)


@pytest.fixture
def float16():
  keras.config.set_dtype_policy("mixed_float16")
  yield
  keras.config.set_dtype_policy("float32")


def test_float16_is_refused(float16):
  # Keras wraps the optimiser: it divides gradients by the scale that a loss without `scale_loss` never had.
  model = make_model(METHODS["um"], _network())
  with pytest.raises(InputError, match=r"computes in \['float16'\].*need float32"):
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)


# Settings away from their defaults.
SHARED = {
  "attack": ATTACK,
  "validation_attack": AttackConfig(0.2, 0.1, 4, momentum=0.5),
  "weight_decay": 1e-3,
  "label_smoothing": 0.1,
  "schedules": (("epsilon", ((0, 0.0), (2, 1.0))),),
  "weight_average": 0.9,
  "weight_average_start": 1,
  "seed": 9,
}
ROUND_TRIPS = {
  "um": (models.Undefended, SHARED),
  "at": (models.AdversarialTraining, {**SHARED, "clean_weight": 0.2, "attack_mode": "training"}),
  "trades": (models.RobustModel, {**SHARED, "method": "trades", "beta": 2.0}),
  "memory_bank": (
    models.TripletTraining,
    {**SHARED, "negative_pool": "memory_bank", "memory_bank_size": 30, "memory_bank_start": 1},
  ),
  "alp": (models.LogitPairing, {**SHARED, "pairing": "embedding", "pairing_weight": 0.7}),
  "tla": (
    models.TripletTraining,
    {
      **SHARED,
      "pairing": "logits",
      "pairing_weight": 0.3,
      "triplet": TripletConfig(
        weight=2.0, margin=0.03, distance="squared_euclidean", positives="both", twin_margin=0.6, negatives="random"
      ),
    },
  ),
}


def _as_json(model):
  return json.dumps(model.get_config(), sort_keys=True)


@pytest.mark.parametrize("case", ROUND_TRIPS)
def test_config_round_trip(case):
  kind, settings = ROUND_TRIPS[case]
  model = kind(_network(), **settings)
  again = kind.from_config(json.loads(_as_json(model)))
  assert _as_json(again) == _as_json(model)
  for name, value in settings.items():
    assert getattr(again if hasattr(again, name) else again.settings, name) == value


@pytest.mark.parametrize("case", ["at", "tla"])
def test_from_config_leaves_its_argument_whole(case):
  kind, settings = ROUND_TRIPS[case]
  config = kind(_network(), **settings).get_config()
  before = json.dumps(config)
  kind.from_config(config)
  assert json.dumps(config) == before


# --------------------------------------------------------------------------- two devices

# Logical devices must be set before TensorFlow starts: a process of its own.
TWO_DEVICES = """
import json
import keras
import numpy as np
import tensorflow as tf
from tla_tf import models, networks
from tla_tf.config import AttackConfig

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
# One for all: the collective operations of a second one would meet those of the first.
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
rng = np.random.default_rng(0)
batch = {"image": rng.random((16, 8, 8, 1), np.float32), "label": rng.integers(0, 4, 16).astype(np.int32)}


def step(strategy, jit):
  with strategy.scope():
    keras.utils.set_random_seed(3)
    classifier = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(),
                                   keras.layers.Dense(12, activation="relu"), keras.layers.Dense(4)])
    model = models.AdversarialTraining(networks.from_keras(classifier), attack=AttackConfig(0.1, 0.05, 2),
                                       weight_decay=1e-2)
    model.compile(keras.optimizers.SGD(0.5), jit_compile=jit)
  history = model.fit(tf.data.Dataset.from_tensor_slices(batch).batch(16), verbose=0, shuffle=False).history
  return {"loss": history["loss"][0], "weights": [w.tolist() for w in model.network.get_weights()]}


found = {"single": step(tf.distribute.get_strategy(), False)}
for name, jit in (("off", False), ("auto", "auto")):
  try:
    found[name] = step(mirrored, jit)
  except Exception as error:
    found[name] = {"error": repr(error)}


def state():
  # Two steps of TLA with a memory bank and an average of weights.
  with mirrored.scope():
    model = models.TripletTraining(networks.build("mlp_8", (8, 8, 1), 4), attack=AttackConfig(0.1, 0.05, 2),
                                   negative_pool="memory_bank", memory_bank_size=20, memory_bank_start=0,
                                   weight_average=0.5)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
  for _ in range(2):
    before = [v.numpy().tolist() for v in model.averaged_network.variables]
    model.fit(tf.data.Dataset.from_tensor_slices(batch).batch(16), verbose=0, shuffle=False)
  named = {v.name: v for v in model.state()["negatives"].variables}
  return {"labels": named["labels"].numpy().tolist(), "next": int(named["next"].numpy()),
          "trainable": [v.trainable for v in model.network.variables], "before": before,
          "after": [v.numpy().tolist() for v in model.averaged_network.variables],
          "weights": [v.numpy().tolist() for v in model.network.variables], "label": batch["label"].tolist()}


found["state"] = state()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def steps_by_strategy():
  """Loss and weights of one step on one device, and on two with XLA "off" and "auto"."""
  done = cli.run_python(TWO_DEVICES)
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("jit", ["off", "auto"])
def test_step_on_two_devices_equals_step_on_one(steps_by_strategy, jit):
  single, double = steps_by_strategy["single"], steps_by_strategy[jit]
  assert "error" not in double, double["error"]
  assert double["loss"] == pytest.approx(single["loss"], rel=1e-5)
  _assert_weights_equal([np.array(w) for w in single["weights"]], [np.array(w) for w in double["weights"]])


def test_the_state_of_a_step_on_two_devices(steps_by_strategy):
  found = steps_by_strategy["state"]
  # The bank holds the last 20 of both batches, whichever replica had them.
  assert found["next"] == 12
  assert found["labels"] == [*found["label"][4:], *found["label"][12:], *found["label"][:4]]
  decay = 2 / 11
  for trainable, before, after, weights in zip(*(found[k] for k in ("trainable", "before", "after", "weights"))):
    expected = decay * np.array(before) + (1 - decay) * np.array(weights) if trainable else weights
    np.testing.assert_allclose(after, expected, atol=1e-6)
