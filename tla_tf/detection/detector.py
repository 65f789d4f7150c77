"""The detector that is put to use: Gaussians, a threshold, and what they were fitted to."""

import io
import json
import pathlib
import typing
import zipfile

import numpy as np
import tensorflow as tf

from tla_tf import files
from tla_tf.detection.gaussians import ClassGaussians
from tla_tf.errors import InputError
from tla_tf.types import Covariance

_FORMAT = 1


class Detector(typing.NamedTuple):
  """Flags an image whose embedding is unlikely under every class.

  Attributes:
    gaussians: ClassGaussians.
    threshold: scores below it are suspicious.
    unit_length: whether embeddings are scaled to length 1 before.
    facts: JSON values: "checkpoint_digest" of the network that it was fitted
      to, its false-positive rate, how it was fitted.
  """

  gaussians: ClassGaussians
  threshold: float
  unit_length: bool
  facts: dict

  def score(self, embeddings):
    """The largest class's log density, in nats: float [n, d] -> float64 [n]."""
    return self.gaussians.log_densities(scaled(embeddings, self.unit_length)).max(1)

  def is_suspect(self, embeddings):
    """Whether the score is below the threshold: float [n, d] -> bool [n]; NaN is suspicious."""
    return ~(self.score(embeddings) >= self.threshold)

  def save(self, path):
    """Writes the detector, whole or not at all."""
    content, gaussians = io.BytesIO(), self.gaussians
    facts = {
      "format": _FORMAT,
      "covariance": gaussians.covariance.value,
      "threshold": self.threshold,
      "unit_length": self.unit_length,
      "facts": self.facts,
    }
    np.savez(
      content,
      about=np.array(json.dumps(facts)),
      means=gaussians.means,
      whitening=gaussians.whitening,
      log_peaks=gaussians.log_peaks,
      shrinkage=gaussians.shrinkage,
    )
    files.write_bytes(path, content.getvalue())

  @classmethod
  def load(cls, path):
    """Reads what `save` wrote.

    Raises:
      InputError: if the file is missing, damaged or of another format.
    """
    try:
      with np.load(pathlib.Path(path), allow_pickle=False) as content:
        about = json.loads(str(content["about"]))
        if about["format"] != _FORMAT:
          raise InputError(f"{path}: format {about['format']!r} is not {_FORMAT}; use the release that made it.")
        names = ("means", "whitening", "log_peaks", "shrinkage")
        gaussians = ClassGaussians(Covariance(about["covariance"]), *(content[name] for name in names))
        return cls(gaussians, float(about["threshold"]), bool(about["unit_length"]), dict(about["facts"]))
    except InputError:
      raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
      raise InputError(f"{path}: missing or damaged; fit the detector again with tla-analyze.") from None


class GraphDetector(tf.Module):
  """A detector as a part of a graph.

  Its Gaussians are variables, which a SavedModel keeps beside its graph:
  constants of their size would make the graph itself huge.

  Args:
    detector: Detector.
  """

  def __init__(self, detector):
    super().__init__()
    gaussians = detector.gaussians
    self._covariance, self._unit_length = gaussians.covariance, detector.unit_length
    self._threshold = detector.threshold
    # Stored as float32, which is half of float64's size, and exact.
    self._means = tf.Variable(gaussians.means, trainable=False)
    self._whitening = tf.Variable(gaussians.whitening, trainable=False)
    self._log_peaks = tf.Variable(gaussians.log_peaks, trainable=False)

  def __call__(self, embeddings):
    """What `Detector.score` and `is_suspect` say: float32 [n, d] -> (float64 [n], bool [n])."""
    embeddings = tf.cast(embeddings, tf.float64)
    if self._unit_length:
      lengths = tf.norm(embeddings, axis=-1, keepdims=True)
      # As NumPy's: 0 stays 0, and the Gaussians see float32.
      embeddings = _wide(tf.cast(tf.math.divide_no_nan(embeddings, lengths), tf.float32))
    means, whitening = tf.convert_to_tensor(self._means), tf.convert_to_tensor(self._whitening)
    if self._covariance is Covariance.TIED:
      # Whitening is linear: once for all classes.
      embeddings, means = embeddings @ _wide(whitening[0]), _wide(means) @ _wide(whitening[0])
      whitening = means

    def squares(parts):
      white = embeddings - _wide(parts[0])
      if self._covariance is Covariance.FULL:
        white = white @ _wide(parts[1])
      elif self._covariance is Covariance.DIAGONAL:
        white = white * _wide(parts[1])
      return tf.reduce_sum(white * white, -1)

    # A class at a time: all at once would hold batch x classes x d numbers.
    distances = tf.map_fn(squares, (means, whitening), fn_output_signature=tf.float64)
    score = tf.reduce_max(self._log_peaks[:, None] - 0.5 * distances, 0)
    return score, tf.logical_not(score >= self._threshold)


def _wide(tensor):
  return tf.cast(tensor, tf.float64)


def scaled(embeddings, unit_length):
  """Embeddings as the Gaussians see them: float [n, d], of length 1 where asked for; zeros stay zeros."""
  embeddings = np.asarray(embeddings)
  if not unit_length:
    return embeddings
  lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
  return (embeddings / np.where(lengths == 0, 1, lengths)).astype(np.float32)


def threshold_at(scores, false_positive_rate):
  """The threshold that flags at most this share of clean images.

  Args:
    scores: float [n], of clean images that nothing was fitted to.
    false_positive_rate: in [0, 1).

  Returns:
    One of the scores.

  Raises:
    InputError: for a rate outside [0, 1) or no scores.
  """
  if not 0 <= false_positive_rate < 1:
    raise InputError(f"The false-positive rate must lie in [0, 1), got {false_positive_rate:g}.")
  if not len(scores):
    raise InputError("There are no clean images to choose a threshold by.")
  return float(np.sort(scores)[int(false_positive_rate * len(scores))])
