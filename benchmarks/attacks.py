"""PGD against cleverhans, Foolbox and the bare passes: ratios in one run.

  python benchmarks/attacks.py

Every library attacks the same network, images, labels, epsilon, step size and
number of steps, in float32 on the same device. `bare passes` is the forward
and backward pass of every step in one compiled graph, with nothing else but
the smallest change of the images that keeps the compiler from folding the
loop. `ours` returns images, as cleverhans and Foolbox's `run` do; `ours,
record` also keeps the best point, success, loss and gradient counts.
"""

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from side_by_side import measure, report

from tla_tf import networks
from tla_tf.attacks import GradientSearch, presets
from tla_tf.attacks.gradient_loop import input_gradient
from tla_tf.ops import objectives, seeds

EPSILON, STEP_SIZE = 0.3, 0.01


def bare_passes(network, images, labels, steps, jit):
  """Forward and input-gradient passes of `steps` steps in one compiled graph."""
  forward = networks.logits_function(network)

  @tf.function(jit_compile=jit, autograph=False)
  def run(images, labels, steps):
    def body(i, x):
      gradient, _, _ = input_gradient(forward, objectives.cross_entropy, x, labels)
      return i + 1, x + 1e-9 * gradient

    return tf.while_loop(lambda i, _: i < steps, body, (0, images))[1]

  return lambda: run(images, labels, tf.constant(steps))


def ours(network, images, labels, steps, jit, record):
  """Our PGD from a random start."""
  search = GradientSearch(network, jit=jit)
  config = presets.pgd(EPSILON, STEP_SIZE, steps)
  key = seeds.key(0, "benchmark")
  return lambda: search.run(images, labels, key, config, record=record).adversarial


def cleverhans_pgd(network, images, labels, steps):
  """cleverhans's PGD from a random start."""
  from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

  forward = tf.function(lambda x: network(x, training=False)["logits"], autograph=False)
  return lambda: projected_gradient_descent(forward, images, EPSILON, STEP_SIZE, steps, np.inf, clip_min=0.0,
                                            clip_max=1.0, y=labels, rand_init=True)


def foolbox_pgd(network, images, labels, steps):
  """Foolbox's PGD from a random start."""
  import foolbox
  import keras

  logits = keras.Model(network.inputs, network.outputs[list(network.output_names).index("logits")]
                       if isinstance(network.outputs, list) and len(network.outputs) > 1 else network.output["logits"])
  model = foolbox.TensorFlowModel(logits, bounds=(0, 1))
  attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP_SIZE, steps=steps, random_start=True)
  criterion = foolbox.criteria.Misclassification(labels)
  return lambda: attack.run(model, images, criterion, epsilon=EPSILON)


def compare(name, steps, batch_size, repeats, requirements):
  """Measures one network; returns whether the requirements hold."""
  network = networks.build(name, (28, 28, 1), 10, seed=1)
  rng = np.random.default_rng(0)
  images = tf.constant(rng.random((batch_size, 28, 28, 1)), tf.float32)
  labels = tf.constant(rng.integers(0, 10, batch_size), tf.int32)
  jit = networks.prefers_xla(network)
  seconds = measure({
    "ours": ours(network, images, labels, steps, jit, False),
    "ours, record": ours(network, images, labels, steps, jit, True),
    "bare passes": bare_passes(network, images, labels, steps, jit),
    "ours, other compiler": ours(network, images, labels, steps, not jit, False),
    "cleverhans": cleverhans_pgd(network, images, labels, steps),
    "Foolbox": foolbox_pgd(network, images, labels, steps),
  }, repeats)
  title = f"PGD-{steps} on {name}, batch {batch_size}, XLA {'on' if jit else 'off'} (other compiler: the other way)"
  good = report(title, seconds, "ours", requirements)
  overhead = {"ours": seconds["ours"], "bare passes": seconds["bare passes"]}
  return report("the same, against the bare passes", overhead, "bare passes", [("ours", "at most", 1.1)]) and good


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--repeats", type=int, default=7)
  repeats = parser.parse_args().repeats
  good = compare("mlp", 40, 100, repeats, [("cleverhans", "at least", 1.8), ("Foolbox", "at least", 4.0)])
  good &= compare("lenet", 10, 100, max(5, repeats), [("cleverhans", "at least", 1.0), ("Foolbox", "at least", 1.5)])
  sys.exit(0 if good else 1)


if __name__ == "__main__":
  main()
