"""Networks: shapes, initial weights, branch statistics, saving, wrapping."""

import concurrent.futures
import warnings

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tla_tf import networks, types
from tla_tf.errors import InputError
from tla_tf.networks import BranchBatchNormalization, branches, forward_branches, from_keras
from tla_tf.types import Role

FAST = hypothesis.settings(max_examples=12, deadline=None)
SHAPES = {"2d": (6, 3), "4d": (6, 2, 2, 3)}
each_network = pytest.mark.parametrize("name", ["mlp_8", "lenet_1", "convnet_2", "resnet_50_2", "wrn_8_1"])
each_rank = pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))


def noise(shape, seed=0):
  return np.random.default_rng(seed).normal(1.0, 2.0, shape).astype(np.float32)


def images(count=4, size=8, seed=0):
  return np.random.default_rng(seed).uniform(size=(count, size, size, 1)).astype(np.float32)


def output_shapes(network):
  return {name: tuple(output.shape) for name, output in network.output.items()}


def weight_shapes(network):
  return [tuple(v.shape) for v in network.weights if v.name in ("kernel", "bias")]


def statistics(layer):
  return np.stack([layer.moving_mean, layer.moving_variance])


def layer_for(shape, **kwargs):
  """A layer whose scale, centre and statistics are no round numbers."""
  layer = BranchBatchNormalization(**kwargs)
  layer.build((None, *shape[1:]))
  for i, variable in enumerate(layer.weights):
    variable.assign(np.random.default_rng(i).uniform(0.5, 1.5, variable.shape))
  return layer


# ------------------------------------------------------------------- building


def test_networks_have_these_names():
  assert networks.NAMES == ("mlp", "lenet", "convnet", "resnet_50", "wrn_32_10")


@pytest.mark.parametrize("name", networks.NAMES)
def test_every_name_is_built(name):
  assert output_shapes(networks.build(name, (8, 8, 1), 3))["logits"] == (None, 3)


def test_the_mlp_has_the_papers_layers():
  network = networks.build("mlp", (28, 28, 1), 10)
  assert weight_shapes(network) == [
    (784, 1024),
    (1024,),
    (1024, 1024),
    (1024,),
    (1024, 1024),
    (1024,),
    (1024, 10),
    (10,),
  ]
  assert output_shapes(network) == {"embedding": (None, 1024), "logits": (None, 10)}


def test_lenet_has_the_papers_layers():
  network = networks.build("lenet", (28, 28, 1), 10)
  assert weight_shapes(network) == [
    (3, 3, 1, 32),
    (32,),
    (3, 3, 32, 64),
    (64,),
    (3, 3, 64, 128),
    (128,),
    (3, 3, 128, 256),
    (256,),
    (7 * 7 * 256, 1024),
    (1024,),
    (1024, 10),
    (10,),
  ]
  assert output_shapes(network) == {"embedding": (None, 1024), "logits": (None, 10)}
  pools = [(layer.name, tuple(layer.output.shape)) for layer in network.layers if "pool" in layer.name]
  assert pools == [("pool1", (None, 14, 14, 64)), ("pool2", (None, 7, 7, 256))]


@pytest.mark.parametrize("name, units", [("mlp", 3), ("lenet", 5)])
def test_every_hidden_layer_is_normalised_and_rectified(name, units):
  network = networks.build(name, (8, 8, 1), 3)
  kinds = [type(layer).__name__ for layer in network.layers]
  kinds = [kind for kind in kinds if kind in ("Dense", "Conv2D", "BranchBatchNormalization", "ReLU")]
  weighted = {"mlp": ["Dense"] * 3, "lenet": ["Conv2D"] * 4 + ["Dense"]}[name]
  assert kinds == [kind for layer in weighted for kind in (layer, "BranchBatchNormalization", "ReLU")] + ["Dense"]
  assert len(weighted) == units


@pytest.mark.parametrize(
  "name, embedding, first",
  [
    ("mlp_12", 12, (64, 12)),
    ("lenet_2", 64, (3, 3, 1, 2)),
    ("convnet_3", 12, (5, 5, 1, 3)),
    ("resnet_50_2", 64, (7, 7, 1, 2)),
    ("wrn_8_2", 128, (3, 3, 1, 16)),
  ],
)
def test_a_width_is_part_of_the_name(name, embedding, first):
  network = networks.build(name, (8, 8, 1), 3)
  assert output_shapes(network) == {"embedding": (None, embedding), "logits": (None, 3)}
  assert weight_shapes(network)[0] == first


def test_lenet_takes_odd_sizes_and_channels():
  outputs = networks.build("lenet_1", (7, 5, 3), 4)(np.zeros((2, 7, 5, 3), np.float32))
  assert {name: tuple(value.shape) for name, value in outputs.items()} == {"embedding": (2, 32), "logits": (2, 4)}


@pytest.mark.parametrize(
  "name",
  [
    "resnet",
    "mlp_",
    "mlp_0",
    "mlp_x",
    "mlp_-4",
    "mlp_2_3",
    "lenet8",
    "MLP",
    "",
    " mlp",
    "wrn",
    "wrn_32",
    "wrn_32_0",
    "wrn_8_1_1",
    "resnet_50_",
    "resnet_18",
    "convnet_x",
    "mlp_100000",
  ],
)
def test_an_unknown_name_is_refused(name):
  with pytest.raises(InputError, match=r"expected one of \['mlp', 'lenet', 'convnet', 'resnet_50', 'wrn_32_10'\]"):
    networks.build(name, (8, 8, 1), 3)


@each_network
def test_the_embedding_is_what_the_logits_are_made_of(name):
  network = networks.build(name, (8, 8, 1), 3)
  outputs = network(images())
  logits = network.get_layer(index=-1)
  expected = outputs["embedding"] @ logits.kernel + logits.bias
  np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-5, atol=1e-6)
  # The wide networks' rectifier leaks.
  assert np.all(outputs["embedding"] >= 0) != name.startswith("wrn")


# ------------------------------------------------------------------- initial weights


@pytest.mark.parametrize("name", ["mlp_64", "lenet_4"])
def test_kernels_start_truncated_normal(name):
  kernels = [v.numpy() for v in networks.build(name, (8, 8, 1), 10).weights if v.name == "kernel"]
  everything = np.concatenate([kernel.ravel() for kernel in kernels])
  assert np.abs(everything).max() <= 0.2 and np.abs(everything).max() > 0.19
  assert everything.mean() == pytest.approx(0, abs=0.005)
  # Truncating at two standard deviations leaves 0.8796 of one.
  assert everything.std() == pytest.approx(0.08796, rel=0.03)


@pytest.mark.parametrize("name", ["mlp_8", "lenet_1"])
def test_biases_start_at_a_tenth_and_normalisation_as_identity(name):
  starts = {"bias": 0.1, "gamma": 1.0, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0}
  for variable in networks.build(name, (8, 8, 1), 3).weights:
    if variable.name != "kernel":
      np.testing.assert_array_equal(variable, np.full(variable.shape, starts[variable.name], np.float32))


@each_network
def test_a_seed_gives_the_same_weights_again(name):
  first, again = (networks.build(name, (8, 8, 1), 3, seed=5) for _ in range(2))
  for left, right in zip(first.weights, again.weights, strict=True):
    np.testing.assert_array_equal(left, right)


@each_network
def test_another_seed_gives_other_kernels(name):
  first, other = (networks.build(name, (8, 8, 1), 3, seed=seed) for seed in (5, 6))
  for left, right in zip(first.weights, other.weights, strict=True):
    if left.name == "kernel":
      assert not np.any(left.numpy() == right.numpy())


def test_layers_of_one_shape_start_differently():
  network = networks.build("mlp_8", (8, 8, 1), 3)
  assert not np.any(network.get_layer("fc2").kernel.numpy() == network.get_layer("fc3").kernel.numpy())


# ------------------------------------------------------------------- batch normalisation outside the scope


@each_rank
@pytest.mark.parametrize("training", [True, False])
def test_outside_the_scope_it_normalises_as_keras_does(shape, training):
  ours, keras_ = layer_for(shape), keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
  keras_.build((None, *shape[1:]))
  for name in ("gamma", "beta", "moving_mean", "moving_variance"):
    getattr(keras_, name).assign(getattr(ours, name))
  np.testing.assert_allclose(
    ours(noise(shape), training=training), keras_(noise(shape), training=training), rtol=1e-4, atol=1e-5
  )
  np.testing.assert_allclose(ours.moving_mean, keras_.moving_mean, rtol=1e-5)


@each_rank
def test_training_normalises_to_mean_0_and_variance_1(shape):
  outputs = BranchBatchNormalization(epsilon=0.0)(noise(shape), training=True).numpy().reshape(-1, 3)
  np.testing.assert_allclose(outputs.mean(0), np.zeros(3), atol=1e-5)
  np.testing.assert_allclose(outputs.var(0), np.ones(3), rtol=1e-3)


@each_rank
def test_the_moving_averages_keep_nine_tenths_and_the_unbiased_variance(shape):
  layer = layer_for(shape)
  mean, variance = statistics(layer)
  layer(noise(shape), training=True)
  values = noise(shape).reshape(-1, 3).astype(np.float64)
  np.testing.assert_allclose(layer.moving_mean, 0.9 * mean + 0.1 * values.mean(0), rtol=1e-5)
  np.testing.assert_allclose(layer.moving_variance, 0.9 * variance + 0.1 * values.var(0, ddof=1), rtol=1e-5)


@each_rank
def test_inference_moves_no_statistics(shape):
  layer = layer_for(shape)
  before = statistics(layer)
  with branches(2):
    layer(noise(shape), training=False)
  np.testing.assert_array_equal(statistics(layer), before)


def test_a_batch_of_one_is_finite():
  layer = BranchBatchNormalization()
  outputs = layer(np.ones((1, 3), np.float32), training=True)
  np.testing.assert_array_equal(outputs, np.zeros((1, 3)))
  assert np.all(np.isfinite(statistics(layer)))


# ------------------------------------------------------------------- branches


@hypothesis.given(st.integers(1, 4), st.integers(2, 4), st.sampled_from(list(SHAPES)))
@FAST
def test_branches_equal_separate_passes(count, size, rank):
  shape = (count * size, *SHAPES[rank][1:])
  together, apart = layer_for(shape), layer_for(shape)
  with branches(count):
    outputs = together(noise(shape), training=True)
  expected = [apart(part, training=True) for part in np.split(noise(shape), count)]
  np.testing.assert_allclose(outputs, np.concatenate(expected), rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(statistics(together), statistics(apart), rtol=1e-5)


@each_rank
def test_branches_do_not_see_each_other(shape):
  layer = layer_for(shape)
  changed = noise(shape)
  changed[3:] *= 7
  with branches(2):
    np.testing.assert_array_equal(layer(noise(shape), training=True)[:3], layer(changed, training=True)[:3])


@each_rank
def test_the_gradient_of_a_branch_stays_in_it(shape):
  layer, inputs = layer_for(shape), tf.constant(noise(shape))
  with tf.GradientTape() as tape, branches(2):
    tape.watch(inputs)
    target = tf.reduce_sum(layer(inputs, training=True)[:3] ** 3)
  gradient = tape.gradient(target, inputs).numpy()
  assert np.any(gradient[:3] != 0) and np.all(gradient[3:] == 0)


@each_rank
def test_branches_are_the_same_in_a_compiled_function(shape):
  eager, compiled = layer_for(shape), layer_for(shape)

  @tf.function(jit_compile=True, autograph=False)
  def call(x):
    with branches(2):
      return compiled(x, training=True)

  with branches(2):
    expected = eager(noise(shape), training=True)
  np.testing.assert_allclose(call(noise(shape)), expected, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(statistics(compiled), statistics(eager), rtol=1e-4)


def test_the_scope_ends_with_its_block():
  shape = SHAPES["2d"]
  layer = layer_for(shape)
  outside = layer(noise(shape), training=True)
  with branches(2):
    inside = layer(noise(shape), training=True)
    with branches(3):
      pass
    again = layer(noise(shape), training=True)
  assert not np.allclose(inside, outside)
  np.testing.assert_array_equal(again, inside)
  np.testing.assert_array_equal(layer(noise(shape), training=True), outside)


def test_the_scope_ends_with_an_exception():
  shape = SHAPES["2d"]
  layer = layer_for(shape)
  outside, before = layer(noise(shape), training=True), statistics(layer)
  with pytest.raises(RuntimeError, match="within"), branches(2, update_moving_averages=False):
    raise RuntimeError("within")
  np.testing.assert_array_equal(layer(noise(shape), training=True), outside)
  assert not np.array_equal(statistics(layer), before)


def test_the_scope_belongs_to_its_thread():
  shape = SHAPES["2d"]
  layer = layer_for(shape)
  outside = layer(noise(shape), training=True)
  with branches(2), concurrent.futures.ThreadPoolExecutor(1) as executor:
    elsewhere = executor.submit(layer, noise(shape), training=True).result()
  np.testing.assert_array_equal(elsewhere, outside)


@each_rank
def test_the_moving_averages_can_be_held(shape):
  layer = layer_for(shape)
  before = statistics(layer)
  with branches(1, update_moving_averages=False):
    held = layer(noise(shape), training=True)
  np.testing.assert_array_equal(statistics(layer), before)
  np.testing.assert_array_equal(held, layer(noise(shape), training=True))


# ------------------------------------------------------------------- saving


def test_the_config_of_the_layer_round_trips():
  layer = BranchBatchNormalization(momentum=0.8, epsilon=0.01, name="bn")
  rebuilt = keras.layers.deserialize(keras.layers.serialize(layer))
  assert type(rebuilt) is BranchBatchNormalization
  assert (rebuilt.momentum, rebuilt.epsilon, rebuilt.name) == (0.8, 0.01, "bn")
  assert rebuilt.get_config() == layer.get_config()


@each_network
def test_a_saved_network_is_loaded_without_custom_objects(tmp_path, name):
  network = networks.build(name, (8, 8, 1), 3)
  network(images(), training=True)  # moves the statistics from their start
  network.save(tmp_path / "network.keras")
  loaded = keras.models.load_model(tmp_path / "network.keras")
  for training in (False, True):
    expected, found = network(images(seed=1), training=training), loaded(images(seed=1), training=training)
    assert set(found) == {"embedding", "logits"}
    for output in expected:
      np.testing.assert_array_equal(found[output], expected[output])


# ------------------------------------------------------------------- forward_branches, logits_function


def sequential_with(normalisation, seed=3):
  """A wrapped Keras model with a batch normalisation of the caller's choice."""
  initializer = keras.initializers.GlorotUniform(seed)
  return from_keras(
    keras.Sequential(
      [
        keras.Input((8, 8, 1)),
        keras.layers.Flatten(),
        keras.layers.Dense(5, kernel_initializer=initializer),
        normalisation,
        keras.layers.Dense(3, kernel_initializer=initializer),
      ]
    )
  )


ROLES = {Role.TWIN: images(seed=1), Role.ADVERSARIAL: images(seed=2), Role.NEGATIVE: images(seed=3)}


@pytest.mark.parametrize("normalisation", [BranchBatchNormalization, keras.layers.BatchNormalization])
@pytest.mark.parametrize("training", [True, False])
def test_one_pass_over_all_roles_equals_separate_calls(normalisation, training):
  together, apart = sequential_with(normalisation()), sequential_with(normalisation())
  outputs = forward_branches(together, ROLES, training=training)
  assert list(outputs) == list(ROLES)
  for role, x in ROLES.items():
    expected = apart(x, training=training)
    for name in ("embedding", "logits"):
      np.testing.assert_allclose(outputs[role][name], expected[name], rtol=1e-5, atol=1e-5)
  for left, right in zip(together.weights, apart.weights, strict=True):
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("normalisation, calls", [(BranchBatchNormalization, 1), (keras.layers.BatchNormalization, 3)])
def test_only_foreign_batch_normalisation_costs_a_call_per_role(normalisation, calls):
  sizes = []

  class Spy(keras.layers.Layer):
    def call(self, x):
      sizes.append(x.shape[0])
      return x

  inputs = keras.Input((8, 8, 1))
  x = normalisation()(keras.layers.Dense(4)(keras.layers.Flatten()(Spy()(inputs))))
  network = from_keras(keras.Model(inputs, keras.layers.Dense(3)(x)))
  sizes.clear()
  forward_branches(network, ROLES, training=True)
  assert sizes == [4 * 3 // calls] * calls


def test_foreign_batch_normalisation_is_found_in_nested_models():
  inner = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.BatchNormalization()])
  nested = from_keras(keras.Sequential([inner, keras.layers.Flatten(), keras.layers.Dense(4), keras.layers.Dense(3)]))
  together = forward_branches(nested, ROLES, training=True)[Role.TWIN]
  np.testing.assert_allclose(together["logits"], nested(ROLES[Role.TWIN], training=True)["logits"], rtol=1e-5)


def test_one_role_is_an_ordinary_call():
  network = networks.build("mlp_8", (8, 8, 1), 3)
  outputs = forward_branches(network, {Role.TWIN: images()}, training=True)
  np.testing.assert_array_equal(outputs[Role.TWIN]["logits"], network(images(), training=True)["logits"])


@pytest.mark.parametrize("training", [True, False])
def test_the_logits_function_looks_without_moving_statistics(training):
  network = networks.build("mlp_8", (8, 8, 1), 3)
  before = [np.array(v) for v in network.non_trainable_variables]
  logits = networks.logits_function(network, training=training)(images())
  for value, variable in zip(before, network.non_trainable_variables, strict=True):
    np.testing.assert_array_equal(variable, value)
  np.testing.assert_array_equal(logits, network(images(), training=training)["logits"])


def test_the_logits_function_takes_any_callable():
  for network in (lambda x: x * 2, lambda x: {"logits": x * 2}):
    np.testing.assert_array_equal(networks.logits_function(network)(tf.constant([[1.0, 2.0]])), [[2, 4]])


# ------------------------------------------------------------------- wrapping


def classifier(*last):
  return keras.Sequential(
    [keras.Input((8, 8, 1)), keras.layers.Flatten(name="flat"), keras.layers.Dense(6, "relu", name="hidden"), *last]
  )


def test_a_wrapped_model_gives_its_logits_and_their_input():
  model = classifier(keras.layers.Dense(3, name="out"))
  outputs = from_keras(model)(images())
  np.testing.assert_array_equal(outputs["logits"], model(images()))
  np.testing.assert_array_equal(model.get_layer("out")(outputs["embedding"]), model(images()))


def test_a_wrapped_model_is_called_without_a_warning():
  network = from_keras(classifier(keras.layers.Dense(3)))
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    network(images())


def test_a_wrapped_model_shares_its_weights():
  model = classifier(keras.layers.Dense(3))
  network = from_keras(model)
  assert [id(v) for v in network.trainable_variables] == [id(v) for v in model.trainable_variables]
  model.layers[-1].bias.assign([7.0, 0.0, 0.0])
  np.testing.assert_array_equal(network(images())["logits"], model(images()))


def test_the_embedding_is_picked_by_name():
  model = classifier(keras.layers.Dense(4, name="late"), keras.layers.ReLU(), keras.layers.Dense(3))
  network = from_keras(model, embedding_layer="hidden")
  assert output_shapes(network) == {"embedding": (None, 6), "logits": (None, 3)}
  assert output_shapes(from_keras(model)) == {"embedding": (None, 4), "logits": (None, 3)}


def test_a_functional_model_is_wrapped_too():
  inputs = keras.Input((8, 8, 1))
  hidden = keras.layers.Dense(6)(keras.layers.Flatten()(inputs))
  outputs = keras.layers.Dense(3)(keras.layers.Concatenate()([hidden, keras.layers.ReLU()(hidden)]))
  assert output_shapes(from_keras(keras.Model(inputs, outputs))) == {"embedding": (None, 12), "logits": (None, 3)}


@pytest.mark.parametrize(
  "last",
  [
    lambda: [keras.layers.Dense(3, "softmax")],
    lambda: [keras.layers.Dense(3), keras.layers.Softmax()],
    lambda: [keras.layers.Dense(3), keras.layers.Activation("softmax")],
    lambda: [keras.layers.Dense(3, "sigmoid")],
  ],
  ids=["dense softmax", "softmax layer", "activation", "sigmoid"],
)
@pytest.mark.parametrize("embedding_layer", [None, "hidden"])
def test_probabilities_are_refused(last, embedding_layer):
  with pytest.raises(InputError, match="outputs probabilities"):
    from_keras(classifier(*last()), embedding_layer)


def test_probabilities_of_an_operation_are_refused():
  inputs = keras.Input((4,))
  outputs = keras.ops.softmax(keras.layers.Dense(3)(keras.layers.Dense(5)(inputs)))
  with pytest.raises(InputError, match="probabilities"):
    from_keras(keras.Model(inputs, outputs))


def test_a_missing_layer_is_told_the_models_layers():
  with pytest.raises(InputError, match=r"No layer 'hiden' in the model; its layers are \['flat', 'hidden', 'out'\]"):
    from_keras(classifier(keras.layers.Dense(3, name="out")), "hiden")


def test_an_embedding_that_is_no_vector_is_refused():
  model = keras.Sequential(
    [keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3, name="conv"), keras.layers.Flatten(), keras.layers.Dense(3)]
  )
  with pytest.raises(InputError, match=r"vector per image, but has shape \(None, 6, 6, 2\)"):
    from_keras(model, "conv")


def test_a_model_that_ends_otherwise_has_the_embedding_that_is_named():
  model = classifier(keras.layers.Dense(3), keras.layers.Rescaling(2.0))
  assert output_shapes(from_keras(model)) == {"logits": (None, 3)}
  assert output_shapes(from_keras(model, "hidden"))["embedding"] == (None, 6)


@pytest.mark.parametrize(
  "make",
  [lambda x: [keras.layers.Dense(3)(keras.layers.Flatten()(x))] * 2, lambda x: keras.layers.Conv2D(3, 1)(x)],
  ids=["two outputs", "a map"],
)
def test_an_output_that_is_no_logits_is_refused(make):
  inputs = keras.Input((8, 8, 1))
  with pytest.raises(InputError, match="one output of logits"):
    from_keras(keras.Model(inputs, make(inputs)))


def test_a_model_without_inputs_yet_is_refused():
  with pytest.raises(InputError):
    from_keras(keras.Sequential([keras.layers.Dense(5), keras.layers.Dense(3)]))


# ------------------------------------------------------------------- XLA


@pytest.mark.parametrize("name, expected", [("mlp_8", True), ("lenet_1", False)])
def test_xla_pays_on_a_cpu_for_networks_without_convolutions(name, expected):
  assert networks.prefers_xla(networks.build(name, (8, 8, 1), 3)) is expected


@pytest.mark.parametrize("layer", [keras.layers.DepthwiseConv2D(3), keras.layers.SeparableConv2D(2, 3)])
def test_convolutions_of_every_kind_are_seen_in_nested_models(layer):
  inner = keras.Sequential([keras.Input((8, 8, 1)), layer])
  assert not networks.prefers_xla(keras.Sequential([inner, keras.layers.Flatten(), keras.layers.Dense(3)]))


def test_xla_is_not_chosen_for_an_unknown_callable():
  assert networks.prefers_xla(lambda x: x) is False


@pytest.mark.parametrize(
  "jit, on_mlp, on_lenet",
  [
    ("auto", True, False),
    (types.Jit.AUTO, True, False),
    ("on", True, True),
    (types.Jit.ON, True, True),
    ("off", False, False),
    (types.Jit.OFF, False, False),
    (True, True, True),
    (False, False, False),
  ],
)
def test_a_choice_is_resolved_for_a_network(jit, on_mlp, on_lenet):
  mlp, lenet = networks.build("mlp_2", (4, 4, 1), 2), networks.build("lenet_1", (4, 4, 1), 2)
  assert (networks.resolve_jit(jit, mlp), networks.resolve_jit(jit, lenet)) == (on_mlp, on_lenet)
