"""Where the time of a training step goes: parts as time, share of the step and multiple of their floor.

  python benchmarks/profile_step.py --dataset=mnist --network=lenet --method=tla --set attack.steps=5

The floor of the attack is as many bare gradients with respect to the images, that of the pass for training a bare
gradient with respect to the weights, of the images that the step trains on; that of the choice of negatives is a bare
forward pass of anchors and pool. The other parts have none. What is left is what the parts do not explain: metrics, and
what the whole step does otherwise than its parts by themselves.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from side_by_side import measure

from tla_tf import data, networks, published
from tla_tf.config import TrainingConfig
from tla_tf.datasets import get as get_dataset
from tla_tf.models.factory import needs
from tla_tf.ops import objectives
from tla_tf.recipes.draws import draw
from tla_tf.training import build_model
from tla_tf.types import Role


def changed(config: TrainingConfig, settings: list[str]) -> TrainingConfig:
  """A config with NAME=VALUE settings, values as JSON or text; NAME may be an inner config's: attack.steps."""
  for setting in settings:
    name, _, text = setting.partition("=")
    try:
      value = json.loads(text)
    except json.JSONDecodeError:
      value = text
    outer, _, inner = name.partition(".")
    config = config.replace(
      **({outer: dataclasses.replace(getattr(config, outer), **{inner: value})} if inner else {name: value})
    )
  return config


def parts_of(config: TrainingConfig) -> tuple[dict, dict]:
  """Functions that run the parts of a step, and those that run the floors of some of them, by name."""
  shape = get_dataset(config.dataset).image_shape or (64, 64, 3)
  classes = len(get_dataset(config.dataset).class_names) or 10
  rng = np.random.default_rng(0)
  count = max(2000, config.batch_size)
  noise = data.ImageData(
    rng.integers(0, 256, (count, *shape), dtype=np.uint8),
    rng.integers(0, classes, count),
    tuple(map(str, range(classes))),
  )
  model, network = build_model(config, shape, classes)
  classmates, pool = needs(config)
  stream = data.BatchStream(noise, config.batch_size, 0, classmates, pool, augment_pad=config.augment_pad)
  constant = stream.batch(tf.constant(0))
  step, seed = tf.constant(0, tf.int64), model.step_seed(tf.constant(0, tf.int64))
  batch = model.complete_batch(constant, seed)
  chosen = {role: (tf.constant(x), y) for role, (x, y) in tf.function(model.step_images)(batch, seed, step).items()}
  images, labels = ({role: pair[i] for role, pair in chosen.items()} for i in (0, 1))
  gradients = [tf.zeros(variable.shape) for variable in model.trained_variables]

  def compiled(function):
    graph = tf.function(function, jit_compile=model.xla, autograph=False)

    def run():
      found = graph()
      return tf.reduce_sum([tf.reduce_sum(tf.cast(value, tf.float32)) for value in tf.nest.flatten(found)])

    return run

  model.make_train_function()
  batches = iter(tf.data.Dataset.from_tensors(constant).cache().repeat())
  fetched = iter(stream.dataset(0, 1_000_000))
  parts = {
    "step": lambda: float(model.train_function(batches)["loss"]),
    "data": lambda: tf.reduce_sum(next(fetched)["image"]),
    "training pass": compiled(
      lambda: [g for g in model.compute(images, labels, seed, step).gradients if g is not None]
    ),
  }
  whole = tf.concat(list(images.values()), 0)
  whole_labels = tf.concat(list(labels.values()), 0)
  bare = networks.logits_function(network)

  def loss(x, y):
    return tf.reduce_sum(objectives.cross_entropy(bare(x), y))

  def weights_pass():
    with tf.GradientTape() as tape:
      value = loss(whole, whole_labels)
    return [g for g in tape.gradient(value, network.trainable_variables) if g is not None]

  floors = {"training pass": compiled(weights_pass)}
  if Role.ADVERSARIAL in images:
    clean, truth = batch["image"], batch["label"]

    def image_passes():
      def body(i, x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
          tape.watch(x)
          value = loss(x, truth)
        return i + 1, x + 1e-9 * tape.gradient(value, x)

      return tf.while_loop(lambda i, _: i < config.attack.steps, body, (0, clean), parallel_iterations=1)[1]

    parts["attack"] = compiled(lambda: model.perturb(clean, truth, draw(seed, "attack"), step))
    floors["attack"] = compiled(image_passes)
  if Role.NEGATIVE in images:
    anchors = images[Role.ADVERSARIAL]
    source = model.recipe.negatives(model.settings)
    parts["negatives"] = compiled(lambda: source.images(network, batch, anchors, seed)[0])
    floors["negatives"] = compiled(lambda: bare(tf.concat([anchors, batch["pool"]], 0)))

  def optimiser():
    model.optimizer.apply(gradients, model.trained_variables)
    return tf.convert_to_tensor(model.optimizer.iterations)

  parts["optimiser"] = compiled(optimiser)
  if model.judged == "average":

    def average():
      model._average.update(network, step)  # noqa: SLF001
      return tf.convert_to_tensor(model.judged_network.variables[0])

    parts["averages"] = compiled(average)
  return parts, floors


def rows_of(seconds: dict, floors: dict) -> list[dict]:
  """One dict a part: seconds, share of the step, multiple of its floor or None; the step first, what is left last."""
  middle = {name: statistics.median(values) for name, values in seconds.items()}
  ratios = {
    name: statistics.median(a / b for a, b in zip(seconds[name], values, strict=True))
    for name, values in floors.items()
  }
  step = middle.pop("step")
  rows = [{"part": "step", "seconds": step, "share": 1.0, "of_floor": None}]
  rows += [
    {"part": name, "seconds": value, "share": value / step, "of_floor": ratios.get(name)}
    for name, value in sorted(middle.items(), key=lambda item: -item[1])
  ]
  left = step - sum(middle.values())
  return [*rows, {"part": "left", "seconds": left, "share": left / step, "of_floor": None}]


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--dataset", default="mnist")
  parser.add_argument("--network", default=None, help="the data set's own by default")
  parser.add_argument("--method", default="tla")
  parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting; may be repeated")
  parser.add_argument("--repeats", type=int, default=9)
  parser.add_argument("--json", type=pathlib.Path, help="file to write the table into, too")
  arguments = parser.parse_args()
  config = changed(published.setting(arguments.dataset, arguments.method, arguments.network), arguments.set)
  parts, floors = parts_of(config)
  seconds = measure({**parts, **{f"floor of {name}": function for name, function in floors.items()}}, arguments.repeats)
  found = rows_of({name: seconds[name] for name in parts}, {name: seconds[f"floor of {name}"] for name in floors})
  print(f"{config.method} on {config.network}, batch {config.batch_size}, {config.attack.steps} attack steps")
  for row in found:
    floor = "" if row["of_floor"] is None else f"{row['of_floor']:6.2f} x floor"
    print(f"  {row['part']:<14} {1000 * row['seconds']:9.2f} ms  {row['share']:6.1%}  {floor}")
  if arguments.json:
    arguments.json.write_text(
      json.dumps({"setting": config.to_dict(), "parts": found}, indent=2) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
  main()
