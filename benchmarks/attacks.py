"""FGSM, BIM, MIM and PGD in L2 against cleverhans, Foolbox and ART; PGD with its record and with the other compiler.

  python benchmarks/attacks.py

Every library attacks the same network, images, labels, epsilon, step size and
number of steps, in float32 on the same device. `bare passes` is the forward
and backward pass of every step in one compiled graph, with nothing else but
the smallest change of the images that keeps the compiler from folding the
loop. `ours` returns images, as cleverhans and Foolbox's `run` do; `ours,
record` also keeps the best point, success, loss and gradient counts. PGD
against the libraries is measured by `benchmarks/targets.py`.
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
from tla_tf.attacks import GradientSearch, presets
from tla_tf.attacks.gradient_loop import input_gradient
from tla_tf.ops import objectives, seeds
from tla_tf.types import Norm

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


def ours(network, images, labels, steps, jit="auto", record=False, **settings):
  """Our PGD from a random start."""
  search = GradientSearch(network, jit=jit, **settings)
  config = presets.pgd(EPSILON, STEP_SIZE, steps)
  key = seeds.key(0, "benchmark")
  return lambda: search.run(images, labels, key, config, record=record).adversarial


def logits_model(network):
  """The network as a Keras model that returns logits, which the other libraries expect."""
  return keras.Model(network.inputs, network.output["logits"])


def by_cleverhans(network, images, labels, config):
  """cleverhans's attack with the settings of ours, or None where it has none."""
  from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method
  from cleverhans.tf2.attacks.momentum_iterative_method import momentum_iterative_method
  from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

  forward = tf.function(lambda x: network(x, training=False)["logits"], autograph=False)
  norm = 2 if config.norm is Norm.L2 else np.inf
  common = dict(clip_min=0.0, clip_max=1.0, y=labels)
  if config.steps == 1:
    return lambda: fast_gradient_method(forward, images, config.epsilon, norm, **common)
  steps = (config.epsilon, config.step_size, config.steps, norm)
  if config.momentum:
    return lambda: momentum_iterative_method(
      forward, images, *steps, decay_factor=config.momentum, sanity_checks=False, **common
    )
  return lambda: projected_gradient_descent(
    forward, images, *steps, rand_init=config.random_start, sanity_checks=False, **common
  )


def by_foolbox(network, images, labels, config):
  """Foolbox's attack with the settings of ours, or None where it has none."""
  import foolbox

  if config.momentum:
    return None
  model = foolbox.TensorFlowModel(logits_model(network), bounds=(0, 1))
  criterion = foolbox.criteria.Misclassification(labels)
  if config.steps == 1:
    attack = foolbox.attacks.LinfFastGradientAttack()
  else:
    kind = foolbox.attacks.L2PGD if config.norm is Norm.L2 else foolbox.attacks.LinfPGD
    attack = kind(abs_stepsize=config.step_size, steps=config.steps, random_start=config.random_start)
  return lambda: attack.run(model, images, criterion, epsilon=config.epsilon)


def by_art(network, images, labels, config):
  """ART's attack with the settings of ours, or None where it has none: its MIM is switched off for TensorFlow."""
  if config.momentum:
    return None
  from art.attacks import evasion
  from art.estimators.classification import TensorFlowV2Classifier

  classifier = TensorFlowV2Classifier(
    logits_model(network),
    nb_classes=10,
    input_shape=network.input_shape[1:],
    clip_values=(0.0, 1.0),
    loss_object=keras.losses.CategoricalCrossentropy(from_logits=True),
  )
  norm = 2 if config.norm is Norm.L2 else np.inf
  common = dict(norm=norm, eps=config.epsilon, eps_step=config.step_size, batch_size=len(images))
  if config.steps == 1:
    attack = evasion.FastGradientMethod(classifier, **common)
  else:
    attack = evasion.ProjectedGradientDescentTensorFlowV2(
      classifier, max_iter=config.steps, num_random_init=int(config.random_start), verbose=False, **common
    )
  arrays, one_hot = images.numpy(), keras.utils.to_categorical(labels.numpy(), 10)
  return lambda: attack.generate(arrays, one_hot)


LIBRARIES = {"cleverhans": by_cleverhans, "Foolbox": by_foolbox, "ART": by_art}
# Of one attack on mlp: at least as slow as ours.
ATTACKS = {
  "FGSM": presets.fgsm(EPSILON),
  "BIM-40": presets.bim(EPSILON, STEP_SIZE, 40),
  "MIM-40": presets.mim(EPSILON, STEP_SIZE, 40),
  "PGD-40 in L2": presets.pgd(3.0, 0.1, 40, norm=Norm.L2),
}


def example(name, batch_size):
  """(network, images, labels); images have the shape of MNIST's for its networks, of CIFAR-10's for others."""
  rng = np.random.default_rng(0)
  shape = (28, 28, 1) if name.startswith(("mlp", "lenet")) else (32, 32, 3)
  return (
    networks.build(name, shape, 10, seed=1),
    tf.constant(rng.random((batch_size, *shape)), tf.float32),
    tf.constant(rng.integers(0, 10, batch_size), tf.int32),
  )


def compare_kinds(repeats, batch_size=100):
  """Measures every kind of gradient attack on mlp; returns whether ours is the fastest."""
  network, images, labels = example("mlp", batch_size)
  good = True
  for name, config in ATTACKS.items():
    search = GradientSearch(network, config.objective, config.momentum_rule, norm=config.norm)
    functions = {
      "ours": lambda search=search, config=config: (
        search.run(images, labels, seeds.key(0, "benchmark"), config, record=False).adversarial
      )
    }
    others = {library: make(network, images, labels, config) for library, make in LIBRARIES.items()}
    functions |= {library: function for library, function in others.items() if function}
    seconds = measure(functions, repeats)
    good &= report(
      f"{name} on mlp, batch {batch_size}",
      seconds,
      "ours",
      [(library, "at least", 1.0) for library in functions if library != "ours"],
    )
  return good


def compare_ours(name, steps, batch_size, repeats):
  """What our record costs, and the other compiler."""
  network, images, labels = example(name, batch_size)
  jit = networks.prefers_xla(network)
  functions = {
    "ours": ours(network, images, labels, steps, jit, False),
    "ours, record": ours(network, images, labels, steps, jit, True),
    "ours, other compiler": ours(network, images, labels, steps, not jit, False),
  }
  title = f"PGD-{steps} on {name}, batch {batch_size}, XLA {'on' if jit else 'off'} (other compiler: the other way)"
  report(title, measure(functions, repeats), "ours")


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--repeats", type=int, default=7)
  repeats = parser.parse_args().repeats
  compare_ours("mlp", 40, 100, repeats)
  compare_ours("lenet", 10, 100, max(5, repeats))
  sys.exit(0 if compare_kinds(repeats) else 1)


if __name__ == "__main__":
  main()
