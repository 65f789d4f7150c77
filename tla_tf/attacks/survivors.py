"""Running an attack over an array: fixed batches, restarts on survivors only."""

import numpy as np
import tensorflow as tf

from tla_tf.attacks.attack import AttackResult
from tla_tf.errors import InputError
from tla_tf.ops import seeds


def attack_survivors(attack, images, labels, *, example_ids=None, seed=0, restarts=None, batch_size=100, progress=None):
  """Attacks an array of images, restarting on those not yet broken.

  The random start of an image depends on (seed, restart, example id) alone,
  not on the batch it falls into, so that fewer restarts search a subset of
  what more restarts search. Batches have one size (the last is padded): one
  compiled program serves all.

  Args:
    attack: an `Attack`.
    images: float32 [n, ...] in [0, 1].
    labels: integer [n].
    example_ids: integer [n], who the images are; positions by default.
    seed: a whole number.
    restarts: number of starts; None for the attack's own number.
    batch_size: images a batch.
    progress: called with the number of batches done and to do, or None.

  Returns:
    AttackResult of NumPy arrays: for each image the best point of all starts
    (misclassified first, then highest objective); gradient counts are summed.

  Raises:
    InputError: if images, labels and example ids differ in number.
  """
  count = len(images)
  ids = np.arange(count) if example_ids is None else np.asarray(example_ids)
  if not count == len(labels) == len(ids):
    raise InputError(f"{count} images, {len(labels)} labels, {len(ids)} example ids: expected as many of each.")
  labels = np.asarray(labels, np.int32)
  best = AttackResult(
    adversarial=np.array(images, np.float32), success=np.zeros(count, bool),
    loss=np.full(count, -np.inf, np.float32), distance=np.zeros(count, np.float32),
    zero_gradients=np.zeros(count, np.int64), nonfinite_gradients=np.zeros(count, np.int64))
  restarts = attack.restarts if restarts is None else restarts
  done = 0
  for restart in range(restarts):
    key = seeds.key(seed, "restart", restart)
    left = np.flatnonzero(~best.success)
    rest = -(-len(left) // batch_size)
    for begin in range(0, len(left), batch_size):
      chosen = left[begin:begin + batch_size]
      # Padding repeats an image: its answer is dropped, its cost is one batch slot.
      padded = np.resize(chosen, batch_size)
      keys = seeds.example_keys(key, tf.constant(ids[padded], tf.int32))
      found = attack(images[padded], labels[padded], seed=keys)
      _keep_better(best, chosen, AttackResult(*(np.asarray(field)[:len(chosen)] for field in found)))
      done += 1
      rest -= 1
      if progress:
        progress(done, done + rest + (restarts - restart - 1) * -(-int((~best.success).sum()) // batch_size))
  return best


def _keep_better(best, chosen, found):
  better = (found.success & ~best.success[chosen]) | (
    (found.success == best.success[chosen]) & (found.loss > best.loss[chosen]))
  rows = chosen[better]
  best.adversarial[rows] = found.adversarial[better]
  best.loss[rows] = found.loss[better]
  best.distance[rows] = found.distance[better]
  best.success[rows] = found.success[better]
  best.zero_gradients[chosen] += found.zero_gradients
  best.nonfinite_gradients[chosen] += found.nonfinite_gradients
