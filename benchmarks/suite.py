"""The suite `table1` on survivors only against all images at every restart; memory of 10,000 images.

  python benchmarks/suite.py [--run_dir RUN]

`all images` is what the authors' evaluation does: every attack, and every restart, sees every image. Both find the same
images broken, which is checked. Without a run the network is mlp_256 after two epochs of adversarial training on
scikit-learn's digits. Memory is the peak of the process after judging 10,000 MNIST-sized images under every kind of
attack with a few steps each.
"""

import argparse
import os
import resource
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from tla_tf import attack_configs, data, datasets, models, networks
from tla_tf.attacks import AttackFactory, presets
from tla_tf.config import AttackConfig
from tla_tf.evaluation import NamedAttack, evaluate, suite
from tla_tf.evaluation.subject import run_subject
from tla_tf.ops import seeds
from tla_tf.persistence import RunFolder


def small_network():
  """A network and its test images."""
  splits = datasets.load("digits")
  network = networks.build("mlp_256", splits.train.image_shape, 10)
  model = models.AdversarialTraining(network, attack=presets.pgd(0.2, 0.05, 5))
  model.compile(keras.optimizers.Adam(1e-3))
  stream = data.BatchStream(splits.train, 50, seed=1, classmates=False)
  model.fit(stream.dataset(0, 250), verbose=0, shuffle=False)
  return network, splits.test, "digits"


def all_images(network, test, attacks, seed=0, batch_size=100):
  """Broken images by attack, every restart on all images: bool [n] each."""
  factory, found = AttackFactory(network), {}
  images, labels, ids = test.float_images(), test.labels, np.arange(len(test), dtype=np.int32)
  for attack in attacks:
    made, broken = factory.make(attack.config), np.zeros(len(test), bool)
    for restart in range(made.restarts):
      keys = seeds.example_keys(seeds.key(seed, "restart", restart), ids)
      for begin in range(0, len(test), batch_size):
        rows = slice(begin, begin + batch_size)
        broken[rows] |= made(images[rows], labels[rows], keys[rows]).success.numpy()
    found[attack.name] = broken
  return found


def compare(network, test, dataset):
  """Prints the ratio; returns whether both ways agree."""
  attacks = suite("table1", dataset)
  warm = test.take(slice(100))
  evaluate(network, warm, attacks, probe_examples=0)
  all_images(network, warm, [attack for attack in attacks if attack.config.restarts == 1])
  began = time.perf_counter()
  ours = evaluate(network, test, attacks, probe_examples=0)
  middle = time.perf_counter()
  theirs = all_images(network, test, attacks)
  ended = time.perf_counter()
  differing = max(np.mean((ours.fell[name] | ~ours.right) != (theirs[name] | ~ours.right)) for name in theirs)
  print(
    f"table1 on {len(test)} images of {dataset}, clean {ours.clean.accuracy:.1%}, worst case "
    f"{ours.worst_case.accuracy:.1%}"
  )
  print(f"  survivors only   {middle - began:8.1f} s")
  print(f"  all images       {ended - middle:8.1f} s   {(ended - middle) / (middle - began):.2f} x survivors only")
  print(
    f"  {'ok  ' if differing <= 0.005 else 'MISS'} images judged differently by an attack: {differing:.2%} "
    "(at most 0.5%)"
  )
  return differing <= 0.005


def memory(count=10_000):
  """Prints the peak memory of judging many images; returns whether it is below 3 GiB."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (count, 28, 28, 1)).astype(np.uint8)
  network = networks.build("mlp", (28, 28, 1), 10, seed=1)
  labels = np.argmax(network.predict(images / np.float32(255), batch_size=500, verbose=0)["logits"], 1)
  test = data.ImageData(images, labels, tuple("0123456789"))
  attacks = [
    NamedAttack("PGD", AttackConfig(steps=3, epsilon=0.02, step_size=0.01, restarts=3)),
    NamedAttack("APGD", attack_configs.ApgdConfig(0.02, steps=5)),
    NamedAttack("FAB", attack_configs.FabConfig(0.02, steps=3, restarts=2)),
    NamedAttack("Square", attack_configs.SquareConfig(0.02, steps=20)),
    NamedAttack("C&W", attack_configs.CarliniWagnerConfig(0.5, steps=10, binary_search_steps=2)),
    NamedAttack("DeepFool", attack_configs.DeepFoolConfig(0.5, steps=5)),
    NamedAttack("JSMA", attack_configs.JsmaConfig(0.01, restarts=1)),
  ]
  evaluate(network, test, attacks, keep=8, probe_examples=0)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  print(f"  {'ok  ' if peak < 3 else 'MISS'} peak memory after {count:,} images of 28x28: {peak:.2f} GiB (below 3 GiB)")
  return peak < 3


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--run_dir", help="run folder of a trained network")
  parser.add_argument("--num_examples", type=int, default=None, help="test images, the first ones")
  options = parser.parse_args()
  if options.run_dir:
    subject = run_subject(RunFolder.open(options.run_dir))
    network, test, dataset = subject.network, subject.test, subject.dataset
  else:
    network, test, dataset = small_network()
  good = compare(network, test.take(slice(options.num_examples)), dataset)
  good &= memory()
  sys.exit(0 if good else 1)


if __name__ == "__main__":
  main()
