"""The cost model against measured steps, and what it says of large trainings.

  python benchmarks/cost_model.py

Counted: the operations of a step's attack and training pass, each divided by the rate that `training.cost` takes for
them. Rates and steps are measured in turn. Then hours of published trainings on accelerators of an assumed peak and
share of it.
"""

import argparse
import os
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from side_by_side import measure

from tla_tf import datasets, networks, published, recipes
from tla_tf.networks.flops import flops
from tla_tf.training import cost, step_timer

# Network -> (data set, method, batch, attack steps) of the steps that are predicted.
CHECKED = {
  "mlp": ("mnist", "tla", 100, 20),
  "mlp_256": ("mnist", "at", 200, 40),
  "lenet": ("mnist", "at", 20, 5),
  "lenet_8": ("mnist", "tla", 100, 10),
  "convnet": ("cifar10", "at", 100, 7),
  "wrn_16_2": ("cifar10", "at", 20, 7),
}
# Assumed: dense bfloat16 peak of one accelerator, and the share of it that convolutions reach, in operations a second.
PEAKS = {"A100": 312e12, "H100": 989e12}
SHARE, SCALING = 0.3, 0.9


def check(name, repeats):
  """(counted seconds, measured seconds, `Rates`, operations) of a training step: medians over rounds."""
  dataset, method, batch, steps = CHECKED[name]
  config = published.setting(dataset, method, name)
  config = config.replace(batch_size=batch, attack=config.attack.scaled(steps=steps), attack_mode="inference")
  (shape, classes), operations = cost.data_shape(config), cost.step_cost(config, build(name, dataset))
  config = step_timer.same_step(config)
  images = batch * len(recipes.get(method).roles(config.recipe))
  attack = step_timer.AttackTimer(build(name, dataset), batch)
  plain = step_timer.StepTimer(cost.training_pass(config, images), shape, classes)
  step = step_timer.StepTimer(config, shape, classes)
  functions = {"attack": lambda: attack.seconds(steps), "training": lambda: plain.seconds(), "step": step.seconds}
  seconds = measure(functions, repeats)
  # Within rounds, so that a busy machine is busy for all.
  counted = statistics.median(
    (a * (operations.attack + operations.mining) / operations.attack + t) / s
    for a, t, s in zip(seconds["attack"], seconds["training"], seconds["step"])
  )
  median = {part: statistics.median(values) for part, values in seconds.items()}
  rates = cost.Rates(operations.attack / median["attack"], operations.training / median["training"])
  return counted * median["step"], median["step"], rates, operations.total


def build(network, dataset):
  spec = datasets.get(dataset)
  return networks.build(network, spec.image_shape, len(spec.class_names))


def report_checks(repeats):
  """Prints a table of all that is checked."""
  print("| network, step | GFLOP | GFLOP/s, attack | GFLOP/s, training pass | counted | measured | error |")
  print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
  for name, (_, method, batch, steps) in CHECKED.items():
    counted, seconds, rates, total = check(name, repeats)
    cells = (
      f"`{name}`, {method}, batch {batch}, {steps} attack steps",
      f"{total / 1e9:.1f}",
      f"{rates.attack / 1e9:.0f}",
      f"{rates.training / 1e9:.0f}",
      f"{counted:.3f} s",
      f"{seconds:.3f} s",
      f"{counted / seconds - 1:+.0%}",
    )
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
  parser.add_argument("--repeats", type=int, default=9)
  repeats = parser.parse_args().repeats
  report_checks(repeats)
  report_large()


if __name__ == "__main__":
  main()
