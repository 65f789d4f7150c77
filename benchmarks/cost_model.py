"""The cost model against measured steps, and what it says of large trainings.

  python benchmarks/cost_model.py

For each network five attack steps give the rate; passes times operations, divided by the rate, predict training
steps of another batch size, number of attack steps and method, which are then measured. Then hours of published
trainings on accelerators of an assumed peak and share of it.
"""

import argparse
import os
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import attacks
import keras
import numpy as np
import tensorflow as tf
from side_by_side import measure, ratios
from targets import published_step

from tla_tf import networks, published
from tla_tf.networks.flops import flops
from tla_tf.training import cost

# Network -> (data set, method, batch, attack steps) of the steps that are predicted.
CHECKED = {
  "mlp": ("mnist", "tla", 100, 20),
  "mlp_256": ("mnist", "at", 200, 40),
  "lenet": ("mnist", "at", 20, 5),
  "lenet_8": ("mnist", "tla", 100, 10),
  "convnet": ("cifar10", "at", 100, 7),
  "wrn_16_2": ("cifar10", "at", 20, 7),
}
RATE_BATCH, RATE_STEPS = 50, 5
# Assumed: dense bfloat16 peak of one accelerator, and the share of it that convolutions reach, in operations a second.
PEAKS = {"A100": 312e12, "H100": 989e12}
SHARE, SCALING = 0.3, 0.9


def check(name, repeats):
  """(predicted, measured seconds, rate, operations) of a training step: medians over rounds of an attack and a step."""
  dataset, method, batch, steps = CHECKED[name]
  config, network, step = published_step(dataset, name, method, steps, {"batch_size": batch})
  images = tf.constant(np.random.default_rng(0).random((RATE_BATCH, *network.input_shape[1:])), tf.float32)
  attack = attacks.ours(network, images, tf.zeros([RATE_BATCH], tf.int32), RATE_STEPS)
  seconds = measure({"attack": attack, "step": step}, repeats)
  once, total = RATE_BATCH * RATE_STEPS * flops(network).attack, cost.step_cost(config, network).total
  # Within rounds, so that a busy machine is busy for both.
  ratio = statistics.median(ratios(seconds, "attack", "step")) * total / once
  measured = statistics.median(seconds["step"])
  return ratio * measured, measured, once / statistics.median(seconds["attack"]), total


def report_checks(repeats):
  """Prints a table of all that is checked."""
  print("| network, step | GFLOP | measured rate | predicted | measured | error |")
  print("| --- | ---: | ---: | ---: | ---: | ---: |")
  for name, (_, method, batch, steps) in CHECKED.items():
    predicted, seconds, rate, total = check(name, repeats)
    cells = (
      f"`{name}`, {method}, batch {batch}, {steps} attack steps",
      f"{total / 1e9:.1f}",
      f"{rate / 1e9:.0f} GFLOP/s",
    )
    cells += (f"{predicted:.3f} s", f"{seconds:.3f} s", f"{predicted / seconds - 1:+.0%}")
    print("| " + " | ".join(cells) + " |", flush=True)


def large_trainings():
  """(what, operations) of trainings that this machine cannot make."""
  for method in ("at", "tla"):
    config = published.setting("cifar10", method)
    network = networks.build(config.network, (32, 32, 3), 10)
    what = f"WRN-32-10, CIFAR-10, {method}, batch {config.batch_size}, {config.attack.steps} attack steps, "
    yield f"{what}{config.train_steps:,} steps", cost.run_cost(config, network)
  once = flops(keras.applications.ResNet50(weights=None))
  images, epochs, steps = 1_281_167, 90, 3
  what = f"ResNet-50, ImageNet, AT, {steps} attack steps, {epochs} epochs"
  yield what, images * epochs * (steps * once.attack + once.training)


def report_large():
  """Prints hours on one accelerator and on eight."""
  print(f"\n{SHARE:.0%} of the bfloat16 peak on one, {SCALING:.0%} of eight times that on eight:\n")
  heads = [f"{count} x {name}" for name in PEAKS for count in (1, 8)]
  print("| training | EFLOP | " + " | ".join(heads) + " |\n| --- |" + " ---: |" * (len(heads) + 1))
  for what, total in large_trainings():
    rates = [peak * SHARE * (count * SCALING if count > 1 else 1) for peak in PEAKS.values() for count in (1, 8)]
    hours = " | ".join(f"{total / rate / 3600:.1f} h" for rate in rates)
    print(f"| {what} | {total / 1e18:.1f} | {hours} |")


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--repeats", type=int, default=5)
  repeats = parser.parse_args().repeats
  report_checks(repeats)
  report_large()


if __name__ == "__main__":
  main()
