"""Time and memory of the analysis of embeddings, at the size of a whole test set.

  python benchmarks/analysis.py          # 10,000 natural and 10,000 attacked embeddings of 1,024 dimensions

Random sparse embeddings stand for a network's. Prints seconds of Table 5's
ratio, of Table 6's vote (against 10,000 and against 55,000 training
embeddings), of fitting and scoring Gaussians of every covariance, of t-SNE of
1,500 points, and the memory that the process grew by.
"""

import argparse
import resource
import time

import numpy as np

from tla_tf.analysis import Neighbours, project, separation_ratio
from tla_tf.detection import fit_gaussians, roc_curve
from tla_tf.types import Covariance

_CLASSES = 10


def embeddings(labels, width, seed):
  """What a ReLU leaves of class means with noise: half the values are 0."""
  means = np.random.default_rng(0).normal(size=(_CLASSES, width)).astype(np.float32)
  noise = np.random.default_rng(seed).standard_normal((len(labels), width), dtype=np.float32)
  return np.maximum(means[labels] + 1.5 * noise, 0)


def memory():
  """MiB at the peak so far."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(what, function):
  began = time.monotonic()
  result = function()
  seconds = time.monotonic() - began
  print(f"{what:<60} {seconds:6.1f} s   peak {memory():6.0f} MiB", flush=True)
  return result, seconds


def main():
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--count", type=int, default=10_000)
  parser.add_argument("--width", type=int, default=1024)
  arguments = parser.parse_args()
  rng = np.random.default_rng(1)
  labels, said, train_labels = (rng.integers(0, _CLASSES, n) for n in (arguments.count, arguments.count, 55_000))
  natural, attacked = embeddings(labels, arguments.width, 2), embeddings(said, arguments.width, 3)
  train = embeddings(train_labels, arguments.width, 4)
  print(f"arrays of the benchmark itself: peak {memory():.0f} MiB")
  before = memory()
  _, ratio = timed("Table 5: ratio", lambda: separation_ratio(natural, labels, attacked, labels, said, _CLASSES))

  def vote(count):
    found = Neighbours(train[:count], train_labels[:count])
    return found.accuracy(natural, labels), found.accuracy(attacked, labels)

  _, few = timed(f"Table 6: kNN against {arguments.count:,}", lambda: vote(arguments.count))
  _, many = timed("Table 6: kNN against 55,000", lambda: vote(55_000))
  half = arguments.count // 2
  fitted = np.concatenate([natural[:half], attacked[:half]])
  fitted_labels = np.concatenate([labels[:half], said[:half]])
  total = 0.0
  for covariance in Covariance:

    def detect(covariance=covariance):
      gaussians = fit_gaussians(fitted, fitted_labels, _CLASSES, covariance)
      scores = np.concatenate([gaussians.log_densities(part).max(1) for part in (natural, attacked)])
      return roc_curve(scores, np.repeat([False, True], arguments.count))

    total += timed(f"Figure 5: {covariance} Gaussians, fitted and scored", detect)[1]
  print(
    f"ratio, kNN and Gaussians of all covariances: {ratio + few + total:.1f} s, with 55,000 training embeddings "
    f"{ratio + many + total:.1f} s (asked for: 60)"
  )
  print(f"memory beyond the arrays: {memory() - before:.0f} MiB (asked for: 4,096)")
  timed("Figure 1: t-SNE of 1,500 points (asked for: 30)", lambda: project(natural[:1500]))


if __name__ == "__main__":
  main()
