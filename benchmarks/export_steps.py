"""Writes the training steps of a plan's run as an XLA program, for a machine with an accelerator and no TensorFlow.

The program is what XLA would compile here: the step of `RobustModel` with its attack, its optimizer and its random
numbers. Beside it lie the images and which of them every step takes. `run_steps.py` runs it by JAX, `import_steps.py`
makes a run folder of the network that it trained.

  python benchmarks/export_steps.py --plan=PLAN.yaml --data_dir=DIR --variant=tla --seed=1 --output_dir=exported
"""

from __future__ import annotations

import argparse
import json
import pathlib
import typing

import numpy as np
import tensorflow as tf

from tla_tf import data, datasets
from tla_tf.comparing.plan import ComparisonPlan, PlannedRun
from tla_tf.config import TrainingConfig
from tla_tf.data.stream import to_float
from tla_tf.errors import InputError
from tla_tf.training import trainer


class _Stream(data.BatchStream):
  """A stream whose images are gathered inside the program, by numbers that were drawn before."""

  def of(self, images, labels, indices, step):
    """The batch of a step: as `batch`, from `images` uint8 [m, ...], `labels` int32 [m] and `indices` int32 [n]."""
    sizes = self._sizes()
    parts = dict(zip(sizes, tf.split(indices, list(sizes.values()))))
    found = self._augmented(tf.gather(images, indices), step, None, indices.shape[0])
    return self._parted(found, labels, parts, sizes)


def _indices(stream: _Stream, steps: int, size: int) -> np.ndarray:
  """Which images every step takes: whole numbers [steps, n]; anchors, class-mates, pool."""
  chosen = tf.autograph.experimental.do_not_convert(lambda step: tf.concat(list(stream.indices(step).values()), 0))
  found = tf.data.Dataset.range(steps).map(chosen, num_parallel_calls=tf.data.AUTOTUNE).batch(1000)
  return np.concatenate([part.numpy().astype(np.uint16 if size <= 2**16 else np.uint32) for part in found])


def _program(path, function, *arguments):
  """Writes a function as an XLA program, with what it captured beside it."""
  compiled = tf.function(function, jit_compile=True, autograph=False)
  captured = compiled.get_concrete_function(*arguments).captured_inputs
  path.with_suffix(".hlo").write_bytes(compiled.experimental_get_compiler_ir(*arguments)(stage="hlo_serialized"))
  # Of variables the program is given the shape alone: it assigns before it reads.
  values = {f"{i:03d}": c.numpy() for i, c in enumerate(captured) if c.dtype != tf.resource}
  np.savez(path.with_suffix(".npz"), **values)


class Exported:
  """The training steps of a configuration as functions of all that they change.

  Args:
    config: TrainingConfig.
    splits: `data.Splits` that it trains on.

  Attributes:
    variables: all that training changes, in the order of the functions' states.
    network: the network, whose variables are among them.
    stream: which images every step takes.
    logged: names of what a step logs.
  """

  def __init__(self, config: TrainingConfig, splits: data.Splits):
    self._model, self.network = trainer.build_model(config, splits.train.image_shape, splits.train.num_classes)
    if self._model.inner_attack.replays > 1:
      raise InputError(f"Method {config.method}: replays batches, which a program cannot; train by `tla-train`.")
    self._model.optimizer.build(self._model.trained_variables)
    self.stream = typing.cast(_Stream, trainer.stream_of(config, splits.train, self._model, _Stream))
    self.variables = [v for _, part in sorted(self._model.state().items()) for v in part.variables]
    self.logged = self._model.logged_names

  def train(self, *given: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Steps in a row: their last state, and the means of what they log, float32 [names].

    Args:
      *given: the state, training images uint8 [m, ...], labels int32 [m], and the images of every step, int32
        [steps, n].
    """
    *state, images, labels, indices = given
    self._begin(state)

    def one(i, _):
      step = tf.cast(tf.convert_to_tensor(self._model.optimizer.iterations), tf.int64)
      logged = self._model.stream_train_step(self.stream.of(images, labels, indices[i], step))
      return i + 1, tf.stack([logged[name] for name in self.logged])

    nothing = tf.zeros([len(self.logged)])
    _, logged = tf.while_loop(lambda i, _: i < indices.shape[0], one, (0, nothing), parallel_iterations=1)
    return [tf.convert_to_tensor(v) for v in self.variables], logged

  def look(self, *given: tf.Tensor) -> tf.Tensor:
    """Clean and robust accuracy, float32 [2], of the state, images uint8 [k, ...] and labels int32 [k]."""
    *state, images, labels = given
    self._begin(state)
    found = self._model.stream_test_step({"image": to_float(images), "label": labels})
    return tf.stack([found[name] for name in ("accuracy", "robust_accuracy")])

  def _begin(self, state):
    for variable, value in zip(self.variables, state):
      variable.assign(value)
    for metric in self._model.metrics:
      metric.reset_state()


def parser(description: str, output: str) -> argparse.ArgumentParser:
  """What names a run of a plan, and the folder to write to."""
  found = argparse.ArgumentParser(description=description)
  found.add_argument("--plan", required=True, help="Plan of `tla-compare`.")
  found.add_argument("--data_dir", help="Folder of the data set's files.")
  found.add_argument("--variant", required=True, help="Variant of the plan.")
  found.add_argument("--seed", type=int, default=1, help="Seed of the run.")
  found.add_argument("--output_dir", required=True, help=output)
  return found


def planned_run(given: argparse.Namespace) -> PlannedRun:
  """The run that such arguments name, in the folder of the comparison."""
  runs = ComparisonPlan.read(given.plan).runs(given.output_dir, data_dir=given.data_dir)
  found = [run for run in runs if (run.variant, run.seed) == (given.variant, given.seed)]
  if not found:
    raise SystemExit(f"{given.plan}: has no run {given.variant} of seed {given.seed}; it has {[r.name for r in runs]}.")
  return found[0]


def main():
  arguments = parser(__doc__.splitlines()[0], "Folder to write to.")
  arguments.add_argument(
    "--steps_per_call", type=int, default=50, help="Training steps that a call of the program makes."
  )
  arguments.add_argument("--heldout", type=int, default=1000, help="Held-out images that are looked at.")
  arguments.add_argument(
    "--train_steps", type=int, help="Steps that images are chosen for; by default those of the plan."
  )
  given = arguments.parse_args()
  # Full float32, as on the processors that the project was checked on.
  tf.config.experimental.enable_tensor_float_32_execution(False)
  run = planned_run(given)
  config = run.config
  splits = datasets.load(config.dataset, given.data_dir, config.data_source, config.reading)
  exported, heldout = Exported(config, splits), splits.heldout.take(slice(given.heldout))
  indices = _indices(exported.stream, given.train_steps or config.train_steps, len(splits.train))
  output = pathlib.Path(given.output_dir)
  output.mkdir(parents=True, exist_ok=True)
  state = [tf.TensorSpec(v.shape, v.dtype) for v in exported.variables]
  chosen = tf.TensorSpec([given.steps_per_call, indices.shape[1]], tf.int32)
  _program(output / "train", exported.train, *state, *_specs(splits.train), chosen)
  _program(output / "look", exported.look, *state, *_specs(heldout))
  arrays = {"images": splits.train.images, "heldout_images": heldout.images}
  labels = {"labels": splits.train.labels, "heldout_labels": heldout.labels}
  np.savez_compressed(output / "images.npz", **arrays, **{k: np.asarray(v, np.int32) for k, v in labels.items()})
  np.savez(output / "indices.npz", indices=indices)
  np.savez(output / "state.npz", **{f"{i:03d}": v.numpy() for i, v in enumerate(exported.variables)})
  own = [any(v is w for w in exported.network.variables) for v in exported.variables]
  record = {
    "variant": run.variant,
    "seed": run.seed,
    "train_steps": config.train_steps,
    "steps_per_call": given.steps_per_call,
    "logged": exported.logged,
    "variables": [v.path for v in exported.variables],
    "network_variables": [i for i, of_network in enumerate(own) if of_network],
  }
  (output / "program.json").write_text(json.dumps(record, indent=1))


def _specs(part):
  return tf.TensorSpec(part.images.shape, tf.uint8), tf.TensorSpec([len(part)], tf.int32)


if __name__ == "__main__":
  main()
