"""An attack of another library behind our contract."""

from __future__ import annotations

import collections.abc
import contextlib
import importlib
import random
import typing
import warnings

import numpy as np
import tensorflow as tf

from tla_tf import attack_configs, balls
from tla_tf.attacks.attack import Attack, missed
from tla_tf.attacks.result import AttackResult
from tla_tf.errors import InputError
from tla_tf.networks.compilation import unwarned
from tla_tf.ops import objectives
from tla_tf.types import Jit

# Images of noise, of each batch, among which decision-based attacks look for a start.
_NOISE = 20


class LibraryAttack(Attack):
  """An attack of another library.

  Called with one start at a time; what it draws follows from the key. What it
  returns is brought back into the ball and the pixel range, which other libraries
  round in ways of their own, and judged by the network once more.

  The global generators of NumPy, Python and TensorFlow, which these libraries draw
  from, are set before each call; the first two are put back behind it.

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits".
    config: LibraryConfig.
    jit: "auto", "on", "off" or a bool: whether XLA compiles the network.

  Raises:
    InputError: if the library is not installed.
  """

  def __init__(self, network: typing.Any, config: attack_configs.LibraryConfig, jit: Jit | str | bool = "auto"):
    super().__init__(network, config, jit)
    if not config.facts.installed:
      raise InputError(
        f"`attack={config.attack}`: {config.facts.distribution} is missing; {attack_configs.GET_LIBRARIES}."
      )
    self.ball = balls.get(config.norm)
    # The libraries call it hundreds of times.
    self._logits = tf.function(self.forward, reduce_retracing=True, autograph=False)
    # As the library takes it: made once, since libraries compile it, too.
    self._model: typing.Any = None

  def run(
    self, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor, targets: tf.Tensor | None, restart: int
  ) -> AttackResult:
    """Raises InputError for targets."""
    if targets is not None:
      raise InputError("Attacks of other libraries take no targets here.")
    adapter = importlib.import_module(f"tla_tf.attacks.libraries.by_{self.config.facts.library}")
    seed = np.random.SeedSequence([*np.asarray(key).astype(np.uint32).ravel().tolist(), restart])
    with _seeded(seed), _quiet():
      try:
        if self._model is None:
          classes = self._logits(images[:1]).shape[-1]
          self._model = adapter.wrapped(self._logits, tuple(images.shape[1:]), classes)
        found = adapter.attack(self._model, self._logits, np.asarray(images), np.asarray(labels), self.config)
      except Exception as error:
        # Theirs to mend: a library has its own limits and faults.
        raise InputError(
          f"{self.config.attack}: failed in its own library ({type(error).__name__}: {str(error)[:120]}); leave it out "
          "by naming others (`cross_check_attacks`)."
        ) from error
    found = tf.where(tf.math.is_finite(found), tf.cast(found, tf.float32), images)
    found = tf.clip_by_value(self.ball.project(found, images, self.config.epsilon), 0.0, 1.0)
    logits = self._logits(found)
    none = tf.zeros_like(labels)
    return AttackResult(
      found,
      missed(logits, labels),
      objectives.cross_entropy(logits, labels),
      self.ball.distance(found, images),
      none,
      none,
    )


@contextlib.contextmanager
def _seeded(seed: np.random.SeedSequence) -> collections.abc.Iterator[None]:
  before = np.random.get_state(), random.getstate()  # noqa: NPY002  (what the libraries draw from)
  (number,) = seed.generate_state(1)
  np.random.seed(number)  # noqa: NPY002
  random.seed(int(number))
  tf.random.set_seed(int(number))
  try:
    yield
  finally:
    np.random.set_state(before[0])  # noqa: NPY002
    random.setstate(before[1])


@contextlib.contextmanager
def _quiet() -> collections.abc.Iterator[None]:
  """Without warnings: of packages that the libraries could use, of their arithmetic, of how they use TensorFlow."""
  with unwarned(), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    yield


def starting_points(logits: typing.Callable, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Images that the network takes for another class than the label's, where decision-based attacks begin.

  The other images of the batch are tried, then noise, black and white; of those the
  nearest in L2.

  Args:
    logits: images -> logits.
    images: float32 [n, ...] in [0, 1].
    labels: integer [n].

  Returns:
    (float32 [n, ...], bool [n]: whether there is one; else the image itself).
  """
  noise = np.random.random((_NOISE, *images.shape[1:])).astype(np.float32)  # noqa: NPY002
  plain = np.stack([np.zeros_like(images[0]), np.ones_like(images[0])])
  candidates = np.concatenate([images, noise, plain])
  said = np.argmax(logits(tf.constant(candidates)), 1)
  flat = candidates.reshape(len(candidates), -1)
  chosen, there = images.copy(), np.zeros(len(images), bool)
  for i, label in enumerate(labels):
    other = np.flatnonzero(said != label)
    if len(other):
      nearest = other[np.argmin(((flat[other] - flat[i]) ** 2).sum(1))]
      chosen[i], there[i] = candidates[nearest], True
  return chosen, there
