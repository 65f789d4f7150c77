"""Networks of the user's own by `module:function`, from training to export, on arrays of their own."""

import importlib
import json
import sys

import cli_support as cli
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import networks, user_code
from tla_tf.errors import InputError

NETWORK = """
import keras
from tla_tf import networks

def small(image_shape, num_classes, seed):
  images = keras.Input(image_shape)
  units = keras.layers.Dense(8, "relu", kernel_initializer=keras.initializers.GlorotUniform(seed))
  logits = keras.layers.Dense(num_classes, kernel_initializer=keras.initializers.GlorotUniform(seed + 1))
  return networks.from_keras(keras.Model(images, logits(units(keras.layers.Flatten()(images)))))

def plain(image_shape, num_classes, seed):
  return keras.Sequential([keras.Input(image_shape), keras.layers.Flatten(), keras.layers.Dense(num_classes)])

def wrong_shape(image_shape, num_classes, seed):
  return small((3, 3, 1), num_classes, seed)

def wrong_classes(image_shape, num_classes, seed):
  return small(image_shape, num_classes + 1, seed)

def no_model(image_shape, num_classes, seed):
  return "a network"

def few(image_shape):
  pass
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
  """A current folder with a user's module, which no other test sees."""
  (tmp_path / "my_nets.py").write_text(NETWORK)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  importlib.invalidate_caches()
  yield tmp_path
  for name in ("my_nets", "my_broken", "my_needy"):
    sys.modules.pop(name, None)


def test_a_plain_classifier_becomes_a_network(here):
  outputs = networks.build("my_nets:plain", (4, 4, 1), 3)(np.zeros((2, 4, 4, 1), np.float32))
  assert {name: part.shape for name, part in outputs.items()} == {"embedding": (2, 16), "logits": (2, 3)}


def test_the_function_makes_the_network(here):
  first, again, other = (networks.build("my_nets:small", (4, 4, 1), 3, seed=seed) for seed in (1, 1, 2))
  outputs = first(np.zeros((2, 4, 4, 1), np.float32))
  assert (outputs["embedding"].shape, outputs["logits"].shape) == ((2, 8), (2, 3))
  np.testing.assert_array_equal(first.get_weights()[0], again.get_weights()[0])
  assert (first.get_weights()[0] != other.get_weights()[0]).any()


@pytest.mark.parametrize(
  "reference, words",
  [
    ("my_net:small", "there is no module 'my_net' in the current folder.*start where it lies"),
    ("my_nets:smal", "my_nets.py has no 'smal'"),
    ("my_nets:wrong_shape", "failed for images .4, 4, 1. of 3 classes"),
    ("my_nets:wrong_classes", "returned a model of 4 classes, the data have 3"),
    ("my_nets:no_model", "Expected a keras.Model, received a str"),
    ("my_nets:few", "failed for images .*TypeError"),
    ("my_broken:net", "importing it failed .ValueError: oh."),
    ("my_needy:net", "there is no module 'no_such_package'; install it"),
  ],
)
def test_what_makes_no_network_is_named(here, reference, words):
  (here / "my_broken.py").write_text("raise ValueError('oh')")
  (here / "my_needy.py").write_text("import no_such_package")
  with pytest.raises(InputError, match=words) as caught:
    networks.build(reference, (4, 4, 1), 3)
  assert str(caught.value).startswith(f"`network={reference}`") and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a:", ":b", "a b:c", "a:b:c", "mlp_16", "../a:b"])
def test_other_texts_are_no_references(text):
  assert not user_code.is_reference(text)
  with pytest.raises(InputError, match="`network=.*expected module:name"):
    user_code.imported(text, "network")


def test_a_library_is_not_replaced_by_a_file_of_the_folder(here):
  (here / "keras.py").write_text("raise ValueError('not this one')")
  assert user_code.imported("keras:Model", "network").__name__ == "Model"


def test_it_is_trained_gone_on_with_judged_and_exported_where_its_module_is_found(here, tmp_path):
  rng, labels = np.random.default_rng(0), {"train": np.arange(60) % 3, "test": np.arange(30) % 3}
  images = {part: rng.integers(0, 80, (len(found), 4, 4), dtype=np.uint8) for part, found in labels.items()}
  for part, found in labels.items():
    images[part][np.arange(len(found)), found] += 100
  np.savez(here / "mine.npz", **{f"x_{p}": images[p] for p in images}, **{f"y_{p}": labels[p] for p in labels})
  train = ("--dataset=npz", "--data_dir=mine.npz", "--network=my_nets:small", *cli.SMALL[1:], "--output_dir=run")

  def run(tool, *arguments, well=True, cwd=here):
    return (cli.run_well if well else cli.run)(tool, *arguments, cwd=cwd)

  run("tla-train", *train, "--train_steps=10")
  assert "going on at step 10" in run("tla-train", *train)
  assert json.loads((here / "run" / "config.json").read_text())["settings"]["network"] == "my_nets:small"
  assert "30 test images of npz" in run("tla-evaluate", "--run_dir=run", "--suite=quick", "--probe_examples=0")
  elsewhere = tmp_path / "elsewhere"
  elsewhere.mkdir()
  refused = run("tla-export", f"--run_dir={here / 'run'}", well=False, cwd=elsewhere)
  cli.assert_refused(refused, "my_nets:small", "no module 'my_nets'")
  run("tla-export", "--run_dir=run")
  loaded = tf.saved_model.load(str(here / "run" / "saved_model"))
  assert loaded.serve(tf.zeros([2, 4, 4, 1]))["logits"].shape == (2, 3)
