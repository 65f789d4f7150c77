"""Networks of the user's own: any Keras classifier can be trained, and what cannot ends in a sentence."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import models, networks, recipes
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.networks import from_keras
from tla_tf.types import Role

SHAPE, CLASSES = (8, 8, 1), 4
ATTACK = AttackConfig(epsilon=0.05, step_size=0.03, steps=2)
LABELS = np.arange(48) % CLASSES
IMAGES = 0.5 * np.random.default_rng(0).random((48, *SHAPE), np.float32)
for _image, _label in zip(IMAGES, LABELS):
  _image[2 * _label : 2 * _label + 2] += 0.5


class Subclassed(keras.Model):
  """A model with a `call`, which returns what `answer` makes of (embedding, logits)."""

  def __init__(self, answer=lambda embedding, logits: logits, normalisation=None):
    super().__init__()
    self.flatten, self.hidden = keras.layers.Flatten(), keras.layers.Dense(12, "relu")
    self.normalisation, self.last, self.answer = normalisation, keras.layers.Dense(CLASSES), answer
    self.sizes = []

  def call(self, images, training=False):
    self.sizes.append(images.shape[0])
    hidden = self.hidden(self.flatten(images))
    if self.normalisation is not None:
      hidden = self.normalisation(hidden)
    return self.answer(hidden, self.last(hidden))


def _both(embedding, logits):
  return {"embedding": embedding, "logits": logits}


def _layers(*first):
  return [*first, keras.layers.Flatten(), keras.layers.Dense(12, "relu", name="hidden"), keras.layers.Dense(CLASSES)]


def _adapted():
  layer = keras.layers.Normalization()
  layer.adapt(IMAGES)
  return layer


def _nested():
  inside = keras.Sequential([keras.Input(SHAPE), *_layers()[:-1]], name="inside")
  images = keras.Input(SHAPE)
  base = keras.Model(images, keras.layers.ReLU()(inside(images)), name="base")
  return keras.Sequential([keras.Input(SHAPE), base, keras.layers.Dense(CLASSES)])


def _shapes(network):
  return {name: output.shape[-1] for name, output in network.output.items()}


BOTH, LOGITS = {"embedding": 12, "logits": CLASSES}, {"logits": CLASSES}
# How a classifier is made, how it becomes a network, what that returns.
KINDS = {
  "subclassed": (Subclassed, {"image_shape": SHAPE}, LOGITS),
  "subclassed with an embedding": (lambda: Subclassed(_both), {"image_shape": SHAPE}, BOTH),
  "other names": (
    lambda: Subclassed(lambda embedding, logits: {"features": embedding, "scores": logits}),
    {"image_shape": SHAPE, "logits_output": "scores", "embedding_output": "features"},
    BOTH,
  ),
  "subclassed, normalised by Keras": (
    lambda: Subclassed(_both, keras.layers.BatchNormalization()),
    {"image_shape": SHAPE},
    BOTH,
  ),
  "unbuilt": (lambda: keras.Sequential(_layers()), {"image_shape": SHAPE}, BOTH),
  "rescaled": (lambda: keras.Sequential([keras.Input(SHAPE), *_layers(keras.layers.Rescaling(2.0, -1.0))]), {}, BOTH),
  "subclassed, normalised by statistics": (
    lambda: Subclassed(_both, keras.layers.Normalization()),
    {"image_shape": SHAPE},
    BOTH,
  ),
  "adapted": (lambda: keras.Sequential([keras.Input(SHAPE), *_layers(_adapted())]), {}, BOTH),
  "nested": (_nested, {"embedding_layer": "hidden"}, BOTH),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_of_every_kind_is_trained(kind):
  make, arguments, outputs = KINDS[kind]
  keras.utils.set_random_seed(1)
  classifier = make()
  network = from_keras(classifier, **arguments)
  assert _shapes(network) == outputs
  method = "tla" if "embedding" in outputs else "at"
  model = models.RobustModel(network, method, attack=ATTACK)
  model.compile(keras.optimizers.Adam(0.02), jit_compile=False)
  losses = model.fit(IMAGES, LABELS, batch_size=24, epochs=12, verbose=0).history["loss"]
  assert losses[-1] < 0.8 * losses[0]
  # The classifier itself was trained, and is what was attacked.
  np.testing.assert_allclose(
    _scores(classifier(IMAGES, training=False)), network(IMAGES, training=False)["logits"], atol=1e-5
  )
  assert model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)["accuracy"] > 0.5


def _scores(outputs):
  return outputs.get("logits", outputs.get("scores")) if isinstance(outputs, dict) else outputs


@pytest.mark.parametrize("method", ["um", "at", "alp", "trades"])
def test_a_method_without_embeddings_takes_logits_alone(method):
  model = models.RobustModel(from_keras(Subclassed(), image_shape=SHAPE), method, attack=ATTACK)
  model.compile("adam", jit_compile=False)
  assert model.fit(IMAGES, LABELS, batch_size=24, verbose=0).history["loss"][0] > 0
  assert set(model.predict(IMAGES, verbose=0)) == {"logits"}


@pytest.mark.parametrize(
  "method, settings, users",
  [
    ("tla", {}, "triplet, feature_norm"),
    ("tla_rn", {"negative_pool": "batch"}, "triplet, feature_norm"),
    ("alp", {"pairing": "embedding"}, "pairing"),
  ],
)
def test_a_method_with_embeddings_says_what_it_needs(method, settings, users):
  network = from_keras(Subclassed(), image_shape=SHAPE)
  with pytest.raises(
    InputError, match=rf"'{method}' uses embeddings \({users}\).*embedding_layer=.*'embedding': \.\.\.}}"
  ):
    models.RobustModel(network, method, **settings)


def test_a_term_uses_embeddings_unless_it_says_that_it_does_not(monkeypatch):
  class Own(recipes.Term):
    def __call__(self, step):
      return tf.reduce_mean(tf.square(step.outputs[Role.ADVERSARIAL]["logits"])), {}

  at = recipes.get("at")
  monkeypatch.setattr(type(at), "terms", lambda self, config: [Own("own")])
  network = from_keras(Subclassed(), image_shape=SHAPE)
  with pytest.raises(InputError, match=r"uses embeddings \(own\)"):
    models.AdversarialTraining(network)
  monkeypatch.setattr(Own, "needs_embedding", False)
  models.AdversarialTraining(network)


def test_a_model_wraps_a_classifier_itself():
  classifier = keras.Sequential([keras.Input(SHAPE), *_layers()])
  assert _shapes(models.TripletTraining(classifier).network) == BOTH
  network = networks.build("mlp_8", SHAPE, CLASSES)
  assert models.TripletTraining(network).network is network
  called = Subclassed()
  called(IMAGES)
  assert _shapes(models.AdversarialTraining(called).network) == LOGITS


def test_keras_normalisation_of_a_subclassed_model_gets_a_pass_a_role():
  roles = {Role.TWIN: IMAGES[:8], Role.ADVERSARIAL: IMAGES[8:16]}
  for normalisation, sizes in (
    (keras.layers.BatchNormalization(), [8, 8]),
    (networks.BranchBatchNormalization(), [16]),
  ):
    classifier = Subclassed(_both, normalisation)
    network = from_keras(classifier, image_shape=SHAPE)
    classifier.sizes.clear()
    together = networks.forward_branches(network, roles, training=True)
    assert classifier.sizes == sizes
    for role, images in roles.items():
      np.testing.assert_allclose(together[role]["logits"], network(images, training=True)["logits"], atol=1e-5)


def test_a_nested_embedding_is_what_the_layer_gives():
  classifier = _nested()
  network = from_keras(classifier, embedding_layer="base/inside/hidden")
  inside = classifier.get_layer("base").get_layer("inside")
  expected = keras.Model(inside.inputs[0], inside.get_layer("hidden").output)(IMAGES)
  np.testing.assert_allclose(network(IMAGES)["embedding"], expected, atol=1e-6)
  np.testing.assert_allclose(network(IMAGES)["logits"], classifier(IMAGES), atol=1e-6)
  assert {id(v) for v in network.variables} == {id(v) for v in classifier.variables}


def test_the_embedding_of_a_shared_layer_is_that_of_this_model():
  # The first call of both layers is another model's.
  hidden, last = keras.layers.Dense(12), keras.layers.Dense(CLASSES)
  _ = last(hidden(keras.Input((64,))))
  images = keras.Input(SHAPE)
  classifier = keras.Model(images, last(hidden(keras.layers.Flatten()(images))))
  for arguments in ({}, {"embedding_layer": hidden.name}):
    network = from_keras(classifier, **arguments)
    np.testing.assert_allclose(network(IMAGES)["embedding"], hidden(IMAGES.reshape(48, 64)), atol=1e-5)


def _twice():
  images, hidden = keras.Input(SHAPE), keras.layers.Dense(64, name="hidden")
  return keras.Model(images, keras.layers.Dense(CLASSES)(hidden(hidden(keras.layers.Flatten()(images)))))


def _two_inputs():
  images = [keras.Input(SHAPE), keras.Input(SHAPE)]
  return keras.Model(images, keras.layers.Dense(CLASSES)(keras.layers.Flatten()(keras.layers.Add()(images))))


def _same_names():
  parts = [keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, name="hidden")], name=name) for name in "ab"]
  return keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), *parts, keras.layers.Dense(CLASSES)])


def _of_bytes():
  return keras.Sequential([keras.Input(SHAPE, dtype="uint8"), *_layers(keras.layers.Rescaling(1 / 255))])


REFUSED = {
  "unbuilt": (Subclassed, {}, r"not built yet.*image_shape=\(height, width, channels\)"),
  "unbuilt sequential": (lambda: keras.Sequential(_layers()), {}, "not built yet"),
  "no model": (lambda: tf.identity, {}, "Expected a keras.Model"),
  "a layer of a call": (
    Subclassed,
    {"image_shape": SHAPE, "embedding_layer": "hidden"},
    "`embedding_layer`.*no outputs",
  ),
  "images of another shape": (_nested, {"embedding_layer": "no"}, "'base/inside/hidden'"),
  "names": (lambda: Subclassed(lambda e, x: {"a": e, "b": x}), {"image_shape": SHAPE}, r"\['a', 'b'\].*logits_output"),
  "embedding's name": (
    lambda: Subclassed(_both),
    {"image_shape": SHAPE, "embedding_output": "z"},
    r"`embedding_output` 'z'",
  ),
  "a tuple": (lambda: Subclassed(lambda e, x: (e, x)), {"image_shape": SHAPE}, "one output of logits.*return a dict"),
  "probabilities": (
    lambda: Subclassed(lambda e, x: keras.ops.softmax(x)),
    {"image_shape": SHAPE},
    "outputs probabilities",
  ),
  "no gradient": (
    lambda: Subclassed(lambda e, x: keras.ops.one_hot(keras.ops.argmax(x, -1), CLASSES) * 2),
    {"image_shape": SHAPE},
    "No gradient flows",
  ),
  "fails": (
    lambda: Subclassed(lambda e, x: e @ x),
    {"image_shape": SHAPE},
    r"cannot be called on images of shape \(8, 8, 1\): (?!Exception)\w",
  ),
  "bytes": (_of_bytes, {}, "uint8 pixels, through which no gradient flows"),
  "two inputs": (_two_inputs, {}, "takes 2 inputs"),
  "called twice": (_twice, {"embedding_layer": "hidden"}, "called 2 times"),
  "two of a name": (_same_names, {"embedding_layer": "hidden"}, r"Several layers.*\['a/hidden', 'b/hidden'\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_a_network_ends_in_a_sentence(case):
  make, arguments, words = REFUSED[case]
  with pytest.raises(InputError, match=words):
    from_keras(make(), **arguments)


def test_what_a_network_draws_is_a_function_of_the_key():
  dropped = keras.Sequential([keras.Input((50,)), keras.layers.Dropout(0.5), keras.layers.GaussianNoise(1.0)])
  drawn = []
  for key in ([1, 2], [3, 4], [1, 2]):
    networks.reseed(dropped, tf.constant(key))
    drawn.append(dropped(tf.ones((2, 50)), training=True).numpy())
  np.testing.assert_array_equal(drawn[0], drawn[2])
  assert np.any(drawn[0] != drawn[1])


def test_xla_is_left_alone_where_a_layer_is_unknown():
  assert not networks.prefers_xla(from_keras(Subclassed(), image_shape=SHAPE))
  assert networks.prefers_xla(from_keras(keras.Sequential([keras.Input(SHAPE), *_layers()])))
