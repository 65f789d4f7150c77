"""Files of Keras: a model that is saved and loaded goes on as one that never was, and every kind of network with it."""

import dataclasses
import importlib
import json
import os
import pathlib
import re
import subprocess
import sys
import typing

import keras
import numpy as np
import pytest

from tla_tf import models, networks, recipes, registration, registry
from tla_tf.config import AttackConfig, Config, option
from tla_tf.errors import InputError
from tla_tf.persistence import CheckpointStore
from tla_tf.recipes.adversarial import AdversarialConfig, AdversarialTraining
from tla_tf.recipes.terms import Term
from tla_tf.recipes.triplet import TripletConfig
from tla_tf.training.optimizers import Momentum, WarmUp
from tla_tf.types import Distance, Role

ROOT = pathlib.Path(__file__).parent.parent
SHAPE, CLASSES = (8, 8, 1), 4
ATTACK = AttackConfig(epsilon=0.1, step_size=0.05, steps=2)
IMAGES = np.random.default_rng(0).random((24, *SHAPE), np.float32)
LABELS = np.arange(24) % CLASSES


@keras.saving.register_keras_serializable(package="saving_test")
class Own(keras.Model):
  """A subclassed model with layers that hold more than weights: adapted statistics, seeds, Keras's normalisation."""

  def __init__(self, units=8, **kwargs):
    super().__init__(**kwargs)
    self.units = units
    self.adapted = keras.layers.Normalization()
    self.flatten = keras.layers.Flatten()
    self.hidden = keras.layers.Dense(units, "relu")
    self.normalised = keras.layers.BatchNormalization()
    self.dropout = keras.layers.Dropout(0.4)
    self.last = keras.layers.Dense(CLASSES)

  def call(self, images, training=False):
    hidden = self.normalised(self.hidden(self.flatten(self.adapted(images))), training=training)
    return {"embedding": hidden, "logits": self.last(self.dropout(hidden, training=training))}

  def get_config(self):
    return {**super().get_config(), "units": self.units}


def _own(images=IMAGES):
  model = Own()
  model.adapted.adapt(images)
  return networks.from_keras(model, image_shape=SHAPE)


@dataclasses.dataclass(frozen=True)
class Inner(Config):
  """A config within that of the method below."""

  distance: Distance = Distance.ANGULAR
  margins: tuple = ((1, 0.5),)


@dataclasses.dataclass(frozen=True)
class CentreConfig(AdversarialConfig):
  """Of the method below."""

  inner: Inner = Inner()
  centre_weight: float = option(0.1, "Weight of the distance from the class's centre.")


class CentreTerm(Term):
  """Squared distance from a centre of the class, which is trained, too."""

  def build(self, embedding_size, num_classes, seed):
    self.centres = self.add_variable(
      "centres", (num_classes, embedding_size), keras.initializers.RandomNormal(seed=seed)
    )

  def __call__(self, step):
    own = keras.ops.take(keras.ops.convert_to_tensor(self.centres), step.labels[Role.ADVERSARIAL], 0)
    return keras.ops.mean(keras.ops.square(step.outputs[Role.ADVERSARIAL]["embedding"] - own)), {}


class Centres(AdversarialTraining[CentreConfig]):
  """AT with trained centres, and a setting of every kind."""

  name = "saved_centres"
  help = "of a test"
  config_class = CentreConfig
  published: typing.ClassVar[dict] = {"*": CentreConfig()}

  def terms(self, config):
    return [*super().terms(config), CentreTerm("centre", config.centre_weight)]


@pytest.fixture
def centres():
  recipes.register(Centres())
  yield
  registry.METHODS._entries.pop("saved_centres", None)  # noqa: SLF001


def _mlp():
  return networks.build("mlp_8", SHAPE, CLASSES)


def _with_schedule():
  return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.02, 20))


SHARED = {"attack": ATTACK, "weight_decay": 1e-3, "seed": 9, "weight_average": 0.5}
# Face, network, settings, optimiser.
CASES = {
  "at": (models.AdversarialTraining, _mlp, SHARED, _with_schedule),
  "trades": (models.RobustModel, _mlp, {"attack": ATTACK, "method": "trades", "beta": 2.0}, lambda: "adam"),
  "tla": (
    models.TripletTraining,
    _mlp,
    {
      **SHARED,
      "triplet": TripletConfig(weight=2.0, positives="both"),
      "negative_pool": "memory_bank",
      "memory_bank_size": 10,
      "memory_bank_start": 1,
    },
    lambda: keras.optimizers.AdamW(0.01, use_ema=True),
  ),
  "own network": (models.TripletTraining, _own, SHARED, _with_schedule),
  "own method": (
    models.RobustModel,
    _mlp,
    {**SHARED, "method": "saved_centres", "inner": Inner("squared_euclidean", ((2, 0.25),))},
    _with_schedule,
  ),
}


def _made(case, jit=False):
  face, network, settings, optimizer = CASES[case]
  keras.utils.set_random_seed(3)
  model = face(network(), **settings)
  model.compile(optimizer(), jit_compile=jit, steps_per_execution=2)
  return model


def _train(model, start, stop):
  model.fit(IMAGES, LABELS, batch_size=8, initial_epoch=start, epochs=stop, shuffle=False, verbose=0)


def _state(model):
  """All that training changes; what dropout draws is a function of the step."""
  parts = {name: part.variables for name, part in model.state().items()}
  return {
    f"{name}/{i}": np.array(variable)
    for name, variables in parts.items()
    for i, variable in enumerate(variables)
    if variable.name != "seed_generator_state"
  }


def _assert_same(first, second):
  first, second = _state(first), _state(second)
  assert list(first) == list(second)
  for name, value in first.items():
    np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_a_saved_model_goes_on_to_the_same_bits(centres, tmp_path, case):
  first = _made(case)
  _train(first, 0, 2)
  first.save(tmp_path / "model.keras")
  loaded = keras.models.load_model(tmp_path / "model.keras")
  assert type(loaded) is type(first) and loaded.method == first.method and loaded.settings == first.settings
  assert loaded.get_compile_config() == first.get_compile_config() and loaded.steps_per_execution == 2
  _assert_same(loaded, first)
  for model in (first, loaded):
    _train(model, 2, 4)
  _assert_same(loaded, first)


def test_a_loaded_model_is_judged_as_the_saved_one(tmp_path):
  model = _made("tla")
  model.save(tmp_path / "model.keras")
  loaded = keras.models.load_model(tmp_path / "model.keras")
  one, other = (each.evaluate(IMAGES, LABELS, verbose=0, return_dict=True) for each in (model, loaded))
  assert one == other


def test_weights_are_saved_and_loaded(tmp_path):
  first = _made("tla")
  _train(first, 0, 1)
  first.save_weights(tmp_path / "model.weights.h5")
  second = _made("tla")
  second.load_weights(tmp_path / "model.weights.h5")
  _assert_same(first, second)


def test_a_face_of_another_method_keeps_it():
  model = models.TripletTraining(_mlp(), "tla_sa")
  assert models.TripletTraining.from_config(model.get_config()).method == "tla_sa"


def test_a_clone_of_a_compiled_model_is_compiled():
  clone = keras.models.clone_model(_made("at"))
  assert clone.compiled and isinstance(clone.optimizer, keras.optimizers.Adam) and clone.weight_average == 0.5


@pytest.mark.parametrize("jit", ["auto", False, "on"])
def test_xla_is_chosen_anew_where_it_was_left_to_the_device(jit):
  assert _made("at", jit).get_compile_config()["jit_compile"] == jit


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_a_model_that_is_not_compiled_says_so(method):
  model = models.Undefended(_mlp())
  with pytest.raises(InputError, match=rf"not compiled: call compile\(optimizer\) before {method}"):
    getattr(model, method)(IMAGES, LABELS)
  assert model.predict(IMAGES, verbose=0)["logits"].shape == (24, CLASSES)


def test_a_method_that_is_not_known_when_loading_is_named(centres, tmp_path):
  _made("own method").save(tmp_path / "model.keras")
  registry.METHODS._entries.pop("saved_centres")  # noqa: SLF001
  with pytest.raises(InputError, match="'saved_centres', which is not known here: import the module that registers it"):
    keras.models.load_model(tmp_path / "model.keras")


# A process that has imported nothing of ours but the package.
FRESH = """
import tla_tf
import keras
import numpy as np
import json
loaded = keras.models.load_model("model.keras")
images = np.random.default_rng(0).random((24, 8, 8, 1), np.float32)
loaded.fit(images, np.arange(24) % 4, batch_size=8, initial_epoch=1, epochs=2, shuffle=False, verbose=0)
print(json.dumps([type(loaded).__name__, [float(np.sum(np.abs(v))) for v in loaded.variables]]))
"""


def test_a_fresh_process_needs_the_import_of_the_package_alone(tmp_path):
  model = models.LogitPairing(_mlp(), attack=ATTACK)
  model.compile(Momentum(WarmUp(0.1, 5)), jit_compile=False)
  _train(model, 0, 1)
  model.save(tmp_path / "model.keras")
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  done = subprocess.run(
    [sys.executable, "-c", FRESH], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr[-3000:]
  _train(model, 1, 2)
  sums = [float(np.sum(np.abs(np.array(v)))) for v in model.variables]
  assert json.loads(done.stdout.splitlines()[-1]) == ["LogitPairing", sums]


def test_a_package_that_is_imported_after_keras_makes_itself_known():
  known = keras.saving.get_custom_objects()
  registered = known.pop("tla_tf>WarmUp")
  try:
    registration.install()
    made = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(WarmUp(0.1, 5)))
    assert known["tla_tf>WarmUp"] is not registered and type(made) is WarmUp and made.steps == 5
  finally:
    known["tla_tf>WarmUp"] = registered


def test_keras_is_told_of_every_class_that_we_register():
  found = {}
  for path in (ROOT / "tla_tf").rglob("*.py"):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for name in re.findall(r'register_keras_serializable\(package="tla_tf"\)\nclass (\w+)', path.read_text("utf-8")):
      found[name] = module
  assert found == registration.CLASSES
  for name, module in found.items():
    assert keras.saving.get_registered_name(getattr(importlib.import_module(module), name)) == f"tla_tf>{name}"


# --------------------------------------------------------------------------- averages of any network


def test_an_average_starts_as_the_network_that_it_averages():
  network = _own()
  model = models.Undefended(network, weight_average=0.9)
  np.testing.assert_array_equal(model.judged_network(IMAGES)["logits"], network(IMAGES)["logits"])


def test_a_checkpoint_brings_back_adapted_statistics(tmp_path):
  keras.backend.clear_session()  # Names count from the start, as in another process.
  first = _own()
  store = CheckpointStore(tmp_path)
  store.save(1, {"network": first}, {})
  keras.backend.clear_session()
  second = _own(1.0 - 0.1 * IMAGES)
  store.restore(1, {"network": second})
  np.testing.assert_array_equal(second(IMAGES)["logits"], first(IMAGES)["logits"])


def test_a_network_that_cannot_be_made_again_has_no_average():
  class Opaque(keras.Model):
    def __init__(self, last):
      super().__init__()
      self.flatten, self.last = keras.layers.Flatten(), last

    def call(self, images):
      return self.last(self.flatten(images))

  network = networks.from_keras(Opaque(keras.layers.Dense(CLASSES)), image_shape=SHAPE)
  with pytest.raises(InputError, match="`weight_average` needs a copy of the network"):
    models.Undefended(network, weight_average=0.9)
