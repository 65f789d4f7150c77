"""A TLA step against an AT step, and one pass against separate passes.

  python benchmarks/training_step.py

MNIST's published setting: PGD-40, batch 50, pool 50, Adam. `from the stream`
feeds the step from the seeded stream instead of one constant batch. Last, a
network of one's own with Keras's batch normalisation against the same with ours.
"""

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from side_by_side import measure, report

from tla_tf import data, models, networks, published
from tla_tf.training import build_model
from tla_tf.training.optimizers import make_optimizer


def random_data(count):
  """Noise in MNIST's shape: the time of a step does not depend on its content."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
  return data.ImageData(images, rng.integers(0, 10, count), tuple("0123456789"))


def setting(method, network, **settings):
  """A setting with the attack, batch and optimiser of AT for all, in inference mode."""
  shared = published.setting("mnist", "at", network).replace(attack_mode="inference")
  return shared if method == "at" else shared.replace(method=method, **settings)


def step(method, network, batches, **settings):
  """A function that runs one training step on the next batch."""
  model, _ = build_model(setting(method, network, **settings), (28, 28, 1), 10)
  return run(model, batches)


def run(model, batches):
  """A function that runs one training step of a model on the next batch."""
  model.make_train_function()
  iterator = iter(batches)
  return lambda: float(model.train_function(iterator)["loss"])


def forward_and_backward(network, together=True):
  """Triplet gradients by one concatenated pass or by one pass a role."""
  rng = np.random.default_rng(0)
  roles = ("adversarial", "negative", "positive")
  images = {role: tf.constant(rng.random((50, 28, 28, 1)), tf.float32) for role in roles}

  @tf.function(jit_compile=networks.prefers_xla(network), autograph=False)
  def run():
    with tf.GradientTape() as tape:
      if together:
        outputs = networks.forward_branches(network, images, training=True)
      else:
        outputs = {role: network(x, training=True) for role, x in images.items()}
      loss = tf.add_n([tf.reduce_sum(o["logits"]) + tf.reduce_sum(o["embedding"]) for o in outputs.values()])
    return tf.add_n([tf.reduce_sum(g) for g in tape.gradient(loss, network.trainable_variables)])

  return run


def compare(network, repeats):
  """Measures one network; returns whether the requirements hold."""
  config = published.setting("mnist", "tla", network)
  stream = data.BatchStream(random_data(5000), config.batch_size, 0, True, config.recipe.negative_pool_size)
  constant = tf.data.Dataset.from_tensors(stream.batch(tf.constant(0))).cache().repeat()
  seconds = measure(
    {
      "AT": step("at", network, constant),
      "TLA": step("tla", network, constant),
      "ALP": step("alp", network, constant),
      "UM": step("um", network, constant),
      "TRADES": step("trades", network, constant, beta=1.0),
      "TLA, memory bank": step("tla", network, constant, negative_pool="memory_bank"),
      "TLA from the stream": step("tla", network, stream.dataset(0, 100_000)),
    },
    repeats,
  )
  good = report(f"training step, {network}", seconds, "AT", [("TLA", "at most", 1.25)])
  passes = measure(
    {
      kind: forward_and_backward(networks.build(network, (28, 28, 1), 10, seed=1), kind == "one pass")
      for kind in ("one pass", "separate passes")
    },
    3 * repeats,
  )
  return report(f"three roles, {network}", passes, "separate passes", [("one pass", "at most", 1.05)]) and good


NORMALISATIONS = {
  "Keras's": keras.layers.BatchNormalization,
  "ours": networks.BranchBatchNormalization,
  "none": lambda: keras.layers.Activation("linear"),
}


def own_network(normalisation, convolutions):
  """A classifier of one's own, of three hidden layers."""
  layers = [keras.Input((28, 28, 1))]
  if not convolutions:
    layers.append(keras.layers.Flatten())
  for width in (16, 32, 64) if convolutions else (512, 512, 512):
    layer = keras.layers.Conv2D(width, 3, strides=2) if convolutions else keras.layers.Dense(width)
    layers += [layer, NORMALISATIONS[normalisation](), keras.layers.ReLU()]
  if convolutions:
    layers.append(keras.layers.GlobalAveragePooling2D())
  return keras.Sequential([*layers, keras.layers.Dense(10)])


def compare_normalisations(convolutions, repeats):
  """Measures steps of networks of one's own by their batch normalisation: passes by role, one pass, none."""
  kind = "convolutions" if convolutions else "dense layers"
  passes = {name: forward_and_backward(networks.from_keras(own_network(name, convolutions))) for name in NORMALISATIONS}
  report(f"three roles, a network of one's own with {kind}, batch normalisation", measure(passes, 5 * repeats), "ours")
  batch = data.BatchStream(random_data(5000), 50, 0, True, 50).batch(tf.constant(0))
  batches = tf.data.Dataset.from_tensors(batch).cache().repeat()
  for method in ("at", "trades", "tla"):
    functions = {}
    for name in NORMALISATIONS:
      config = setting(method, "mlp")
      model = models.make_model(config, own_network(name, convolutions))
      model.compile(make_optimizer(config))
      functions[name] = run(model, batches)
    report(f"{method}, a network of one's own with {kind}, batch normalisation", measure(functions, repeats), "ours")


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--repeats", type=int, default=15)
  parser.add_argument("--only", choices=("own",), help="own: networks of one's own alone")
  arguments = parser.parse_args()
  repeats = arguments.repeats
  good = True
  if arguments.only != "own":
    good = compare("mlp", repeats)
    good &= compare("lenet", max(5, repeats // 3))
  compare_normalisations(False, repeats)
  compare_normalisations(True, repeats)
  sys.exit(0 if good else 1)


if __name__ == "__main__":
  main()
