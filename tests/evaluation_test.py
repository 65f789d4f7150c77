"""Evaluation: verifier, judge on networks whose answers are known, suites, tables."""

import dataclasses

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tla_tf import data, datasets, models, networks
from tla_tf.attack_configs import DeepFoolConfig
from tla_tf.attacks import Attack, AttackFactory, AttackResult, presets
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.evaluation import NamedAttack, evaluate, suite, verify
from tla_tf.evaluation.eight_bit import to_eight_bits
from tla_tf.evaluation.verifier import distance
from tla_tf.records.evaluation import Diagnostics
from tla_tf.types import MomentumRule, Objective

# --------------------------------------------------------------------------- verifier


def _verdict(clean, found, epsilon):
  """The verdict on one image of the given pixels."""
  return verify(np.array([clean], np.float32), np.array([found], np.float32), epsilon)[0]


_pixels = st.floats(0.0, 1.0, width=32, allow_subnormal=False)
_found = st.one_of(
  st.floats(-0.25, 1.25, width=32, allow_subnormal=False), st.sampled_from([float("nan"), float("inf"), -float("inf")])
)


@hypothesis.settings(max_examples=300, deadline=None, derandomize=True, database=None)
@hypothesis.given(pixels=st.lists(st.tuples(_pixels, _found), min_size=1, max_size=4), epsilon=_pixels)
def test_verifier_accepts_exactly_ball_and_range(pixels, epsilon):
  # Far from the tolerance, which has tests of its own.
  hypothesis.assume(all(not 0 < abs(a - c) - epsilon < 1e-5 for c, a in pixels))
  expected = all(0.0 <= a <= 1.0 and c - epsilon <= a + 1e-9 and a - 1e-9 <= c + epsilon for c, a in pixels)
  clean, found = zip(*pixels)
  assert _verdict(clean, found, epsilon) == expected


@hypothesis.settings(max_examples=50, deadline=None, derandomize=True, database=None)
@hypothesis.given(clean=st.lists(_pixels, min_size=1, max_size=4), epsilon=_pixels, offset=st.floats(-1.0, 1.0))
def test_verifier_accepts_what_float32_makes_of_the_ball(clean, epsilon, offset):
  clean = np.array(clean, np.float32)
  found = np.clip(clean + np.float32(epsilon) * np.float32(offset), 0, 1)
  assert _verdict(clean, found, epsilon)


VERDICTS = {
  "the image itself": ([0.5, 0.5], [0.5, 0.5], True),
  "on the ball's surface": ([0.5, 0.5], [0.6, 0.4], True),
  "within the tolerance": ([0.5, 0.5], [0.6 + 5e-7, 0.5], True),
  "beyond the tolerance": ([0.5, 0.5], [0.6 + 2e-6, 0.5], False),
  "below, beyond the tolerance": ([0.5, 0.5], [0.4 - 2e-6, 0.5], False),
  "overshoot of 1e-3": ([0.5, 0.5], [0.5, 0.601], False),
  "NaN": ([0.5, 0.5], [0.5, np.nan], False),
  "infinity": ([0.5, 0.5], [np.inf, 0.5], False),
  "minus infinity": ([0.5, 0.5], [-np.inf, 0.5], False),
  "edges of the range": ([0.05, 0.95], [0.0, 1.0], True),
  "below 0": ([0.05, 0.5], [-1e-6, 0.5], False),
  "above 1": ([0.95, 0.5], [1.0 + 1e-6, 0.5], False),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_verdict(case):
  clean, found, expected = VERDICTS[case]
  assert _verdict(clean, found, 0.1) == expected


def test_verifier_judges_every_image_by_itself():
  clean = np.full((3, 2, 2, 1), 0.5, np.float32)
  found = clean.copy()
  found[1, 0, 0, 0] = 0.7
  np.testing.assert_array_equal(verify(clean, found, 0.1), [True, False, True])


def test_verifier_of_no_images():
  none = np.zeros((0, 8, 8, 1), np.float32)
  assert verify(none, none, 0.1).shape == (0,)


def _one(pixels):
  return np.array([pixels], np.float32)


@pytest.mark.parametrize("norm, expected", [("linf", 0.3), ("l2", np.sqrt(0.09 + 0.01)), ("l0", 0.5)])
def test_distance_by_hand(norm, expected):
  found = distance(_one([0.5, 0.5, 0.5, 0.5]), _one([0.8, 0.5, 0.4, 0.5]), norm)
  np.testing.assert_allclose(found, [expected], rtol=1e-6)


@pytest.mark.parametrize("share, expected", [(0.5, True), (0.49, False), (0.25, False), (1.0, True)])
def test_verdict_in_l0_counts_changed_pixels(share, expected):
  assert verify(_one([0.5, 0.5, 0.5, 0.5]), _one([1.0, 0.5, 0.0, 0.5]), share, "l0")[0] == expected


def test_verdict_on_grey_levels():
  clean = _one([100 / 255, 200 / 255])
  assert verify(clean, _one([101 / 255, 199 / 255]), 0.1, eight_bit=True)[0]
  assert not verify(clean, _one([101.5 / 255, 199 / 255]), 0.1, eight_bit=True)[0]
  assert verify(clean, _one([101.5 / 255, 199 / 255]), 0.1)[0]


def test_rounding_by_hand():
  # 3.9 levels are allowed: +3.6 is rounded inwards, not to 4.
  clean = np.array([[100, 100, 0], [100, 100, 255]]) / 255
  found = clean + np.array([[3.6, -1.6, 0.2], [1.6, -3.4, -0.6]]) / 255
  rounded = to_eight_bits(clean, found, 3.9 / 255)
  np.testing.assert_allclose(rounded * 255, [[103, 98, 0], [102, 97, 254]], rtol=1e-6)


def test_rounding_in_l2_gives_up_as_little_as_needed():
  # Nearest, (4, 2, -3), is longer than 5.2; without the pixel that gained most, (3, 2, -3), it is not.
  clean = np.full((1, 3), 100 / 255)
  found = clean + np.array([[3.5, 1.8, -3.2]]) / 255
  np.testing.assert_allclose(to_eight_bits(clean, found, 5.2 / 255, "l2") * 255, [[103, 102, 97]], rtol=1e-6)
  rng = np.random.default_rng(0)
  clean = (rng.integers(20, 236, (20, 3072)) / 255).astype(np.float32)
  change = rng.normal(size=clean.shape)
  found = clean + 0.5 * change / np.linalg.norm(change, axis=1, keepdims=True)
  assert distance(clean, to_eight_bits(clean, found, 0.5, "l2"), "l2").min() > 0.49


def test_pixels_of_no_change_stay_bit_by_bit():
  # Grey levels as others make them, n * (1 / 255) in float32, are not always n / 255.
  clean = (np.arange(256, dtype=np.float32) * np.float32(1 / 255))[None]
  found = clean.copy()
  found[0, 7] = 1.0
  assert (to_eight_bits(clean, found, 0.1, "l0") != clean).sum() == 1


@hypothesis.settings(max_examples=100, deadline=None, derandomize=True, database=None)
@hypothesis.given(seed=st.integers(0, 10**6), epsilon=st.floats(0.001, 0.5), norm=st.sampled_from(["linf", "l2"]))
def test_rounded_images_stay_in_the_ball(seed, epsilon, norm):
  rng = np.random.default_rng(seed)
  clean = (rng.integers(0, 256, (3, 4, 4, 1)) / 255).astype(np.float32)
  change = rng.normal(size=clean.shape)
  size = np.abs(change).max((1, 2, 3)) if norm == "linf" else np.sqrt((change**2).sum((1, 2, 3)))
  found = np.clip(clean + epsilon * change / size[:, None, None, None], 0, 1).astype(np.float32)
  assert verify(clean, to_eight_bits(clean, found, epsilon, norm), epsilon, norm, eight_bit=True).all()


# --------------------------------------------------------------------------- rigged networks


def _dense_network(shape, kernel, bias):
  """Flatten -> Dense with the given weights, as {"embedding", "logits"}."""
  images = keras.Input(shape)
  layer = keras.layers.Dense(len(bias))
  flat = keras.layers.Flatten()(images)
  network = keras.Model(images, {"embedding": flat, "logits": layer(flat)})
  layer.set_weights([np.array(kernel, np.float32), np.array(bias, np.float32)])
  return network


def _judged(network, test, attacks, jit="off", **kwargs):
  """What `evaluate` returns, and all images by attack: clean where it did not succeed.

  Without XLA, whose compilation would take longer than these networks.
  """
  outcome = evaluate(network, test, attacks, jit=jit, probe_examples=0, **kwargs)
  images = {}
  for name, found in outcome.kept.items():
    images[name] = test.float_images().copy()
    images[name][found.positions] = found.adversarial
    np.testing.assert_array_equal(
      np.any(images[name] != test.float_images(), axis=(1, 2, 3)),
      outcome.fell[name] & outcome.right & _by_itself(outcome, name),
    )
  return outcome, images


def _by_itself(outcome, name):
  """Images that the attack was shown: not taken over from one that it contains."""
  shown = np.zeros(len(outcome.right), bool)
  shown[outcome.kept[name].positions] = True
  return shown


def _image_data(images, labels, classes=2):
  return data.ImageData(np.array(images, np.float32), np.array(labels), tuple(map(str, range(classes))))


@pytest.fixture
def constant_case():
  """Always class 1, which five of eight images have."""
  images = np.random.default_rng(0).random((8, 2, 2, 1), np.float32)
  network = _dense_network((2, 2, 1), np.zeros((4, 3)), [0.0, 5.0, 0.0])
  return network, _image_data(images, [1, 0, 1, 1, 2, 1, 0, 1], 3)


PGD = NamedAttack("PGD", presets.pgd(0.2, 0.05, 6, restarts=3))
FGSM = NamedAttack("FGSM", presets.fgsm(0.2))


@pytest.mark.parametrize("attack", [FGSM, PGD, NamedAttack("C&W", presets.cw_pgd(0.2, 0.05, 6))], ids=lambda a: a.name)
def test_attacks_cannot_change_a_constant_network(constant_case, attack):
  results, found = _judged(*constant_case, [attack], batch_size=4)
  assert (results.clean.accuracy, results.clean.num_examples) == (0.625, 8)
  assert results.attacks[0].accuracy == 0.625
  assert results.worst_case.accuracy == 0.625
  np.testing.assert_array_equal(found[attack.name], constant_case[1].images)


def test_zero_gradients_of_a_constant_network_are_reported(constant_case):
  results, _ = _judged(*constant_case, [FGSM, PGD], batch_size=4)
  for row in results.attacks:
    assert row.diagnostics == Diagnostics(zero_gradient_images=5, nonfinite_gradient_images=0, rejected_by_verifier=0)


def test_labels_that_the_network_cannot_say_are_refused(constant_case):
  network, images = constant_case
  more = _image_data(images.images, images.labels + 1, 4)
  with pytest.raises(InputError, match="`labels` must be in 0..2, the network's 3 classes, but hold 3"):
    evaluate(network, more, [FGSM])


@pytest.fixture
def linear_case():
  """Class 1 where the first pixel is the larger one.

  The pixels differ by 0.1, 0.3, 0.5 and 0.7 in favour of the true class, so
  that epsilon 0.2 flips the first two; the fifth image is wrong from the start.
  """
  network = _dense_network((1, 2, 1), [[0.0, 1.0], [0.0, -1.0]], [0.0, 0.0])
  images, labels = [], []
  for gap, label in [(0.1, 1), (0.3, 0), (0.5, 1), (0.7, 0), (-0.3, 1)]:
    signed = gap if label else -gap
    images.append([[[0.5 + signed / 2], [0.5 - signed / 2]]])
    labels.append(label)
  return network, _image_data(images, labels)


@pytest.mark.parametrize(
  "attack",
  [FGSM, PGD, NamedAttack("C&W", presets.cw_pgd(0.2, 0.05, 12)), NamedAttack("MIM", presets.mim(0.2, 0.05, 6))],
  ids=lambda a: a.name,
)
def test_robust_accuracy_of_a_linear_network_by_hand(linear_case, attack):
  results, _ = _judged(*linear_case, [attack], batch_size=3)
  assert (results.clean.accuracy, results.clean.num_examples) == (0.8, 5)
  assert results.attacks[0].accuracy == 0.4
  assert results.worst_case.accuracy == 0.4


@pytest.mark.parametrize("epsilon,accuracy", [(0.04, 0.8), (0.06, 0.6), (0.26, 0.2), (0.36, 0.0)])
def test_robust_accuracy_of_a_linear_network_by_epsilon(linear_case, epsilon, accuracy):
  results, _ = _judged(*linear_case, [NamedAttack("FGSM", presets.fgsm(epsilon))])
  assert results.attacks[0].accuracy == pytest.approx(accuracy)


def test_only_broken_images_are_returned_changed(linear_case):
  network, test = linear_case
  _, found = _judged(network, test, [FGSM])
  changed = np.any(found["FGSM"] != test.images, axis=(1, 2, 3))
  np.testing.assert_array_equal(changed, [True, True, False, False, False])


def test_row_repeats_the_settings(linear_case):
  config = presets.mim(0.2, 0.05, 6, momentum=0.7).replace(random_start=True, restarts=2, objective="margin")
  row = _judged(*linear_case, [NamedAttack("mine", config)])[0].attacks[0]
  names = ("name", "suite", "kind", "norm", "epsilon", "steps", "step_size", "restarts", "target", "on_survivors")
  assert {name: getattr(row, name) for name in names} == {
    "name": "mine",
    "suite": "own",
    "kind": "gradient",
    "norm": "linf",
    "epsilon": 0.2,
    "steps": 6,
    "step_size": 0.05,
    "restarts": 2,
    "target": "none",
    "on_survivors": False,
  }
  assert AttackConfig.from_dict(row.settings) == row.config == config


def _wrong_in_a_band(images):
  """Class 1 where the pixel is within 0.05 of 0.65; both classes pull there."""
  score = 0.05 - tf.abs(images[:, 0, 0, 0] - 0.65)
  return tf.stack([tf.zeros_like(score), score], 1)


def test_worst_case_joins_what_different_attacks_break():
  # 0.57 + 0.1 hits the band and 0.57 + 0.3 overshoots it; 0.35 needs 0.3; 0.05 is out of reach.
  test = _image_data([[[[v]]] for v in (0.57, 0.35, 0.05)], [0, 0, 0])
  attacks = [NamedAttack("short", presets.fgsm(0.1)), NamedAttack("long", presets.fgsm(0.3))]
  results, _ = _judged(_wrong_in_a_band, test, attacks)
  assert [row.accuracy for row in results.attacks] == pytest.approx([2 / 3, 2 / 3])
  assert results.worst_case.accuracy == pytest.approx(1 / 3)


def test_a_chain_counts_what_a_deterministic_head_broke_under_every_seed(linear_case):
  attacks = [
    NamedAttack("head", presets.bim(0.2, 0.1, 3)),
    NamedAttack("noise", presets.noise(0.01, 1), on_survivors=True),
    NamedAttack("alone", presets.noise(0.01, 2)),
  ]
  outcome = evaluate(*linear_case, attacks, jit="off", num_seeds=3, probe_examples=0)
  rows = {row.name: row for row in outcome.attacks}
  assert rows["noise"].accuracy_per_seed == [0.4, 0.4, 0.4]
  # What the head broke is not the noise's own, and a longer noise takes over nothing of it.
  assert not outcome.fell["noise"].any()
  assert rows["alone"].accuracy == pytest.approx(0.8)
  assert outcome.worst_case.by_threat[1].accuracy == 0.8


def test_two_attacks_of_one_name_are_refused(linear_case):
  with pytest.raises(InputError, match="'FGSM' but differ"):
    _judged(*linear_case, [FGSM, NamedAttack("FGSM", presets.fgsm(0.1))])
  with pytest.raises(InputError, match="'FGSM' but differ"):
    _judged(*linear_case, [FGSM._replace(on_survivors=True)] * 2)


def test_outputs_of_nan_are_errors():
  """Not class 0, as the position of NaN's maximum would have it."""

  def network(images):
    score = tf.reshape(images, [-1, 1]) - 0.4
    return tf.concat([tf.where(score > 0.3, float("nan"), score), -score], 1)

  test = _image_data([[[[0.6]]], [[[0.65]]], [[[0.9]]]], [0, 0, 0])
  results, _ = _judged(network, test, [NamedAttack("noise", presets.noise(0.2, 40))])
  assert results.clean.accuracy == pytest.approx(2 / 3)
  assert results.worst_case.accuracy == 0.0


def test_a_success_that_rounding_undoes_is_tried_further_out(linear_case):
  # Class 1 where the first pixel is the larger: from (0.55, 0.45) the nearest answer lies a hair beyond (0.5, 0.5).
  network, _ = linear_case
  test = data.ImageData(np.array([[[[140], [115]]]], np.uint8).reshape(1, 1, 2, 1), np.array([1]), ("0", "1"))
  attack = NamedAttack("DeepFool", DeepFoolConfig(epsilon=0.3, overshoot=0.001))
  results, found = _judged(network, test, [attack], eight_bit=True)
  assert results.worst_case.accuracy == 0.0
  levels = found["DeepFool"].ravel() * 255
  np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)
  assert levels[0] <= levels[1]


def test_network_that_is_always_wrong_is_judged():
  network = _dense_network((2, 2, 1), np.zeros((4, 3)), [0.0, 5.0, 0.0])
  test = _image_data(np.full((4, 2, 2, 1), 0.5), [0, 2, 0, 2], 3)
  results, found = _judged(network, test, [FGSM, PGD])
  assert results.clean.accuracy == 0.0
  assert [row.accuracy for row in results.attacks] == [0.0, 0.0]
  assert results.worst_case.accuracy == 0.0
  np.testing.assert_array_equal(found["PGD"], test.images)


# --------------------------------------------------------------------------- dishonest attacks


class _Claiming(Attack):
  """Claims success with `adversarial_of(images)`."""

  def __init__(self, config, adversarial_of):
    self.config, self.restarts, self.adversarial_of = config, 1, adversarial_of

  def num_classes(self, images):
    return 2

  def run(self, images, labels, key, targets, restart):
    count = len(images)
    ones = np.ones(count, np.float32)
    return AttackResult(
      self.adversarial_of(images.numpy()),
      np.ones(count, bool),
      ones,
      0 * ones,
      np.zeros(count, int),
      np.zeros(count, int),
    )


def _claim(monkeypatch, adversarial_of):
  monkeypatch.setattr(AttackFactory, "make", lambda self, config: _Claiming(config, adversarial_of))


DISHONEST = {
  "outside the ball": (lambda images: np.where(images > 0.5, 0.0, 1.0), 4),
  "a little outside the ball": (
    lambda images: np.clip(
      images + np.array([[[0.201], [-0.201]]]) * np.sign(images[:, :, 1:] - images[:, :, :1]), 0, 1
    ),
    4,
  ),
  "NaN": (lambda images: np.full_like(images, np.nan), 4),
  "outside the range": (lambda images: images + np.where(images > 0.8, 0.2, 0.0), 1),
  "success without a change": (lambda images: images, 0),
}


@pytest.mark.parametrize("case", DISHONEST)
def test_dishonest_success_is_not_counted(linear_case, monkeypatch, case):
  adversarial_of, rejected = DISHONEST[case]
  _claim(monkeypatch, adversarial_of)
  results, found = _judged(*linear_case, [FGSM])
  assert results.attacks[0].accuracy == 0.8
  assert results.attacks[0].diagnostics.rejected_by_verifier == rejected
  assert results.worst_case.accuracy == 0.8
  np.testing.assert_array_equal(found["FGSM"], linear_case[1].images)


def test_honest_stand_in_is_counted(linear_case, monkeypatch):
  # The rig of the tests above, with images that keep the rules.
  _claim(
    monkeypatch,
    lambda images: np.clip(
      images + np.array([[[0.199], [-0.199]]], np.float32) * np.sign(images[:, :, 1:] - images[:, :, :1]), 0, 1
    ),
  )
  results, _ = _judged(*linear_case, [FGSM])
  assert results.attacks[0].accuracy == 0.4
  assert results.attacks[0].diagnostics.rejected_by_verifier == 0


# --------------------------------------------------------------------------- a trained network


@pytest.fixture(scope="module")
def trained():
  """mlp_64 after three epochs of adversarial training on scikit-learn's digits, and 100 test images."""
  splits = datasets.load("digits")
  network = networks.build("mlp_64", splits.train.image_shape, splits.train.num_classes)
  model = models.AdversarialTraining(network, attack=presets.pgd(0.2, 0.1, 3))
  model.compile(keras.optimizers.Adam(2e-3), jit_compile=False)
  stream = data.BatchStream(splits.train, 50, seed=1, classmates=False)
  model.fit(stream.dataset(0, 100), verbose=0, shuffle=False)
  return network, splits.test.take(slice(100))


def _accuracies(results):
  return {row.name: row.accuracy for row in results.attacks}


@pytest.fixture(scope="module")
def table1(trained):
  return evaluate(*trained, "table1", dataset="digits", jit="off", seed=3, probe_examples=0)


@pytest.fixture(scope="module")
def table1_without_survivors(trained):
  return evaluate(*trained, suite("table1", "digits"), jit="off", seed=3, survivors=False, probe_examples=0)


def test_every_attack_finds_something_and_leaves_something(table1):
  assert table1.clean.accuracy > 0.7
  assert all(0.05 < accuracy < table1.clean.accuracy for accuracy in _accuracies(table1).values())


def test_worst_case_is_no_better_than_any_attack(table1):
  assert table1.worst_case.accuracy <= min(_accuracies(table1).values())


def test_worst_case_counts_the_images_that_no_attack_breaks(table1, trained):
  network, test = trained
  right = np.argmax(network(test.float_images())["logits"], -1) == test.labels
  np.testing.assert_array_equal(table1.right, right)
  untouched = ~np.any(list(table1.fell.values()), axis=0)
  assert table1.worst_case.accuracy == pytest.approx(np.mean(right & untouched))


def test_taking_over_from_shorter_attacks_changes_no_accuracy(table1, table1_without_survivors):
  assert _accuracies(table1) == _accuracies(table1_without_survivors)
  attacked = [
    {row.name: row.images_attacked for row in outcome.attacks} for outcome in (table1, table1_without_survivors)
  ]
  right = int(table1.right.sum())
  assert set(attacked[1].values()) == {right}
  assert attacked[0]["PGD-50"] == right - int((table1.fell["PGD-20"] & table1.right).sum())
  assert attacked[0]["20xPGD-50"] == right - int((table1.fell["PGD-50"] & table1.right).sum())
  assert attacked[0]["MIM-100"] == right


def test_more_steps_are_no_weaker(table1):
  accuracies = _accuracies(table1)
  assert accuracies["PGD-50"] <= accuracies["PGD-20"]


def test_more_restarts_are_no_weaker(table1):
  accuracies = _accuracies(table1)
  assert accuracies["20xPGD-50"] <= accuracies["PGD-50"]


def test_no_adversarial_image_is_rejected(table1):
  assert [row.diagnostics.rejected_by_verifier for row in table1.attacks] == [0] * 7


def test_returned_images_break_the_network(table1, trained):
  network, test = trained
  images = test.float_images()
  for name, found in table1.kept.items():
    assert np.abs(found.adversarial - images[found.positions]).max() <= 0.2 + 1e-6
    said = np.argmax(network(found.adversarial)["logits"], -1)
    np.testing.assert_array_equal(said, found.predictions)
    assert np.all(said != test.labels[found.positions])
    assert np.all(table1.fell[name][found.positions])


def _without_time(results):
  """Clean, attacks and worst case; the median distance is a float of the images, which rounding moves."""
  attacks = [dataclasses.replace(row, seconds=0.0, median_distance=None) for row in results.attacks]
  return results.clean, attacks, results.worst_case


SHORT = (FGSM, NamedAttack("2xPGD", presets.pgd(0.1, 0.03, 4, restarts=2)))


def test_same_seed_same_results(trained):
  (first, first_found), (second, second_found) = (_judged(*trained, SHORT, seed=3) for _ in range(2))
  assert _without_time(first) == _without_time(second)
  for name in first_found:
    np.testing.assert_array_equal(first_found[name], second_found[name])


def test_other_seed_other_adversarial_images(trained):
  (_, first), (_, second) = (_judged(*trained, SHORT, seed=seed) for seed in (3, 4))
  np.testing.assert_array_equal(first["FGSM"], second["FGSM"])
  assert np.any(first["2xPGD"] != second["2xPGD"])


def test_results_do_not_depend_on_the_batch_size(trained):
  (first, first_found), (second, second_found) = (_judged(*trained, SHORT, seed=3, batch_size=n) for n in (7, 64))
  assert _without_time(first) == _without_time(second)
  for name in first_found:
    assert np.mean(np.abs(first_found[name] - second_found[name]) < 1e-5) > 0.999


def test_an_images_start_does_not_depend_on_what_stands_beside_it(trained):
  network, test = trained
  labels = test.labels.copy()
  labels[:5] = (labels[:5] + 1) % 10
  fewer = data.ImageData(test.images, labels, test.class_names)
  (_, first), (_, second) = (_judged(network, part, SHORT[1:], seed=3) for part in (test, fewer))
  first, second = first["2xPGD"][5:], second["2xPGD"][5:]
  assert np.mean(np.abs(first - second) < 1e-5) > 0.999
  assert np.any(first != test.float_images()[5:])


def test_results_do_not_depend_on_xla(trained):
  first, second = (_without_time(_judged(*trained, SHORT, seed=3, jit=jit)[0]) for jit in ("on", "off"))
  assert first == second


def test_progress_names_the_attack(linear_case):
  seen = []
  _judged(*linear_case, [FGSM, PGD], batch_size=2, progress=lambda *state: seen.append(state))
  assert seen[:2] == [("FGSM", 1, 2), ("FGSM", 2, 2)]
  assert seen[-1][0] == "PGD" and seen[-1][1] == seen[-1][2]


# --------------------------------------------------------------------------- suites

MNIST_TABLE1 = [
  # name, steps, step size, random start, restarts, objective, momentum
  ("FGSM", 1, 0.3, False, 1, Objective.CROSS_ENTROPY, 0.0),
  ("BIM-40", 40, 0.01, False, 1, Objective.CROSS_ENTROPY, 0.0),
  ("C&W-40", 40, 0.01, True, 1, Objective.MARGIN, 0.0),
  ("PGD-40", 40, 0.01, True, 1, Objective.CROSS_ENTROPY, 0.0),
  ("PGD-100", 100, 0.01, True, 1, Objective.CROSS_ENTROPY, 0.0),
  ("20xPGD-100", 100, 0.01, True, 20, Objective.CROSS_ENTROPY, 0.0),
  ("MIM-200", 200, 0.01, False, 1, Objective.CROSS_ENTROPY, 1.0),
]


def test_table1_of_mnist_has_the_papers_attacks():
  found = [
    (name, c.steps, c.step_size, c.random_start, c.restarts, c.objective, c.momentum)
    for name, c, *_ in suite("table1", "mnist")
  ]
  assert found == MNIST_TABLE1


def test_mnist_suites_use_the_papers_epsilon():
  assert {a.config.epsilon for name in ("table1", "quick") for a in suite(name, "mnist")} == {0.3}


def test_momentum_of_the_suites_is_that_of_dong():
  assert suite("table1", "mnist")[-1].config.momentum_rule is MomentumRule.NORMALIZED


def test_quick_suite_of_mnist():
  assert [(name, c.steps, c.restarts) for name, c, *_ in suite("quick", "mnist")] == [
    ("FGSM", 1, 1),
    ("PGD-40", 40, 1),
    ("20xPGD-40", 40, 20),
  ]


def test_table1_of_digits_is_scaled_down():
  assert [(name, c.steps, c.restarts) for name, c, *_ in suite("table1", "digits")] == [
    ("FGSM", 1, 1),
    ("BIM-20", 20, 1),
    ("C&W-20", 20, 1),
    ("PGD-20", 20, 1),
    ("PGD-50", 50, 1),
    ("20xPGD-50", 50, 20),
    ("MIM-100", 100, 1),
  ]
  assert {a.config.epsilon for a in suite("table1", "digits")} == {0.2}


def test_another_epsilon_scales_the_step_sizes():
  attacks = suite("table1", "mnist", epsilon=0.15)
  assert [a.config.epsilon for a in attacks] == [0.15] * 7
  assert [a.config.step_size for a in attacks] == pytest.approx([0.15] + [0.005] * 6)
  assert [a.config.steps for a in attacks] == [1, 40, 40, 40, 100, 100, 200]


def test_epsilon_zero_is_a_suite_of_standing_still():
  assert {(a.config.epsilon, a.config.step_size) for a in suite("quick", "digits", epsilon=0.0)} == {(0.0, 0.0)}


@pytest.mark.parametrize(
  "name,dataset,message",
  [
    ("table9", "mnist", r"Unknown suite 'table9'.*quick.*table1"),
    ("table1", "cats", r"Unknown data set 'cats'.*mnist"),
  ],
)
def test_unknown_suite_is_refused(name, dataset, message):
  with pytest.raises(InputError, match=message):
    suite(name, dataset)


def test_epsilon_out_of_range_is_refused():
  with pytest.raises(InputError, match="epsilon"):
    suite("table1", "mnist", epsilon=8)
