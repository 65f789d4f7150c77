"""Evaluating a trained run or a foreign model: network, data, suites, probes, alarms, resuming."""

import time
import typing

import numpy as np

from tla_tf import data, datasets
from tla_tf.attack_configs import TransferConfig
from tla_tf.errors import InputError
from tla_tf.evaluation import alarms, judge, probes, suites
from tla_tf.evaluation.journal import Journal
from tla_tf.evaluation.transfer_images import transfer_images
from tla_tf.persistence import CheckpointStore
from tla_tf.persistence.loading import load_network
from tla_tf.persistence.versions import versions
from tla_tf.types import Norm

# Broken images that are kept of every attack, for pictures.
_KEPT = 8


class Subject(typing.NamedTuple):
  """What is judged.

  Attributes:
    network: a `keras.Model` or callable, see `judge.Judge`.
    splits: `data.Splits`; `test` is what is judged on.
    dataset: the data set's name.
    facts: dict for `evaluation.json`: "config", "data_digest", and what names
      the network.
    jit: whether XLA compiles the attacks.
    probabilities: see `alarms.raise_alarms`.
    range_doubt: see `alarms.raise_alarms`.
  """

  network: typing.Any
  splits: data.Splits
  dataset: str
  facts: dict
  jit: str
  probabilities: bool = False
  range_doubt: typing.Any = None

  @property
  def test(self):
    return self.splits.test


class Options(typing.NamedTuple):
  """How a subject is judged.

  Attributes:
    suites: names, see `suites.suite`.
    suite_file: a user's own list besides, see `suites.read_suite`, or None.
    epsilon: replaces the suites' radius in L-infinity.
    num_examples: first test images to use; None for all.
    seed: of random starts.
    num_seeds: see `judge.evaluate`.
    batch_size: images a batch.
    eight_bit: adversarial images are rounded to whole grey levels.
    probe_examples: images of the probes; 0 for no probes and no curves.
  """

  suites: tuple = ("quick",)
  suite_file: typing.Any = None
  epsilon: typing.Any = None
  num_examples: typing.Any = None
  seed: int = 0
  num_seeds: int = 1
  batch_size: int = 100
  eight_bit: bool = False
  probe_examples: int = 100


class Broken(typing.NamedTuple):
  """A few images that an attack broke, with what the network says of them."""

  images: np.ndarray
  adversarial: np.ndarray
  labels: np.ndarray
  predictions: np.ndarray


class Outcome(typing.NamedTuple):
  """What an evaluation gives.

  Attributes:
    results: as in `evaluation.json`.
    broken: dict from attack name to `Broken`.
    images: dict of arrays, one row an image, for `evaluation_images.npz`.
    class_names: names of the classes.
    discard: function that removes the journal, when results are written.
  """

  results: dict
  broken: dict
  images: dict
  class_names: tuple
  discard: typing.Any


def run_subject(folder, checkpoint="best", data_dir=None, cache_dir=None, reading_progress=None):
  """The network of a run folder with its data.

  Args:
    folder: RunFolder.
    checkpoint: "best", "last" or a step.
    data_dir: where the data files are; None for where training found them.
    cache_dir: folder of decoded images, see `data.cache`.
    reading_progress: called with the number of image files decoded and to
      decode, or None.

  Returns:
    Subject.

  Raises:
    InputError: for a bad run folder, checkpoint or data.
  """
  config, facts = folder.read_config()
  if facts["digest"] is None and not (data_dir or facts["data_dir"]):
    raise InputError(
      f"{folder.path}: holds an imported network, which does not say where its data are; give --data_dir."
    )
  store = CheckpointStore(folder.checkpoints)
  step = store.resolve(checkpoint)
  network = load_network(folder, step)
  splits = datasets.load(
    config.dataset, data_dir or facts["data_dir"], config.data_source, config.reading, cache_dir, reading_progress
  )
  digest = _require_fitting_data(folder, facts, splits)
  return Subject(
    network,
    splits,
    config.dataset,
    {"checkpoint": step, "checkpoint_digest": store.digest(step), "config": config.to_dict(), "data_digest": digest},
    config.jit.value,
  )


def foreign_subject(model, dataset, splits):
  """A foreign model with the test images of a data set.

  Args:
    model: `persistence.foreign.ForeignModel`.
    dataset: the data set's name.
    splits: `data.Splits`.

  Returns:
    Subject.

  Raises:
    InputError: if the model does not fit the data or its pixel range is wrong.
  """
  model.check(splits.test)
  return Subject(
    model,
    splits,
    dataset,
    {
      "checkpoint_digest": model.digest,
      "data_digest": splits.digest(),
      "config": {
        "dataset": dataset,
        "model": str(model.path),
        "kind": model.kind,
        "pixel_range": list(model.pixel_range),
        "probabilities": model.probabilities,
      },
    },
    "off",
    model.probabilities,
    model.doubt,
  )


def planned_attacks(options, dataset, black_box=False):
  """The attacks of all suites of the options.

  Raises:
    InputError: for a bad suite, two attacks of one name, or an epsilon without a
      suite that it is for.
  """
  if options.epsilon is not None and not options.suites:
    raise InputError("--epsilon is for the built-in suites: write it into the suite file.")
  attacks = [
    attack
    for name in options.suites
    for attack in suites.suite(name, dataset, options.epsilon, black_box and name == "table1")
  ]
  if options.suite_file:
    attacks += suites.read_suite(options.suite_file, dataset)
  judge.require_names(attacks)
  return attacks


def evaluate_subject(subject, options=Options(), *, state=None, source=None, progress=None, on_resume=None):
  """Judges a network under suites of attacks and raises alarms.

  Killed at any moment and called again, it goes on behind the last finished
  batch and gives the same result.

  Args:
    subject: Subject.
    options: Options.
    state: folder of the journal; None keeps none.
    source: (RunFolder, Subject) of the black-box attack's source, or None.
    progress: called with (attack, batches done, batches to do, seconds left),
      or None.
    on_resume: called with the number of batches that a killed process left
      judged, if any; or None.

  Returns:
    Outcome.

  Raises:
    InputError: for options that do not fit the data.
  """
  attacks = planned_attacks(options, subject.dataset, source is not None)
  test = _taken(subject, options)
  if options.eight_bit and test.images.dtype != np.uint8 and not _whole_levels(test.images):
    raise InputError("--eight_bit: the clean images are not of whole grey levels, so adversarial ones cannot be.")
  timed = with_seconds_left(progress) if progress else None
  transfers = _transfers(attacks, source, test, subject, options, timed)
  settings = {
    "attacks": [[a.name, a.suite, a.config.to_dict(), a.target.value, a.on_survivors] for a in attacks],
    "options": {**options._asdict(), "suite_file": None},
    "subject": subject.facts,
    "jit": subject.jit,
    "source": source and source[1].facts,
    "versions": versions(),
  }
  began = time.monotonic()

  def judged(recall):
    court = judge.Judge(
      subject.network,
      test,
      jit=subject.jit,
      batch_size=options.batch_size,
      eight_bit=options.eight_bit,
      keep=_KEPT,
      transfers=transfers,
      recall=recall,
      progress=timed,
    )
    outcome = judge.evaluate_with(court, attacks, seed=options.seed, num_seeds=options.num_seeds)
    return court, outcome, _probed(court, attacks, options, subject.dataset)

  journal = None if state is None else Journal(state, settings)
  if journal is None:
    court, outcome, probed = judged(None)
  else:
    with journal.open():
      if len(journal) and on_resume:
        on_resume(len(journal))
      court, outcome, probed = judged(journal.recall)
  results = outcome.results
  found = alarms.raise_alarms(
    results["attacks"], outcome.broken, outcome.right, probed, subject.probabilities, subject.range_doubt
  )
  results.update(
    {
      "alarms": [alarm._asdict() for alarm in found],
      "probes": probed,
      "suite": ",".join(dict.fromkeys(attack.suite for attack in attacks)),
      "seed": options.seed,
      "num_seeds": options.num_seeds,
      "eight_bit": options.eight_bit,
      "source": source and {"run_dir": str(source[0].path), **source[1].facts},
      "seconds": time.monotonic() - began,
      **subject.facts,
      "versions": versions(),
    }
  )
  broken = {
    name: Broken(test.float_images(kept.positions), kept.adversarial, test.labels[kept.positions], kept.predictions)
    for name, kept in outcome.found.items()
  }
  images = {
    "labels": test.labels,
    "predictions": court.predictions,
    "right": outcome.right,
    "attacks": np.array(list(outcome.broken)),
    "broken": np.stack(list(outcome.broken.values()), 1),
  }
  return Outcome(results, broken, images, test.class_names, (lambda: None) if journal is None else journal.discard)


def _taken(subject, options):
  if options.num_examples is not None and options.num_examples > len(subject.test):
    raise InputError(
      f"--num_examples={options.num_examples}: {subject.dataset} has only {len(subject.test)} test "
      "images; leave the flag out to judge on all."
    )
  return subject.test.take(slice(options.num_examples))


def _whole_levels(images):
  levels = images * 255
  return np.abs(levels - np.rint(levels)).max() < 1e-2


def _probed(court, attacks, options, dataset):
  """The probes in the ball of the first attack in L-infinity or L2; with none, in the data set's L-infinity ball."""
  if not options.probe_examples:
    return None
  threat = next(
    ((attack.config.norm, attack.config.epsilon) for attack in attacks if attack.config.norm is not Norm.L0),
    (Norm.LINF, suites.scale(dataset).epsilon),
  )
  return probes.probe(court, *threat, options.probe_examples, options.seed)


def _transfers(attacks, source, test, subject, options, progress):
  """Dict from TransferConfig to the images made on the source network."""
  if source is None:
    return {}
  folder, other = source
  if other.facts["data_digest"] != subject.facts["data_digest"]:
    raise InputError(
      f"{folder.path}: was trained on other data than the network under attack; give another --source_run_dir."
    )
  configs = [attack.config for attack in attacks if isinstance(attack.config, TransferConfig)]
  if not configs:
    raise InputError("--source_run_dir is for the black-box column of suite table1, which is not asked for.")
  return {
    config: transfer_images(
      folder.transfer,
      other.network,
      other.facts["checkpoint_digest"],
      test,
      config.attack,
      seed=options.seed,
      batch_size=options.batch_size,
      jit=other.jit,
      progress=progress,
    )
    for config in configs
  }


def with_seconds_left(progress):
  """Adds the seconds left to what a progress function is told."""
  began = {}

  def timed(name, done, total):
    now = time.monotonic()
    # The clock starts when the first batch, and its compilation, is done.
    start, first = began.setdefault(name, (now, done))
    left = (now - start) / (done - first) * (total - done) if done > first else 0.0
    progress(name, done, total, left)

  return timed


def _require_fitting_data(folder, facts, splits):
  """Raises InputError for other data than the run's; returns their digest."""
  digest = splits.digest()
  # An imported network comes without the data that it was trained on: shapes must do.
  if facts["digest"] is not None and digest != facts["digest"]:
    raise InputError(
      f"{folder.path}: was trained on other data than these (their digests differ); give the right --data_dir."
    )
  found, expected = (splits.test.image_shape, splits.test.num_classes), (facts["image_shape"], facts["num_classes"])
  if found != (tuple(expected[0]), expected[1]):
    raise InputError(
      f"{folder.path}: its network takes images {tuple(expected[0])} of {expected[1]} classes, the data "
      f"have {found[0]} of {found[1]}; give the right --data_dir."
    )
  return digest
