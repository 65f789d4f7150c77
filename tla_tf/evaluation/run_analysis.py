"""Analysing a trained run: embeddings, Tables 5 and 6, detection, and what the figures show.

Source: Mao et al. 2019, Sections 3, 5.2 and 5.3.
"""

import time
import typing

import numpy as np

from tla_tf.analysis import Neighbours, separation_ratio
from tla_tf.attacks import presets
from tla_tf.detection import Detector, auc_interval, fit_gaussians, roc_curve, scaled, threshold_at
from tla_tf.errors import InputError
from tla_tf.evaluation import statistics
from tla_tf.evaluation.embeddings import Embedded, Embedder
from tla_tf.evaluation.run_evaluation import with_seconds_left
from tla_tf.persistence import CheckpointStore
from tla_tf.persistence.versions import versions
from tla_tf.types import Covariance, Metric

# Full matrices of more bytes than this are refused: the tied one is there for them.
_LARGEST_DETECTOR = 1 << 29


class Scale(typing.NamedTuple):
  """The two attacks of a data set: PGD with steps of 2.5 epsilon / steps.

  Attributes:
    weak: (epsilon, steps) that detectors are fitted at.
    strong: (epsilon, steps) that they are tested at.
    usual: which of them is at the epsilon of training: that of Table 6 and of
      Figures 1, 2 and 4.
  """

  weak: tuple
  strong: tuple
  usual: str


# Paper, Table 5 (epsilons) and Figure 5 (steps); it gives no step size. Digits and image folders: ours.
_SCALES = {
  "digits": Scale((0.05, 20), (0.2, 50), "strong"),
  "mnist": Scale((0.03, 40), (0.3, 100), "strong"),
  "cifar10": Scale((8 / 255, 7), (25 / 255, 20), "weak"),
  "tiny_imagenet": Scale((8 / 255, 7), (25 / 255, 30), "weak"),
  "images": Scale((8 / 255, 7), (25 / 255, 20), "weak"),
}


class Options(typing.NamedTuple):
  """How a run is analysed.

  Attributes:
    weak_epsilon: replaces the data set's weak epsilon.
    strong_epsilon: replaces its strong one.
    num_examples: test images, drawn by the seed; None for all.
    num_train_examples: natural training images that neighbours are sought
      among; None for all.
    fit_examples: training images that detectors are fitted to, each clean and
      attacked.
    k: neighbours that vote.
    metric: of neighbours and t-SNE.
    covariance: of the detector that is stored; None for full where that is not
      too large, else tied.
    shrinkage: of the covariances; None for Ledoit and Wolf's.
    unit_length: whether embeddings are scaled to length 1 for the detector.
    false_positive_rate: share of clean images that it may flag.
    seed: of random starts, subsets and t-SNE.
    batch_size: images a batch.
  """

  weak_epsilon: float | None = None
  strong_epsilon: float | None = None
  num_examples: int | None = None
  num_train_examples: int | None = None
  fit_examples: int = 10_000
  k: int = 50
  metric: Metric = Metric.COSINE
  covariance: Covariance | None = None
  shrinkage: float | None = None
  unit_length: bool = False
  false_positive_rate: float = 0.05
  seed: int = 0
  batch_size: int = 100

  def attacks(self, dataset):
    """{"weak": AttackConfig, "strong": AttackConfig} for a data set.

    Raises:
      InputError: if the weak epsilon is not below the strong one.
    """
    given = _SCALES[dataset]
    weak = given.weak[0] if self.weak_epsilon is None else self.weak_epsilon
    strong = given.strong[0] if self.strong_epsilon is None else self.strong_epsilon
    # Results are kept under epsilons of four digits.
    if not (0 < weak < strong <= 1 and f"{weak:.4g}" != f"{strong:.4g}"):
      raise InputError(f"Weak epsilon {weak:.4g} and strong epsilon {strong:.4g}: expected 0 < weak < strong <= 1.")
    return {
      name: presets.pgd(epsilon, 2.5 * epsilon / steps, steps)
      for name, epsilon, steps in (("weak", weak, given.weak[1]), ("strong", strong, given.strong[1]))
    }


class Parts(typing.NamedTuple):
  """The embeddings that an analysis rests on.

  Attributes:
    train: natural training images.
    heldout: natural held-out images.
    test: natural test images.
    weak: the same after the weak attack.
    strong: the same after the strong attack.
    fit: rows of `train` that were attacked for the detectors.
    fit_attacked: these after the weak attack.
    usual: `weak` or `strong`, see `Scale`.
    class_names: names of the classes.
  """

  train: Embedded
  heldout: Embedded
  test: Embedded
  weak: Embedded
  strong: Embedded
  fit: np.ndarray
  fit_attacked: Embedded
  usual: Embedded
  class_names: tuple


class Analysis(typing.NamedTuple):
  """What an analysis gives.

  Attributes:
    results: as in `analysis.json`.
    parts: Parts.
    detector: Detector, with its threshold.
    neighbours: `analysis.Neighbours` among the natural training images.
    curves: dict from "misclassified" and "adversarial" to Roc.
  """

  results: dict
  parts: Parts
  detector: Detector
  neighbours: Neighbours
  curves: dict


def analyse(subject, folder, options=Options(), progress=None):
  """Embeds a run's images, or takes what is kept, and measures Tables 5 and 6 and detection.

  Killed and called again, it goes on behind the last part that was embedded.

  Args:
    subject: `run_evaluation.Subject` of a trained run.
    folder: RunFolder, where embeddings are kept.
    options: Options.
    progress: called with (what, batches done, batches to do, seconds left), or
      None.

  Returns:
    Analysis.

  Raises:
    InputError: for options that do not fit the data.
  """
  clock = _Clock()
  attacks = options.attacks(subject.dataset)
  drawn = _drawn(subject, options)
  covariance = _covariance(subject, options)
  parts = _embed(subject, folder, options, attacks, drawn, progress)
  clock.lap("embeddings")
  ratios = {
    name: separation_ratio(
      parts.test.embeddings,
      parts.test.labels,
      attacked.embeddings,
      attacked.labels,
      attacked.predictions,
      len(parts.class_names),
    )
    for name, attacked in (("weak", parts.weak), ("strong", parts.strong))
  }
  clock.lap("separation")
  neighbours = Neighbours(parts.train.embeddings, parts.train.labels, options.k, options.metric)
  knn = _knn(neighbours, parts, attacks, options)
  clock.lap("knn")
  detection, detector, curves = _detect(parts, attacks, options, covariance, subject.facts)
  clock.lap("detection")
  usual = "weak" if parts.usual is parts.weak else "strong"
  results = {
    "separation_ratio": {_key(attacks[name]): found.ratio for name, found in ratios.items()},
    "separation": [_separation_entry(attacks[name], found, parts.class_names) for name, found in ratios.items()],
    "knn": knn,
    "detection": detection,
    "accuracy": {
      "natural": _share(~parts.test.errs),
      "by_epsilon": {
        _key(attacks[name]): _share(~attacked.errs)
        for name, attacked in (("weak", parts.weak), ("strong", parts.strong))
      },
    },
    "attacks": {name: config.to_dict() for name, config in attacks.items()},
    "usual_epsilon": attacks[usual].epsilon,
    "class_names": list(parts.class_names),
    "num_examples": len(parts.test.labels),
    "num_train_examples": len(parts.train.labels),
    "embedding_dimensions": int(parts.test.embeddings.shape[1]),
    "zero_share": float(np.mean(parts.test.embeddings == 0)),
    "seed": options.seed,
    "seconds": clock.seconds,
    **subject.facts,
    "versions": versions(),
  }
  return Analysis(results, parts, detector, neighbours, curves)


class _Clock:
  """Seconds of one step after the other."""

  def __init__(self):
    self.seconds, self._last = {}, time.monotonic()

  def lap(self, name):
    now = time.monotonic()
    self.seconds[name], self._last = round(now - self._last, 3), now


class _Drawn(typing.NamedTuple):
  """Positions of the images that an analysis takes; `fit` are rows of `train`."""

  train: np.ndarray
  heldout: np.ndarray
  test: np.ndarray
  fit: np.ndarray


def _drawn(subject, options):
  """Draws the images, and checks that there are enough of them, before anything takes time."""
  splits = subject.splits

  def draw(purpose, data, count, flag):
    if count is None:
      return np.arange(len(data))
    if count > len(data):
      raise InputError(f"--{flag}={count}: there are only {len(data)} such images; leave the flag out to take all.")
    return _shuffled(options, purpose, len(data))[:count]

  train = np.sort(draw(0, splits.train, options.num_train_examples, "num_train_examples"))
  test = np.sort(draw(1, splits.test, options.num_examples, "num_examples"))
  fit = np.sort(_shuffled(options, 2, len(train))[: options.fit_examples])
  if options.k > len(train):
    raise InputError(
      f"{options.k} neighbours (--neighbors) of {len(train)} training images: expected no more than there are."
    )
  counts = np.bincount(splits.train.labels[train[fit]], minlength=splits.train.num_classes)
  if counts.min() < 2:
    raise InputError(
      f"Class {splits.train.class_names[counts.argmin()]} has {counts.min()} of the {len(fit)} training "
      "images that the detector is fitted to, and needs 2: raise --fit_examples or "
      "--num_train_examples, or add images."
    )
  return _Drawn(train, np.arange(len(splits.heldout)), test, fit)


def _shuffled(options, purpose, count):
  # A generator a purpose: drawing fewer of one kind leaves the others as they are.
  return np.random.default_rng([options.seed, purpose]).permutation(count)


def _covariance(subject, options):
  """The covariance of the detector that is stored; raises InputError if it would be too large."""
  width, count = subject.network.output["embedding"].shape[-1], subject.test.num_classes
  too_large = count * width**2 * 4 > _LARGEST_DETECTOR
  if options.covariance is None:
    return Covariance.TIED if too_large else Covariance.FULL
  if too_large and Covariance(options.covariance) is Covariance.FULL:
    raise InputError(
      f"{count} full covariances of {width} dimensions take more than {_LARGEST_DETECTOR >> 20} MiB; "
      "give --covariance=tied or --covariance=diagonal."
    )
  return Covariance(options.covariance)


def _embed(subject, folder, options, attacks, drawn, progress):
  embedder = Embedder(
    subject,
    folder.embeddings,
    seed=options.seed,
    batch_size=options.batch_size,
    progress=progress and with_seconds_left(progress),
  )
  store = CheckpointStore(folder.checkpoints)
  embedder.discard_stale({store.digest(step) for step in store.steps()})
  attacked = {name: embedder.attacked("test", name, drawn.test, config) for name, config in attacks.items()}
  return Parts(
    **{split: embedder.natural(split, getattr(drawn, split)) for split in ("train", "heldout", "test")},
    **attacked,
    fit=drawn.fit,
    fit_attacked=embedder.attacked("train", "weak", drawn.train[drawn.fit], attacks["weak"]),
    usual=attacked[_SCALES[subject.dataset].usual],
    class_names=subject.test.class_names,
  )


def _key(config):
  return f"{config.epsilon:.4g}"


def _share(mask):
  return {"accuracy": float(np.mean(mask)), "interval": statistics.interval(int(np.sum(mask)), len(mask))}


def _separation_entry(config, found, class_names):
  return {
    "epsilon": config.epsilon,
    "steps": config.steps,
    "ratio": found.ratio,
    "classes": [{**part._asdict(), "name": class_names[part.label]} for part in found.classes],
    "left_out": [class_names[label] for label in found.left_out],
  }


def _knn(neighbours, parts, attacks, options):
  """Table 6: the vote on natural and on attacked test images."""
  queries = {"natural": parts.test, "weak": parts.weak, "strong": parts.strong}
  votes = {name: _share(neighbours.predict(part.embeddings) == part.labels) for name, part in queries.items()}
  usual = votes["weak" if parts.usual is parts.weak else "strong"]
  return {
    "natural": votes["natural"]["accuracy"],
    "adversarial": usual["accuracy"],
    "k": options.k,
    "natural_interval": votes["natural"]["interval"],
    "adversarial_interval": usual["interval"],
    "metric": Metric(options.metric).value,
    "by_epsilon": {_key(attacks[name]): votes[name] for name in attacks},
  }


def _detect(parts, attacks, options, chosen, facts):
  """Figure 5: Gaussians on clean and weakly attacked training images, judged on clean and strongly attacked test ones.

  Returns:
    (entry of `analysis.json`, Detector, dict of Roc).
  """

  def scores_of(gaussians, part):
    return gaussians.log_densities(scaled(part.embeddings, options.unit_length)).max(1)

  count = len(parts.class_names)
  embeddings = scaled(
    np.concatenate([parts.train.embeddings[parts.fit], parts.fit_attacked.embeddings]), options.unit_length
  )
  labels = np.concatenate([parts.train.labels[parts.fit], parts.fit_attacked.labels])
  attacked = np.repeat([False, True], len(parts.test.labels))
  wrong = np.concatenate([parts.test.errs, parts.strong.errs])
  images = np.tile(np.arange(len(parts.test.labels)), 2)
  by_covariance = {}
  for covariance in Covariance:
    try:
      if covariance is Covariance.FULL and count * embeddings.shape[1] ** 2 * 4 > _LARGEST_DETECTOR:
        raise InputError("Too large.")
      fitted = fit_gaussians(embeddings, labels, count, covariance, options.shrinkage)
    except InputError:
      # The others are there to compare with: too large, or singular without enough shrinkage.
      if covariance is chosen:
        raise
      continue
    found = np.concatenate([scores_of(fitted, part) for part in (parts.test, parts.strong)])
    areas = {"misclassified": roc_curve(found, wrong), "adversarial": roc_curve(found, attacked)}
    by_covariance[covariance.value] = {f"auc_{name}": curve.auc for name, curve in areas.items()}
    if covariance is chosen:
      gaussians, scores, curves = fitted, found, areas
  threshold = threshold_at(scores_of(gaussians, parts.heldout), options.false_positive_rate)
  flagged = scores < threshold
  detector = Detector(
    gaussians,
    threshold,
    options.unit_length,
    {
      "checkpoint": facts["checkpoint"],
      "checkpoint_digest": facts["checkpoint_digest"],
      "false_positive_rate": options.false_positive_rate,
      "attack": attacks["weak"].to_dict(),
      "fit_examples": len(parts.fit),
      "seed": options.seed,
    },
  )
  entry = {
    "auc": curves["misclassified"].auc,
    **{f"auc_{name}": curve.auc for name, curve in curves.items()},
    "auc_misclassified_interval": auc_interval(scores, wrong, images, options.seed),
    "auc_adversarial_interval": auc_interval(scores, attacked, images, options.seed),
    "covariance": chosen.value,
    "unit_length": options.unit_length,
    "shrinkage": "given" if options.shrinkage is not None else "ledoit_wolf",
    "shrinkage_values": [float(value) for value in gaussians.shrinkage],
    "by_covariance": by_covariance,
    "fit_examples": len(parts.fit),
    "fit_epsilon": attacks["weak"].epsilon,
    "test_epsilon": attacks["strong"].epsilon,
    "threshold": threshold,
    "false_positive_rate": options.false_positive_rate,
    "at_threshold": {
      f"{name}_flagged": float(np.mean(flagged[mask])) if mask.any() else None
      for name, mask in (("clean", ~attacked), ("adversarial", attacked), ("misclassified", wrong))
    },
  }
  return entry, detector, curves
