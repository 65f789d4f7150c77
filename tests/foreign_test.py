"""Foreign models: SavedModels and .keras files, their outputs, pixel ranges and damage."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import data, datasets, user_code
from tla_tf.errors import InputError
from tla_tf.networks.foreign import RANGES
from tla_tf.persistence import export_saved_model, foreign
from tla_tf.persistence.model_file import ModelFile

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def digits():
  return datasets.load("digits")


@pytest.fixture(scope="module")
def by_range(digits):
  """Keras classifiers of digits, by the pixel range that they take."""
  models = {}
  keras.utils.set_random_seed(0)
  for low, high in RANGES:
    model = keras.Sequential(
      [
        keras.Input(SHAPE),
        keras.layers.Rescaling(1 / (high - low), -low / (high - low)),
        keras.layers.Flatten(),
        keras.layers.Dense(32, "tanh"),
        keras.layers.Dense(10),
      ]
    )
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = low + digits.train.float_images() * (high - low)
    model.fit(images, digits.train.labels, epochs=15, verbose=0)
    models[low, high] = model
  return models


@pytest.fixture
def model(by_range):
  return by_range[0.0, 1.0]


def _saved(model, path, kind):
  if kind == "keras":
    model.save(path.with_suffix(".keras"))
    return path.with_suffix(".keras"), foreign.load_keras_model
  model.export(path, verbose=False)
  return path, foreign.load_saved_model


@pytest.mark.parametrize("kind", ["keras", "saved_model"])
@pytest.mark.parametrize("pixel_range", RANGES)
def test_logits_of_pixels_in_0_1(by_range, digits, tmp_path, kind, pixel_range):
  path, load = _saved(by_range[pixel_range], tmp_path / "model", kind)
  loaded = load(path, pixel_range)
  loaded.check_data(digits.test)
  images, (low, high) = digits.test.float_images(slice(5)), pixel_range
  np.testing.assert_allclose(loaded(images), by_range[pixel_range](low + images * (high - low)), atol=1e-3)
  assert (loaded.kind, loaded.pixel_range, loaded.probabilities) == (kind, pixel_range, False)
  assert loaded.doubt is None


@pytest.mark.parametrize("kind", ["keras", "saved_model"])
@pytest.mark.parametrize(
  "stated, right", [((0.0, 1.0), (0.0, 255.0)), ((0.0, 1.0), (-1.0, 1.0)), ((-1.0, 1.0), (0.0, 255.0))]
)
def test_a_range_that_costs_accuracy_is_refused(by_range, digits, tmp_path, kind, stated, right):
  path, load = _saved(by_range[right], tmp_path / "model", kind)
  with pytest.raises(InputError, match=rf"`pixel_range={right[0]:g},{right[1]:g}`"):
    load(path, stated).check_data(digits.test)


@pytest.mark.parametrize("stated, doubtful", [((0.0, 255.0), True), ((0.0, 1.0), False)])
def test_a_range_that_only_makes_surer_is_doubted(digits, tmp_path, stated, doubtful):
  # Without biases logits grow with the pixels, and the classes stay the same.
  keras.utils.set_random_seed(0)
  model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(10, use_bias=False)])
  model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
  model.fit(digits.train.float_images(), digits.train.labels, epochs=15, verbose=0)
  path, load = _saved(model, tmp_path / "model", "keras")
  loaded = load(path, stated)
  loaded.check_data(digits.test)
  assert (loaded.doubt is not None) == doubtful


def test_gradients_flow_through_a_saved_model(model, digits, tmp_path):
  path, load = _saved(model, tmp_path / "model", "saved_model")
  images = tf.constant(digits.test.float_images(slice(3)))
  loaded = load(path)
  with tf.GradientTape() as tape:
    tape.watch(images)
    logits = loaded(images)
  with tf.GradientTape() as expected:
    expected.watch(images)
    direct = model(images)
  np.testing.assert_allclose(tape.gradient(logits, images), expected.gradient(direct, images), rtol=1e-4, atol=1e-4)


def test_our_own_export_is_read_by_its_endpoint(digits, tmp_path):
  from tla_tf import networks

  network = networks.build("mlp_16", SHAPE, 10)
  export_saved_model(network, SHAPE, tmp_path / "saved")
  images = digits.test.float_images(slice(4))
  loaded = foreign.load_saved_model(tmp_path / "saved")
  np.testing.assert_allclose(loaded(tf.constant(images)), network(images)["logits"], atol=1e-5)


@pytest.mark.parametrize("ending", ["activation", "layer"])
def test_a_softmax_at_the_end_of_a_keras_model_is_taken_off(model, digits, tmp_path, ending):
  last = [keras.layers.Softmax()] if ending == "layer" else []
  dense = keras.layers.Dense(10, activation=None if last else "softmax")
  squashed = keras.Sequential([keras.Input(SHAPE), *model.layers[:-1], dense, *last])
  dense.set_weights(model.layers[-1].get_weights())
  path, load = _saved(squashed, tmp_path / "model", "keras")
  loaded = load(path)
  loaded.check_data(digits.test)
  images = digits.test.float_images(slice(4))
  np.testing.assert_allclose(loaded(images), model(images), atol=1e-4)
  assert not loaded.probabilities


def test_probabilities_of_a_saved_model_become_their_logarithms(model, digits, tmp_path):
  squashed = keras.Sequential([model, keras.layers.Softmax()])
  path, load = _saved(squashed, tmp_path / "model", "saved_model")
  loaded = load(path)
  loaded.check_data(digits.test)
  assert loaded.probabilities
  images = digits.test.float_images(slice(4))
  np.testing.assert_allclose(loaded(images), tf.nn.log_softmax(model(images)), atol=1e-3)


def test_another_data_set_is_refused(model, digits, tmp_path):
  path, load = _saved(model, tmp_path / "model", "keras")
  images = np.zeros((4, 5, 5, 1), np.uint8)
  with pytest.raises(InputError, match=r"\(8, 8, 1\).*\(5, 5, 1\).*`dataset`"):
    load(path).check_data(data.ImageData(images, np.zeros(4, int), tuple("abcdefghij")))
  eleven = data.ImageData(digits.test.images, digits.test.labels, tuple("abcdefghijk"))
  with pytest.raises(InputError, match="11 logits"):
    load(path).check_data(eleven)


def test_digests_tell_models_apart(by_range, tmp_path):
  digests = set()
  for i, model in enumerate(by_range.values()):
    path, load = _saved(model, tmp_path / f"model{i}", "saved_model")
    digests |= {load(path).digest, load(path).digest}
  assert len(digests) == 3


def test_missing_models_are_named(tmp_path):
  with pytest.raises(InputError, match="no saved_model.pb"):
    foreign.load_saved_model(tmp_path)
  with pytest.raises(InputError, match="no such file"):
    foreign.load_keras_model(tmp_path / "no.keras")


@pytest.mark.parametrize("kind", ["keras", "saved_model"])
def test_damaged_models_are_named(model, tmp_path, kind):
  path, load = _saved(model, tmp_path / "model", kind)
  file = path if kind == "keras" else path / "saved_model.pb"
  file.write_bytes(file.read_bytes()[:100])
  with pytest.raises(InputError, match="cannot load it"):
    load(path)


def test_code_in_a_keras_file_is_not_run(tmp_path):
  evil = keras.Sequential(
    [keras.Input(SHAPE), keras.layers.Lambda(lambda x: x * 2.0), keras.layers.Flatten(), keras.layers.Dense(10)]
  )
  evil.save(tmp_path / "evil.keras")
  with pytest.raises(InputError, match="refused, .*: Lambda, __lambda__"):
    foreign.load_keras_model(tmp_path / "evil.keras")


class _Served(tf.Module):
  """A SavedModel with one signature of the given input."""

  def __init__(self, spec):
    super().__init__()
    self.kernel = tf.Variable(tf.ones([64, 10]))
    self.call = tf.function(
      lambda x: {"logits": tf.cast(tf.reshape(x, [-1, 64]), tf.float32) @ self.kernel}, input_signature=[spec]
    )


@pytest.mark.parametrize(
  "spec, words",
  [
    (tf.TensorSpec([None, *SHAPE], tf.uint8, name="x"), "takes uint8 pixels.*float32"),
    (tf.TensorSpec([1, *SHAPE], tf.float32, name="x"), "batches of 1 images only"),
  ],
)
def test_a_signature_that_cannot_be_attacked_is_refused(tmp_path, spec, words):
  module = _Served(spec)
  tf.saved_model.save(module, tmp_path / "model", signatures=module.call)
  with pytest.raises(InputError, match=words):
    foreign.load_saved_model(tmp_path / "model")


def test_a_signature_of_float64_and_unknown_classes_is_attacked(digits, tmp_path):
  module = _Served(tf.TensorSpec([None, *SHAPE], tf.float64, name="x"))
  tf.saved_model.save(module, tmp_path / "model", signatures=module.call)
  loaded = foreign.load_saved_model(tmp_path / "model")
  loaded.check_data(digits.test)
  outputs = tf.function(loaded)(tf.constant(digits.test.float_images(slice(2))))
  assert (outputs.dtype, outputs.shape) == (tf.float32, (2, 10))


# ------------------------------------------------------------------- embeddings


@pytest.mark.parametrize("pixel_range", [(0.0, 1.0), (0.0, 255.0)])
def test_the_embedding_of_a_keras_file_is_that_of_the_layer_that_is_named(by_range, digits, tmp_path, pixel_range):
  model, (low, high) = by_range[pixel_range], pixel_range
  path, load = _saved(model, tmp_path / "model", "keras")
  images = digits.test.float_images(slice(3))
  named = {layer.name: layer for layer in model.layers}
  for name, wanted in ((None, model.layers[2]), (model.layers[2].name, model.layers[2]), ("flatten", None)):
    name = next(n for n in named if n.startswith("flatten")) if name == "flatten" else name
    loaded = load(path, pixel_range, embedding_layer=name)
    outputs = loaded.with_embedding()(tf.constant(images))
    expected = keras.Model(model.inputs, (wanted or named[name]).output)(low + images * (high - low))
    np.testing.assert_allclose(outputs["embedding"], expected, atol=1e-3)
    np.testing.assert_allclose(outputs["logits"], loaded(tf.constant(images)), atol=1e-3)


def test_the_embedding_of_a_saved_model_is_its_output_or_endpoint(model, digits, tmp_path):
  from tla_tf import networks

  images = tf.constant(digits.test.float_images(slice(3)))
  network = networks.build("mlp_16", SHAPE, 10)
  export_saved_model(network, SHAPE, tmp_path / "ours")
  network.export(tmp_path / "outputs", verbose=False)
  for name in ("ours", "outputs"):
    outputs = foreign.load_saved_model(tmp_path / name).with_embedding()(images)
    np.testing.assert_allclose(outputs["embedding"], network(images)["embedding"], atol=1e-5)
  path, load = _saved(model, tmp_path / "neither", "saved_model")
  with pytest.raises(InputError, match="neither: has no output called 'embedding' and no endpoint 'embed'"):
    load(path).with_embedding()(images)


def test_a_layer_that_is_no_embedding_is_named(digits, tmp_path):
  conv = keras.Sequential(
    [
      keras.Input(SHAPE),
      keras.layers.Conv2D(2, 3, name="conv"),
      keras.layers.GlobalAveragePooling2D(),
      keras.layers.Dense(10),
    ]
  )
  path, load = _saved(conv, tmp_path / "model", "keras")
  for name, words in (("conv", "must be a vector"), ("none", "No layer 'none'")):
    with pytest.raises(InputError, match=f"model.keras: .*{words}"):
      load(path, embedding_layer=name).with_embedding()


def test_a_pixel_range_is_part_of_the_digest(model, tmp_path):
  path, load = _saved(model, tmp_path / "model", "keras")
  assert load(path).digest == load(path, (0, 1)).digest != load(path, (0.0, 255.0)).digest


# ------------------------------------------------------------------- classes of the user's own


OWN_LAYER = """
import keras

class Doubled(keras.layers.Layer):
  def call(self, inputs):
    return 2.0 * inputs
"""


def test_classes_of_the_users_own_are_imported(digits, tmp_path, monkeypatch):
  (tmp_path / "own_layers.py").write_text(OWN_LAYER)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  own = user_code.imported("own_layers:Doubled", "custom_objects")
  model = keras.Sequential([keras.Input(SHAPE), own(), keras.layers.Flatten(), keras.layers.Dense(10)])
  path, _ = _saved(model, tmp_path / "model", "keras")
  images = tf.constant(digits.test.float_images(slice(3)))
  # As a new process, which knows of no class.
  del sys.modules["own_layers"]
  (tmp_path / "own_layers.py").rename(tmp_path / "renamed.py")
  with pytest.raises(InputError, match="model.keras: refused, .*: own_layers.Doubled.*`custom_objects`"):
    ModelFile(path).load()
  loaded = ModelFile(path, custom_objects=("renamed:Doubled",)).load()
  np.testing.assert_allclose(loaded(images), model(images), atol=1e-5)
  with pytest.raises(InputError, match="`custom_objects=own_layers:Doubled`: there is no module"):
    ModelFile(path, custom_objects=("own_layers:Doubled",)).load()
  del sys.modules["renamed"]
