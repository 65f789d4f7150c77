"""Seconds to equal robust accuracy: two-phase training against plain adversarial training.

  python benchmarks/time_to_accuracy.py --data_dir=DIR

MNIST, `mlp`, epsilon 0.3, batch 50, Adam with a cosine rate that ends with the run, the
attack in inference mode. Plain AT takes the published attack, 40 steps of 0.01, at every
step; two-phase training is the preset `mnist_mlp_fast`, shorter. Accuracy is that of held-out
images under PGD of 40 steps of 0.01. Both trainings take turns, a hundredth of each at a
time, so that a noisy machine is fair to both; the time of compiling and of judging is not counted.

Prints the points of both curves and the ratio of seconds at the highest accuracy that both
have reached, with linear interpolation between points.
"""

import argparse
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from tla_tf import data, datasets, networks, published
from tla_tf.attacks import GradientAttack
from tla_tf.config import AttackConfig
from tla_tf.recipes.cheap_attack import InnerAttackConfig
from tla_tf.training import build_model

PGD_40 = AttackConfig(epsilon=0.3, step_size=0.01, steps=40)
TURNS, JUDGED = 100, 5


def plain(steps, rate):
  """AT with the published attack."""
  config = published.setting("mnist", "at", "mlp").replace(attack_mode="inference", attack=PGD_40)
  return config.replace(
    train_steps=steps, learning_rate=rate, learning_rate_schedule="cosine", cosine_steps=steps, learning_rate_drops=()
  )


def two_phase(steps, rate):
  """Three long steps in a growing ball, then five shorter ones."""
  inner = InnerAttackConfig(kind="short_pgd", steps=3, step=0.5, until=4 * steps // 5)
  growing = {"epsilon": ((0, 0.0), (min(150, steps // 2), 1.0))}
  return plain(steps, rate).replace(
    inner_attack=inner, attack=PGD_40.replace(steps=5, step_size=0.1), schedules=growing
  )


class Training:
  """A training that is run stretch by stretch, and its curve of (step, seconds, robust accuracy)."""

  def __init__(self, config, splits, heldout):
    self.steps, self.done, self.seconds, self.curve = config.train_steps, 0, 0.0, []
    model, network = build_model(config, splits.train.image_shape, splits.train.num_classes)
    stream = data.BatchStream(splits.train, config.batch_size, config.seed, classmates=False)
    self._batches = iter(stream.dataset(0, self.steps))
    model.make_train_function()
    self._compile(model, stream)
    self._step, self._heldout = model.train_function, heldout
    self._attack = GradientAttack(networks.logits_function(network), PGD_40, jit="on")
    self._judge()

  @staticmethod
  def _compile(model, stream):
    """Takes one step, and takes it back."""
    variables = [v for part in model.state().values() for v in part.variables]
    before = [v.numpy() for v in variables]
    model.train_function(iter(stream.dataset(0, 1)))
    for variable, value in zip(variables, before):
      variable.assign(value)

  def go_on(self, turn):
    """Runs one of `TURNS` parts."""
    stop = (turn + 1) * self.steps // TURNS
    began = time.perf_counter()
    while self.done < stop:
      logs = self._step(self._batches)
      self.done += 1
    if self.done:
      float(logs["loss"])  # The clock stops when the work is done.
    self.seconds += time.perf_counter() - began
    if (turn + 1) % (TURNS // JUDGED) == 0:
      self._judge()

  def _judge(self):
    images, labels = self._heldout
    withstood = [
      1 - np.mean(np.asarray(self._attack(images[i : i + 100], labels[i : i + 100]).success))
      for i in range(0, len(labels), 100)
    ]
    self.curve.append((self.done, round(self.seconds, 3), round(float(np.mean(withstood)), 4)))


def seconds_to(curve, level):
  """When a curve first reaches a level, between its points on a line."""
  (_, before, low), *_ = curve
  for _, seconds, accuracy in curve:
    if accuracy >= level:
      return seconds if accuracy == low else before + (seconds - before) * max(0.0, level - low) / (accuracy - low)
    before, low = seconds, accuracy
  return None


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  tests = os.environ.get("TLA_TEST_DATA")
  parser.add_argument("--data_dir", default=f"{tests}/mnist" if tests else "", help="folder of MNIST's files")
  parser.add_argument("--plain_steps", type=int, default=400)
  parser.add_argument("--two_phase_steps", type=int, default=320)
  parser.add_argument("--rate", type=float, default=2e-3, help="first learning rate of both")
  parser.add_argument("--examples", type=int, default=500, help="held-out images that are attacked")
  parser.add_argument("--limit", type=float, default=420.0, help="seconds after which no further part is begun")
  parser.add_argument("--json", default="", help="file that curves and ratios are written to")
  options = parser.parse_args()
  began = time.perf_counter()
  splits = datasets.load("mnist", options.data_dir or None)
  heldout = splits.heldout.take(slice(options.examples))
  judged = np.asarray(heldout.images, np.float32) / 255, heldout.labels
  made = {"plain": plain(options.plain_steps, options.rate)}
  made["two_phase"] = two_phase(options.two_phase_steps, options.rate)
  trainings = {name: Training(config, splits, judged) for name, config in made.items()}
  for turn in range(TURNS):
    for training in trainings.values():
      if time.perf_counter() - began < options.limit:
        training.go_on(turn)
  curves = {name: training.curve for name, training in trainings.items()}
  print(f"{'':12} {'step':>6} {'seconds':>9} {'PGD-40':>8}")
  for name, curve in curves.items():
    for step, seconds, accuracy in curve:
      print(f"{name:12} {step:6d} {seconds:9.1f} {accuracy:8.1%}")
  level = min(max(accuracy for *_, accuracy in curve) for curve in curves.values())
  spent = {name: seconds_to(curve, level) for name, curve in curves.items()}
  if not level or not spent["two_phase"]:
    sys.exit("no robust accuracy was reached: give more steps or a longer --limit")
  ratio = spent["plain"] / spent["two_phase"]
  print(f"to {level:.1%}: plain {spent['plain']:.1f} s, two-phase {spent['two_phase']:.1f} s: ratio {ratio:.2f}")
  if options.json:
    pathlib.Path(options.json).write_text(json.dumps({"ratios": [ratio], "level": level, "curves": curves}, indent=1))


if __name__ == "__main__":
  tf.get_logger().setLevel("ERROR")
  main()
