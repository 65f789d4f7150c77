"""A step's batch in micro-batches, and its attack in slices: the same step with less at once."""

import typing

import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import data, networks
from tla_tf.config import AttackConfig, TrainingConfig
from tla_tf.errors import InputError
from tla_tf.models.factory import make_model
from tla_tf.models.robust_model import RobustModel
from tla_tf.ops.slices import in_slices
from tla_tf.recipes.terms import CrossEntropy
from tla_tf.training import build_model
from tla_tf.types import Norm, Role

SHAPE, CLASSES, BATCH, POOL = (8, 8, 1), 4, 12, 20
# In L2 a step is a smooth function of the gradient: rounding does not turn a sign round.
ATTACK = AttackConfig(epsilon=1.0, step_size=0.4, steps=3, norm=Norm.L2)
PLAIN = TrainingConfig(
  method="at", attack=ATTACK, validation_attack=ATTACK, batch_size=BATCH, weight_decay=1e-3, seed=5
)
METHODS = {
  "alp": PLAIN.replace(method="alp"),
  "trades": PLAIN.replace(method="trades"),
  "tla": PLAIN.replace(method="tla", negative_pool_size=POOL),
  "tla_rn": PLAIN.replace(method="tla_rn", negative_pool_size=POOL),
  "memory_bank": PLAIN.replace(
    method="tla_rn", negative_pool="memory_bank", memory_bank_size=30, memory_bank_start=1, clean_weight=0.5
  ),
}


@pytest.fixture(scope="module")
def images():
  """60 random images of four classes, each class with its own bright rows."""
  rng = np.random.default_rng(0)
  labels = np.arange(60) % CLASSES
  pixels = 0.5 * rng.random((60, *SHAPE), np.float32)
  for i, label in enumerate(labels):
    pixels[i, 2 * label : 2 * label + 2] += 0.5
  return data.ImageData(pixels, labels, tuple("abcd"))


def _plain_network(*layers):
  """A network without batch normalisation, of which the whole batch and its parts make one step."""
  keras.utils.set_random_seed(3)
  first = [keras.Input(SHAPE), keras.layers.Flatten(), *layers]
  last = [keras.layers.Dense(8, "tanh", name="e"), keras.layers.Dense(CLASSES)]
  return networks.from_keras(keras.Sequential([*first, *last]), embedding_layer="e")


def _trained(config, images, jit=False, steps=2):
  model = make_model(config, _plain_network())
  model.compile(keras.optimizers.SGD(0.1), jit_compile=jit)
  stream = data.BatchStream(images, BATCH, seed=1, classmates=True, pool_size=POOL)
  history = model.fit(stream.dataset(0, steps), verbose=0, shuffle=False).history
  return model, {name: values[0] for name, values in history.items()}


@pytest.mark.parametrize("name", METHODS)
def test_micro_batches_and_slices_make_the_step_of_the_whole_batch(name, images):
  whole, logged = _trained(METHODS[name], images)
  # Slices of 2 cut the micro-batches of 4.
  cut, logged_in_parts = _trained(METHODS[name].replace(accumulate_steps=3, attack_batch_size=2), images)
  assert int(cut.optimizer.iterations) == 2
  assert logged_in_parts == pytest.approx(logged, rel=1e-4, abs=1e-6)
  for part, state in cut.state().items():
    for a, b in zip(state.variables, whole.state()[part].variables, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=f"{part} {b.path}")


def test_xla_compiles_micro_batches(images):
  config = METHODS["tla"].replace(accumulate_steps=3, attack_batch_size=3)
  (plain, logged), (compiled, logged_by_xla) = (_trained(config, images, jit) for jit in (False, True))
  assert compiled.xla and logged_by_xla == pytest.approx(logged, rel=1e-4, abs=1e-6)
  for a, b in zip(plain.trained_variables, compiled.trained_variables, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [5, 7, 50])
def test_an_attack_in_slices_finds_the_images_of_the_whole(size, images):
  network = _plain_network()
  batch, labels = tf.constant(images.images[:BATCH]), tf.constant(images.labels[:BATCH], tf.int32)
  whole, cut = (
    RobustModel(network, "at", attack=ATTACK, attack_batch_size=n).perturb(batch, labels, tf.constant([1, 2]))
    for n in (0, size)
  )
  np.testing.assert_allclose(cut, whole, atol=1e-5)
  assert np.ptp(whole - batch) > 0.1


class Sizes(keras.layers.Layer):
  """Notes how many images it is called with."""

  seen: typing.ClassVar[list] = []

  def call(self, inputs):
    Sizes.seen.append(inputs.shape[0])
    return inputs


@pytest.mark.parametrize(
  "settings, attack, training",
  [
    ({"attack_batch_size": 4}, 4, 36),
    ({"accumulate_steps": 2}, 6, 18),
    ({"accumulate_steps": 2, "attack_batch_size": 3}, 3, 18),
  ],
)
def test_no_more_images_are_in_the_network_at_once(settings, attack, training, images):
  model = make_model(METHODS["tla"].replace(**settings), _plain_network(Sizes()))
  batch = data.BatchStream(images, BATCH, seed=1, classmates=True, pool_size=POOL).batch(tf.constant(0))
  Sizes.seen.clear()
  chosen = model.step_images(batch, model.step_seed(0))
  # Of the attack, and of the 12 anchors and 20 images of the pool that the nearest negative is picked from.
  assert max(Sizes.seen) == attack
  Sizes.seen.clear()
  model.compute({role: x for role, (x, _) in chosen.items()}, {role: y for role, (_, y) in chosen.items()})
  assert set(Sizes.seen) == {training}


def test_statistics_of_batch_normalisation_are_those_of_the_micro_batches(images):
  config = PLAIN.replace(method="um", accumulate_steps=2)
  network = networks.build("convnet_2", SHAPE, CLASSES)
  model = make_model(config, network)
  x, y = {Role.TWIN: tf.constant(images.images[:8])}, {Role.TWIN: tf.constant(images.labels[:8], tf.int32)}
  start = network.get_weights()
  found = model.compute(x, y)
  moved = network.get_weights()
  network.set_weights(start)
  single = make_model(config.replace(accumulate_steps=1), network)
  halves = [
    single.compute({r: v[part] for r, v in x.items()}, {r: v[part] for r, v in y.items()})
    for part in (slice(4), slice(4, 8))
  ]
  for a, b in zip(network.get_weights(), moved, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
  for i, gradient in enumerate(found.gradients):
    np.testing.assert_allclose(gradient, (halves[0].gradients[i] + halves[1].gradients[i]) / 2, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
  "settings, sentence",
  [
    ({"accumulate_steps": 5}, "`accumulate_steps`: expected a divisor of the batch size 12, received 5"),
    ({"accumulate_steps": 0}, "`accumulate_steps`: expected a whole number of at least 1, received 0"),
    ({"attack_batch_size": -1}, "`attack_batch_size`: expected a whole number of at least 0, received -1"),
    (
      {"method": "tla", "negative_pool": "batch", "accumulate_steps": 2},
      "`accumulate_steps=2`: `negative_pool='batch'` of method 'tla' compares all images of a step.*memory bank",
    ),
  ],
)
def test_what_cannot_be_cut_is_refused(settings, sentence):
  with pytest.raises(InputError, match=sentence):
    PLAIN.replace(**settings)


def test_a_term_that_compares_images_is_refused(monkeypatch):
  monkeypatch.setattr(CrossEntropy, "needs_whole_batch", True)
  with pytest.raises(InputError, match="`accumulate_steps=2`: term 'cross_entropy' of method 'at' compares all images"):
    RobustModel(networks.build("mlp_8", SHAPE, CLASSES), "at", accumulate_steps=2)


def test_a_sliced_attack_that_looks_at_statistics_is_refused():
  network = networks.build("convnet_2", SHAPE, CLASSES)
  with pytest.raises(
    InputError, match="`attack_batch_size`: the network's batch normalisation .*attack_mode='inference'"
  ):
    RobustModel(network, "at", attack_batch_size=4, attack_mode="training")
  RobustModel(network, "at", attack_batch_size=4)
  RobustModel(_plain_network(), "at", attack_batch_size=4, attack_mode="training")
  with pytest.raises(InputError, match="`attack_batch_size`"):
    RobustModel(_plain_network(keras.layers.Dropout(0.1)), "at", attack_batch_size=4, attack_mode="training")
  # A micro-batch has statistics of its own.
  model = RobustModel(network, "at", accumulate_steps=3, attack=ATTACK, attack_mode="training")
  x, y = tf.random.stateless_uniform([6, *SHAPE], [1, 2]), tf.constant([0, 1, 2, 3, 0, 1])
  single = RobustModel(network, "at", attack=ATTACK.replace(random_start=False), attack_mode="training")
  model.attack = single.attack
  alone = tf.concat([single.perturb(x[i : i + 2], y[i : i + 2], tf.constant([1, 2])) for i in (0, 2, 4)], 0)
  np.testing.assert_allclose(model.perturb(x, y, tf.constant([1, 2])), alone, atol=1e-5)


def test_a_batch_without_equal_parts_is_refused(images):
  model = RobustModel(networks.build("mlp_8", SHAPE, CLASSES), "um", accumulate_steps=4)
  model.compile("sgd", jit_compile=False)
  sentence = "A batch of 10 images has no 4 equal micro-batches: give a `batch_size` that is a multiple of"
  with pytest.raises(InputError, match=sentence):
    model.fit(images.images[:10], images.labels[:10], batch_size=10, verbose=0)
  with pytest.raises(InputError, match="A batch of 2 images"):  # The rest of the epoch.
    model.fit(images.images[:10], images.labels[:10], batch_size=8, verbose=0, shuffle=False)
  assert int(model.optimizer.iterations) == 1
  model.evaluate(images.images[:10], images.labels[:10], batch_size=10, verbose=0)


def test_a_saved_model_keeps_them(tmp_path):
  model = RobustModel(networks.build("mlp_8", SHAPE, CLASSES), "at", accumulate_steps=4, attack_batch_size=3)
  model.save(tmp_path / "model.keras")
  loaded = keras.models.load_model(tmp_path / "model.keras")
  assert (loaded.accumulate_steps, loaded.attack_batch_size) == (4, 3)
  built, _ = build_model(PLAIN.replace(accumulate_steps=4, attack_batch_size=3, network="mlp_8"), SHAPE, CLASSES)
  assert (built.accumulate_steps, built.attack_batch_size) == (4, 3)


def test_slices_of_an_unknown_number_of_rows():
  double = tf.function(
    lambda x: in_slices(
      lambda part: {"twice": 2.0 * part, "rows": tf.ones_like(part[:, 0]) * tf.cast(tf.shape(part)[0], tf.float32)},
      [x],
      4,
      {"twice": tf.float32, "rows": tf.float32},
    ),
    input_signature=[tf.TensorSpec([None, 3])],
  )
  for count in (1, 3, 4, 9, 12):
    x = tf.random.stateless_uniform([count, 3], [0, count])
    found = double(x)
    np.testing.assert_array_equal(found["twice"], 2.0 * x)
    assert found["rows"].shape == (count,) and max(found["rows"]) <= 4
