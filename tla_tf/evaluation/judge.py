"""The judge: attacks the images of a data set and says which of them fell.

An image falls only if an independent verifier accepts the adversarial image and
the network, called on it anew, errs. Images are read, attacked and judged batch
by batch: memory does not grow with their number.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import time
import typing

import numpy as np
import tensorflow as tf

from tla_tf import attack_configs, networks
from tla_tf.attacks import AttackFactory, AttackResult, batch_slots, survivor_batches
from tla_tf.config import choice
from tla_tf.data import ImageData
from tla_tf.evaluation import eight_bit, verifier
from tla_tf.evaluation.suites import NamedAttack
from tla_tf.networks import Compiler
from tla_tf.ops import inputs, seeds
from tla_tf.types import Precision, Target

_BATCH = 100
_MASKS = ("fell", "reached", "attacked", "zero_gradients", "nonfinite_gradients", "nonfinite_outputs")


class KeptImages(typing.NamedTuple):
  """Adversarial images that an attack made fall, kept to be looked at.

  Attributes:
    positions: int [m], where in the data they are.
    adversarial: float32 [m, ...].
    predictions: int [m], what the network says of them.
  """

  positions: np.ndarray
  adversarial: np.ndarray
  predictions: np.ndarray


class Verdict(typing.NamedTuple):
  """What one attack with one seed did to the data, one row an image.

  Attributes:
    fell: bool [n].
    reached: bool [n], fell, and the network says the target; of a targeted attack.
    attacked: bool [n], whether the attack saw the image at all.
    distance: float64 [n] of the images that fell in the attack's norm, else NaN.
    zero_gradients: bool [n], the whole gradient was 0 at some step of a start
      that left the image standing.
    nonfinite_gradients: bool [n], it held NaN or infinity at some step.
    nonfinite_outputs: bool [n], the logits of the adversarial image hold such.
    rejected: number of successes that the verifier refused.
    kept: KeptImages.
    seconds: wall-clock time, of this process.
  """

  fell: np.ndarray
  reached: np.ndarray
  attacked: np.ndarray
  distance: np.ndarray
  zero_gradients: np.ndarray
  nonfinite_gradients: np.ndarray
  nonfinite_outputs: np.ndarray
  rejected: int
  kept: KeptImages
  seconds: float


class Judge:
  """Attacks the images of one data set that one network classifies correctly.

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits".
    data: `ImageData`.
    jit: whether XLA compiles the attacks: "auto" (where that helps), "on" or "off".
    batch_size: images a batch.
    eight_bit: adversarial images are rounded to whole grey levels before they are
      judged.
    search_precision: a `types.Precision`, in which gradient attacks search; what they
      find is judged in float32 all the same.
    keep: how many adversarial images of an attack are kept; None for all.
    transfers: dict from `TransferConfig` to the images float32 [n, ...] that it
      replays.
    recall: function from (name of a batch, compute) to the result of `compute`, which
      a `Journal` may know already; None computes always.
    progress: called with (attack name, batches done, batches to do), or None.
  """

  def __init__(
    self,
    network: typing.Any,
    data: ImageData,
    *,
    jit: str = "auto",
    batch_size: int = _BATCH,
    eight_bit: bool = False,
    search_precision: Precision | str = Precision.FLOAT32,
    keep: int | None = None,
    transfers: dict | None = None,
    recall: typing.Callable | None = None,
    progress: typing.Callable | None = None,
  ):
    self.data = data
    search_precision = choice(Precision, "search_precision", search_precision)
    networks.logits_function(network, precision=search_precision)  # refused before anything is judged
    self._factory = AttackFactory(network, jit, transfers, search_precision)
    self._batch_size = batch_size
    self._eight_bit = eight_bit
    self._keep = keep
    self._recall = recall or (lambda name, compute: compute())
    self._progress = progress
    forward = networks.logits_function(network)
    self._logits = Compiler(jit, network).function(
      forward, "the network", input_signature=[tf.TensorSpec([None, *data.image_shape], tf.float32)]
    )
    self.clean_logits = self.logits(data.float_images, len(data))
    inputs.require_labels(data.labels, num_classes=self.clean_logits.shape[1])
    # Remembered: a network that answers otherwise when asked again must not shift who is attacked.
    self.predictions = np.array(self._recall(["clean"], lambda: predicted_classes(self.clean_logits).tolist()), int)
    self.right = self.predictions == data.labels
    self.nonfinite_outputs = ~np.isfinite(self.clean_logits).all(1)

  def logits(self, fetch: typing.Callable, count: int) -> np.ndarray:
    """Logits float32 [count, classes] of the images that `fetch(positions)` gives."""
    parts = []
    for begin in range(0, count, self._batch_size):
      chosen = np.arange(begin, min(begin + self._batch_size, count))
      padded = np.resize(chosen, batch_slots(len(chosen), self._batch_size))
      parts.append(self._logits(fetch(padded)).numpy()[: len(chosen)])
    return np.concatenate(parts)

  def run(
    self,
    attack: NamedAttack,
    seed: int = 0,
    among: np.ndarray | None = None,
    spare: np.ndarray | None = None,
    label: str | None = None,
  ) -> Verdict:
    """Attacks with one seed.

    Args:
      attack: NamedAttack.
      seed: of random starts and targets.
      among: bool [n], images to attack; None for those classified correctly.
      spare: bool [n], images known to fall: they are not attacked.
      label: name in the journal and for `progress`; the attack's by default.

    Returns:
      Verdict; `fell` holds what fell in this run, without `spare`.
    """
    began = time.monotonic()
    among = self.right if among is None else among
    places = np.flatnonzero(among if spare is None else among & ~spare)
    label = label or attack.name
    labels, targets = self.data.labels[places], self._targets(attack.target, seed, places)
    count = len(self.data)
    masks = {name: np.zeros(count, bool) for name in _MASKS}
    distance = np.full(count, np.nan)
    fallen, rejected = np.zeros(len(places), bool), 0
    kept: list[KeptImages] = []
    made = self._factory.make(attack.config)
    restarts = attack_configs.starts(attack.config, self.clean_logits.shape[1], targets is not None)

    def judged(restart, chosen, attack_chosen):
      aims = None if targets is None else targets[chosen]
      who = np.stack([places[chosen], places[chosen] if aims is None else aims]).astype(np.int64)
      name = [label, seed, restart, len(chosen), hashlib.sha256(who.tobytes()).hexdigest()[:16]]
      return self._recall(name, lambda: self._judged(attack.config, attack_chosen(), places[chosen], aims, kept))

    batches = survivor_batches(
      made,
      lambda positions: self.data.float_images(places[positions]),
      labels,
      broken=fallen,
      example_ids=places,
      targets=targets,
      seed=seed,
      restarts=restarts,
      batch_size=self._batch_size,
      run=judged,
      progress=self._progress and functools.partial(self._progress, label),
    )
    for chosen, found in batches:
      # What `judged` made of the attack's result.
      outcome = typing.cast(dict, found)
      fell = chosen[np.array(outcome["fell"], int)]
      fallen[fell] = True
      masks["attacked"][places[chosen]] = True
      for name in set(_MASKS) - {"attacked"}:
        masks[name][places[chosen[np.array(outcome[name], int)]]] = True
      distance[places[fell]] = outcome["distance"]
      rejected += outcome["rejected"]
      kept.append(self._unpacked(outcome["kept"], self._room(kept)))
    return Verdict(
      **masks,
      distance=distance,
      rejected=rejected,
      kept=joined(kept, self.data.image_shape),
      seconds=time.monotonic() - began,
    )

  def _room(self, kept: list[KeptImages]) -> int | None:
    """How many more images may be kept; None for any number."""
    return None if self._keep is None else max(0, self._keep - sum(len(part.positions) for part in kept))

  def _targets(self, target: Target, seed: int, places: np.ndarray) -> np.ndarray | None:
    """int32 [m]: the classes aimed at, or None."""
    if target is Target.NONE:
      return None
    logits, labels = self.clean_logits[places], self.data.labels[places]
    classes = logits.shape[1]
    if target is Target.RANDOM:
      keys = seeds.example_keys(seeds.key(seed, "target"), tf.constant(places, tf.int32))
      shift = 1 + np.floor(seeds.uniform([len(places)], keys).numpy() * (classes - 1)).astype(np.int32)
      return (labels + shift) % classes
    edge = np.inf if target is Target.LEAST_LIKELY else -np.inf
    others = np.where(np.arange(classes) == labels[:, None], edge, logits)
    return (others.argmin(1) if target is Target.LEAST_LIKELY else others.argmax(1)).astype(np.int32)

  def _judged(
    self, config: typing.Any, result: AttackResult, positions: np.ndarray, targets: np.ndarray | None, kept: list
  ) -> dict:
    """JSON values: what of an attack's result on a batch holds, by row of the batch."""
    clean, labels = self.data.float_images(positions), self.data.labels[positions]
    shown, valid, answers, finite = self._shown(config, clean, result.adversarial)
    if self._eight_bit:
      for factor in eight_bit.OUTWARD:
        lost = np.flatnonzero(result.success & ~(valid & (answers != labels)))
        if not len(lost):
          break
        rules = (config.epsilon, config.norm.value)
        larger = eight_bit.further_out(clean[lost], result.adversarial[lost], *rules, factor)
        tried = self._shown(config, clean[lost], larger)
        works = tried[1] & (tried[2] != labels[lost])
        for before, new in zip((shown, valid, answers, finite), tried):
          before[lost[works]] = new[works]
    errs = valid & (answers != labels)
    fell = np.flatnonzero(errs)
    chosen = fell[: self._room(kept)]
    return {
      "fell": fell.tolist(),
      "reached": [] if targets is None else np.flatnonzero(valid & (answers == targets)).tolist(),
      "distance": [float(d) for d in np.asarray(verifier.distance(clean[fell], shown[fell], config.norm.value))],
      # A loss that has done its work may be flat: only what stands is hidden by a gradient of 0.
      "zero_gradients": np.flatnonzero((result.zero_gradients > 0) & ~errs).tolist(),
      "nonfinite_gradients": np.flatnonzero(result.nonfinite_gradients > 0).tolist(),
      "nonfinite_outputs": np.flatnonzero(~finite).tolist(),
      "rejected": int((result.success & ~valid).sum()),
      "kept": [
        positions[chosen].tolist(),
        answers[chosen].tolist(),
        base64.b64encode(shown[chosen].astype("<f4").tobytes()).decode(),
      ],
    }

  def _shown(self, config: typing.Any, clean: np.ndarray, adversarial: np.ndarray) -> tuple:
    """(Images as they are shown to the network, whether they keep the rules, what it says of them, whether in numbers).

    The last is whether all logits are finite.
    """
    rules = (config.epsilon, config.norm.value)
    if self._eight_bit:
      adversarial = eight_bit.to_eight_bits(clean, adversarial, *rules)
    valid = verifier.verify(clean, adversarial, *rules, eight_bit=self._eight_bit)
    # Refused images may hold anything; the network is shown the clean ones in their place.
    shown = np.where(valid.reshape(-1, *[1] * (clean.ndim - 1)), adversarial, clean)
    logits = self.logits(lambda rows: shown[rows], len(shown))
    return shown, valid, predicted_classes(logits), np.isfinite(logits).all(1)

  def _unpacked(self, packed: list, room: int | None) -> KeptImages:
    positions, predictions, text = packed
    images = np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, *self.data.image_shape)
    return KeptImages(np.array(positions, int)[:room], images[:room], np.array(predictions, int)[:room])


def predicted_classes(logits: np.ndarray) -> np.ndarray:
  """Predicted classes int [n]; -1, which is always wrong, where a logit is NaN."""
  return np.where(np.isnan(logits).any(1), -1, np.argmax(logits, 1))


def joined(parts: list[KeptImages], image_shape: tuple) -> KeptImages:
  """The kept images of several batches or runs, one after the other."""
  if not parts:
    return KeptImages(np.zeros(0, int), np.zeros((0, *image_shape), np.float32), np.zeros(0, int))
  return KeptImages(*(np.concatenate(fields) for fields in zip(*parts)))
