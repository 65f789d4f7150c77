"""Auto-PGD and Square against ART's: ratios in one run.

  python benchmarks/auto_attack.py

Both libraries attack the same network, images and labels with the same radius,
one start and the same number of steps or queries, in float32 on the same
device. The labels are the network's own answers and the radii are small, so
that most images stand until the end: neither library gains by stopping early.
Square's radius is smaller still, as ART goes on with the images left over.
FAB has no counterpart for TensorFlow 2 in ART or Foolbox and is not compared.
"""

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from side_by_side import measure, report

from tla_tf import networks
from tla_tf.attack_configs import ApgdConfig, SquareConfig
from tla_tf.attacks.auto_attack import Apgd, Square
from tla_tf.types import Norm

CLASSES = 10
ORDERS = {Norm.LINF: np.inf, Norm.L2: 2}


def arts_classifier(network):
  """The network as ART takes it."""
  from art.estimators.classification import TensorFlowV2Classifier

  logits = keras.Model(network.inputs, network.output["logits"])
  return TensorFlowV2Classifier(
    logits,
    nb_classes=CLASSES,
    input_shape=network.input_shape[1:],
    clip_values=(0.0, 1.0),
    loss_object=keras.losses.CategoricalCrossentropy(from_logits=True),
  )


def arts(name, classifier, config, batch_size):
  """ART's attack of that name with the settings of ours."""
  from art.attacks import evasion

  common = dict(
    norm=ORDERS[config.norm], eps=config.epsilon, max_iter=config.steps, batch_size=batch_size, verbose=False
  )
  if name == "Square":
    return evasion.SquareAttack(classifier, p_init=config.initial_share, **common)
  return evasion.AutoProjectedGradientDescent(
    classifier, eps_step=2 * config.epsilon, nb_random_init=1, loss_type="cross_entropy", **common
  )


def compare(name, config, batch_size, repeats):
  """Measures one attack in one norm on mlp; returns whether ours is the faster."""
  network = networks.build("mlp", (28, 28, 1), CLASSES, seed=1)
  images = np.random.default_rng(0).random((batch_size, 28, 28, 1)).astype(np.float32)
  labels = np.argmax(network(images)["logits"], -1).astype(np.int32)
  attack = {"Auto-PGD": Apgd, "Square": Square}[name](network, config)
  inputs, answers = tf.constant(images), tf.constant(labels)
  other = arts(name, arts_classifier(network), config, batch_size)
  one_hot = keras.utils.to_categorical(labels, CLASSES)
  np.random.seed(0)
  found = {"ours": attack(inputs, answers).adversarial, "ART": other.generate(images, one_hot)}
  share = ", ".join(f"{who} {np.mean(np.argmax(network(x)['logits'], -1) != labels):.0%}" for who, x in found.items())
  seconds = measure(
    {"ours": lambda: attack(inputs, answers).adversarial, "ART": lambda: other.generate(images, one_hot)}, repeats
  )
  title = (
    f"{name}-{config.steps} in {config.norm} on mlp, batch {batch_size}, "
    f"XLA {'on' if attack.jit else 'off'}; broken: {share}"
  )
  return report(title, seconds, "ours", [("ART", "at least", 1.0)])


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--repeats", type=int, default=5)
  repeats = parser.parse_args().repeats
  good = [
    compare(name, config, 100, repeats)
    for name, config in (
      ("Auto-PGD", ApgdConfig(epsilon=0.003, steps=100)),
      ("Auto-PGD", ApgdConfig(epsilon=0.05, steps=100, norm="l2")),
      ("Square", SquareConfig(epsilon=0.002, steps=500)),
      ("Square", SquareConfig(epsilon=0.03, steps=500, norm="l2")),
    )
  ]
  sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
  main()
