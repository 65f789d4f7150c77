"""The same bits again: every recipe, network and strategy trained twice, and killed and gone on with, with and without
`deterministic`.

  python benchmarks/same_bits.py [--only tla lenet] [--steps 60] [--json FILE]

Each training is a process of its own, of small networks on the digits. Two with `deterministic` and a third, which is
killed when it is to write its second checkpoint and goes on from the first, must end in the same bits: weights,
statistics, optimizer and all else that a checkpoint has. Two without it show what it is needed for: the largest
difference of a weight, and the difference of the robust accuracy. Its cost is the shortest time of a step with it over
that without it; other work on the machine makes both uncertain. Status 1 if bits differ that should not.
"""

import argparse
import json
import math
import multiprocessing
import os
import pathlib
import socket
import sys
import tempfile

import numpy as np

SMALL = {"method": "at", "network": "mlp_16", "batch_size": 20, "validation_examples": 100, "jit": "off"}
# What is trained, by name: changes of SMALL. `method` and what its recipe has are the recipe's own.
SETTINGS = {
  **{method: {"method": method} for method in ("um", "at", "alp", "trades", "tla", "tla_rn", "tla_sa")},
  "tla, memory bank": {"method": "tla", "recipe": {"negative_pool": "memory_bank", "memory_bank_size": 200}},
  "trades, average of weights": {"method": "trades", "weight_average": 0.9},
  "at, free": {"inner_attack": "free"},
  "at, micro-batches": {"accumulate_steps": 2},
  "at, XLA": {"jit": "on"},
  "tla, XLA": {"method": "tla", "jit": "on"},
  **{network: {"network": network} for network in ("lenet_4", "convnet_4", "wrn_10_1", "resnet_50_4")},
  "tla, wrn_10_1": {"method": "tla", "network": "wrn_10_1"},
  "tla, mirrored (2 devices)": {"method": "tla", "distribution_strategy": "mirrored"},
  "multi_worker_mirrored (2 processes)": {"distribution_strategy": "multi_worker_mirrored"},
}


def configuration(changes, steps, deterministic):
  """The TrainingConfig of a setting."""
  from tla_tf import published

  changes = {**SMALL, **changes}
  method, network = changes.pop("method"), changes.pop("network")
  recipe, inner = changes.pop("recipe", {}), changes.pop("inner_attack", None)
  config = published.setting("digits", method, network).scaled(attack_steps=2)
  if inner:
    recipe = {"inner_attack": type(config.recipe.inner_attack)(kind=inner)}
  return config.replace(
    **changes,
    **({"recipe": config.recipe.replace(**recipe)} if recipe else {}),
    train_steps=steps,
    checkpoint_every=steps // 3,
    deterministic=deterministic,
  )


def train(changes, steps, deterministic, folder, kill_at, worker):
  """Trains in this process, which is the training's own; leaves all variables of the end beside the folder.

  Args:
    changes: of SMALL.
    steps: of the training.
    deterministic: the setting.
    folder: the run's.
    kill_at: the step at whose checkpoint the process is gone before it is written, or None.
    worker: TF_CONFIG, or None.
  """
  os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
  if worker:
    os.environ["TF_CONFIG"] = json.dumps(worker)
  import tensorflow as tf

  from tla_tf import training
  from tla_tf.persistence import CheckpointStore

  if changes.get("distribution_strategy") == "mirrored":
    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)

  save = CheckpointStore.save

  def save_or_die(store, step, *others, **named):
    if step == kill_at:
      os._exit(9)
    save(store, step, *others, **named)

  CheckpointStore.save = save_or_die
  run = training.train(configuration(changes, steps, deterministic), folder, say=lambda _: None, owns_process=True)
  if not worker or not worker["task"]["index"]:
    reader = tf.train.load_checkpoint(str(run.checkpoints / f"step_{steps:09d}" / "state"))
    values = {
      name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name
    }
    np.savez(f"{folder}.npz", **values)


def trained(context, changes, steps, deterministic, folder, kill=False):
  """Trains in processes of their own, and once more if they are killed; returns (variables, lines of the metrics)."""
  workers = [None]
  if changes.get("distribution_strategy") == "multi_worker_mirrored":
    with socket.socket() as first, socket.socket() as second:
      for port in (first, second):
        port.bind(("127.0.0.1", 0))
      addresses = [f"127.0.0.1:{port.getsockname()[1]}" for port in (first, second)]
    workers = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}} for i in range(2)]
  for kill_at in [2 * (steps // 3), None] if kill else [None]:
    processes = [
      context.Process(target=train, args=(changes, steps, deterministic, folder, kill_at, worker)) for worker in workers
    ]
    for process in processes:
      process.start()
    for process in processes:
      process.join()
    codes = [process.exitcode for process in processes]
    if (codes[0] != 9) if kill_at else any(codes):
      raise RuntimeError(f"{changes}: ended with {codes}, {'killed' if kill_at else 'to its end'}")
  with np.load(f"{folder}.npz", allow_pickle=False) as arrays:
    values = {name: arrays[name] for name in arrays.files}
  return values, [json.loads(line) for line in pathlib.Path(folder, "metrics.jsonl").read_text().splitlines()]


def same(left, right):
  """Whether all variables have the same bits."""
  return left.keys() == right.keys() and all(left[name].tobytes() == right[name].tobytes() for name in left)


def spread(left, right):
  """The largest difference of a trained weight."""
  weights = [name for name in left if name.startswith("network/") and left[name].dtype.kind == "f"]
  return max(float(np.max(np.abs(left[name] - right[name]), initial=0)) for name in weights)


def row(context, name, steps, folder):
  """Trains a setting five times; returns the row of the table."""
  changes = SETTINGS[name]
  first, again, resumed, free, free_again = (
    trained(context, changes, steps, deterministic, folder / f"{name}_{i}".replace(" ", "_"), kill)
    for i, (deterministic, kill) in enumerate(
      [(True, False), (True, False), (True, True), (False, False), (False, False)]
    )
  )

  def step_seconds(*runs):
    # The first interval has the tracing and compiling.
    return min(line["seconds"] / (steps // 3) for _, lines in runs for line in lines[1:])

  accuracy = [lines[-1]["val_robust_accuracy"] for _, lines in (free, free_again)] if "um" not in name else [0, 0]
  return {
    "setting": name,
    "twice": same(first[0], again[0]),
    "resumed": same(first[0], resumed[0]),
    "cost": step_seconds(first, again) / step_seconds(free, free_again),
    "same_without": same(free[0], free_again[0]),
    "spread": spread(free[0], free_again[0]),
    "accuracy": abs(accuracy[0] - accuracy[1]),
  }


def line(found):
  """A row of the Markdown table."""
  words = {True: "yes", False: "NO"}
  without = "none" if found["same_without"] else f"{found['spread']:.1e}"
  cells = [found["setting"], words[found["twice"]], words[found["resumed"]], f"{found['cost']:.2f}", without]
  return "| " + " | ".join([*cells, f"{100 * found['accuracy']:.1f}"]) + " |"


def main():
  parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
  parser.add_argument("--only", nargs="*", help="settings to train, by parts of their names")
  parser.add_argument("--steps", type=int, default=24)
  parser.add_argument("--json", type=pathlib.Path)
  given = parser.parse_args()
  context = multiprocessing.get_context("forkserver")
  context.set_forkserver_preload(["tensorflow"])
  os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
  names = [name for name in SETTINGS if not given.only or any(part in name for part in given.only)]
  print("| setting | two runs equal | resume equal | time with : without | largest difference without | points |")
  print("| --- | --- | --- | --- | --- | --- |")
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    for name in names:
      rows.append(row(context, name, given.steps, pathlib.Path(folder)))
      print(line(rows[-1]), flush=True)
  cost = math.exp(sum(math.log(found["cost"]) for found in rows) / len(rows))
  print(f"\nmean cost {cost:.2f} (geometric, of {len(rows)} settings)")
  if given.json:
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(rows, indent=1) + "\n")
  return 0 if all(found["twice"] and found["resumed"] for found in rows) else 1


if __name__ == "__main__":
  sys.exit(main())
