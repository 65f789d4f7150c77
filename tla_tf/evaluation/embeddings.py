"""Embeddings of natural and attacked images of a trained network, computed once and kept."""

import hashlib
import typing

import numpy as np
import tensorflow as tf

from tla_tf import files
from tla_tf.attacks import GradientAttack, survivor_batches
from tla_tf.attacks.gradient_attack import GradientSearch
from tla_tf.evaluation import judge
from tla_tf.networks import resolve_jit
from tla_tf.persistence.kept_arrays import kept_arrays
from tla_tf.persistence.versions import versions


class Embedded(typing.NamedTuple):
  """Images as a network sees them.

  Attributes:
    embeddings: float32 [n, d], a memory map.
    predictions: int [n], the classes that the network says; -1 for NaN.
    labels: int32 [n], the true classes.
    images: uint8 [n, height, width, channels], rounded to whole grey levels: for
      pictures.
  """

  embeddings: np.ndarray
  predictions: np.ndarray
  labels: np.ndarray
  images: np.ndarray

  @property
  def errs(self):
    return self.predictions != self.labels

  def take(self, rows):
    """The part that an index array selects, in memory."""
    return Embedded(*(np.asarray(field)[rows] for field in self))


class Embedder:
  """Computes embeddings of a subject's images and keeps them in its run folder.

  Args:
    subject: `run_evaluation.Subject` of a trained run.
    folder: `embeddings/` of the run.
    seed: of random starts.
    batch_size: images a batch.
    progress: called with (what, batches done, batches to do), or None.
  """

  def __init__(self, subject, folder, *, seed=0, batch_size=100, progress=None):
    self._subject, self._folder = subject, folder
    self._seed, self._batch_size, self._progress = seed, batch_size, progress
    self._used = []
    network = subject.network
    # One compiled search for all attacks.
    self._search = GradientSearch(network, jit=subject.jit)

    def forward(images):
      outputs = network(images, training=False)
      return outputs["embedding"], outputs["logits"]

    self._forward = tf.function(
      forward, jit_compile=resolve_jit(subject.jit, network), autograph=False,
      input_signature=[tf.TensorSpec([None, *subject.test.image_shape], tf.float32)])

  def natural(self, name, data, positions):
    """Embeds the images of `data` at `positions`.

    Args:
      name: of the part, for people.
      data: `ImageData`, one of the subject's splits.
      positions: int [n], in increasing order.

    Returns:
      Embedded.
    """
    def batches():
      count = len(positions)
      for begin in range(0, count, self._batch_size):
        rows = np.arange(begin, min(begin + self._batch_size, count))
        yield rows, data.float_images(positions[rows])
        if self._progress:
          self._progress(f"embedding {name}", begin // self._batch_size + 1, -(-count // self._batch_size))

    arrays = self._kept(name, data, positions, {}, batches, pictures=False)
    images = data.images[positions]
    return Embedded(arrays["embeddings"], arrays["predictions"], data.labels[positions],
                    images if images.dtype == np.uint8 else _to_bytes(images))

  def attacked(self, name, data, positions, config):
    """Embeds the images of `data` at `positions` after an attack on each of them.

    An image that the network misclassifies already is attacked, too.

    Args:
      name: of the part, for people.
      data: `ImageData`.
      positions: int [n], in increasing order; an image's random start is the same
        whatever the others are.
      config: AttackConfig of one start.

    Returns:
      Embedded.
    """
    def batches():
      found = survivor_batches(
        GradientAttack(self._search, config),
        lambda rows: data.float_images(positions[rows]), data.labels[positions],
        broken=np.zeros(len(positions), bool), example_ids=positions, seed=self._seed, restarts=1,
        batch_size=self._batch_size,
        progress=self._progress and (lambda done, total: self._progress(f"attacking {name}", done, total)))
      for rows, result in found:
        yield rows, result.adversarial

    about = {"attack": config.to_dict(), "seed": self._seed, "batch_size": self._batch_size}
    arrays = self._kept(name, data, positions, about, batches, pictures=True)
    return Embedded(arrays["embeddings"], arrays["predictions"], data.labels[positions], arrays["images"])

  def discard_others(self):
    """Removes what this embedder was not asked for: of other checkpoints, attacks or numbers of images."""
    if self._folder.is_dir():
      for place in self._folder.iterdir():
        if place.is_dir() and place not in self._used:
          files.remove_folder(place)

  def _kept(self, name, data, positions, about, batches, pictures):
    count = len(positions)

    def make(place):
      kinds = {"predictions": (np.int64, ())}
      if pictures:
        kinds["images"] = (np.uint8, data.image_shape)
      made = {}
      for rows, images in batches():
        embeddings, logits = (part.numpy() for part in self._forward(_filled(images, self._batch_size)))
        if not made:
          kinds["embeddings"] = (np.float32, embeddings.shape[1:])
          made = {kind: np.lib.format.open_memmap(place / f"{kind}.npy", "w+", dtype, (count, *shape))
                  for kind, (dtype, shape) in kinds.items()}
        made["embeddings"][rows] = embeddings[:len(rows)]
        made["predictions"][rows] = judge.said(logits[:len(rows)])
        if pictures:
          made["images"][rows] = _to_bytes(images)
      for array in made.values():
        array.flush()

    facts = {"part": name, "checkpoint_digest": self._subject.facts["checkpoint_digest"],
             "data_digest": data.digest(), "positions": _digest(positions), "num_examples": count,
             "versions": versions(), **about}
    arrays, place = kept_arrays(self._folder, facts, make, prefix=f"{name.replace(' ', '_')}-")
    self._used.append(place)
    return arrays


def _filled(images, size):
  """The last, smaller batch filled up, so that XLA compiles one program."""
  return np.resize(images, (size, *images.shape[1:])) if len(images) < size else images


def _to_bytes(images):
  return np.rint(np.asarray(images) * 255).astype(np.uint8)


def _digest(positions):
  return hashlib.sha256(np.asarray(positions, np.int64).tobytes()).hexdigest()
