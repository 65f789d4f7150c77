"""Two replicas train what one device trains: weights, banks, statistics, resume; what they may not train is refused."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tla_tf import published
from tla_tf.errors import InputError
from tla_tf.training import strategies

ROOT = pathlib.Path(__file__).parent.parent

# Logical devices must be set before TensorFlow starts: one process for all.
PROGRAM = """
import json, pathlib, sys, warnings
import numpy as np
import tensorflow as tf
from tla_tf import data, datasets, published, training
from tla_tf.errors import InputError
from tla_tf.models.factory import needs
from tla_tf.persistence import CheckpointStore
from tla_tf.records import sealed
from tla_tf.training import strategies
from tla_tf.training.loop import TrainingLoop

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
warnings.simplefilter("ignore")
mirrored = strategies.make("mirrored")
digits = datasets.load("digits").train
out = pathlib.Path(sys.argv[1])


def config(method, **changes):
  found = published.setting("digits", method).replace(
      network="mlp_8", batch_size=12, optimizer="momentum", learning_rate=0.05, weight_decay=1e-2, jit="off",
      train_steps=3, checkpoint_every=2, validation_examples=21)
  found = found.replace(**changes)
  attack = found.attack.replace(epsilon=0.2, step_size=0.1, steps=3)
  return found.replace(attack=attack, validation_attack=attack)


def trained(config, strategy):
  replicas = strategy.num_replicas_in_sync
  with strategy.scope():
    model, network = training.build_model(config, digits.image_shape, digits.num_classes)
  classmates, pool = needs(config)
  stream = data.BatchStream(digits, config.batch_size, config.seed, classmates, pool, config.augment_pad,
                            config.augment_flip)
  TrainingLoop(model, strategy, config.steps_per_execution).run(
      strategies.deal(strategy, lambda *part: stream.dataset(0, 3, *part)), None, 0, 3, 3, [])
  parts = {"network": network.variables, **{k: v.variables for k, v in model.state().items() if k == "negatives"}}
  return {f"{k}/{v.path}": v.numpy().tolist() for k, part in parts.items() for v in part}


CASES = {
  "um": config("um"),
  "at": config("at", attack_mode="inference", jit="on"),
  "alp": config("alp", steps_per_execution=3),
  "tla": config("tla", negative_pool_size=10, augment_pad=1, augment_flip=True),
  "tla_bank": config("tla", negative_pool="memory_bank", memory_bank_size=20, memory_bank_start=1),
  "convolutions": config("tla", network="lenet_2", negative_pool_size=10),
}
found = {name: [trained(case, s) for s in (tf.distribute.get_strategy(), mirrored)] for name, case in CASES.items()}
own = config("tla", negative_pool_size=10, sync_batch_norm=False, negatives_across_replicas=False)
found["apart"] = [found["tla"][0], trained(own.replace(augment_pad=1, augment_flip=True), mirrored)]

# Killed at step 2, it goes on to the same bits; on one device it does not.
whole = config("tla", negative_pool_size=10, distribution_strategy="mirrored", train_steps=4)
rows = {}
for name, stretches in {"whole": (4,), "killed": (2, 4)}.items():
  for stop in stretches:
    folder = training.train(whole.replace(train_steps=stop), out / name, say=lambda line: None)
  state = tf.train.load_checkpoint(str(folder.checkpoints / "step_000000004" / "state"))
  np.savez(out / f"{name}.npz", **{k.replace("/", "|"): state.get_tensor(k) for k in state.get_variable_to_shape_map()
                                   if "OBJECT_GRAPH" not in k})
  rows[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in folder.read_metrics()]
found["rows"] = rows
one = training.train(whole.replace(distribution_strategy="one_device"), out / "one", say=lambda line: None)
found["one"] = [{k: v for k, v in row.items() if k != "seconds"} for row in one.read_metrics()]


def refusal(folder="refused", **changes):
  try:
    training.train(whole.replace(**changes), out / folder, say=lambda line: None)
  except InputError as error:
    return str(error)


found["refused"] = {
  "batch": refusal(batch_size=11), "pool": refusal(negative_pool_size=9), "mode": refusal(attack_mode="training")}
found["refused"]["strategy"] = refusal(distribution_strategy="one_device", train_steps=5, folder="whole")
settings = out / "whole" / "config.json"
changed = json.loads(settings.read_text().replace('"replicas": 2', '"replicas": 4'))
settings.write_text(json.dumps(sealed(changed)))
found["refused"]["number"] = refusal(train_steps=5, folder="whole")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
  folder = tmp_path_factory.mktemp("replicas")
  command = [sys.executable, "-c", PROGRAM, str(folder)]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-3000:]
  return {"folder": folder, **json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("case", ["um", "at", "alp", "tla", "tla_bank", "convolutions"])
def test_two_replicas_train_the_weights_of_one_device(found, case):
  one, two = found[case]
  assert len(one) == len(two)
  for (name, value), other in zip(one.items(), two.values()):
    np.testing.assert_allclose(other, value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_statistics_and_negatives_of_their_own_train_others(found):
  one, two = found["apart"]
  assert max(np.abs(np.subtract(a, b)).max() for a, b in zip(one.values(), two.values())) > 1e-3


def test_a_run_of_two_replicas_goes_on_to_the_same_bits(found):
  whole, killed = (np.load(found["folder"] / f"{name}.npz") for name in ("whole", "killed"))
  assert set(whole.files) == set(killed.files)
  for name in whole.files:
    np.testing.assert_array_equal(whole[name], killed[name], name)
  assert found["rows"]["whole"] == found["rows"]["killed"]


def test_held_out_images_are_judged_as_on_one_device(found):
  """Twenty-one of them: replicas have ten and eleven."""
  assert len(found["one"]) == len(found["rows"]["whole"]) == 2
  for one, two in zip(found["one"], found["rows"]["whole"]):
    assert two == pytest.approx(one, rel=1e-3)


@pytest.mark.parametrize(
  "what, sentence",
  [
    ("batch", "`batch_size=11` is not divisible by the 2 replicas"),
    ("pool", "`negative_pool_size=9` is not divisible by the 2 replicas"),
    ("mode", "give `attack_mode=inference` or `sync_batch_norm=False`"),
    ("strategy", "was trained with `distribution_strategy=mirrored`, not one_device"),
    ("number", "was trained on 4 replicas, not 2"),
  ],
)
def test_what_two_replicas_cannot_train_is_refused(found, what, sentence):
  assert sentence in found["refused"][what]


@pytest.mark.parametrize(
  "kind, sentence",
  [
    ("parameter_server", "no two runs are alike"),
    ("tpu", "not been tried on TPUs"),
    ("mirrored", "there is one device"),
  ],
)
def test_strategies_that_are_refused(kind, sentence):
  with pytest.raises(InputError, match=sentence):
    strategies.make(kind)
  assert published.setting("digits", "at").replace(distribution_strategy=kind).replicas == 1
