"""Analysing a trained run: embeddings, Tables 5 and 6, detection, and what the figures show.

Source: Mao et al. 2019, Sections 3, 5.2 and 5.3.
"""

import time
import typing

import numpy as np

from tla_tf import files
from tla_tf.analysis import Neighbours, separation_ratio
from tla_tf.attacks import presets
from tla_tf.detection import Detector, auc_interval, fit_gaussians, roc_curve, scaled, threshold_at
from tla_tf.errors import InputError
from tla_tf.evaluation import statistics
from tla_tf.evaluation.embeddings import Embedded, Embedder
from tla_tf.evaluation.run_evaluation import with_seconds_left
from tla_tf.persistence.versions import versions
from tla_tf.types import Covariance, Metric

# Full matrices of more bytes than this are refused: the tied one is there for them.
_LARGEST_DETECTOR = 1 << 30


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
    covariance: of the detector that is stored.
    shrinkage: of its covariance; None for Ledoit and Wolf's.
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
  covariance: Covariance = Covariance.FULL
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
    weak, strong = self.weak_epsilon or given.weak[0], self.strong_epsilon or given.strong[0]
    if not 0 < weak < strong <= 1:
      raise InputError(f"Weak epsilon {weak:.4g} and strong epsilon {strong:.4g}: expected 0 < weak < strong <= 1.")
    return {name: presets.pgd(epsilon, 2.5 * epsilon / steps, steps)
            for name, epsilon, steps in (("weak", weak, given.weak[1]), ("strong", strong, given.strong[1]))}


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
    train_images: [n, height, width, channels], those of `train`.
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
  train_images: np.ndarray
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
  files.make_folder(folder.embeddings)
  with files.locked(folder.embeddings / ".lock", f"{folder.path}: another process analyses this run; wait for it."):
    parts = _embed(subject, folder, options, attacks, progress)
  clock.lap("embeddings")
  ratios = {name: separation_ratio(parts.test.embeddings, parts.test.labels, attacked.embeddings, attacked.labels,
                                   attacked.predictions, len(parts.class_names))
            for name, attacked in (("weak", parts.weak), ("strong", parts.strong))}
  clock.lap("separation")
  neighbours = Neighbours(parts.train.embeddings, parts.train.labels, options.k, options.metric)
  knn = _knn(neighbours, parts, attacks, options)
  clock.lap("knn")
  detection, detector, curves = _detect(parts, attacks, options, subject.facts)
  clock.lap("detection")
  usual = "weak" if parts.usual is parts.weak else "strong"
  results = {
    "separation_ratio": {_key(attacks[name]): found.ratio for name, found in ratios.items()},
    "separation": [_separation_entry(attacks[name], found, parts.class_names) for name, found in ratios.items()],
    "knn": knn, "detection": detection,
    "accuracy": {"natural": _share(~parts.test.errs),
                 "by_epsilon": {_key(attacks[name]): _share(~attacked.errs)
                                for name, attacked in (("weak", parts.weak), ("strong", parts.strong))}},
    "attacks": {name: config.to_dict() for name, config in attacks.items()},
    "usual_epsilon": attacks[usual].epsilon, "class_names": list(parts.class_names),
    "num_examples": len(parts.test.labels), "num_train_examples": len(parts.train.labels),
    "embedding_dimensions": int(parts.test.embeddings.shape[1]),
    "zero_share": float(np.mean(parts.test.embeddings == 0)),
    "seed": options.seed, "seconds": clock.seconds, **subject.facts, "versions": versions(),
  }
  return Analysis(results, parts, detector, neighbours, curves)


class _Clock:
  """Seconds of one step after the other."""

  def __init__(self):
    self.seconds, self._last = {}, time.monotonic()

  def lap(self, name):
    now = time.monotonic()
    self.seconds[name], self._last = round(now - self._last, 3), now


def _embed(subject, folder, options, attacks, progress):
  splits, rng = subject.splits, np.random.default_rng(options.seed)
  train = _drawn(rng, splits.train, options.num_train_examples, "num_train_examples")
  test = _drawn(rng, splits.test, options.num_examples, "num_examples")
  heldout = np.arange(len(splits.heldout))
  fit = np.sort(rng.permutation(len(train))[:options.fit_examples])
  embedder = Embedder(subject, folder.embeddings, seed=options.seed, batch_size=options.batch_size,
                      progress=progress and with_seconds_left(progress))
  attacked = {name: embedder.attacked(f"test {name}", splits.test, test, config) for name, config in attacks.items()}
  parts = Parts(
    train=embedder.natural("train", splits.train, train), heldout=embedder.natural("heldout", splits.heldout, heldout),
    test=embedder.natural("test", splits.test, test), **attacked, fit=fit,
    fit_attacked=embedder.attacked("train weak", splits.train, train[fit], attacks["weak"]),
    usual=attacked[_SCALES[subject.dataset].usual], train_images=splits.train.images[train],
    class_names=splits.test.class_names)
  embedder.discard_others()
  return parts


def _drawn(rng, data, count, flag):
  """Positions of `count` images in increasing order; of all where it is None."""
  if count is None:
    return np.arange(len(data))
  if count > len(data):
    raise InputError(f"--{flag}={count}: there are only {len(data)} such images; leave the flag out to take all.")
  return np.sort(rng.permutation(len(data))[:count])


def _key(config):
  return f"{config.epsilon:.4g}"


def _share(mask):
  return {"accuracy": float(np.mean(mask)), "interval": statistics.interval(int(np.sum(mask)), len(mask))}


def _separation_entry(config, found, class_names):
  return {
    "epsilon": config.epsilon, "steps": config.steps, "ratio": found.ratio,
    "classes": [{**part._asdict(), "name": class_names[part.label]} for part in found.classes],
    "left_out": [class_names[label] for label in found.left_out],
  }


def _knn(neighbours, parts, attacks, options):
  """Table 6: the vote on natural and on attacked test images."""
  queries = {"natural": parts.test, "weak": parts.weak, "strong": parts.strong}
  votes = {name: _share(neighbours.predict(part.embeddings) == part.labels) for name, part in queries.items()}
  usual = votes["weak" if parts.usual is parts.weak else "strong"]
  return {
    "natural": votes["natural"]["accuracy"], "adversarial": usual["accuracy"], "k": options.k,
    "natural_interval": votes["natural"]["interval"], "adversarial_interval": usual["interval"],
    "metric": Metric(options.metric).value, "by_epsilon": {_key(attacks[name]): votes[name] for name in attacks},
  }


def _detect(parts, attacks, options, facts):
  """Figure 5: Gaussians on clean and weakly attacked training images, judged on clean and strongly attacked test ones.

  Returns:
    (entry of `analysis.json`, Detector, dict of Roc).
  """
  count = len(parts.class_names)
  def scores_of(gaussians, part):
    return gaussians.log_densities(scaled(part.embeddings, options.unit_length)).max(1)

  embeddings = scaled(np.concatenate([parts.train.embeddings[parts.fit], parts.fit_attacked.embeddings]),
                      options.unit_length)
  labels = np.concatenate([parts.train.labels[parts.fit], parts.fit_attacked.labels])
  attacked = np.repeat([False, True], len(parts.test.labels))
  wrong = np.concatenate([parts.test.errs, parts.strong.errs])
  images = np.tile(np.arange(len(parts.test.labels)), 2)
  chosen, by_covariance, kept = Covariance(options.covariance), {}, None
  too_large = count * embeddings.shape[1]**2 * 4 > _LARGEST_DETECTOR
  if too_large and chosen is Covariance.FULL:
    raise InputError(f"{count} full covariances of {embeddings.shape[1]} dimensions take more than 1 GiB; give "
                     "--covariance=tied or --covariance=diagonal.")
  for covariance in Covariance:
    if too_large and covariance is Covariance.FULL:
      continue
    gaussians = fit_gaussians(embeddings, labels, count, covariance,
                              options.shrinkage if covariance is chosen else None)
    scores = np.concatenate([scores_of(gaussians, part) for part in (parts.test, parts.strong)])
    curves = {"misclassified": roc_curve(scores, wrong), "adversarial": roc_curve(scores, attacked)}
    by_covariance[covariance.value] = {f"auc_{name}": curve.auc for name, curve in curves.items()}
    if covariance is chosen:
      kept = gaussians, scores, curves
  gaussians, scores, curves = kept
  threshold = threshold_at(scores_of(gaussians, parts.heldout), options.false_positive_rate)
  flagged = scores < threshold
  detector = Detector(gaussians, threshold, options.unit_length, {
    "checkpoint": facts["checkpoint"], "checkpoint_digest": facts["checkpoint_digest"],
    "false_positive_rate": options.false_positive_rate, "attack": attacks["weak"].to_dict(),
    "fit_examples": len(parts.fit), "seed": options.seed,
  })
  entry = {
    "auc": curves["misclassified"].auc,
    **{f"auc_{name}": curve.auc for name, curve in curves.items()},
    "auc_misclassified_interval": auc_interval(scores, wrong, images, options.seed),
    "auc_adversarial_interval": auc_interval(scores, attacked, images, options.seed),
    "covariance": chosen.value, "unit_length": options.unit_length,
    "shrinkage": "given" if options.shrinkage is not None else "ledoit_wolf",
    "shrinkage_values": [float(value) for value in gaussians.shrinkage],
    "by_covariance": by_covariance, "fit_examples": len(parts.fit), "fit_epsilon": attacks["weak"].epsilon,
    "test_epsilon": attacks["strong"].epsilon, "threshold": threshold,
    "false_positive_rate": options.false_positive_rate,
    "at_threshold": {
      "clean_flagged": _mean(flagged[~attacked]), "adversarial_flagged": _mean(flagged[attacked]),
      "misclassified_flagged": _mean(flagged[wrong]), "correct_flagged": _mean(flagged[~wrong]),
      "accuracy_of_kept_adversarial": _mean(~wrong[attacked & ~flagged]),
    },
  }
  return entry, detector, curves


def _mean(values):
  return float(np.mean(values)) if len(values) else None
