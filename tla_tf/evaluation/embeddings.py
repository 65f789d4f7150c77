"""Embeddings of natural and attacked images of a trained network, computed once and kept."""

from __future__ import annotations

import collections.abc
import contextlib
import functools
import hashlib
import pathlib
import typing

import numpy as np
import tensorflow as tf

from tla_tf import files
from tla_tf.attacks import GradientAttack, survivor_batches
from tla_tf.attacks.gradient_attack import GradientSearch
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.evaluation.judge import predicted_classes
from tla_tf.evaluation.subject import Subject
from tla_tf.networks import Compiler
from tla_tf.persistence.kept_arrays import kept_arrays
from tla_tf.persistence.versions import versions
from tla_tf.records import read_object


class Embedded(typing.NamedTuple):
  """Images as a network sees them.

  Attributes:
    embeddings: float32 [n, d], a memory map.
    predictions: int [n], the classes that the network says; -1 for NaN.
    labels: int32 [n], the true classes.
    pictures: function from rows (an index array) to uint8 images [..., height,
      width, channels], rounded to whole grey levels.
  """

  embeddings: np.ndarray
  predictions: np.ndarray
  labels: np.ndarray
  pictures: typing.Callable

  @property
  def errs(self) -> np.ndarray:
    """bool [n]: images that the network misclassifies."""
    return self.predictions != self.labels


class Embedder:
  """Computes embeddings of a subject's images and keeps them in its run folder.

  Args:
    subject: Subject of a trained run.
    folder: `embeddings/` of the run.
    seed: of random starts.
    batch_size: images a batch.
    progress: called with (what, batches done, batches to do), or None.
  """

  def __init__(
    self,
    subject: Subject,
    folder: pathlib.Path,
    *,
    seed: int = 0,
    batch_size: int = 100,
    progress: typing.Callable | None = None,
  ):
    self._subject, self._folder = subject, folder
    self._seed, self._batch_size, self._progress = seed, batch_size, progress
    network = subject.network
    # Once for each split: a digest reads all of it.
    self._digest = functools.lru_cache(maxsize=None)(lambda name: getattr(subject.splits, name).digest())
    # One compiled search for all attacks.
    self._search = GradientSearch(network, jit=subject.jit)

    def forward(images):
      outputs = network(images, training=False)
      return outputs["embedding"], outputs["logits"]

    self._forward = Compiler(subject.jit, network).function(
      forward, "the network", input_signature=[tf.TensorSpec([None, *subject.test.image_shape], tf.float32)]
    )

  def natural(self, split: str, positions: np.ndarray) -> Embedded:
    """Embeds images of a split.

    Args:
      split: "train", "heldout" or "test".
      positions: int [n], in increasing order.

    Returns:
      Embedded.
    """
    data = getattr(self._subject.splits, split)

    def batches():
      count = len(positions)
      for begin in range(0, count, self._batch_size):
        rows = np.arange(begin, min(begin + self._batch_size, count))
        yield rows, data.float_images(positions[rows])
        if self._progress:
          self._progress(f"embedding {split}", begin // self._batch_size + 1, -(-count // self._batch_size))

    arrays = self._kept(split, split, positions, {}, batches, pictures=False)
    # The images stay where they are: a data set may be larger than the memory.
    return Embedded(
      arrays["embeddings"],
      arrays["predictions"],
      data.labels[positions],
      lambda rows: _to_bytes(data.images[positions[rows]]),
    )

  def attacked(self, split: str, name: str, positions: np.ndarray, config: AttackConfig) -> Embedded:
    """Embeds images of a split after an attack on each of them.

    An image that the network misclassifies already is attacked, too.

    Args:
      split: "train", "heldout" or "test".
      name: of the attack, for people.
      positions: int [n], in increasing order; an image's random start is the same
        whatever the others are.
      config: AttackConfig of one start.

    Returns:
      Embedded.
    """
    data = getattr(self._subject.splits, split)
    progress = self._progress

    def batches():
      found = survivor_batches(
        GradientAttack(self._search, config),
        lambda rows: data.float_images(positions[rows]),
        data.labels[positions],
        broken=np.zeros(len(positions), bool),
        example_ids=positions,
        seed=self._seed,
        restarts=1,
        batch_size=self._batch_size,
        progress=progress and (lambda done, total: progress(f"attacking {split} {name}", done, total)),
      )
      for rows, result in found:
        yield rows, result.adversarial

    about = {"attack": config.to_dict(), "seed": self._seed, "batch_size": self._batch_size}
    arrays = self._kept(split, f"{split} {name}", positions, about, batches, pictures=True)
    return Embedded(
      arrays["embeddings"], arrays["predictions"], data.labels[positions], lambda rows: arrays["images"][rows]
    )

  def discard_stale(self, known: collections.abc.Collection[str]) -> None:
    """Removes what was computed with checkpoints that are no longer there.

    Args:
      known: digests of the checkpoints that are.
    """
    for place in self._folder.glob("*-*/about.json"):
      with contextlib.suppress(InputError):
        if read_object(place).get("checkpoint_digest") not in known:
          files.remove_folder(place.parent)

  def _kept(
    self,
    split: str,
    name: str,
    positions: np.ndarray,
    about: dict,
    batches: typing.Callable[[], collections.abc.Iterator],
    pictures: bool,
  ) -> dict:
    count, image_shape = len(positions), self._subject.test.image_shape

    def make(place):
      kinds: dict[str, tuple[type, tuple[int, ...]]] = {"predictions": (np.int64, ())}
      if pictures:
        kinds["images"] = (np.uint8, image_shape)
      made: dict[str, np.memmap] = {}
      for rows, images in batches():
        embeddings, logits = (part.numpy() for part in self._forward(_filled(images, self._batch_size)))
        if not made:
          kinds["embeddings"] = (np.float32, embeddings.shape[1:])
          made = {
            kind: files.new_array(place / f"{kind}.npy", dtype, (count, *shape))
            for kind, (dtype, shape) in kinds.items()
          }
        made["embeddings"][rows] = embeddings[: len(rows)]
        made["predictions"][rows] = predicted_classes(logits[: len(rows)])
        if pictures:
          made["images"][rows] = _to_bytes(images)
      for array in made.values():
        array.flush()

    facts = {
      "part": name,
      "checkpoint_digest": self._subject.facts["checkpoint_digest"],
      "data_digest": self._digest(split),
      "positions": _digest(positions),
      "num_examples": count,
      "versions": versions(),
      # Of a model from elsewhere; a run's network has one embedding.
      **({"embedding_layer": layer} if (layer := self._subject.facts["config"].get("embedding_layer")) else {}),
      **about,
    }
    return kept_arrays(self._folder, facts, make, prefix=f"{name.replace(' ', '_')}-")


def _filled(images: np.ndarray, size: int) -> np.ndarray:
  """The last, smaller batch filled up, so that XLA compiles one program."""
  return np.resize(images, (size, *images.shape[1:])) if len(images) < size else images


def _to_bytes(images: np.ndarray) -> np.ndarray:
  images = np.asarray(images)
  return images if images.dtype == np.uint8 else np.rint(images * 255).astype(np.uint8)


def _digest(positions: np.ndarray) -> str:
  return hashlib.sha256(np.asarray(positions, np.int64).tobytes()).hexdigest()
