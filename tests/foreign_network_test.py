"""Wrapped models: pixels in their range, order and scale; outputs of every kind; what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import attack_configs, data, networks
from tla_tf.attacks import AttackFactory, GradientAttack, presets
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.evaluation import NamedAttack, evaluate
from tla_tf.networks import ForeignNetwork

SHAPE = (4, 4, 3)
KERNEL = np.random.default_rng(0).normal(size=(48, 4)).astype(np.float32)
IMAGES = np.random.default_rng(1).random((6, *SHAPE), np.float32)


def plain(images):
  return tf.reshape(images - 0.5, [-1, 48]) @ KERNEL


LABELS = np.argmax(plain(IMAGES), -1)


def shown(image, **settings):
  """What a model is shown of one pixel."""
  network = ForeignNetwork(lambda images: tf.reshape(images, [-1, 3])[:, :2], **settings)
  return network.preprocess(tf.constant([[[image]]])).numpy().ravel()


RED = [1.0, 0.5, 0.25]


@pytest.mark.parametrize(
  "settings, image, expected",
  [
    ({}, RED, RED),
    ({"pixel_range": (-1, 1)}, RED, [1.0, 0.0, -0.5]),
    ({"pixel_range": (0, 255), "mean": 55}, RED, [200.0, 72.5, 8.75]),
    ({"mean": (0.5, 0.25, 0.25), "std": (0.5, 0.25, 2.0)}, RED, [1.0, 1.0, 0.0]),
    ({"channels": "rgb"}, RED, RED),
    # The mean is in the model's order: 0 of blue, 0.5 of red.
    ({"channels": "bgr", "mean": (0.0, 0.0, 0.5)}, RED, [0.25, 0.5, 0.5]),
    ({"channels": "grey"}, RED, [0.299 + 0.587 * 0.5 + 0.114 * 0.25]),
    ({"channels": "grey"}, [0.5], [0.5]),
    ({"channels": "rgb", "pixel_range": (0, 2)}, [0.5], [1.0, 1.0, 1.0]),
    ({"channels": "bgr"}, [0.5], [0.5, 0.5, 0.5]),
  ],
)
def test_pixels_by_hand(settings, image, expected):
  np.testing.assert_allclose(shown(image, **settings), expected, rtol=1e-6)


def in_grey_levels(images):
  """`plain` of a model that takes standardised grey levels in the order BGR."""
  pixels = (images * tf.constant([3.0, 4.0, 5.0]) + tf.constant([100.0, 110.0, 120.0])) / 255.0
  return plain(tf.reverse(pixels, [-1]))


WRAPPED = {"pixel_range": (0, 255), "mean": (100, 110, 120), "std": (3, 4, 5), "channels": "bgr"}
SHORT = {
  "gradient": AttackConfig(0.05, 0.02, 3),
  "carlini_wagner": attack_configs.CarliniWagnerConfig(steps=5, binary_search_steps=2),
  "deepfool": attack_configs.DeepFoolConfig(steps=3),
  "jsma": attack_configs.JsmaConfig(0.1, restarts=2),
  "apgd": attack_configs.ApgdConfig(0.05, 3),
  "fab": attack_configs.FabConfig(0.05, 2, restarts=2),
  "square": attack_configs.SquareConfig(0.05, 5),
  "library": attack_configs.LibraryConfig("cleverhans_pgd", 0.05, 3),
}


@pytest.mark.parametrize("kind", [kind for kind in attack_configs.KINDS if kind != "transfer"])
def test_attacks_find_on_a_wrapped_model_what_they_find_on_a_plain_one(kind):
  wrapped = ForeignNetwork(in_grey_levels, **WRAPPED)
  np.testing.assert_allclose(wrapped(IMAGES), plain(IMAGES), atol=1e-4)
  found, expected = (AttackFactory(n, "off").make(SHORT[kind])(IMAGES, LABELS) for n in (wrapped, plain))
  np.testing.assert_array_equal(found.success, expected.success)
  np.testing.assert_allclose(found.adversarial, expected.adversarial, atol=1e-3)


def test_a_wrapped_model_is_evaluated_as_a_plain_one():
  test = data.ImageData(IMAGES, LABELS, tuple("abcd"))
  attacks = [NamedAttack("PGD", presets.pgd(0.03, 0.01, 3))]
  found, expected = (
    evaluate(n, test, attacks, probe_examples=0) for n in (ForeignNetwork(in_grey_levels, **WRAPPED), plain)
  )
  assert found.worst_case == expected.worst_case


# --------------------------------------------------------------------------- outputs


class Module(tf.Module):
  def __call__(self, images):
    return {"embedding": images, "logits": plain(images)}


OUTPUTS = {
  "a module, logits among others": Module(),
  "a list of one": lambda images: [plain(images)],
  "a dict of one": lambda images: {"anything": plain(images)},
  "a compiled function": tf.function(plain),
  "float64": lambda images: tf.cast(plain(images), tf.float64),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs_of_every_kind(case):
  network = ForeignNetwork(OUTPUTS[case])
  logits = tf.function(network)(IMAGES)
  assert (logits.dtype, network.num_classes, network.probabilities) == (tf.float32, 4, False)
  np.testing.assert_allclose(logits, plain(IMAGES), atol=1e-6)


def _ending(ending):
  flat = [keras.Input(SHAPE), keras.layers.Flatten()]
  if ending == "layer":
    return keras.Sequential([*flat, keras.layers.Dense(4), keras.layers.Softmax()])
  if ending == "activation layer":
    return keras.Sequential([*flat, keras.layers.Dense(4), keras.layers.Activation("softmax")])
  if ending == "nested":
    return keras.Sequential([keras.Input(SHAPE), keras.Sequential([*flat, keras.layers.Dense(4, "softmax")])])
  if ending == "operation":
    images = keras.Input(SHAPE)
    return keras.Model(images, keras.ops.softmax(keras.layers.Dense(4)(keras.layers.Flatten()(images))))
  return keras.Sequential([*flat, keras.layers.Dense(4, ending)])


@pytest.mark.parametrize("ending", ["softmax", "sigmoid", "layer", "activation layer", "nested", "operation"])
def test_what_squashes_at_the_end_of_a_keras_model_is_passed_over_and_stays(ending):
  model = _ending(ending)
  before = model(IMAGES).numpy()
  network = ForeignNetwork(model)
  logits = tf.function(network)(IMAGES)
  squash = tf.sigmoid if ending == "sigmoid" else tf.nn.softmax
  np.testing.assert_allclose(squash(logits), before, atol=1e-6)
  assert not network.probabilities
  np.testing.assert_array_equal(model(IMAGES), before)


def test_attacks_follow_the_logits_below_a_softmax_of_a_model_that_is_not_wrapped():
  model = _ending("softmax")
  model.layers[-1].set_weights([KERNEL * 1000, np.zeros(4)])
  labels = np.argmax(model(IMAGES), -1)
  attack = GradientAttack(model, presets.cw_pgd(0.5, 0.1, 10).replace(random_start=False), jit="off")
  # Margins of probabilities have no gradient where these are 0 and 1.
  assert np.isin(model(IMAGES), (0.0, 1.0)).mean() > 0.8
  assert attack(IMAGES, labels).success.numpy().all()


@pytest.mark.parametrize("jit", ["off", "on"])
def test_probabilities_are_noticed_even_when_the_first_call_is_traced(jit):
  network = ForeignNetwork(lambda images: tf.nn.softmax(plain(images)))
  GradientAttack(network, presets.fgsm(0.01), jit=jit)(IMAGES, LABELS)
  assert network.probabilities
  np.testing.assert_allclose(network(IMAGES), tf.nn.log_softmax(plain(IMAGES)), atol=1e-4)


# --------------------------------------------------------------------------- what is refused

KERAS = _ending("linear")
REFUSED = {
  "no function": (lambda: ForeignNetwork(tf.Module()), "A Module cannot be called"),
  "a range upside down": (lambda: ForeignNetwork(plain, (255, 0)), "`pixel_range=255,0`: expected a lower"),
  "no range": (lambda: ForeignNetwork(plain, (0, np.inf)), "`pixel_range=0,inf`"),
  "a deviation of 0": (lambda: ForeignNetwork(plain, std=(1, 0, 1)), "`std`: expected numbers above 0"),
  "a mean of nothing": (lambda: ForeignNetwork(plain, mean=np.nan), "`mean`: expected a finite number"),
  "channels": (lambda: ForeignNetwork(plain, channels="rbg"), r"`channels`: expected one of \['rgb', 'bgr', 'grey'\]"),
  "means of other channels": (lambda: ForeignNetwork(plain, mean=(1, 2))(IMAGES), "`mean`: expected 1 number or 3"),
  "order of many channels": (
    lambda: ForeignNetwork(plain, channels="bgr")(np.zeros((2, 4, 4, 5), np.float32)),
    r"`channels=bgr` is for images \[n, height, width, 1 or 3\]",
  ),
  "another shape": (
    lambda: ForeignNetwork(KERAS)(np.zeros((2, 5, 5, 3), np.float32)),
    r"takes images of shape \(4, 4, 3\), the data have \(5, 5, 3\)",
  ),
  "another shape of a function": (
    lambda: ForeignNetwork(plain, name="mine")(np.zeros((2, 5, 5, 3), np.float32)),
    "mine: cannot be called on images",
  ),
  "one output": (lambda: ForeignNetwork(lambda images: plain(images)[:, :1])(IMAGES), r"\(4, 1\).*two or more logits"),
  "a map": (lambda: ForeignNetwork(lambda images: images)(IMAGES), r"outputs of shape \(4, 4, 4, 3\)"),
  "nameless outputs": (
    lambda: ForeignNetwork(lambda images: {"a": images, "b": images})(IMAGES),
    r"none of its outputs \['a', 'b'\] is called 'logits'",
  ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_attacked_is_refused(case):
  act, words = REFUSED[case]
  with pytest.raises(InputError, match=words):
    act()


def test_the_wrong_range_of_a_model_in_memory_is_refused():
  images = np.random.default_rng(2).random((200, *SHAPE), np.float32)
  labels = np.argmax(plain(images), -1)
  ForeignNetwork(in_grey_levels, **WRAPPED).check(images, labels, 4)
  with pytest.raises(InputError, match=r"`pixel_range=0,255`"):
    ForeignNetwork(in_grey_levels, **WRAPPED | {"pixel_range": (0, 1)}).check(images, labels, 4)
  with pytest.raises(InputError, match="expected 5 logits"):
    ForeignNetwork(plain).check(images, labels, 5)


def test_a_range_in_which_the_model_says_nan_is_no_right_one():
  """The first class, that of all images, is what `argmax` makes of NaN."""
  images, labels = np.random.default_rng(3).random((100, *SHAPE), np.float32), np.zeros(100, int)

  def of_signed_pixels(pixels):
    negative = tf.reduce_any(pixels < 0, [1, 2, 3])[:, None]
    return tf.where(negative, plain(pixels) * 0.0 + [9.0, 0.0, 0.0, 0.0], float("nan"))

  with pytest.raises(InputError, match="`pixel_range=-1,1`"):
    ForeignNetwork(of_signed_pixels).check(images, labels, 4)


def test_it_is_among_the_networks():
  assert networks.ForeignNetwork is ForeignNetwork
