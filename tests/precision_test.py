"""bfloat16: what computes in it, what stays float32, and that nothing else changes."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import networks
from tla_tf.attacks import GradientSearch, presets
from tla_tf.attacks.gradient_loop import input_gradient
from tla_tf.config import AttackConfig, TrainingConfig
from tla_tf.errors import InputError, RecordWarning
from tla_tf.evaluation import evaluate
from tla_tf.models import RobustModel
from tla_tf.ops import objectives, seeds
from tla_tf.persistence.loading import load_network
from tla_tf.training import precision_choice, train
from tla_tf.training.precision_choice import chosen_precision

SHAPES = {"mlp_16": (8, 8, 1), "lenet_4": (8, 8, 1), "convnet_4": (16, 16, 3), "wrn_10_1": (8, 8, 3)}


def made(name, count=16):
  """A network with statistics and scales that are not those of its first step, and images for it."""
  network = networks.build(name, SHAPES[name], 4, seed=3)
  rng = np.random.default_rng(0)
  for layer in network.layers:
    if isinstance(layer, networks.BranchBatchNormalization):
      for variable, low in ((layer.gamma, 0.5), (layer.beta, -0.3), (layer.moving_mean, -0.3)):
        variable.assign(rng.uniform(low, low + 0.6, variable.shape))
      layer.moving_variance.assign(rng.uniform(0.5, 2.0, layer.moving_variance.shape))
  images = tf.constant(rng.random((count, *SHAPES[name])), tf.float32)
  return network, images, tf.constant(rng.integers(0, 4, count), tf.int32)


def state(network):
  return [variable.numpy().copy() for variable in network.variables]


def cosine(a, b):
  a, b = (np.asarray(x, np.float64).ravel() for x in (a, b))
  return a @ b / np.sqrt((a @ a) * (b @ b))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("kept", [False, True], ids=["as it is", "weights cast before"])
def test_logits_and_gradients_are_those_of_float32_but_for_rounding(name, kept):
  network, images, labels = made(name)

  def gradient(precision):
    @tf.function(autograph=False)
    def run(images):
      forward = networks.logits_function(network, precision=precision)
      forward = networks.prepared(forward) if kept else forward
      return input_gradient(forward, objectives.cross_entropy, images, labels)

    return run(images)

  exact, _, logits = gradient("float32")
  rounded, _, rounded_logits = gradient("bfloat16")
  assert rounded.dtype == rounded_logits.dtype == tf.float32
  assert cosine(exact, rounded) > 0.9  # pooling may pick another of two that are alike
  assert 0 < np.abs(logits - rounded_logits).max() < 0.1 * np.abs(logits).max()


@pytest.mark.parametrize("name", ["lenet_4", "wrn_10_1"])
def test_an_attack_leaves_weights_and_statistics_as_they_are_and_is_traced_once(name):
  network, images, labels = made(name)
  before = state(network)
  search = GradientSearch(network, precision="bfloat16")
  for epsilon, steps in ((0.1, 3), (0.2, 2)):
    found = search.run(images, labels, seeds.key(0, "test"), presets.pgd(epsilon, 0.05, steps))
    assert found.adversarial.dtype == tf.float32
    assert np.abs(found.adversarial - images).max() <= epsilon + 1e-6
  assert search.trace_count == 1
  for was, now in zip(before, state(network), strict=True):
    np.testing.assert_array_equal(was, now)
  assert {layer.dtype_policy.name for layer in network._flatten_layers()} == {"float32"}  # noqa: SLF001
  assert {layer.compute_dtype for layer in network._flatten_layers()} == {"float32"}  # noqa: SLF001


def test_an_attack_follows_the_weights():
  network, images, labels = made("mlp_16")
  search = GradientSearch(network, precision="bfloat16")
  run = lambda: search.run(images, labels, seeds.key(0, "test"), presets.pgd(0.1, 0.05, 2), record=False).adversarial  # noqa: E731
  first = run()
  kernel = network.get_layer("fc1").kernel
  kernel.assign(-kernel)
  assert np.abs(first - run()).max() > 0


def test_float32_judges_what_bfloat16_found():
  # Logits of bfloat16 tie where those of float32 differ by less than its rounding: x + 0.001 and x, for x from 1 on.
  network = keras.Sequential([keras.Input((1, 1, 1)), keras.layers.Flatten()])
  first, last = keras.layers.Dense(2, use_bias=True), keras.layers.Dense(2, use_bias=False)
  network.add(first)
  network.add(last)
  first.kernel.assign([[0.1, 0.1]])
  first.bias.assign([1.0, 1.001])
  last.kernel.assign(np.eye(2))
  images, labels = tf.fill([1, 1, 1, 1], 0.5), tf.constant([1])
  logits = {p: networks.logits_function(network, precision=p)(images)[0].numpy() for p in ("float32", "bfloat16")}
  assert logits["bfloat16"][0] == logits["bfloat16"][1] and logits["float32"][1] > logits["float32"][0]
  found = GradientSearch(network, precision="bfloat16").run(images, labels, None, AttackConfig(0.1, 0.1, 1, False))
  assert not found.success[0]
  np.testing.assert_allclose(found.loss, objectives.cross_entropy(network(found.adversarial), labels), rtol=1e-6)


def test_float16_and_what_is_no_keras_model_are_refused_in_a_sentence():
  with pytest.raises(InputError, match="`attack_precision`.*no loss scaling.*bfloat16"):
    TrainingConfig(attack_precision="float16")
  with pytest.raises(InputError, match="bfloat16 is for Keras models"):
    GradientSearch(lambda images: images, precision="bfloat16")


class _Stubborn(keras.layers.Layer):
  """A layer of one's own that insists on float32."""

  def build(self, input_shape):
    self.shift = tf.Variable(tf.ones([input_shape[-1]]))

  def call(self, inputs):
    return inputs + self.shift


def test_layers_that_insist_on_float32_are_refused_before_the_first_step():
  network = networks.from_keras(
    keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), _Stubborn(), keras.layers.Dense(3)])
  )
  with pytest.raises(InputError, match="cannot compute in bfloat16"):
    networks.logits_function(network, precision="bfloat16")
  assert networks.logits_function(network)(tf.zeros([1, 4, 4, 1])).shape == (1, 3)


def test_networks_of_others_compute_in_it():
  inner = keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.ReLU()])
  network = keras.Sequential(
    [keras.Input((8, 8, 1)), keras.layers.Rescaling(2.0), inner, keras.layers.Flatten(), keras.layers.Dense(3)]
  )
  wrapped = networks.ForeignNetwork(network, pixel_range=(0, 255))
  images, labels = tf.random.stateless_uniform([4, 8, 8, 1], [1, 2]), tf.constant([0, 1, 2, 0])
  for model in (network, wrapped):
    exact = networks.logits_function(model)(images)
    rounded = networks.logits_function(model, precision="bfloat16")(images)
    assert 0 < np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()
    found = GradientSearch(model, precision="bfloat16").run(images, labels, None, AttackConfig(0.1, 0.1, 2, False))
    assert np.abs(found.adversarial - images).max() > 0


def model_of(network, **settings):
  attack = AttackConfig(epsilon=0.1, step_size=0.05, steps=2)
  model = RobustModel(network, "at", attack=attack, weight_decay=1e-4, **settings)
  model.compile(keras.optimizers.SGD(1e-3))
  return model


def test_training_in_bfloat16_differs_from_float32_by_rounding_and_repeats_its_bits():
  found = {}
  for run, precision in enumerate(("float32", "bfloat16", "bfloat16")):
    network, images, labels = made("lenet_4")
    model = model_of(network, attack_precision=precision)
    loss = [model.train_on_batch(images, labels, return_dict=True)["loss"] for _ in range(2)]
    assert model.trace_count == 1
    found[run] = state(network), loss
  (exact, _), (rounded, loss), (again, again_loss) = found.values()
  assert loss == again_loss
  for a, b, c in zip(exact, rounded, again, strict=True):
    np.testing.assert_array_equal(b, c)
    np.testing.assert_allclose(a, b, atol=0.02)
  assert any((a != b).any() for a, b in zip(exact, rounded))
  again = RobustModel.from_config(model.get_config())
  assert again.attack_precision == "bfloat16"


def test_the_training_pass_in_bfloat16_has_the_gradients_and_statistics_of_float32_but_for_rounding():
  found = {}
  for mixed in ("off", "bfloat16"):
    network, images, labels = made("convnet_4")
    model = model_of(network, mixed_precision=mixed)
    computed = model.compute({"adversarial": images}, {"adversarial": labels})
    outputs = computed.step.outputs["adversarial"]
    assert {value.dtype for value in (*computed.gradients, *outputs.values(), *computed.values.values())} == {
      tf.float32
    }
    found[mixed] = np.concatenate([np.ravel(g) for g in computed.gradients]), network.get_layer("conv1.BatchNorm")
  (exact, exact_norm), (rounded, norm) = found.values()
  assert cosine(exact, rounded) > 0.95 and (exact != rounded).any()
  for name in ("moving_mean", "moving_variance"):
    one, other = (np.asarray(getattr(layer, name)) for layer in (exact_norm, norm))
    assert one.dtype == other.dtype == np.float32
    np.testing.assert_allclose(one, other, rtol=0.02, atol=0.01)


def test_float16_is_refused_by_the_model_and_a_mixed_network_is_told_what_to_do():
  with pytest.raises(InputError, match="`mixed_precision`.*no loss scaling"):
    model_of(made("mlp_16")[0], mixed_precision="float16")
  network = keras.Sequential(
    [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3, dtype="mixed_bfloat16")]
  )
  with pytest.raises(InputError, match="`mixed_precision='bfloat16'`"):
    model_of(network)


def test_an_evaluation_that_searches_in_bfloat16_is_judged_in_float32():
  network, images, labels = made("mlp_16", 32)
  bias = network.get_layer("logits").bias
  bias.assign(bias - tf.reduce_mean(network(images)["logits"], 0))  # so that all classes are said
  labels = np.argmax(network(images)["logits"], 1)
  attack = presets.pgd(0.2, 0.1, 3)
  usual, fast = (
    evaluate(network, (images, labels), attack, jit="off", probe_examples=0, search_precision=precision)
    for precision in ("float32", "bfloat16")
  )
  assert fast.clean == usual.clean and fast.worst_case.accuracy < 1
  kept = fast.kept["PGD-3"]
  judged = np.argmax(network(kept.adversarial)["logits"], 1)
  assert len(kept.positions) == fast.fell["PGD-3"].sum() and (judged != labels[kept.positions]).all()
  with pytest.raises(InputError, match="`search_precision`.*float16"):
    evaluate(network, (images, labels), attack, probe_examples=0, search_precision="float16")


def ticking(seconds):
  """A timer by which a step takes what its form is said to: each is asked before and after a step."""
  times, now = iter(seconds), [0.0, False]

  def timer():
    now[0] += next(times) if now[1] else 0.0
    now[1] = not now[1]
    return now[0]

  return timer


@pytest.mark.parametrize("seconds, expected", [((1.0, 0.89) * 3, "bfloat16"), ((1.0, 0.91) * 3, "float32")])
def test_auto_takes_bfloat16_where_a_step_gains_a_tenth_and_remembers_it(tmp_path, seconds, expected):
  config = TrainingConfig(attack_precision="auto", network="mlp_16")
  made, said = [], []
  for round_ in range(2):
    chosen = chosen_precision(
      config,
      (8, 8, 1),
      lambda tried: made.append(tried.attack_precision.value) or (lambda: None),
      said.append,
      tmp_path,
      ticking(seconds if round_ == 0 else ()),
    )
    assert chosen == config.replace(attack_precision=expected)
  assert made == ["float32", "bfloat16"] and len(said) == 2 and expected in said[0] and said[0] == said[1]
  other = config.replace(batch_size=7)
  assert chosen_precision(other, (8, 8, 1), lambda tried: lambda: None, said.append, tmp_path, ticking((1.0, 1.0) * 3))
  assert len(list(tmp_path.iterdir())) == 2


def test_a_run_records_what_auto_chose_and_goes_on_with_it(tmp_path, monkeypatch):
  config = TrainingConfig(
    dataset="digits",
    method="at",
    network="mlp_16",
    attack_precision="auto",
    train_steps=2,
    checkpoint_every=2,
    attack=AttackConfig(0.1, 0.05, 2),
    validation_attack=AttackConfig(0.1, 0.05, 2),
    validation_examples=8,
  )
  said = []
  monkeypatch.setattr(precision_choice, "_measured", lambda steps, timer: {"float32": 1.0, "bfloat16": 0.5})
  folder = train(config, tmp_path / "run", cache_dir=tmp_path / "cache", say=said.append)
  assert folder.read_config()[0].attack_precision == "bfloat16"
  assert any("bfloat16 for the attack" in line for line in said)
  (place,) = (tmp_path / "cache").glob("precision-*.json")
  place.write_text(place.read_text().replace("0.5", "0.6"))
  with pytest.warns(RecordWarning, match=f"{place.name}: damaged; the steps are measured again"):
    train(config, tmp_path / "other", cache_dir=tmp_path / "cache", say=said.append)
  monkeypatch.setattr(precision_choice, "_measured", None)  # Another machine would measure otherwise.
  shutil.rmtree(tmp_path / "cache")
  folder = train(config.replace(train_steps=4), tmp_path / "run", cache_dir=tmp_path / "cache", say=said.append)
  again = train(
    config.replace(train_steps=4, attack_precision="bfloat16"), tmp_path / "whole", cache_dir=tmp_path, say=said.append
  )
  one, other = (load_network(run, 4) for run in (folder, again))
  for a, b in zip(state(one), state(other), strict=True):
    np.testing.assert_array_equal(a, b)
