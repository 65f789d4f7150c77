"""The detector that is put to use: Gaussians, a threshold, and what they were fitted to."""

from __future__ import annotations

import hashlib
import io
import pathlib
import typing

import numpy as np
import tensorflow as tf

from tla_tf import files
from tla_tf.detection.gaussians import ClassGaussians
from tla_tf.errors import InputError
from tla_tf.records.detector import DetectorAbout, DetectorFacts
from tla_tf.types import Covariance

_ARRAYS = ("means", "whitening", "log_peaks", "shrinkage")


class Detector(typing.NamedTuple):
  """Flags an image whose embedding is unlikely under every class.

  Attributes:
    gaussians: ClassGaussians.
    threshold: scores below it are suspicious.
    unit_length: whether embeddings are scaled to length 1 before.
    facts: DetectorFacts: how it was fitted, and to which network.
  """

  gaussians: ClassGaussians
  threshold: float
  unit_length: bool = False
  facts: DetectorFacts = DetectorFacts()

  def score(self, embeddings: np.ndarray) -> np.ndarray:
    """The largest class's log density, in nats: float [n, d] -> float64 [n]."""
    return self.gaussians.log_densities(scaled(embeddings, self.unit_length)).max(1)

  def is_suspect(self, embeddings: np.ndarray) -> np.ndarray:
    """Whether the score is below the threshold: float [n, d] -> bool [n]; NaN is suspicious."""
    return ~(self.score(embeddings) >= self.threshold)

  def save(self, path: str | pathlib.Path) -> None:
    """Writes the detector, whole or not at all.

    Raises:
      InputError: if the file cannot be written.
    """
    content, gaussians = io.BytesIO(), self.gaussians
    arrays = {name: getattr(gaussians, name) for name in _ARRAYS}
    about = DetectorAbout(
      covariance=gaussians.covariance,
      threshold=self.threshold,
      unit_length=self.unit_length,
      facts=self.facts,
      arrays_digest=_digest(arrays),
    )
    np.savez(content, about=np.array(about.to_text()), **arrays)
    files.write_bytes(path, content.getvalue())

  @classmethod
  def load(cls, path: str | pathlib.Path) -> Detector:
    """Reads what `save` wrote, without pickle.

    Raises:
      InputError: if the file is missing, damaged or of a newer format.
    """
    try:
      content = files.read_arrays(path, ("about", *_ARRAYS))
      text = str(content.pop("about"))
      arrays = {name: content[name] for name in _ARRAYS}
    except OSError as error:
      raise InputError(f"{path}: {files.refusal(error)}; {DetectorAbout.REMEDY}.") from None
    except InputError:
      raise
    except (ValueError, KeyError) as error:
      raise InputError(f"{path}: damaged ({error}); {DetectorAbout.REMEDY}.") from None
    about = DetectorAbout.from_text(text, path)
    gaussians = ClassGaussians(about.covariance, **arrays)
    if not gaussians.is_whole() or about.arrays_digest not in (None, _digest(arrays)):
      raise InputError(f"{path}: damaged, its arrays do not belong together; {DetectorAbout.REMEDY}.")
    return cls(gaussians, about.threshold, about.unit_length, about.facts)


def _digest(arrays: dict[str, np.ndarray]) -> str:
  """SHA-256 of what the arrays are and hold, as hex."""
  result = hashlib.sha256()
  for name, array in arrays.items():
    result.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
  return result.hexdigest()


class GraphDetector(tf.Module):
  """A detector as a part of a graph.

  Its Gaussians are variables, which a SavedModel keeps beside its graph:
  constants of their size would make the graph itself huge.

  Args:
    detector: Detector.
    dtype: in which the densities are computed: float64, as NumPy does, or float32
      for converters that know no other.

  Attributes:
    threshold: scores below it are suspicious.
  """

  def __init__(self, detector: Detector, dtype: tf.DType | str = tf.float64):
    super().__init__()
    gaussians = detector.gaussians
    self._dtype = tf.as_dtype(dtype)
    self._covariance, self._unit_length = gaussians.covariance, detector.unit_length
    self.threshold = detector.threshold
    # Stored as float32, which is half of float64's size, and exact.
    self._means = tf.Variable(gaussians.means, trainable=False)
    self._whitening = tf.Variable(gaussians.whitening, trainable=False)
    self._log_peaks = tf.Variable(gaussians.log_peaks, trainable=False)

  def __call__(self, embeddings: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What `Detector.score` and `is_suspect` say: float32 [n, d] -> (dtype [n], bool [n])."""
    embeddings = self._wide(embeddings)
    if self._unit_length:
      lengths = tf.norm(embeddings, axis=-1, keepdims=True)
      # As NumPy's: 0 stays 0, and the Gaussians see float32.
      embeddings = self._wide(tf.cast(tf.math.divide_no_nan(embeddings, lengths), tf.float32))
    means, whitening = tf.convert_to_tensor(self._means), tf.convert_to_tensor(self._whitening)
    if self._covariance is Covariance.TIED:
      # Whitening is linear: once for all classes.
      embeddings, means = embeddings @ self._wide(whitening[0]), self._wide(means) @ self._wide(whitening[0])
    log_peaks = self._wide(self._log_peaks)

    def log_density(k: int | tf.Tensor) -> tf.Tensor:
      white = embeddings - self._wide(means[k])
      if self._covariance is Covariance.FULL:
        white = white @ self._wide(whitening[k])
      elif self._covariance is Covariance.DIAGONAL:
        white = white * self._wide(whitening[k])
      return log_peaks[k] - 0.5 * tf.reduce_sum(white * white, -1)

    # A class at a time: all at once would hold batch x classes x d numbers. (`map_fn` does the same, but its lists of
    # tensors are more than converters know.)
    _, score = tf.while_loop(
      lambda k, _: k < means.shape[0],
      lambda k, best: (k + 1, tf.maximum(best, log_density(k))),
      (1, log_density(0)),
      shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
    )
    # Not as `not (score >= threshold)`, which TensorFlow's graph optimiser writes as `score < threshold`.
    return score, tf.math.is_nan(score) | (score < self.threshold)

  def _wide(self, tensor: tf.Tensor | tf.Variable) -> tf.Tensor:
    return tf.cast(tensor, self._dtype)


def scaled(embeddings: np.ndarray, unit_length: bool) -> np.ndarray:
  """Embeddings as the Gaussians see them: float [n, d], of length 1 where asked for; zeros stay zeros."""
  embeddings = np.asarray(embeddings)
  if not unit_length:
    return embeddings
  lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
  return (embeddings / np.where(lengths == 0, 1, lengths)).astype(np.float32)


def threshold_at(scores: np.ndarray, false_positive_rate: float) -> float:
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
    raise InputError(f"`false_positive_rate={false_positive_rate:g}`: expected a number in [0, 1).")
  if not len(scores):
    raise InputError("There are no clean images to choose a threshold by.")
  return float(np.sort(scores)[int(false_positive_rate * len(scores))])
