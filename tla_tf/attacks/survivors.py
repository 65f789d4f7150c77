"""Running an attack over many images: batches of survivors, restart after restart."""

import typing

import numpy as np
import tensorflow as tf

from tla_tf.attacks.result import AttackResult
from tla_tf.errors import InputError
from tla_tf.ops import inputs, seeds


def batch_slots(count: int, batch_size: int) -> int:
  """Size to which a batch of `count` images is padded: `batch_size` or a half, quarter, ... of it.

  Few sizes, so that XLA compiles few programs, and few slots for the last survivors.
  """
  size = batch_size
  while size // 2 >= max(count, 8):
    size //= 2
  return size


def survivor_batches(
  attack: typing.Any,
  fetch: typing.Callable[[np.ndarray], np.ndarray],
  labels: np.ndarray,
  *,
  broken: np.ndarray,
  example_ids: np.ndarray | None = None,
  targets: np.ndarray | None = None,
  seed: int = 0,
  keys: typing.Callable[[int, np.ndarray], tf.Tensor] | None = None,
  restarts: int | None = None,
  batch_size: int = 100,
  progress: typing.Callable[[int, int], None] | None = None,
  run: typing.Callable[[int, np.ndarray, typing.Callable[[], AttackResult]], AttackResult] | None = None,
) -> typing.Iterator[tuple[np.ndarray, typing.Any]]:
  """Yields what an attack finds on batches of the images that still stand.

  The caller marks broken images between batches; later restarts leave them out.
  The random start of an image depends on (seed, restart, example id) alone,
  not on the batch it falls into, so that fewer restarts search a subset of
  what more restarts search.

  Args:
    attack: an `Attack`.
    fetch: function from positions int [m] to float32 images [m, ...] in [0, 1].
    labels: int32 [n].
    broken: bool [n], images to leave out; the caller changes it.
    example_ids: integer [n], who the images are; positions by default.
    targets: int32 [n], the classes that the network shall say; None for any
      other than the true one.
    seed: a whole number.
    keys: function from restart and positions to the key of these images, int32 [2]
      or [m, 2]; None for keys of seed, restart and example id.
    restarts: number of starts; None for the attack's own number.
    batch_size: images a batch; the last batch of a round is padded, and smaller.
    progress: called with the number of batches done and to do, or None.
    run: function from (restart, positions, the function that attacks them) to
      an AttackResult, to keep a journal; None calls the function.

  Yields:
    (positions int [m], AttackResult of NumPy arrays of m rows).
  """
  ids = np.arange(len(labels)) if example_ids is None else np.asarray(example_ids)
  restarts = attack.restarts if restarts is None else restarts
  done = 0

  def own_keys(restart: int, positions: np.ndarray) -> tf.Tensor:
    return seeds.example_keys(seeds.key(seed, "restart", restart), tf.constant(ids[positions], tf.int32))

  keys = keys or own_keys
  for restart in range(restarts):
    left = np.flatnonzero(~broken)
    for begin in range(0, len(left), batch_size):
      chosen = left[begin : begin + batch_size]

      def attack_chosen(chosen=chosen, restart=restart):
        # Padding repeats an image: its answer is dropped, its cost is one batch slot.
        padded = np.resize(chosen, batch_slots(len(chosen), batch_size))
        aims = None if targets is None else targets[padded]
        found = attack.bound(ids[padded])(fetch(padded), labels[padded], keys(restart, padded), aims, restart)
        return AttackResult(*(np.asarray(field)[: len(chosen)] for field in found))

      yield chosen, run(restart, chosen, attack_chosen) if run else attack_chosen()
      done += 1
      if progress:
        rest = -(-(len(left) - begin - len(chosen)) // batch_size)
        progress(done, done + rest + (restarts - restart - 1) * -(-int((~broken).sum()) // batch_size))


def attack_survivors(
  attack: typing.Any,
  images: np.ndarray,
  labels: typing.Sequence[int] | np.ndarray,
  *,
  example_ids: typing.Sequence[int] | np.ndarray | None = None,
  targets: typing.Sequence[int] | np.ndarray | None = None,
  seed: int = 0,
  restarts: int | None = None,
  batch_size: int = 100,
  progress: typing.Callable[[int, int], None] | None = None,
) -> AttackResult:
  """Attacks an array of images, restarting on those not yet broken.

  Args:
    attack: an `Attack`.
    images: float32 [n, ...] in [0, 1].
    labels: integer [n].
    example_ids: integer [n], who the images are; positions by default.
    targets: integer [n], the classes that the network shall say; None for any
      other than the true one.
    seed: a whole number.
    restarts: number of starts; None for those of the attack's settings that differ.
    batch_size: images a batch.
    progress: called with the number of batches done and to do, or None.

  Returns:
    AttackResult of NumPy arrays: for each image the best point of all starts
    (misclassified first, then highest objective); gradient counts are summed.

  Raises:
    InputError: if images leave [0, 1], labels or targets are no classes, or they and the example ids differ in number.
  """
  images, count = np.asarray(images), len(images)
  inputs.require_images(images)
  # Whether the network has such classes is asked when it is called.
  labels = inputs.require_labels(labels, count)
  if targets is not None:
    targets = inputs.require_labels(targets, count, name="targets")
  ids = np.arange(count) if example_ids is None else np.asarray(example_ids)
  if len(ids) != count:
    raise InputError(f"There are {count} images, but {len(ids)} `example_ids`: give one an image.")
  best = _nothing_found(images)
  batches = survivor_batches(
    attack,
    lambda positions: images[positions],
    labels,
    broken=best.success,
    example_ids=ids,
    targets=targets,
    seed=seed,
    restarts=attack.starts(images, targets) if restarts is None and count else restarts,
    batch_size=batch_size,
    progress=progress,
  )
  for chosen, found in batches:
    _keep_better(best, chosen, found)
  return best


def best_of_starts(
  attack: typing.Any, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor, targets: tf.Tensor | None, starts: int
) -> AttackResult:
  """What an attack's call with several starts gives: each on what the earlier ones left of one batch.

  Args:
    attack: an `Attack`.
    images: float32 [n, ...] in [0, 1].
    labels: int32 [n].
    key: int32 [2] or [n, 2]: that of the first start; the others' follow from it.
    targets: int32 [n] or None.
    starts: how many.

  Returns:
    AttackResult of tensors, as `attack_survivors` merges them.
  """

  def keys(restart: int, positions: np.ndarray) -> tf.Tensor:
    if restart == 0:
      # All images, in their order.
      return key
    if key.shape.rank == 1:
      return seeds.example_keys(seeds.fold(key, restart), tf.constant(positions, tf.int32))
    return seeds.fold_each(tf.gather(key, positions), restart)

  best = _nothing_found(images)
  batches = survivor_batches(
    attack,
    lambda positions: tf.gather(images, positions),
    labels.numpy(),
    broken=best.success,
    targets=None if targets is None else targets.numpy(),
    keys=keys,
    restarts=starts,
    batch_size=max(1, len(images)),
  )
  for chosen, found in batches:
    _keep_better(best, chosen, found)
  counts = (field.astype(np.int32) for field in best[-2:])
  return AttackResult(*map(tf.convert_to_tensor, (*best[:-2], *counts)))


def _nothing_found(images: typing.Any) -> AttackResult:
  """Before the first start; to be changed in place."""
  count = len(images)
  return AttackResult(
    adversarial=np.array(images, np.float32),
    success=np.zeros(count, bool),
    loss=np.full(count, -np.inf, np.float32),
    distance=np.zeros(count, np.float32),
    zero_gradients=np.zeros(count, np.int64),
    nonfinite_gradients=np.zeros(count, np.int64),
  )


def _keep_better(best, chosen, found):
  better = (found.success & ~best.success[chosen]) | (
    (found.success == best.success[chosen]) & (found.loss > best.loss[chosen])
  )
  rows = chosen[better]
  best.adversarial[rows] = found.adversarial[better]
  best.loss[rows] = found.loss[better]
  best.distance[rows] = found.distance[better]
  best.success[rows] = found.success[better]
  best.zero_gradients[chosen] += found.zero_gradients
  best.nonfinite_gradients[chosen] += found.nonfinite_gradients
