"""Where XLA cannot compile: tried, said, and done without it, with nothing changed by the attempt."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import attack_configs, attacks, networks, published, training
from tla_tf.binaries import entry
from tla_tf.config import AttackConfig
from tla_tf.errors import CompilerWarning, InputError
from tla_tf.models.robust_model import RobustModel
from tla_tf.persistence.loading import load_network
from tla_tf.training.determinism import make_deterministic

SHAPE, CLASSES = (8, 8, 1), 4
ATTACK = AttackConfig(epsilon=0.1, step_size=0.05, steps=2)
ERRORS = {
  "autotuner": tf.errors.InternalError(
    None, None, "Autotuner could not find any supported configs for HLO: conv\nat x"
  ),
  "max pool": tf.errors.UnimplementedError(None, None, "MaxPoolGrad has no deterministic kernel"),
  "unsupported": tf.errors.InvalidArgumentError(None, None, "Detected unsupported operations when trying to compile"),
  "no compiler": tf.errors.NotFoundError(None, None, "could not find registered compiler for platform CUDA"),
}


@pytest.fixture
def accelerator(monkeypatch):
  """A device on which XLA is preferred for all networks."""
  monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: ["GPU:0", "GPU:1"])


class NoKernel(keras.layers.Layer):
  """What XLA has no kernel for."""

  def call(self, inputs):
    length = tf.strings.length(tf.strings.as_string(tf.stop_gradient(tf.reduce_mean(inputs))))
    return inputs * (1.0 + 0.0 * tf.cast(length, inputs.dtype))


def _network(*layers):
  keras.utils.set_random_seed(1)
  network = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), *layers, keras.layers.Dense(CLASSES)])
  return networks.from_keras(network)


def _data(count=20):
  images = np.random.default_rng(0).random((count, *SHAPE), np.float32)
  return images, (np.arange(count) % CLASSES).astype(np.int32)


# ------------------------------------------------------------- one function


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_a_failure_of_xla_is_caught_at_the_first_call(error, accelerator, monkeypatch):
  calls = []

  def compiled(function, jit_compile, **options):
    def call(*arguments):
      calls.append(jit_compile)
      if jit_compile:
        raise error
      return function(*arguments)

    return call

  network = _network()
  compiler = networks.Compiler("auto", network)
  assert compiler.xla and compiler.trying
  monkeypatch.setattr(tf, "function", compiled)
  double = compiler.function(lambda x: 2 * x, "the attack")
  reason = error.message.splitlines()[0]
  with pytest.warns(CompilerWarning) as said:
    assert double(tf.constant(2)) == 4
  assert [str(w.message) for w in said] == [f"XLA cannot compile the attack here ({reason}); going on without XLA."]
  assert double(tf.constant(3)) == 6 and calls == [True, False, False]
  assert (compiler.xla, compiler.failure) == (False, reason)
  # One failure is enough for all that is compiled of this network, and says nothing of others.
  assert not networks.prefers_xla(network) and networks.prefers_xla(_network())
  sentence = "XLA cannot compile the attack here .*: give `jit='auto'` or `jit='off'`"
  with pytest.raises(InputError, match=sentence):
    networks.Compiler("on", network).function(lambda x: x, "the attack")(tf.constant(1))


def test_later_failures_and_others_than_xlas_are_not_hidden(accelerator):
  compiler = networks.Compiler("auto", _network())

  def refused():
    raise tf.errors.InvalidArgumentError(None, None, "an image above 1")

  with pytest.raises(tf.errors.InvalidArgumentError):
    compiler.first_call(refused, "a step", ours=lambda: True)
  assert compiler.xla
  # What fails without XLA, too, is said as it is.
  with pytest.warns(CompilerWarning), pytest.raises(tf.errors.InvalidArgumentError):
    compiler.first_call(refused, "a step")
  compiler = networks.Compiler("auto", _network())
  with pytest.raises(tf.errors.ResourceExhaustedError):
    compiler.first_call(lambda: (_ for _ in ()).throw(tf.errors.ResourceExhaustedError(None, None, "OOM")), "a step")
  function = compiler.function(lambda x: tf.debugging.check_numerics(x, "x"), "a step")
  function(tf.constant(1.0))
  assert compiler.xla


# ------------------------------------------------------------- attacks


def test_an_attack_goes_on_without_xla(accelerator):
  images, labels = _data()
  network = _network(NoKernel())
  plain = attacks.GradientAttack(network, ATTACK, jit="off")(images, labels)
  with pytest.warns(
    CompilerWarning, match="XLA cannot compile the attack here .Detected unsupported operations.*going on without XLA"
  ):
    attack = attacks.GradientAttack(network, ATTACK)
    found = attack(images, labels)
  np.testing.assert_array_equal(found.adversarial, plain.adversarial)
  assert not attack.compiler.xla
  with pytest.raises(InputError, match="XLA cannot compile the attack here .*`jit='auto'`"):
    attacks.GradientAttack(network, ATTACK, jit="on")(images, labels)


def test_other_attacks_go_on_without_xla(accelerator):
  images, labels = _data(6)
  network = _network(NoKernel())
  with pytest.warns(CompilerWarning, match="XLA cannot compile the attack"):
    attack = attacks.DeepFool(network, attack_configs.DeepFoolConfig(steps=2))
    assert attack.jit
    attack(images, labels)
  assert not attack.jit


# ------------------------------------------------------------- training


def _model(network, jit):
  model = RobustModel(network, "at", attack=ATTACK, seed=3)
  model.compile(keras.optimizers.SGD(0.1, momentum=0.9), jit_compile=jit)
  return model


def test_a_training_begins_anew_without_xla(accelerator):
  images, labels = _data()
  plain = _model(_network(NoKernel()), False)
  plain.fit(images, labels, batch_size=5, epochs=1, verbose=0, shuffle=False, validation_data=(images, labels))
  with pytest.warns(CompilerWarning, match="XLA cannot compile the model's train steps here"):
    tried = _model(_network(NoKernel()), "auto")
    assert tried.xla
    history = tried.fit(
      images, labels, batch_size=5, epochs=1, verbose=0, shuffle=False, validation_data=(images, labels)
    )
  # The first batch was not lost, and nothing of the attempt is left.
  assert int(tried.optimizer.iterations) == 4 and not tried.xla
  for a, b in zip([*tried.variables, *tried.optimizer.variables], [*plain.variables, *plain.optimizer.variables]):
    np.testing.assert_array_equal(a, b)
  assert history.history["val_robust_accuracy"]


def test_evaluating_and_predicting_go_on_without_xla(accelerator):
  images, labels = _data()
  for call in (
    lambda model: model.predict(images, batch_size=8, verbose=0),
    lambda model: model.train_on_batch(images, labels),
  ):
    model = _model(_network(NoKernel()), "auto")
    with pytest.warns(CompilerWarning, match="XLA cannot compile the model's .* steps here"):
      call(model)
    call(model)


def test_xla_that_was_asked_for_ends_in_a_sentence():
  model = _model(_network(NoKernel()), True)
  with pytest.raises(InputError, match=r"XLA cannot compile the model's train steps here \(.*`jit='off'`"):
    model.fit(*_data(), verbose=0)


def test_a_failed_step_that_left_something_is_a_fault(accelerator):
  model = _model(_network(), "auto")

  def half():
    if model.xla:
      model.optimizer.iterations.assign_add(1)
      raise ERRORS["autotuner"]

  with pytest.raises(RuntimeError, match="a step that XLA could not compile changed .*iteration"):
    model.first_call(half, "the step")


def test_what_xla_can_compile_is_traced_once(accelerator):
  model = _model(_network(), "auto")
  model.fit(*_data(), batch_size=5, verbose=0)
  assert model.xla and model.trace_count == 1


def own_network(image_shape, num_classes, seed):
  """A network that XLA cannot compile, for `--network=compiler_test:own_network`."""
  keras.utils.set_random_seed(seed)
  layers = [keras.layers.Flatten(), NoKernel(), keras.layers.Dense(num_classes, name="logits")]
  return keras.Sequential([keras.Input(image_shape), *layers], name="own")


def test_a_run_remembers_that_xla_failed(accelerator, monkeypatch, tmp_path):
  turned_on = []
  monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: turned_on.append(True))
  monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
  config = published.setting("digits", "at", "mlp_16").replace(
    network="compiler_test:own_network", batch_size=10, train_steps=2, checkpoint_every=2, validation_examples=10
  )
  lines = []

  def trained(folder, config):
    lines.clear()
    folder = training.train(config, tmp_path / folder, say=lines.append, owns_process=True)
    return folder.record(), [np.array(v) for v in load_network(folder, config.train_steps).variables]

  record, _ = trained("run", config)
  said = [line for line in lines if "XLA" in line]
  assert len(said) == 1 and said[0].startswith("note: XLA cannot compile the training step here (Detected unsupp")
  assert record.xla_failure.startswith("Detected unsupported operations") and turned_on
  # What goes on does not try again, and the bits are those of a run without XLA.
  record, weights = trained("run", config.replace(train_steps=4))
  assert record.xla_failure and not [line for line in lines if "XLA" in line]
  record, expected = trained("plain", config.replace(train_steps=4, jit="off"))
  assert record.xla_failure is None
  for a, b in zip(weights, expected, strict=True):
    np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------- the process of a tool


def test_a_tool_sets_what_must_be_set_before_tensorflow(monkeypatch):
  grown = []
  monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["first", "second", "in use"])

  def grow(device, on):
    if device == "in use":
      raise RuntimeError("Physical devices cannot be modified after being initialized")
    grown.append((device, on))

  monkeypatch.setattr(tf.config.experimental, "set_memory_growth", grow)
  monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/nowhere")
  entry.load_tensorflow()
  assert grown == [("first", True), ("second", True)]
  assert entry.os.environ["XLA_FLAGS"] == "--xla_dump_to=/nowhere"
  for _ in range(2):
    entry.load_tensorflow(deterministic=True)
    assert entry.os.environ["XLA_FLAGS"] == "--xla_dump_to=/nowhere --xla_gpu_deterministic_ops=true"
  # What a caller in a notebook has set for itself stays.
  monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=false")
  entry.load_tensorflow(deterministic=True)
  assert entry.os.environ["XLA_FLAGS"] == "--xla_gpu_deterministic_ops=false"


def test_the_library_says_what_must_be_set_before_tensorflow(accelerator, monkeypatch):
  said = []
  monkeypatch.delenv("XLA_FLAGS", raising=False)
  make_deterministic(True, False, said.append)
  assert len(said) == 1 and "set it before Python starts" in said[0]
  monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
  make_deterministic(True, False, said.append)
  assert len(said) == 1


def test_a_tool_shows_the_warning_as_a_note(monkeypatch, capsys):
  monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
  entry.show_warnings_as_notes()
  warnings.showwarning("XLA cannot compile it here.", CompilerWarning, "file.py", 3)
  assert capsys.readouterr().err == "note: XLA cannot compile it here.\n"
