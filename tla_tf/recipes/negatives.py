"""Where the negatives of a triplet come from: a fresh pool, the batch, or a memory of embeddings.

Sources: Mao et al. 2019, Section 4, "Negative Sample Selection" (fresh pool);
Wang et al. 2020, "Cross-Batch Memory for Embedding Learning" (memory bank).
"""

from __future__ import annotations

import abc
import typing

from tla_tf.lazy import lazy
from tla_tf.recipes.draws import draw
from tla_tf.recipes.stateful import Stateful
from tla_tf.recipes.terms import CLEAN_ROLES, Step
from tla_tf.types import Negatives, Role

tf = lazy("tensorflow")
keras = lazy("keras")
mining = lazy("tla_tf.ops.mining")
replicas = lazy("tla_tf.ops.replicas")


class Chosen(typing.NamedTuple):
  """The negatives of a step's anchors.

  Attributes:
    embedding: float32 [n, d].
    labels: int32 [n], their classes.
    valid: float32 [n], 0 where there was none to choose: such an anchor has no
      triplet loss.
  """

  embedding: typing.Any
  labels: typing.Any
  valid: typing.Any


class NegativeSource(Stateful, abc.ABC):
  """Base of all sources.

  Args:
    rule: a `types.Negatives`, how one is picked.

  Attributes:
    pool_size: images that the stream draws for it at every step.
    across_replicas: whether an anchor's negatives come from all replicas' pools.
    needs_whole_batch: whether it picks from the images that are trained on, of which
      a micro-batch has a part.
  """

  pool_size: int = 0
  across_replicas: bool = True
  needs_whole_batch: bool = False

  def __init__(self, rule: Negatives = Negatives.NEAREST):
    self.rule = Negatives(rule)

  def build(self, embedding_size: int) -> None:
    """Makes the source's variables, if it has any, by `add_variable`."""

  def images(self, network: typing.Any, batch: dict, adversarial: typing.Any, seed: typing.Any) -> tuple:
    """(images float32 [n, ...], labels int32 [n]) of a source that gives images.

    Args:
      network: maps images to {"embedding", "logits"}.
      batch: dict of "label", "pool" and "pool_label".
      adversarial: float32 [n, ...], the anchors.
      seed: key int32 [2] of the step.
    """
    raise TypeError(f"{type(self).__name__} gives no images: a method with it has no `Role.NEGATIVE`.")

  def mined(self, batch_size: int) -> int:
    """Images that pass through the network in inference mode at a step, to pick from."""
    del batch_size
    return 0

  def compared(self, batch_size: int) -> int:
    """Pairs of embeddings whose similarity a step computes."""
    del batch_size
    return 0

  def _of_all(self, rows: typing.Any) -> typing.Any:
    """The rows of all replicas where negatives come from all of them."""
    return replicas.all_rows(rows) if self.across_replicas else rows

  @abc.abstractmethod
  def choose(self, step: Step) -> Chosen:
    """The negatives of a step whose images have passed through the network."""

  def update(self, step: Step) -> None:
    """Takes in what a step has computed."""

  def _valid(self, labels: typing.Any, step: Step) -> typing.Any:
    if self.rule is Negatives.AUTHORS_RANDOM:
      return tf.cast(labels >= 0, tf.float32)
    return tf.cast((labels != step.labels[Role.ADVERSARIAL]) & (labels >= 0), tf.float32)

  def _pick(self, step: Step, pool: typing.Any, pool_labels: typing.Any, large: bool = False) -> Chosen:
    """Negatives among embeddings float32 [m, d]; labels below 0 are empty places."""
    labels = step.labels[Role.ADVERSARIAL]
    if self.rule is Negatives.NEAREST:
      index = mining.nearest_negative(step.outputs[Role.ADVERSARIAL]["embedding"], pool, labels, pool_labels, large)
    else:
      key = draw(step.key, "negatives")
      index = mining.random_negative(labels, pool_labels, key, self.rule is Negatives.RANDOM)
    picked = tf.gather(pool_labels, index)
    return Chosen(tf.gather(pool, index), picked, self._valid(picked, step))


class FreshPool(NegativeSource):
  """A batch of clean images of its own, embedded in inference mode to pick from (paper).

  Args:
    rule: a `types.Negatives`, how one is picked.
    size: images of the pool.
  """

  def __init__(self, rule: Negatives = Negatives.NEAREST, size: int = 50):
    super().__init__(rule)
    self.pool_size = size

  def images(self, network: typing.Any, batch: dict, adversarial: typing.Any, seed: typing.Any) -> tuple:
    pool, pool_labels = self._of_all(batch["pool"]), self._of_all(batch["pool_label"])
    if self.rule is Negatives.NEAREST:
      count = tf.shape(adversarial)[0]
      both = network(tf.concat([adversarial, batch["pool"]], 0), training=False)["embedding"]
      index = mining.nearest_negative(both[:count], self._of_all(both[count:]), batch["label"], pool_labels)
    else:
      key = draw(seed, "negatives")
      index = mining.random_negative(batch["label"], pool_labels, key, self.rule is Negatives.RANDOM)
    return tf.gather(pool, index), tf.gather(pool_labels, index)

  def mined(self, batch_size: int) -> int:
    return batch_size + self.pool_size if self.rule is Negatives.NEAREST else 0

  def compared(self, batch_size: int) -> int:
    return batch_size * self.pool_size if self.rule is Negatives.NEAREST else 0

  def choose(self, step: Step) -> Chosen:
    labels = step.labels[Role.NEGATIVE]
    return Chosen(step.outputs[Role.NEGATIVE]["embedding"], labels, self._valid(labels, step))


def _clean(step: Step, of_all: typing.Callable) -> tuple:
  """Embeddings and labels of all clean images of a step, each role's rows as `of_all` gathers them."""
  roles = [role for role in step.outputs if role in CLEAN_ROLES]
  return tuple(
    tf.concat([of_all(part) for part in parts], 0)
    for parts in ([step.outputs[role]["embedding"] for role in roles], [step.labels[role] for role in roles])
  )


class Batch(NegativeSource):
  """The step's own clean images: nothing more is computed, and gradients reach the negatives."""

  needs_whole_batch = True

  def choose(self, step: Step) -> Chosen:
    return self._pick(step, *_clean(step, self._of_all))


class MemoryBank(NegativeSource):
  """The clean embeddings of the last steps, first in, first out (Wang et al. 2020).

  They are those that the steps computed anyway, in training mode, and are
  constants: no gradient reaches them. All replicas' enter, in the order of the
  whole batch. The triplet loss is off until `start`,
  when embeddings no longer change fast.

  Args:
    rule: a `types.Negatives`, how one is picked.
    size: embeddings kept.
    start: first step whose triplet loss counts.
  """

  def __init__(self, rule: Negatives, size: int, start: int):
    super().__init__(rule)
    self.size, self.start = size, start

  def build(self, embedding_size: int) -> None:
    # All replicas take in the same rows.
    own: dict = {"trainable": False, "aggregation": "only_first_replica"}
    self._embeddings = self.add_variable("embeddings", (self.size, embedding_size), **own)
    self._labels = self.add_variable("labels", (self.size,), keras.initializers.Constant(-1), dtype="int32", **own)
    self._next = self.add_variable("next", (), dtype="int32", **own)

  def compared(self, batch_size: int) -> int:
    return batch_size * self.size if self.rule is Negatives.NEAREST else 0

  def choose(self, step: Step) -> Chosen:
    chosen = self._pick(step, tf.convert_to_tensor(self._embeddings), tf.convert_to_tensor(self._labels), True)
    begun = tf.cast(tf.cast(step.number, tf.int64) >= self.start, tf.float32)
    return chosen._replace(valid=chosen.valid * begun)

  def update(self, step: Step) -> None:
    embeddings, labels = (tf.stop_gradient(values)[-self.size :] for values in _clean(step, replicas.all_rows))
    following = tf.convert_to_tensor(self._next)
    count = tf.shape(labels)[0]
    places = tf.math.floormod(following + tf.range(count), self.size)[:, None]
    for variable, values in ((self._embeddings, embeddings), (self._labels, labels)):
      variable.assign(tf.tensor_scatter_nd_update(tf.convert_to_tensor(variable), places, values))
    self._next.assign(tf.math.floormod(following + count, self.size))
