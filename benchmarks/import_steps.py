"""Makes the run folder of a network that `run_steps.py` trained, to judge and to analyse it as any other.

Its `config.json` names the device that trained it. With `state.npz` the training can go on here; with `network.npz`
alone it holds no optimizer, and cannot.

  python benchmarks/import_steps.py --plan=PLAN.yaml --data_dir=DIR --variant=tla --seed=1 --output_dir=compared \
    --program=exported --trained=trained
"""

from __future__ import annotations

import json
import pathlib

import numpy as np
from export_steps import parser, planned_run

from tla_tf import datasets
from tla_tf.persistence import CheckpointStore, RunFolder
from tla_tf.persistence.versions import versions
from tla_tf.records.metrics import write_rows
from tla_tf.records.run import DataFacts
from tla_tf.training.trainer import build_model


def main():
  arguments = parser(__doc__.splitlines()[0], "Folder of the comparison.")
  arguments.add_argument("--program", required=True, help="What `export_steps.py` wrote.")
  arguments.add_argument("--trained", required=True, help="What `run_steps.py` wrote.")
  given = arguments.parse_args()
  run = planned_run(given)
  trained = pathlib.Path(given.trained)
  program = json.loads((pathlib.Path(given.program) / "program.json").read_text())
  lines = [json.loads(line) for line in (trained / "curve.jsonl").read_text().splitlines()]
  # A run's lines have the seconds since the last one.
  ends = [0.0, *(line["seconds"] for line in lines)]
  lines = [{**line, "seconds": line["seconds"] - before} for line, before in zip(lines, ends)]
  splits = datasets.load(run.config.dataset, given.data_dir, run.config.data_source, run.config.reading)
  model, network = build_model(run.config, splits.train.image_shape, splits.train.num_classes)
  saved, whole = np.load(trained / "network.npz"), trained / "state.npz"
  step = int(saved["step"])
  if whole.exists():
    model.optimizer.build(model.trained_variables)
    state, values = model.state(), np.load(whole)
    for i, variable in enumerate(v for _, part in sorted(state.items()) for v in part.variables):
      variable.assign(values[f"{i:03d}"])
    assert step == int(model.optimizer.iterations.numpy()), f"{whole} is of another step than network.npz."
  else:
    state, places = {"network": network}, {path: i for i, path in enumerate(program["variables"])}
    for variable in network.variables:
      variable.assign(saved[f"{places[variable.path]:03d}"])
  trained_by = {name: str(saved[name]) for name in ("jax", "device")}
  facts = DataFacts(
    digest=splits.digest(),
    image_shape=splits.train.image_shape,
    num_classes=splits.train.num_classes,
    class_names=tuple(splits.train.class_names),
    data_dir=str(pathlib.Path(given.data_dir).resolve()),
  )
  output, _ = RunFolder.create(run.folder)
  with output.lock():
    output.write_config(run.config, facts, {**versions(), **trained_by})
    write_rows(output.path / "metrics.jsonl", lines)
    metrics = next(line for line in lines if line["step"] == step)
    CheckpointStore(output.checkpoints).save(step, state, metrics)
  print(f"{output.path}: step {step}, {metrics['val_accuracy']:.3f}, {metrics['val_robust_accuracy']:.3f}")


if __name__ == "__main__":
  main()
