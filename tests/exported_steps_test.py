"""Training steps that leave as an XLA program are those of the tools, and the network that comes back is a run."""

import importlib
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from cli_support import assert_refused, run_well
from cli_support import run as run_tool

from tla_tf import datasets
from tla_tf.comparing.plan import ComparisonPlan
from tla_tf.persistence import CheckpointStore
from tla_tf.training.trainer import build_model, stream_of

_BENCHMARKS = pathlib.Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(_BENCHMARKS))
Exported = importlib.import_module("export_steps").Exported

_PLAN = {
  "dataset": "digits",
  "settings": {"network": "mlp_8", "train_steps": 4, "checkpoint_every": 2, "attack_steps": 1, "augment_pad": 1},
  "seeds": [1],
  "variants": {"um": {"method": "um"}, "tla": {"method": "tla"}},
  "judge": [{"suite": ["quick"]}],
}


def _config(variant):
  return next(run.config for run in ComparisonPlan.from_dict(_PLAN).runs("runs") if run.variant == variant)


@pytest.mark.parametrize("variant", ["um", "tla"])
def test_the_program_trains_as_the_tools_do(variant):
  config, splits = _config(variant), datasets.load("digits")
  exported = Exported(config, splits)
  model, network = build_model(config, splits.train.image_shape, splits.train.num_classes)
  stream = stream_of(config, splits.train, model)
  images, labels = tf.constant(splits.train.images), tf.constant(splits.train.labels, tf.int32)
  chosen = tf.stack([tf.concat(list(stream.indices(tf.constant(step)).values()), 0) for step in range(2)])
  for step in range(2):
    expected = stream.batch(tf.constant(step))
    found = exported.stream.of(images, labels, chosen[step], tf.constant(step, tf.int64))
    assert set(found) == set(expected)
    for name, value in expected.items():
      np.testing.assert_array_equal(found[name], value)
  state = [tf.constant(v.numpy()) for v in exported.variables]
  train = tf.function(exported.train, jit_compile=True, autograph=False)
  state, logged = train(*state, images, labels, tf.cast(chosen, tf.int32))
  plain = tf.function(model.stream_train_step, autograph=False)
  for step in range(2):
    expected = plain(stream.batch(tf.constant(step)))
  assert exported.logged == list(expected)
  # Where a gradient is all but 0, two compilers may step to either side; images between two classes are not looked at.
  compared = [i for i, name in enumerate(exported.logged) if name != "accuracy"]
  values = np.array([float(value) for value in expected.values()])
  np.testing.assert_allclose(np.array(logged)[compared], values[compared], rtol=5e-3, atol=5e-3)
  kernels = {v.path: value for v, value in zip(exported.variables, state)}
  for variable in network.trainable_variables:
    np.testing.assert_allclose(kernels[variable.path], variable, atol=2.5 * config.learning_rate)
  assert [int(value) for path, value in kernels.items() if path.endswith("/iteration")] == [2]


def test_a_network_comes_back_as_a_run_that_is_judged_and_with_its_optimizer_trained_further(tmp_path):
  plan, program, trained = tmp_path / "plan.yaml", tmp_path / "program", tmp_path / "trained"
  plan.write_text(json.dumps(_PLAN))
  words = [f"--plan={plan}", f"--data_dir={tmp_path}", "--variant=tla", "--seed=1"]

  def script(name, *further):
    subprocess.run([sys.executable, _BENCHMARKS / f"{name}.py", *words, *further], check=True)

  script("export_steps", f"--output_dir={program}", "--steps_per_call=2", "--heldout=20")
  record = json.loads((program / "program.json").read_text())
  state = np.load(program / "state.npz")
  assert len(state.files) == len(record["variables"])
  assert np.load(program / "indices.npz")["indices"].shape[0] == 4
  assert all((program / f"{name}.hlo").stat().st_size for name in ("train", "look"))
  # What the other machine would send.
  trained.mkdir()
  own = {f"{i:03d}": state[f"{i:03d}"] + 1 for i in record["network_variables"]}
  np.savez(trained / "network.npz", step=4, jax="0", device="an accelerator", **own)
  (trained / "curve.jsonl").write_text(
    json.dumps({"step": 4, "seconds": 1.0, "val_accuracy": 0.5, "val_robust_accuracy": 0.25}) + "\n"
  )
  script("import_steps", f"--program={program}", f"--trained={trained}", f"--output_dir={tmp_path}")
  run = tmp_path / "runs" / "tla" / "seed_1"
  assert json.loads((run / "config.json").read_text())["versions"]["device"] == "an accelerator"
  _, network = build_model(_config("tla"), (8, 8, 1), 10)
  CheckpointStore(run / "checkpoints").restore_judged(4, network)
  for variable in network.variables:
    np.testing.assert_array_equal(variable, own[f"{record['variables'].index(variable.path):03d}"])
  run_well("tla-evaluate", f"--run_dir={run}", "--suite=quick", "--num_examples=20")
  assert_refused(run_tool(*_further(run)), "holds no optimizer")
  # With all of the state, training goes on.
  values = {name: state[name] + (state[name].dtype == np.float32) for name in state.files}
  (counter,) = (i for i, path in enumerate(record["variables"]) if path.endswith("/iteration"))
  np.savez(trained / "state.npz", **values | {f"{counter:03d}": np.asarray(4, state[f"{counter:03d}"].dtype)})
  script("import_steps", f"--program={program}", f"--trained={trained}", f"--output_dir={tmp_path / 'whole'}")
  run = tmp_path / "whole" / "runs" / "tla" / "seed_1"
  assert "going on at step 4" in run_well(*_further(run))
  assert CheckpointStore(run / "checkpoints").last() == 8


def _further(run):
  settings = {**_PLAN["settings"], "train_steps": 8, "method": "tla", "dataset": "digits", "seed": 1}
  return "tla-train", *(f"--{name}={value}" for name, value in settings.items()), f"--output_dir={run}"
