"""Evaluating a run folder: its network, its data, a suite, the figures' material."""

import time
import typing

import numpy as np

from tla_tf import data, networks
from tla_tf.errors import InputError
from tla_tf.evaluation import judge, suites
from tla_tf.persistence import CheckpointStore
from tla_tf.persistence.loading import load_network
from tla_tf.persistence.versions import versions


class Broken(typing.NamedTuple):
  """A few images that an attack broke, with what the network says of them."""

  images: np.ndarray
  adversarial: np.ndarray
  labels: np.ndarray
  predictions: np.ndarray
  class_names: tuple


class Outcome(typing.NamedTuple):
  """`results` as in `evaluation.json`, and what figures need besides."""

  results: dict
  attack: str
  broken: Broken


def evaluate_run(folder, suite_name="quick", num_examples=None, epsilon=None, checkpoint="best", data_dir=None, seed=0,
                 batch_size=100, progress=None, cache_dir=None, reading_progress=None):
  """Judges a checkpoint of a run on its test images.

  Args:
    folder: RunFolder.
    suite_name: see `suites.suite`.
    num_examples: first test images to use; None for all.
    epsilon: replaces the suite's.
    checkpoint: "best", "last" or a step.
    data_dir: where the data files are; None for where training found them.
    seed: of random starts.
    batch_size: images a batch.
    progress: called with (attack, batches done, batches to do, seconds left).
    cache_dir: folder of decoded images, see `data.cache`.
    reading_progress: called with the number of image files decoded and to
      decode, or None.

  Returns:
    Outcome.

  Raises:
    InputError: for a bad run folder, checkpoint or data.
  """
  config, facts = folder.read_config()
  attacks = suites.suite(suite_name, config.dataset, epsilon)
  if facts["digest"] is None and not (data_dir or facts["data_dir"]):
    raise InputError(f"{folder.path}: holds an imported network, which does not say where its data are; "
                     "give --data_dir.")
  step = CheckpointStore(folder.checkpoints).resolve(checkpoint)
  network = load_network(folder, step)
  splits = data.load(config.dataset, data_dir or facts["data_dir"], config.data_source, config.reading, cache_dir,
                     reading_progress)
  digest = _require_fitting_data(folder, facts, splits)
  if num_examples is not None and num_examples > len(splits.test):
    raise InputError(f"--num_examples={num_examples}: {config.dataset} has only {len(splits.test)} test images; "
                     "leave the flag out to judge on all.")
  test = splits.test.take(slice(num_examples))
  began = {}

  def timed(name, done, total):
    start = began.setdefault(name, time.monotonic())
    # The clock starts when the first batch, and its compilation, is done.
    progress(name, done, total, (time.monotonic() - start) / max(done - 1, 1) * (total - done))

  results, adversarial = judge.evaluate(network, test, attacks, seed=seed, jit=config.jit.value, batch_size=batch_size,
                                        progress=timed if progress else None)
  results.update({
    "suite": suite_name, "checkpoint": step, "config": config.to_dict(), "data_digest": digest, "seed": seed,
    "versions": versions(),
  })
  strongest = min(results["attacks"], key=lambda row: row["accuracy"])["name"]
  return Outcome(results, strongest, _broken(network, test, adversarial[strongest]))


def _require_fitting_data(folder, facts, splits):
  """Raises InputError for other data than the run's; returns their digest."""
  digest = splits.digest()
  # An imported network comes without the data that it was trained on: shapes must do.
  if facts["digest"] is not None and digest != facts["digest"]:
    raise InputError(f"{folder.path}: was trained on other data than these (their digests differ); "
                     "give the right --data_dir.")
  found, expected = (splits.test.image_shape, splits.test.num_classes), (facts["image_shape"], facts["num_classes"])
  if found != (tuple(expected[0]), expected[1]):
    raise InputError(f"{folder.path}: its network takes images {tuple(expected[0])} of {expected[1]} classes, the data "
                     f"have {found[0]} of {found[1]}; give the right --data_dir.")
  return digest


def _broken(network, test, adversarial, count=8):
  images = test.float_images()
  changed = np.flatnonzero(np.any(adversarial != images, axis=tuple(range(1, images.ndim))))[:count]
  predictions = np.zeros(0, int)
  if len(changed):
    predictions = np.argmax(networks.logits_function(network)(adversarial[changed]), -1)
  return Broken(images[changed], adversarial[changed], test.labels[changed], predictions, test.class_names)
