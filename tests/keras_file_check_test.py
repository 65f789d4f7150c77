"""`.keras` files from strangers: whose classes they name, and what they become, is found before they are loaded."""

import inspect
import io
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

from tla_tf import limits
from tla_tf.errors import InputError
from tla_tf.persistence.foreign import load_keras_model
from tla_tf.persistence.keras_file_check import UNSAFE_LAYERS

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
  """The files in a `.keras` file, by name."""
  model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3, name="last")])
  path = tmp_path_factory.mktemp("models") / "model.keras"
  model.save(path)
  with zipfile.ZipFile(path) as archive:
    return {name: archive.read(name) for name in archive.namelist()}


def write(path, members, compression=zipfile.ZIP_STORED, **others):
  with zipfile.ZipFile(path, "w", compression) as archive:
    for name, content in {**members, **others}.items():
      archive.writestr(name, content)
  return path


def configured(members, change):
  """The files with another config.json: `change` gets the config of the last layer, as an object of Keras."""
  config = json.loads(members["config.json"])
  change(config["config"]["layers"][-1])
  return {**members, "config.json": json.dumps(config)}


# ------------------------------------------------------------------- whose classes


class OwnLayer(keras.layers.Layer):
  def call(self, inputs):
    return inputs


def ran(*args, **kwargs):
  raise AssertionError("a stranger's file ran code that this process had registered")


REGISTERED = {"strange>Gadget": type("Gadget", (), {"from_config": ran}), "strange>gadget": ran}


def layer(name, module="keras.layers", registered_name=None, **config):
  def change(value):
    value.update(class_name=name, module=module, registered_name=registered_name, config=config, build_config=None)

  return change


def activation(name, module="builtins"):
  value = {"class_name": "function", "config": name, "module": module, "registered_name": name}
  return lambda layer: layer["config"].update(activation=value)


REFUSED = {
  "code": (layer("Lambda", function={"class_name": "__lambda__", "config": {"value": "AAAA"}}), "Lambda"),
  "a SavedModel": (layer("TFSMLayer", filepath="/somewhere"), "TFSMLayer"),
  "a SavedModel by its module": (layer("TFSMLayer", "keras.src.export.tfsm_layer", filepath="/x"), "TFSMLayer"),
  "a pickle of torch": (layer("TorchModuleWrapper", module_="AAAA"), "TorchModuleWrapper"),
  "a download": (activation("get_file", "keras.utils"), "keras.utils.get_file"),
  "a setting": (activation("enable_unsafe_deserialization", "keras.config"), "keras.config.enable_unsafe"),
  "a model of the library": (layer("ResNet50", "keras.applications"), "keras.applications.ResNet50"),
  "a callback": (layer("CSVLogger", "keras.callbacks", filename="x"), "keras.callbacks.CSVLogger"),
  "Python": (activation("system", "os"), "os.system"),
  "a class of another package": (layer("Thing", "keras_hub.layers"), "keras_hub.layers.Thing"),
  "a module beside": (layer("Thing", "kerasx.layers"), "kerasx.layers.Thing"),
  "a registered class": (layer("Gadget", None, "strange>Gadget"), "strange>Gadget"),
  "a registered class under another's name": (layer("Dense", registered_name="strange>Gadget"), "strange>Gadget"),
  "a registered function": (activation("strange>gadget"), "strange>gadget"),
  "a registered function as a text": (
    lambda value: value["config"].update(activation="strange>gadget"),
    "strange>gadget",
  ),
  "a list of words elsewhere": (layer("StringLookup", vocabulary="/etc/passwd"), "/etc/passwd"),
}


@pytest.mark.parametrize("change, name", REFUSED.values(), ids=REFUSED)
def test_what_is_not_keras_or_ours_is_refused_by_name(members, tmp_path, change, name):
  path = write(tmp_path / "model.keras", configured(members, change))
  with keras.saving.custom_object_scope({}):
    keras.saving.get_custom_objects().update(REGISTERED)
    try:
      with pytest.raises(InputError, match=rf"model.keras: refused, .*{name}.*`custom_objects`.*`trust_model`"):
        load_keras_model(path)
    finally:
      for registered in REGISTERED:
        del keras.saving.get_custom_objects()[registered]


def test_an_own_class_is_named_and_code_is_trusted(tmp_path):
  layers = [keras.Input(SHAPE), OwnLayer(), keras.layers.Flatten(), keras.layers.Lambda(lambda x: 2.0 * x)]
  model = keras.Sequential([*layers, keras.layers.Dense(3)])
  model.save(tmp_path / "model.keras")
  images = np.ones((2, *SHAPE), np.float32)
  with pytest.raises(InputError, match="OwnLayer"):
    load_keras_model(tmp_path / "model.keras")
  with pytest.raises(InputError, match=r"compute: Lambda, __lambda__\. "):
    load_keras_model(tmp_path / "model.keras", custom_objects={"OwnLayer": OwnLayer})
  loaded = load_keras_model(tmp_path / "model.keras", custom_objects={"OwnLayer": OwnLayer}, trust_model=True)
  np.testing.assert_allclose(loaded(images), model(images), atol=1e-5)


def test_parts_of_keras_are_not_refused(tmp_path):
  inputs = keras.Input(SHAPE)
  hidden = keras.ops.relu(inputs * 2.0 + 1.0)[:, 1:]
  hidden = keras.layers.Conv2D(2, 3, kernel_regularizer="l2", kernel_constraint="max_norm", dtype="float32")(hidden)
  hidden = keras.layers.TimeDistributed(keras.layers.BatchNormalization())(keras.layers.RandomFlip()(hidden))
  hidden = keras.layers.Flatten()(hidden)
  hidden = keras.Sequential([keras.Input((hidden.shape[1],)), keras.layers.Dense(4, activation=keras.ops.gelu)])(hidden)
  start = keras.initializers.VarianceScaling(seed=3)
  outputs = keras.layers.Dense(3, activation=keras.activations.softmax, kernel_initializer=start)(hidden)
  model = keras.Model(inputs, outputs)
  model.compile("adam", keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"])
  model.save(tmp_path / "model.keras")
  images = np.random.default_rng(0).random((2, *SHAPE), np.float32)
  loaded = load_keras_model(tmp_path / "model.keras")
  np.testing.assert_allclose(keras.ops.log_softmax(loaded(images)), np.log(model(images, training=False)), atol=1e-2)


def test_no_allowed_layer_takes_code_or_other_files():
  """Of this version of Keras: whichever layer is given a function or a path is on the list of the unsafe ones."""
  known = {"vocabulary", "call_fn", "function"}
  for name, found in vars(keras.layers).items():
    if inspect.isclass(found) and name not in UNSAFE_LAYERS:
      given = set(inspect.signature(found.__init__).parameters)
      assert not {each for each in given if any(word in each for word in ("file", "path", "fn", "module"))}, name
      assert given & known <= {"vocabulary"}, name  # Those in other files are refused where they stand.


def test_other_forms_need_trust(members, tmp_path):
  model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)])
  model.save(tmp_path / "model.h5")
  with pytest.raises(InputError, match=r"only .keras files can be looked at.*`trust_model`"):
    load_keras_model(tmp_path / "model.h5")
  images = np.ones((2, *SHAPE), np.float32)
  np.testing.assert_allclose(
    load_keras_model(tmp_path / "model.h5", trust_model=True)(images), model(images), atol=1e-5
  )


# ------------------------------------------------------------------- what costs too much, and damage


def weights(make):
  content = io.BytesIO()
  with h5py.File(content, "w") as file:
    make(file)
  return content.getvalue()


def inflating(file):
  """Weights of 8 GB in nothing."""
  file.create_dataset(
    "layers/dense/vars/0", (10**9, 2), "float32", chunks=(10**6, 2), compression="gzip", fillvalue=1.0
  )


def in_large_pieces(file):
  file.create_dataset("layers/dense/vars/0", (1,), "float32", chunks=(10**9,), maxshape=(None,), compression="gzip")


def linked(file):
  file["layers"] = h5py.ExternalLink("/etc/weights.h5", "layers")


def linked_softly(file):
  file["layers"] = h5py.SoftLink("/elsewhere")


def elsewhere(file):
  file.create_dataset("layers/dense/vars/0", (64, 3), "float32", external=[("/etc/passwd", 0, 768)])


def virtual(file):
  layout = h5py.VirtualLayout((64, 3), "float32")
  layout[:] = h5py.VirtualSource("/etc/weights.h5", "vars", (64, 3))
  file.create_virtual_dataset("layers/dense/vars/0", layout)


def of_units(units):
  return lambda members: configured(members, lambda value: value["config"].update(units=units))


COSTS = {
  "a config that inflates": (lambda m: {**m, "config.json": b" " * (limits.JSON_BYTES + 1)}, "its config.json has 33"),
  "weights that inflate": (lambda m: {**m, "model.weights.h5": weights(inflating)}, "holds 8 GB .*`max_unpacked_gb=8`"),
  "weights in large pieces": (lambda m: {**m, "model.weights.h5": weights(in_large_pieces)}, "holds 4 GB"),
  "a model of a billion units": (of_units(10**9), "holds 260 GB in .* of disk.*`max_unpacked_gb=260`"),
  "weights in another file": (lambda m: {**m, "model.weights.h5": weights(linked)}, "its weights are a link"),
  "weights under a link": (lambda m: {**m, "model.weights.h5": weights(linked_softly)}, "its weights are a link"),
  "bytes of another file": (lambda m: {**m, "model.weights.h5": weights(elsewhere)}, "lie in other files"),
  "a view of another file": (lambda m: {**m, "model.weights.h5": weights(virtual)}, "lie in other files"),
  "weights of another shape": (of_units(4), "Keras cannot load it"),
  "a negative number of units": (of_units(-4), "Keras cannot load it"),
  "objects in each other": (lambda m: {**m, "config.json": '{"a":' * 20_000 + "1" + "}" * 20_000}, "cannot load it"),
  "lists in each other": (lambda m: {**m, "config.json": "[" * 200_000}, "cannot load it"),
  "an integer of 5,000 digits": (lambda m: {**m, "config.json": '{"a": ' + "9" * 5000 + "}"}, "cannot load it"),
  "a list": (lambda m: {**m, "config.json": "[1]"}, "its config.json is no object"),
  "a class that is a number": (lambda m: {**m, "config.json": '{"class_name": 7}'}, "an object without a class"),
  "no config": (lambda m: {name: m[name] for name in m if name != "config.json"}, "cannot load it"),
  "no weights": (lambda m: {name: m[name] for name in m if name != "model.weights.h5"}, "cannot load it"),
  "weights cut": (lambda m: {**m, "model.weights.h5": m["model.weights.h5"][:3000]}, "cannot load it"),
}


@pytest.mark.parametrize("change, words", COSTS.values(), ids=COSTS)
def test_what_costs_too_much_or_is_damaged_is_named(members, tmp_path, change, words):
  path = write(tmp_path / "model.keras", change(members), zipfile.ZIP_DEFLATED)
  with pytest.raises(InputError, match=f"model.keras: .*{words}"):
    load_keras_model(path)


def test_an_archive_that_inflates_is_not_unpacked(members, tmp_path, monkeypatch):
  monkeypatch.setenv(limits.VARIABLE, "0.01")
  path = tmp_path / "model.keras"
  archive = zipfile.ZipFile(write(path, members), "a", zipfile.ZIP_DEFLATED)
  with archive, archive.open("assets/zeros", "w", force_zip64=True) as file:
    file.write(bytes(11_000_000))
  with pytest.raises(InputError, match=r"model.keras: refused .holds 11 MB in .* kB"):
    load_keras_model(path)
