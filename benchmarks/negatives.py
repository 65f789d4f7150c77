"""Are the memory bank's negatives as hard as those of a fresh pool of its size?

  python benchmarks/negatives.py                        # digits
  python benchmarks/negatives.py --mnist_dir=DIR        # MNIST, too

A short training of TLA with a memory bank. At several of its steps the attacked images pick their negatives from the
bank as it is and from as many clean training images, drawn anew and embedded by the network as it is now, in batches as
the bank's were. Hardness is the mean cosine similarity of an anchor and its pick: the nearer, the harder.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from tla_tf import data, datasets, networks, published
from tla_tf.models.factory import needs
from tla_tf.ops import distances, mining
from tla_tf.training import build_model
from tla_tf.types import Role


def hardness(anchors, labels, pool, pool_labels):
  """Mean cosine similarity of anchors [n, d] and their nearest negatives in a pool [m, d]."""
  picked = mining.nearest_negative(anchors, pool, labels, pool_labels)
  return float(tf.reduce_mean(distances.cosine_similarity(anchors, tf.gather(pool, picked))))


def fresh_pool(network, images, size, batch_size, rng):
  """Embeddings [size, d] and labels of random images, by the batch statistics of batches; averages do not move."""
  chosen = images.take(rng.choice(len(images), size, replace=False))
  embeddings = []
  for begin in range(0, size, batch_size):
    with networks.branches(1, update_moving_averages=False):
      part = chosen.float_images()[begin : begin + batch_size]
      embeddings.append(network(part, training=True)["embedding"])
  return tf.concat(embeddings, 0), tf.constant(chosen.labels, tf.int32)


def compare(dataset, data_dir, network, steps, size, looks):
  """Trains and prints the hardness of both at `looks` steps."""
  config = published.setting(dataset, "tla", network)
  recipe = config.recipe.replace(negative_pool="memory_bank", memory_bank_size=size, memory_bank_start=size // 50)
  attack = config.attack.scaled(steps=min(5, config.attack.steps))
  config = config.replace(train_steps=steps, recipe=recipe, attack=attack, learning_rate=1e-3)
  splits = datasets.load(dataset, data_dir)
  model, network = build_model(config, splits.train.image_shape, splits.train.num_classes)
  classmates, pool = needs(config)
  stream = data.BatchStream(splits.train, config.batch_size, config.seed, classmates=classmates, pool_size=pool)
  rng, rows = np.random.default_rng(0), []
  model.make_train_function()
  batches = iter(stream.dataset(0, steps))
  for done in range(1, steps + 1):
    model.train_function(batches)
    if done % (steps // looks):
      continue
    batch = stream.batch(tf.constant(done))
    seed = model.step_seed(done)
    chosen = model.step_images(batch, seed, done)
    seen = model.compute(
      {r: x for r, (x, _) in chosen.items()}, {r: y for r, (_, y) in chosen.items()}, seed, done
    ).step
    anchors, labels = seen.outputs[Role.ADVERSARIAL]["embedding"], batch["label"]
    bank = {variable.name: tf.convert_to_tensor(variable) for variable in model.state()["negatives"].variables}
    held = int(tf.reduce_sum(tf.cast(bank["labels"] >= 0, tf.int32)))
    fresh = fresh_pool(network, splits.train, min(held, len(splits.train)), config.batch_size, rng)
    found = hardness(anchors, labels, bank["embeddings"], bank["labels"]), hardness(anchors, labels, *fresh)
    rows.append(found)
    print(
      f"| {dataset}, {done} steps, {held} embeddings | {found[0]:.3f} | {found[1]:.3f} | {found[0] - found[1]:+.3f} |"
    )
  return rows


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--mnist_dir", default="", help="folder of MNIST's files; without it, digits alone")
  parser.add_argument("--steps", type=int, default=400, help="of the training")
  parser.add_argument("--looks", type=int, default=4, help="times at which both are compared")
  options = parser.parse_args()
  print("| training | bank | fresh pool | difference |\n| --- | ---: | ---: | ---: |")
  compare("digits", None, "mlp_64", options.steps, 1000, options.looks)
  if options.mnist_dir:
    compare("mnist", options.mnist_dir, "mlp_256", options.steps, 8192, options.looks)


if __name__ == "__main__":
  main()
