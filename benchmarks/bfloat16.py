"""Robust accuracy after equal training steps in float32 and in bfloat16, side by side.

  python benchmarks/bfloat16.py --network=mlp --train_steps=1000 --data_dir=DIR
  python benchmarks/bfloat16.py --network=lenet --time

Trains AT twice from one seed: as usual, and with the attack (with `--mixed` the
training pass, too) in bfloat16, on the files of MNIST (mlp, lenet) or CIFAR-10
(convnet). Both networks are then attacked by the same PGD-20 and PGD-40 in float32
on the first test images. Prints accuracies with their 95% intervals and the
seconds of each training, and writes them as JSON. `--time` trains nothing: it times a
search of 10 steps on 100 images of noise, in processor time of one thread, which a busy
machine disturbs little.
"""

import argparse
import json
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import side_by_side
import tensorflow as tf

from tla_tf import datasets, networks, published, training
from tla_tf.attacks import GradientSearch, presets
from tla_tf.evaluation import NamedAttack, evaluate
from tla_tf.ops import seeds
from tla_tf.persistence.loading import load_network

DATASETS = {"mlp": "mnist", "lenet": "mnist", "convnet": "cifar10"}
PRECISIONS = ("float32", "bfloat16")


def setting(arguments, precision):
  """The training configuration of one of the two runs."""
  dataset = DATASETS[arguments.network.split("_")[0]]
  config = published.setting(dataset, "at", arguments.network)
  if arguments.attack_steps:
    config = config.scaled(attack_steps=arguments.attack_steps)
  return config.replace(
    seed=arguments.seed,
    train_steps=arguments.train_steps,
    checkpoint_every=arguments.train_steps,
    validation_examples=100,
    learning_rate_drops=(),
    learning_rate=arguments.learning_rate or config.learning_rate,
    attack_mode="inference",
    attack_precision=precision,
    mixed_precision="bfloat16" if arguments.mixed and precision == "bfloat16" else "off",
  )


def trained(arguments, precision, folder):
  """(network, seconds of its training, its config)."""
  config = setting(arguments, precision)
  began = time.perf_counter()
  run = training.train(config, folder, arguments.data_dir, say=lambda line: None)
  return load_network(run, arguments.train_steps), time.perf_counter() - began, config


def judged(network, config, test):
  """Dict from "clean" and attack to (accuracy, low, high); judged in float32."""
  attack = config.validation_attack
  attacks = [NamedAttack(f"PGD-{steps}", attack.scaled(steps=steps)) for steps in (20, 40)]
  found = evaluate(network, test, attacks, probe_examples=0)
  shares = {"clean": found.clean} | {row.name: row for row in found.attacks}
  return {name: (share.accuracy, *share.interval) for name, share in shares.items()}


def time_searches(name):
  """Processor seconds of the search in both types, in turn; float32 with XLA, too, where that may pay."""
  tf.config.threading.set_intra_op_parallelism_threads(1)
  tf.config.threading.set_inter_op_parallelism_threads(1)
  shape = (28, 28, 1) if DATASETS.get(name.split("_")[0]) == "mnist" else (32, 32, 3)
  rng = np.random.default_rng(0)
  network = networks.build(name, shape, 10, seed=1)
  images = tf.constant(rng.random((100, *shape)), tf.float32)
  labels = tf.constant(rng.integers(0, 10, 100), tf.int32)
  config, key = presets.pgd(0.3, 0.01, 10), seeds.key(0, "benchmark")
  searches = {precision: GradientSearch(network, jit="off", precision=precision) for precision in PRECISIONS}
  if networks.prefers_xla(network):
    searches["float32 with XLA"] = GradientSearch(network, jit="on")
  functions = {
    name: lambda search=search: search.run(images, labels, key, config, record=False).adversarial
    for name, search in searches.items()
  }
  side_by_side.report(f"search on {name}", side_by_side.measure(functions, 5, time.process_time), "float32")


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--network", default="mlp", help="mlp, lenet or convnet, perhaps with a width: convnet_8")
  parser.add_argument("--data_dir", help="folder of the data set's files")
  parser.add_argument("--time", action="store_true", help="time searches, train nothing")
  parser.add_argument("--train_steps", type=int, default=1000)
  parser.add_argument("--attack_steps", type=int, default=0, help="of the training attack; as published by default")
  parser.add_argument("--learning_rate", type=float, default=0.0, help="as published by default")
  parser.add_argument("--num_examples", type=int, default=1000)
  parser.add_argument("--seed", type=int, default=1)
  parser.add_argument("--mixed", action="store_true", help="the training pass in bfloat16, too")
  parser.add_argument("--json", help="file for the figures")
  arguments = parser.parse_args()
  if arguments.time:
    return time_searches(arguments.network)
  figures = {"arguments": vars(arguments)}
  with tempfile.TemporaryDirectory() as folder:
    for precision in PRECISIONS:
      network, seconds, config = trained(arguments, precision, pathlib.Path(folder) / precision)
      test = datasets.load(config.dataset, arguments.data_dir, config.data_source, config.reading).test
      accuracies = judged(network, config, test.take(slice(arguments.num_examples)))
      figures[precision] = {"seconds": seconds, "accuracy": accuracies}
  print(f"{arguments.network}, {arguments.train_steps} steps, {arguments.num_examples} test images")
  for name in figures["float32"]["accuracy"]:
    cells = []
    for precision in PRECISIONS:
      accuracy, low, high = figures[precision]["accuracy"][name]
      cells.append(f"{precision} {accuracy:6.1%} [{low:.1%}, {high:.1%}]")
    print(f"  {name:<8} {'   '.join(cells)}")
  print("  seconds  " + "   ".join(f"{precision} {figures[precision]['seconds']:.0f}" for precision in PRECISIONS))
  if arguments.json:
    pathlib.Path(arguments.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
  main()
