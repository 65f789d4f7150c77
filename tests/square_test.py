"""The square attack: its schedule and shapes by hand, closed forms on linear models, and properties."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tla_tf import networks
from tla_tf.attack_configs import ApgdConfig, SquareConfig
from tla_tf.attacks.auto_attack import Apgd, Square
from tla_tf.attacks.auto_attack.square import bump, covered_share, offsets, window
from tla_tf.errors import InputError
from tla_tf.evaluation.verifier import verify
from tla_tf.ops import objectives, seeds

FAST = hypothesis.settings(max_examples=20, deadline=None)
SEED = st.integers(0, 10**6)
NORMS = ["linf", "l2"]
DUAL = {"linf": 1, "l2": 2}
SHAPES = [(5, 5, 1), (4, 7, 3), (3, 2, 2), (1, 1, 1)]


def pixels(seed, count=3, shape=(5, 5, 1)):
  return np.random.default_rng(seed).uniform(size=(count, *shape)).astype(np.float32)


def linear(kernel, bias=0.0):
  kernel = tf.constant(kernel, tf.float32)
  return lambda images: tf.reshape(images - 0.5, [tf.shape(images)[0], -1]) @ kernel + bias


def four_classes(shape=(5, 5, 1), seed=0):
  return linear(np.random.default_rng(seed).normal(size=(np.prod(shape), 4)))


def said(network, images):
  return np.argmax(network(tf.constant(images)), -1)


@pytest.mark.parametrize(
  "query, queries, halvings",
  [
    (1, 10000, 0),
    (10, 10000, 0),
    (11, 10000, 1),
    (51, 10000, 2),
    (201, 10000, 3),
    (501, 10000, 4),
    (1001, 10000, 5),
    (2001, 10000, 6),
    (4001, 10000, 7),
    (6001, 10000, 8),
    (8000, 10000, 8),
    (8001, 10000, 9),
    (5, 5000, 0),
    (6, 5000, 1),
    (4999, 5000, 9),
    (1, 10, 4),
    (999_999, 1_000_000, 9),
  ],
)
def test_the_share_is_halved_by_the_published_schedule(query, queries, halvings):
  np.testing.assert_allclose(covered_share(query, queries, 0.8), 0.8 / 2**halvings, rtol=1e-6)


def test_a_window_by_hand():
  inside = window(*offsets(tf.constant([1, 0]), tf.constant([0, 2]), 3, 4), 2)[..., 0]
  np.testing.assert_array_equal(
    tf.cast(inside, tf.int32), [[[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]], [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]]
  )


def test_a_bump_by_hand():
  """Equation 2: sums of 1 / (n + 1 - k)^2, in rings around the centre of each half."""

  def value(row, column, height, width):
    """The equation, with its counts from 1."""
    n = height // 2
    most = n - max(abs(row - height // 2 - 1), abs(column - width // 2 - 1))
    return sum(1 / (n + 1 - k) ** 2 for k in range(most + 1))

  for side in (3, 5, 7, 8):
    half = side // 2
    # The first bump is side / 2 rows high; the equation's first argument is the longer side.
    expected = np.array(
      [
        [
          value(c + 1, r + 1, side, half) if r < half else -value(c + 1, r - half + 1, side, side - half)
          for c in range(side)
        ]
        for r in range(side)
      ]
    )
    found = bump(tf.range(side)[:, None], tf.range(side)[None], tf.constant(side), 9)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def queries_of(norm, steps, images, network, seed=0, **settings):
  """All images that the network is asked about, in order: [queries, n, ...]; the first is the clean one."""
  seen = []

  def watched(images):
    seen.append(images.numpy())
    return network(images)

  attack = Square(watched, SquareConfig(steps=steps, norm=norm, **settings), jit="off")
  tf.config.run_functions_eagerly(True)
  try:
    attack(images, said(network, images), seed=seed)
  finally:
    tf.config.run_functions_eagerly(False)
  # The call before them counts the classes, on one image.
  return np.array(seen[1:])


def assert_rounding_decides_nothing(seen, network, labels):
  """Asserts that the queries of a search are accepted or refused, and succeed or not, by more than rounding."""
  losses = np.array([-objectives.logit_lead(network(tf.constant(asked)), labels) for asked in seen])
  current, loss = seen[1].copy(), losses[1].copy()
  standing = losses[0] < 0
  for asked, gained in zip(seen[2:], losses[2:]):
    standing &= loss < 0
    other = standing & np.any(asked != current, axis=(1, 2, 3))
    assert np.all(np.abs(gained - loss)[other] > 1e-5) and np.all(np.abs(gained)[other] > 1e-5)
    accepted = other & (gained > loss)
    current[accepted], loss[accepted] = asked[accepted], gained[accepted]


def test_stripes_and_squares_as_published():
  images = np.full((2, 9, 9, 2), 0.5, np.float32)
  network = linear(np.zeros((162, 3)), tf.constant([9.0, 0.0, 0.0]))
  seen = queries_of("linf", 40, images, network, epsilon=0.25)
  assert len(seen) == 41
  stripes = seen[1]
  # Columns of one value a channel.
  np.testing.assert_array_equal(stripes, np.broadcast_to(stripes[:, :1], stripes.shape))
  np.testing.assert_array_equal(np.unique(stripes), [0.25, 0.75])
  # Nothing is gained here, so that every query differs from the stripes within one square.
  corners = []
  for query, asked in enumerate(seen[2:], 1):
    np.testing.assert_array_equal(np.unique(asked), [0.25, 0.75])
    side = max(round(float(np.sqrt(covered_share(query, 40, 0.8) * 81))), 1)
    for changed in np.any(asked != stripes, axis=-1):
      rows, columns = np.nonzero(changed.any(1))[0], np.nonzero(changed.any(0))[0]
      if len(rows):
        assert np.ptp(rows) < side and np.ptp(columns) < side
        corners.append((rows[0], columns[-1]))
  # Each image has its own squares, and they reach the last row and column.
  assert np.any(seen[2:, 0] != seen[2:, 1])
  assert len(set(corners)) > 20


def test_the_start_in_l2_is_a_grid_of_bumps_on_the_surface():
  images = np.full((4, 10, 11, 1), 0.5, np.float32)
  network = linear(np.zeros((110, 3)), tf.constant([9.0, 0.0, 0.0]))
  seen = queries_of("l2", 60, images, network, epsilon=0.4)
  changes = (seen[1:] - 0.5).reshape(len(seen) - 1, 4, -1)
  # Far from the ends of the pixel range, every query spends the whole budget.
  np.testing.assert_allclose(np.linalg.norm(changes, axis=-1), 0.4, rtol=1e-4)
  start = (seen[1] - 0.5).reshape(4, 10, 11)
  # Tiles of 2 x 2 pixels, each with two bumps of opposite sign.
  np.testing.assert_allclose(start[:, :, :10].reshape(4, 5, 2, 5, 2).sum((2, 4)), 0.0, atol=1e-6)
  np.testing.assert_array_equal(start[:, :, 10], 0.0)
  assert np.all(start[:, :, :10] != 0)


@pytest.mark.parametrize("norm", NORMS)
def test_a_linear_model_is_broken_where_epsilon_suffices(norm):
  """Two classes far from the ends of the pixel range: the distance is |lead| / |w|_dual."""
  rng = np.random.default_rng(1)
  kernel, images = rng.normal(size=(25, 2)), rng.uniform(0.4, 0.6, size=(40, 5, 5, 1)).astype(np.float32)
  network = linear(kernel)
  labels = said(network, images)
  distance = np.abs(network(images).numpy() @ [1, -1]) / np.linalg.norm(kernel @ [1, -1], DUAL[norm])
  epsilon = float(np.median(distance))
  found = Square(network, SquareConfig(epsilon=epsilon, steps=800, norm=norm), jit="off")(images, labels)
  success = found.success.numpy()
  assert not np.any(success[distance > 1.001 * epsilon])
  # In L2 windows of 3 x 3 cannot form every direction.
  assert np.all(success[distance < (0.99 if norm == "linf" else 0.8) * epsilon])
  np.testing.assert_array_equal(said(network, found.adversarial) != labels, success)


@pytest.mark.parametrize("norm", NORMS)
def test_explicit_targets_are_reached(norm):
  network, images = four_classes(), pixels(0, 12)
  labels = said(network, images)
  targets = (labels + 1) % 4
  attack = Square(network, SquareConfig(epsilon=0.5 if norm == "linf" else 2.5, steps=500, norm=norm), jit="off")
  found = attack(images, labels, targets=targets)
  assert np.all(found.success)
  np.testing.assert_array_equal(said(network, found.adversarial), targets)


def test_no_gradient_is_needed():
  """Four grey levels: the gradient is 0 everywhere, and only the square attack breaks the network."""
  inner = four_classes()

  def network(images):
    return inner(tf.round(3.0 * images) / 3.0)

  images = pixels(0, 20)
  labels = said(network, images)
  blind = Apgd(network, ApgdConfig(epsilon=0.3, steps=30), jit="off")(images, labels)
  found = Square(network, SquareConfig(epsilon=0.3, steps=300), jit="off")(images, labels)
  assert np.all(blind.zero_gradients.numpy() == 30)
  np.testing.assert_array_equal(found.zero_gradients, 0)
  np.testing.assert_array_equal(found.nonfinite_gradients, 0)
  assert np.sum(found.success & ~blind.success) >= 3 and np.all(found.success)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_any_size(norm, shape):
  network, images = four_classes(shape), pixels(0, 3, shape)
  found = Square(network, SquareConfig(epsilon=0.1, steps=30, norm=norm), jit="off")(images, said(network, images))
  assert np.all(verify(images, found.adversarial, 0.1, norm))
  assert np.all(np.isfinite(found.loss))


@hypothesis.given(SEED, st.floats(0, 1, width=32), st.integers(1, 40), st.sampled_from(NORMS))
@FAST
def test_whatever_is_found_passes_the_independent_check(seed, epsilon, steps, norm):
  images, network = pixels(seed), four_classes()
  labels = said(network, images)
  config = SquareConfig(epsilon=epsilon, steps=steps, norm=norm)
  # One attack for all examples: its numbers enter as tensors, so that it is traced once.
  attack = SHARED.setdefault(norm, Square(network, config, jit="off"))
  attack.config = config
  found = attack(images, labels, seed=seed)
  assert np.all(verify(images, found.adversarial, epsilon, norm))
  np.testing.assert_array_equal(found.success, said(network, found.adversarial) != labels)
  logits = network(found.adversarial).numpy()
  others = np.where(np.eye(4, dtype=bool)[labels], -np.inf, logits).max(1)
  np.testing.assert_allclose(found.loss, others - logits[np.arange(3), labels], atol=1e-5)


SHARED = {}


def test_a_broken_image_stands_still():
  """More queries change only what was not broken; what is wrong already stays as it is."""
  network, images = four_classes(), pixels(2, 30)
  labels = said(network, images)
  labels[0] = (labels[0] + 1) % 4
  # Single pixels from the first query on, so that rescaling the share changes nothing: the same queries in both.
  short, long = (
    Square(network, SquareConfig(epsilon=0.06, steps=steps, initial_share=1e-3), jit="off")(images, labels, seed=1)
    for steps in (40, 80)
  )
  broken = short.success.numpy()
  assert 2 < broken.sum() < np.sum(long.success)
  np.testing.assert_array_equal(short.adversarial[broken], long.adversarial[broken])
  np.testing.assert_array_equal(short.adversarial[0], images[0])
  assert np.all(long.loss.numpy() >= short.loss.numpy())


@pytest.mark.parametrize("norm", NORMS)
def test_compilers_agree(norm):
  built = networks.build("mlp_64", (5, 5, 1), 4, seed=0)
  images = pixels(6, 8)
  labels = np.argmax(built(images)["logits"], -1)
  config = SquareConfig(epsilon=0.05, steps=20, norm=norm)
  seen = queries_of(norm, 20, images, networks.logits_function(built), epsilon=0.05)
  assert_rounding_decides_nothing(seen, networks.logits_function(built), labels)
  plain = Square(built, config, jit="off")(images, labels)
  compiled = Square(built, config, jit="on")(images, labels)
  tf.config.run_functions_eagerly(True)
  try:
    eager = Square(built, config, jit="off")(images, labels)
  finally:
    tf.config.run_functions_eagerly(False)
  for other in (compiled, eager):
    np.testing.assert_allclose(other.adversarial, plain.adversarial, atol=1e-5)
    np.testing.assert_array_equal(other.success, plain.success)


@pytest.mark.parametrize("norm", NORMS)
def test_neighbours_do_not_matter_and_seeds_do(norm):
  network, images = four_classes(), pixels(4, 6)
  labels, keys = said(network, images), seeds.example_keys(seeds.key(1), tf.range(6))
  attack = Square(network, SquareConfig(epsilon=0.05, steps=30, norm=norm), jit="off")
  together, again = attack(images, labels, keys), attack(images, labels, keys)
  np.testing.assert_array_equal(together.adversarial, again.adversarial)
  assert_rounding_decides_nothing(queries_of(norm, 30, images, network, keys, epsilon=0.05), network, labels)
  np.testing.assert_allclose(together.adversarial[:2], attack(images[:2], labels[:2], keys[:2]).adversarial, atol=1e-5)
  # Neighbours that are broken at once do not end the search early either.
  broken = np.where(np.arange(6) < 2, labels, (labels + 1) % 4)
  np.testing.assert_array_equal(together.adversarial[:2], attack(images, broken, keys).adversarial[:2])
  assert np.any(attack(images, labels, 1).adversarial.numpy() != attack(images, labels, 2).adversarial.numpy())
  assert attack.trace_count == 1


@pytest.mark.parametrize("norm", NORMS)
def test_a_constant_network_is_harmless(norm):
  found = Square(
    lambda images: tf.zeros([tf.shape(images)[0], 4]), SquareConfig(epsilon=0.1, steps=20, norm=norm), jit="off"
  )(pixels(0), [0, 0, 1])
  np.testing.assert_array_equal(found.success, [False, False, True])
  assert np.all(np.isfinite(found.adversarial)) and np.all(found.loss.numpy() == 0)


def test_other_inputs_than_images_are_refused():
  with pytest.raises(InputError, match="height"):
    Square(four_classes(), SquareConfig(), jit="off")(np.zeros([2, 25], np.float32), [0, 1])


@pytest.mark.parametrize(
  "bad",
  [
    dict(epsilon=-0.1),
    dict(epsilon=1.5),
    dict(steps=0),
    dict(initial_share=0.0),
    dict(initial_share=1.5),
    dict(norm="l0"),
    dict(restarts=0),
  ],
)
def test_bad_settings_are_refused(bad):
  with pytest.raises(InputError, match=next(iter(bad))):
    SquareConfig(**bad)


def test_without_rescaling_queries_count_as_they_are():
  """With few queries the squares stay large: another search than the rescaled one."""
  images, labels = np.full((4, 8, 8, 1), 0.5, np.float32), np.zeros(4, int)

  def network(x):
    # Only the corner pixel counts: large squares hit it, small ones hardly do.
    return tf.stack([0.4 - x[:, 0, 0, 0], x[:, 0, 0, 0] * 0.0 - 1.0], 1)

  rescaled, plain = (
    Square(network, SquareConfig(0.2, steps=60, rescale_schedule=rescale), jit="off")(images, labels)
    for rescale in (True, False)
  )
  assert np.any(rescaled.adversarial != plain.adversarial)
