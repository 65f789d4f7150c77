"""Networks for colour images: sizes, structure, initial weights, their own layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import networks
from tla_tf.errors import InputError
from tla_tf.networks.standardisation import PerImageStandardisation
from tla_tf.networks.wide_resnet import PadChannels

each_network = pytest.mark.parametrize("name", ["wrn_8_2", "convnet_4", "resnet_50_2"])
SIZES = [(32, 32, 3), (9, 13, 1), (7, 4, 3), (1, 2, 1)]


def images(shape, count=2, seed=0):
  return np.random.default_rng(seed).uniform(size=(count, *shape)).astype(np.float32)


def build(name, shape=(16, 16, 3), classes=5, **kwargs):
  return networks.build(name, shape, classes, **kwargs)


def shape_of(network, layer):
  return tuple(network.get_layer(layer).output.shape[1:])


def of_type(network, kind):
  return [layer for layer in network.layers if type(layer) is kind]


def values(network, *layers):
  """Outputs of inner layers on some images, the statistics and scales being no round numbers."""
  for i, layer in enumerate(of_type(network, networks.BranchBatchNormalization)):
    for j, variable in enumerate(layer.weights):
      variable.assign(np.random.default_rng([i, j]).uniform(0.5, 1.5, variable.shape))
  inner = keras.Model(network.input, [network.get_layer(layer).output for layer in layers])
  return [np.array(value) for value in inner(images(network.input_shape[1:]))]


# ------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
  "name, entries",
  [
    ("wrn_8_1", 64),
    ("wrn_8_3", 192),
    ("wrn_14_1", 64),
    ("convnet_1", 4),
    ("convnet", 128),
    ("resnet_50_1", 32),
    ("resnet_50_3", 96),
  ],
)
def test_the_embedding_grows_with_the_width(name, entries):
  assert tuple(build(name).output["embedding"].shape) == (None, entries)


@each_network
@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("classes", [2, 7])
def test_any_size_channels_and_classes(name, shape, classes):
  network = build(name, shape, classes)
  for training in (False, True):
    outputs = network(images(shape), training=training)
    assert {key: value.shape[0] for key, value in outputs.items()} == {"embedding": 2, "logits": 2}
    assert outputs["logits"].shape == (2, classes)
    assert all(np.all(np.isfinite(value)) for value in outputs.values())


# ------------------------------------------------------------------- structure


@pytest.mark.parametrize("name, same", [("wrn_32_1", "wrn_34_1"), ("wrn_8_1", "wrn_10_1")])
def test_both_ways_of_counting_depth_give_the_same_network(name, same):
  left, right = build(name, seed=3), build(same, seed=3)
  assert [v.path for v in left.variables] == [v.path for v in right.variables]
  for ours, theirs in zip(left.variables, right.variables):
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("depth", [1, 2, 4, 5, 6, 7, 9, 12, 31, 33, 35])
def test_a_wrong_depth_is_refused(depth):
  with pytest.raises(InputError, match=f"Invalid depth {depth} .* expected 6 k . 2 or 6 k . 4"):
    build(f"wrn_{depth}_1")


@pytest.mark.parametrize(
  "name, groups, convolutions",
  [
    ("wrn_8_1", (1, 1, 1), 1 + 3 * 2),
    ("wrn_28_1", (4, 4, 4), 1 + 12 * 2),
    ("wrn_32_1", (5, 5, 5), 1 + 15 * 2),
    ("resnet_50_1", (2, 3, 5, 2), 1 + 12 * 3 + 4),
  ],
)
def test_units_of_each_group(name, groups, convolutions):
  network = build(name)
  adds = [layer.name for layer in of_type(network, keras.layers.Add)]
  assert adds == [f"unit_{group}_{i}.add" for group, count in enumerate(groups, start=1) for i in range(count)]
  assert len(of_type(network, keras.layers.Conv2D)) == convolutions
  assert len(of_type(network, keras.layers.Dense)) == 1


@pytest.mark.parametrize(
  "name, expected",
  [
    ("wrn_14_1", [(32, 16), (32, 16), (16, 32), (16, 32), (8, 64), (8, 64)]),
    ("wrn_8_3", [(32, 48), (16, 96), (8, 192)]),
    ("resnet_50_2", [(32, 8)] * 2 + [(16, 16)] * 3 + [(8, 32)] * 5 + [(4, 64)] * 2),
  ],
)
def test_strides_and_filters_of_the_units(name, expected):
  network = build(name, (32, 32, 3))
  found = [tuple(layer.output.shape[1:]) for layer in of_type(network, keras.layers.Add)]
  assert found == [(size, size, filters) for size, filters in expected]
  assert shape_of(network, "input.init_conv")[:2] == (32, 32)


def test_the_convnet_has_the_papers_layers():
  network = build("convnet", (32, 32, 3), 10)
  kernels = [tuple(layer.kernel.shape) for layer in of_type(network, keras.layers.Conv2D)]
  assert kernels == [(5, 5, 3, 32), (5, 5, 32, 32), (5, 5, 32, 64), (4, 4, 64, 128)]
  assert [shape_of(network, name) for name in ("pool1", "pool2", "pool3", "conv3")] == [
    (16, 16, 32),
    (8, 8, 32),
    (4, 4, 64),
    (1, 1, 128),
  ]


@pytest.mark.parametrize("shape, left", [((64, 40, 3), (5, 2)), ((9, 64, 3), (1, 7)), ((8, 8, 1), (1, 1))])
def test_the_convnet_averages_what_is_left_of_other_sizes(shape, left):
  network = build("convnet_2", shape)
  assert shape_of(network, "conv3")[:2] == left
  last, embedding = values(network, "conv3.relu", "embedding")
  np.testing.assert_allclose(embedding, last.mean((1, 2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  "name, relu, slope",
  [
    ("wrn_8_1", "unit_last.relu", 0.1),
    ("wrn_8_1", "unit_1_0.sub2.relu", 0.1),
    ("resnet_50_1", "unit_last.relu", 0.0),
    ("convnet_1", "conv3.relu", 0.0),
  ],
)
def test_only_the_wide_networks_rectifier_leaks(name, relu, slope):
  network = build(name, (8, 8, 3))
  np.testing.assert_allclose(network.get_layer(relu)(tf.constant([-2.0, 3.0])), [-2 * slope, 3.0], rtol=1e-6)


def test_only_the_first_wide_unit_activates_before_its_shortcut():
  """With a last convolution of zeros a unit's output is its shortcut."""
  network = build("wrn_14_2")
  for layer in of_type(network, keras.layers.Conv2D):
    if layer.name.endswith("conv2"):
      layer.kernel.assign(tf.zeros_like(layer.kernel))
  first, activated, one, two, three = values(
    network, "input.init_conv", "unit_1_0.shared_activation.relu", "unit_1_0.add", "unit_1_1.add", "unit_2_0.add"
  )
  assert not np.allclose(first, activated)
  np.testing.assert_array_equal(one, np.pad(activated, [(0, 0)] * 3 + [(8, 8)]))
  np.testing.assert_array_equal(two, one)
  assert np.any(two < 0)
  pooled = two.reshape(2, 8, 2, 8, 2, 32).mean((2, 4))
  np.testing.assert_allclose(three, np.pad(pooled, [(0, 0)] * 3 + [(16, 16)]), rtol=1e-5, atol=1e-6)


def test_no_bottleneck_activates_before_its_shortcut():
  network = build("resnet_50_4")
  for layer in of_type(network, keras.layers.Conv2D):
    if layer.name.endswith("conv3"):
      layer.kernel.assign(tf.zeros_like(layer.kernel))
  start, one, two, three = values(network, "input.relu", "unit_1_0.add", "unit_1_1.add", "unit_2_0.add")
  projections = {
    name: network.get_layer(f"{name}.sub_add.conv1s").kernel.numpy()[0, 0] for name in ("unit_1_0", "unit_2_0")
  }
  np.testing.assert_allclose(one, start @ projections["unit_1_0"], rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(two, one)
  assert np.any(two < 0)
  np.testing.assert_allclose(three, two[:, ::2, ::2] @ projections["unit_2_0"], rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------- initial weights


@pytest.mark.parametrize("name", ["wrn_8_4", "convnet_16", "resnet_50_8"])
def test_kernels_start_normal(name):
  kernels = [layer.kernel.numpy() for layer in of_type(build(name), keras.layers.Conv2D)]
  everything = np.concatenate([(k * np.sqrt(np.prod(k.shape[:2]) * k.shape[3] / 2)).ravel() for k in kernels])
  assert everything.mean() == pytest.approx(0, abs=0.02)
  assert everything.std() == pytest.approx(1, rel=0.02)
  assert np.abs(everything).max() > 3  # not truncated
  assert np.mean(everything**4) == pytest.approx(3, rel=0.05)
  for kernel in kernels:
    deviation = np.sqrt(2 / (np.prod(kernel.shape[:2]) * kernel.shape[3]))
    assert kernel.std() == pytest.approx(deviation, rel=0.15)


@pytest.mark.parametrize("name", ["wrn_8_4", "convnet_16", "resnet_50_8"])
def test_the_last_layer_starts_uniform(name):
  kernel = build(name, classes=50).get_layer("logit").kernel.numpy()
  limit = np.sqrt(3 / kernel.shape[0])
  assert 0.99 * limit < np.abs(kernel).max() <= limit
  assert kernel.mean() == pytest.approx(0, abs=0.05 * limit)
  assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.03)


@each_network
def test_the_only_bias_is_the_last_and_starts_at_0(name):
  network = build(name)
  assert [v.path for v in network.variables if v.name == "bias"] == ["logit/bias"]
  starts = {"bias": 0.0, "gamma": 1.0, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0}
  for variable in network.variables:
    if variable.name != "kernel":
      np.testing.assert_array_equal(variable, np.full(variable.shape, starts[variable.name], np.float32))


@pytest.mark.parametrize(
  "name, first, second",
  [
    ("wrn_14_1", "unit_1_0.sub1.conv1", "unit_1_0.sub2.conv2"),
    ("resnet_50_1", "unit_3_1.sub2.conv2", "unit_3_2.sub2.conv2"),
  ],
)
def test_layers_of_one_shape_start_differently(name, first, second):
  network = build(name)
  assert not np.any(network.get_layer(first).kernel.numpy() == network.get_layer(second).kernel.numpy())


# ------------------------------------------------------------------- layers


def contrasts(shape=(6, 5, 3)):
  """Images 0..255: of full contrast, near the floor of the deviation, below it, of one colour."""
  noise = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
  faint = np.full(shape, 128, np.float32)
  faint[2, 3, 1] += 0.5  # a deviation of 0.05, the floor is 0.105
  near = np.full(shape, 128, np.float32)
  near[::2] += 0.25
  return np.stack([noise, near, faint, np.full(shape, 200, np.float32)])


def test_standardisation_is_that_of_tensorflow():
  pixels = contrasts()
  ours = PerImageStandardisation()(pixels / np.float32(255))
  np.testing.assert_allclose(ours, tf.image.per_image_standardization(pixels), rtol=1e-3, atol=2e-3)


def test_standardised_images_have_mean_0_and_deviation_1_above_the_floor():
  standardised = PerImageStandardisation()(contrasts() / np.float32(255)).numpy()
  np.testing.assert_allclose(standardised.mean((1, 2, 3)), np.zeros(4), atol=1e-3)
  np.testing.assert_allclose(standardised.std((1, 2, 3)), [1.0, 1.0, 0.5, 0.0], atol=0.03)


def gradient_of(standardise, inputs, weights):
  with tf.GradientTape() as tape:
    tape.watch(inputs)
    target = tf.reduce_sum(standardise(inputs) * weights)
  return tape.gradient(target, inputs).numpy()


def test_the_gradient_at_one_colour_is_finite():
  """There the deviation is the floor, a constant."""
  weights = images((6, 5, 3), count=1)
  found = gradient_of(PerImageStandardisation(), tf.fill([1, 6, 5, 3], 0.5), weights)
  np.testing.assert_allclose(found, 255 * np.sqrt(90) * (weights - weights.mean()), rtol=1e-3, atol=0.1)


def test_the_gradient_elsewhere_is_that_of_tensorflow():
  inputs, weights = tf.constant(images((6, 5, 3))), images((6, 5, 3), seed=1)
  ours = gradient_of(PerImageStandardisation(), inputs, weights)
  np.testing.assert_allclose(
    ours, gradient_of(lambda x: tf.image.per_image_standardization(255 * x), inputs, weights), rtol=1e-3, atol=1e-3
  )


@each_network
def test_a_network_can_be_attacked_at_one_colour(name):
  network = build(name, (8, 8, 3))
  found = gradient_of(lambda x: network(x)["logits"], tf.fill([2, 8, 8, 3], 0.25), 1.0)
  assert np.all(np.isfinite(found))


@pytest.mark.parametrize("channels, before, after", [(3, 0, 0), (4, 0, 1), (5, 1, 1), (8, 2, 3)])
@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 5, 3)], ids=str)
def test_zeros_stand_before_and_after_the_channels(channels, before, after, shape):
  x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  layer = PadChannels(channels)
  expected = np.concatenate([np.zeros((*shape[:-1], before)), x, np.zeros((*shape[:-1], after))], -1)
  np.testing.assert_array_equal(layer(x), expected)
  assert layer.compute_output_shape((None, *shape[1:])) == (None, *shape[1:-1], channels)
  again = keras.layers.deserialize(keras.layers.serialize(layer))
  assert (type(again), again.channels) == (PadChannels, channels)


# ------------------------------------------------------------------- networks of Keras


def test_a_network_of_keras_applications_is_wrapped():
  model = keras.applications.MobileNetV2(
    input_shape=(32, 32, 3), alpha=0.35, weights=None, classes=5, classifier_activation=None
  )
  network = networks.from_keras(model)
  outputs = network(images((32, 32, 3)))
  assert outputs["embedding"].shape == (2, 1280)
  np.testing.assert_allclose(outputs["logits"], model(images((32, 32, 3))), rtol=1e-5)
  assert networks.has_foreign_statistics(network)
