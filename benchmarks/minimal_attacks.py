"""Attacks that look for the nearest image against Foolbox and ART: ratios in one run.

  python benchmarks/minimal_attacks.py

Every library attacks the same network, images and labels in float32 on the
same device, with the same number of steps and all images in one batch. The
network is trained for a minute at most on scikit-learn's digits, enlarged to
28 x 28, so that attacks take their steps. Beneath each comparison stands what
the libraries found: a faster attack that finds less would be none. (Foolbox
answers with a black image where C&W finds nothing: such count as failures.)

ART's C&W searches along a line at each step: its steps cost more, so that it is
compared over fewer of them. ART's JSMA takes the two largest derivatives of
the target's logit.
"""

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import foolbox
import keras
import numpy as np
import tensorflow as tf
from art.attacks import evasion
from art.estimators.classification import TensorFlowV2Classifier
from side_by_side import measure, report

from tla_tf import datasets, networks
from tla_tf.attack_configs import CarliniWagnerConfig, DeepFoolConfig, JsmaConfig
from tla_tf.attacks.carlini_wagner import CarliniWagner
from tla_tf.attacks.deepfool import DeepFool
from tla_tf.attacks.jsma import Jsma

SHAPE = (28, 28, 1)
SIZE = 28 * 28


class Setting:
  """One trained network, images that it classifies correctly, and the same network for the other libraries.

  Args:
    name: of the network.
    count: number of images.
  """

  def __init__(self, name, count):
    digits = datasets.load("digits")
    self.network = networks.build(name, SHAPE, 10, seed=1)
    logits = keras.Model(self.network.inputs, self.network.output["logits"])
    logits.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    keras.utils.set_random_seed(0)
    logits.fit(self._enlarged(digits.train), digits.train.labels, batch_size=100, epochs=5, verbose=0)
    images, labels = self._enlarged(digits.test), digits.test.labels
    right = np.flatnonzero(np.argmax(logits.predict(images, verbose=0), 1) == labels)[:count]
    self.images, self.labels = images[right], labels[right].astype(np.int32)
    self.targets = (self.labels + 1 + np.arange(count, dtype=np.int32) % 9) % 10
    self.foolbox = foolbox.TensorFlowModel(logits, bounds=(0, 1))
    self.art = TensorFlowV2Classifier(logits, 10, SHAPE, clip_values=(0, 1), loss_object=logits.loss)

  @staticmethod
  def _enlarged(part):
    return np.clip(tf.image.resize(part.float_images(), SHAPE[:2]).numpy(), 0.0, 1.0)

  def by_foolbox(self, attack):
    """A function that runs an attack of Foolbox and returns its images."""
    images, criterion = tf.constant(self.images), foolbox.criteria.Misclassification(tf.constant(self.labels, tf.int64))
    return lambda: attack.run(self.foolbox, images, criterion)

  def found(self, adversarial, norm, targets=None):
    """What images achieve: a line with success rate and median distance."""
    said = np.argmax(self.network(adversarial)["logits"], 1)
    good = said != self.labels if targets is None else said == targets
    good &= adversarial.reshape(len(adversarial), -1).max(1) > 0.0
    change = (adversarial - self.images)[good].reshape(good.sum(), -1)
    distance = np.linalg.norm(change, axis=1) if norm == "l2" else np.mean(change != 0, 1)
    middle = np.median(distance) if good.any() else np.nan
    return f"success {good.mean():4.0%}, median {norm} distance of these {middle:.4f}"

  def compare(self, title, functions, repeats, requirements, norm="l2", targets=None):
    """Measures and reports; returns whether the requirements hold."""
    last = {}

    def remembering(name, function):
      def run():
        last[name] = np.asarray(function())

      return run

    seconds = measure({name: remembering(name, function) for name, function in functions.items()}, repeats)
    good = report(f"{title}, batch {len(self.images)}", seconds, "ours", requirements)
    for name, adversarial in last.items():
      print(f"  {name:<32} {self.found(adversarial, norm, targets)}")
    return good


def carlini_wagner(setting, repeats, steps, rounds, other):
  """C&W against "Foolbox" or "ART"."""
  numbers = {"binary_search_steps": rounds}
  attack = CarliniWagner(
    setting.network, CarliniWagnerConfig(steps=steps, step_size=0.05, initial_constant=0.1, **numbers)
  )
  theirs = {
    "Foolbox": setting.by_foolbox(
      foolbox.attacks.L2CarliniWagnerAttack(steps=steps, stepsize=0.05, initial_const=0.1, **numbers)
    ),
    "ART": lambda: evasion.CarliniL2Method(
      setting.art,
      max_iter=steps,
      learning_rate=0.05,
      initial_const=0.1,
      batch_size=len(setting.images),
      verbose=False,
      **numbers,
    ).generate(setting.images, setting.labels),
  }
  functions = {"ours": lambda: attack(setting.images, setting.labels).adversarial, other: theirs[other]}
  return setting.compare(f"C&W, {rounds} constants x {steps} steps", functions, repeats, [(other, "at least", 1.0)])


def deepfool(setting, repeats, steps):
  attack = DeepFool(setting.network, DeepFoolConfig(steps=steps, overshoot=0.02, candidates=9))
  functions = {
    "ours": lambda: attack(setting.images, setting.labels).adversarial,
    "Foolbox": setting.by_foolbox(foolbox.attacks.L2DeepFoolAttack(steps=steps, overshoot=0.02, candidates=10)),
    "ART": lambda: evasion.DeepFool(
      setting.art, max_iter=steps, epsilon=0.02, nb_grads=10, batch_size=len(setting.images), verbose=False
    ).generate(setting.images),
  }
  return setting.compare(
    f"DeepFool, at most {steps} steps", functions, repeats, [("Foolbox", "at least", 1.0), ("ART", "at least", 10.0)]
  )


def jsma(setting, repeats, epsilon):
  attack = Jsma(setting.network, JsmaConfig(epsilon=epsilon, theta=1.0))
  # ART goes on while the share is at most gamma: this ends it at our budget.
  gamma = (int(epsilon * SIZE) // 2 * 2 - 1.5) / SIZE
  functions = {
    "ours": lambda: attack(setting.images, setting.labels, targets=setting.targets).adversarial,
    "ART": lambda: evasion.SaliencyMapMethod(
      setting.art, theta=1.0, gamma=gamma, batch_size=len(setting.images), verbose=False
    ).generate(setting.images, setting.targets),
  }
  return setting.compare(
    f"JSMA, targeted, {epsilon:.0%} of the values",
    functions,
    repeats,
    [("ART", "at least", 10.0)],
    "l0",
    setting.targets,
  )


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--network", default="mlp")
  parser.add_argument("--batch_size", type=int, default=100)
  parser.add_argument("--repeats", type=int, default=3)
  args = parser.parse_args()
  setting = Setting(args.network, args.batch_size)
  good = deepfool(setting, args.repeats, steps=50)
  good &= jsma(setting, args.repeats, epsilon=0.1)
  good &= carlini_wagner(setting, args.repeats, 50, 5, "Foolbox")
  good &= carlini_wagner(setting, args.repeats, 10, 2, "ART")
  sys.exit(0 if good else 1)


if __name__ == "__main__":
  main()
