"""Alarms: each by hand, and on networks that hide their gradients."""

import dataclasses
import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import datasets, networks
from tla_tf.attack_configs import KINDS
from tla_tf.attacks import presets
from tla_tf.config import AttackConfig
from tla_tf.evaluation import SUITES, Judge, NamedAttack, evaluate_with, probe, raise_alarms, suite
from tla_tf.records.evaluation import AttackRow, CrossCheck, Diagnostics, EpsilonPoint, NoiseProbe, Probes, StepsPoint
from tla_tf.summaries import alarms
from tla_tf.types import Norm, Target

COUNT = 100
RIGHT = np.ones(COUNT, bool)


def _row(
  name, accuracy, kind="gradient", epsilon=0.3, steps=40, restarts=1, zero=0, nonfinite=0, rejected=0, share=1.0
):
  config = KINDS[kind]()
  if kind == "gradient":
    config = AttackConfig(0.3, 0.01, 40).scaled(epsilon, steps).replace(restarts=restarts)
    config = config.replace(step_size=config.step_size * share)
  return AttackRow(
    name=name,
    suite="own",
    kind=kind,
    norm=Norm.LINF,
    epsilon=epsilon,
    steps=steps,
    step_size=0.01,
    restarts=restarts,
    settings=config.to_dict(),
    target=Target.NONE,
    on_survivors=False,
    accuracy=accuracy,
    interval=(0.0, 1.0),
    accuracy_per_seed=[accuracy],
    accuracy_std=None,
    accuracy_worst_over_seeds=accuracy,
    images_attacked=COUNT,
    median_distance=None,
    seconds=1.0,
    diagnostics=Diagnostics(
      zero_gradient_images=zero, nonfinite_gradient_images=nonfinite, rejected_by_verifier=rejected
    ),
  )


def _first(count):
  return np.arange(COUNT) < count


def _probes(noise=0.9, epsilons=((0.0, 0.95), (0.3, 0.5), (1.0, 0.0)), steps=(0.7, 0.6, 0.55, 0.55), same=True):
  return Probes(
    num_examples=100,
    norm=Norm.LINF,
    epsilon=0.3,
    clean_accuracy=0.95,
    noise=NoiseProbe(tries=20, accuracy=noise),
    epsilons=[EpsilonPoint(epsilon=e, accuracy=a) for e, a in epsilons],
    steps=[StepsPoint(steps=10**i, accuracy=a) for i, a in enumerate(steps)],
    same_outputs=same,
  )


def _missed(count):
  """What other libraries broke of a thousand images."""
  return CrossCheck(norm=Norm.LINF, epsilon=0.3, withstood=500, broken=count, share=count / 1000)


def _alarms(rows=(), fell=None, **kwargs):
  fell = {row.name: _first(round(COUNT * (1 - row.accuracy))) for row in rows} | (fell or {})
  return raise_alarms(list(rows), fell, RIGHT, **kwargs)


def _codes(*args, **kwargs):
  return [alarm.code for alarm in _alarms(*args, **kwargs)]


FGSM, PGD = _row("FGSM", 0.6, steps=1), _row("PGD", 0.5)


def test_a_sound_evaluation_raises_none():
  more = _row("20xPGD", 0.49, restarts=20)
  assert _codes([FGSM, PGD, more, _row("Square", 0.6, "square"), _row("BB", 0.8, "transfer")], probes=_probes()) == []


CASES = {
  "ZERO_GRADIENTS": {"rows": [_row("PGD", 0.5, zero=2)]},
  "NONFINITE_GRADIENTS": {"rows": [_row("PGD", 0.5, nonfinite=1)]},
  "NONFINITE_OUTPUTS": {"rows": [PGD], "nonfinite": {"clean": 0, "PGD": 1}},
  "ONE_STEP_IS_ENOUGH": {"rows": [FGSM, _row("PGD", 0.6)]},
  "MORE_STEPS_HELP": {"probes": _probes(steps=(0.7, 0.6, 0.53, 0.5))},
  "MORE_RESTARTS_HELP": {"rows": [PGD, _row("20xPGD", 0.47, restarts=20)]},
  "NOISE_IS_ENOUGH": {"probes": _probes(noise=0.5)},
  "LARGE_EPSILON_SURVIVES": {"probes": _probes(epsilons=((0.0, 0.95), (0.3, 0.5), (1.0, 0.02)))},
  "CANNOT_CROSS_THE_BALL": {"rows": [PGD, _row("PGD-20", 0.5, share=0.74)]},
  "TRANSFER_IS_STRONGER": {"rows": [PGD, _row("BB", 0.47, "transfer")]},
  "SQUARE_IS_STRONGER": {"rows": [PGD, _row("Square", 0.47, "square")]},
  "INDEPENDENT_IS_STRONGER": {"cross_check": [_missed(0), _missed(4)]},
  "RANDOMISED_OUTPUTS": {"probes": _probes(same=False)},
  "PROBABILITIES_GIVEN": {"probabilities": True},
  "PIXEL_RANGE_DOUBTFUL": {"range_doubt": "88% with [0, 255], 87% with [0, 1]."},
  "REJECTED_BY_VERIFIER": {"rows": [_row("PGD", 0.5, rejected=1)]},
}


@pytest.mark.parametrize("code", CASES)
def test_alarm_by_hand(code):
  assert _codes(**CASES[code]) == [code]


def test_every_alarm_has_a_case_and_words():
  assert tuple(CASES) == alarms.CODES
  for alarm in raise_alarms([_row("PGD", 0.5, zero=2)], {"PGD": _first(50)}, RIGHT):
    assert "2 of 100" in alarm.seen and alarm.why and alarm.remedy


def test_the_page_lists_every_alarm():
  page = (pathlib.Path(__file__).parent.parent / "docs" / "alarms.md").read_text(encoding="utf-8")
  assert re.findall(r"^## `([A-Z_]+)`", page, re.MULTILINE) == list(alarms.CODES)


@pytest.mark.parametrize("ran", SUITES)
@pytest.mark.parametrize("code", CASES)
def test_no_remedy_names_a_suite_that_is_running(code, ran):
  case = CASES[code]
  rows = [dataclasses.replace(row, suite=ran) for row in case.get("rows", [PGD])]
  (alarm,) = (alarm for alarm in _alarms(**{**case, "rows": rows}) if alarm.code == code)
  assert "{" not in alarm.remedy
  assert not re.search(rf"\b{ran}\b", alarm.remedy)
  (alarm,) = (alarm for alarm in _alarms(**{**case, "rows": rows}, judged_by=SUITES) if alarm.code == code)
  assert not [name for name in SUITES if re.search(rf"\b{name}\b", alarm.remedy)]


def test_a_remedy_names_the_next_stronger_suite_of_the_norm():
  def advised(suite_, norm):
    row = dataclasses.replace(_row("PGD", 0.5, zero=2), suite=suite_, norm=norm)
    return re.findall(r"the suite (\w+)", _alarms([row])[0].remedy)

  assert advised("quick", Norm.LINF) == ["auto_attack"]
  assert advised("auto_attack", Norm.LINF) == ["auto_attack_plus"]
  assert advised("auto_attack_plus", Norm.LINF) == []
  assert advised("table3", Norm.L2) == ["auto_attack_l2"]
  assert advised("auto_attack_l2", Norm.L2) == []


QUIET = {
  "one step as strong because nothing is left": {"rows": [_row("FGSM", 0.0, steps=1), _row("PGD", 0.0)]},
  "one step of another radius": {"rows": [_row("FGSM", 0.1, steps=1, epsilon=0.5), PGD]},
  "steps that just reach the edge": {"rows": [_row("PGD", 0.5, share=0.75)]},
  "three images in a thousand that other libraries found": {"cross_check": [_missed(3)]},
  "two images more by restarts": {"rows": [PGD, _row("20xPGD", 0.48, restarts=20)]},
  "two images by Square alone": {"rows": [PGD, _row("Square", 0.48, "square")]},
  "Square breaks what gradients broke": {"rows": [PGD, _row("Square", 0.55, "square")]},
  "one image of a hundred without a gradient": {"rows": [_row("PGD", 0.5, zero=1)]},
  "noise breaks nothing": {"probes": _probes(noise=0.95, epsilons=((0.0, 0.95), (0.3, 0.95), (1.0, 0.0)))},
}


@pytest.mark.parametrize("case", QUIET)
def test_no_alarm(case):
  assert _codes(**QUIET[case]) == []


# --------------------------------------------------------------------------- masked networks


@pytest.fixture(scope="module")
def digits():
  splits = datasets.load("digits")
  return splits, splits.test.take(slice(120))


@pytest.fixture(scope="module")
def plain(digits):
  """mlp_64, undefended, trained on scikit-learn's digits."""
  train = digits[0].train
  network = networks.build("mlp_64", train.image_shape, train.num_classes)
  network.compile(keras.optimizers.Adam(5e-3), {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)})
  keras.utils.set_random_seed(0)
  network.fit(train.float_images(), {"logits": train.labels}, batch_size=50, epochs=6, verbose=0)
  return network


ATTACKS = (
  NamedAttack("FGSM", presets.fgsm(0.2)),
  NamedAttack("PGD", presets.pgd(0.2, 0.02, 20, restarts=2)),
  *(attack for attack in suite("auto_attack", "digits") if attack.name == "Square"),
)


def _short(attack):
  return attack._replace(config=attack.config.replace(steps=1000), suite="own") if attack.name == "Square" else attack


def _judged(network, test, attacks=ATTACKS):
  judge = Judge(network, test, jit="off")
  outcome = evaluate_with(judge, [_short(attack) for attack in attacks])
  probes = probe(judge, Norm.LINF, 0.2, count=60)
  rows = outcome.attacks
  codes = [alarm.code for alarm in raise_alarms(rows, outcome.fell, outcome.right, probes)]
  return {row.name: row.accuracy for row in rows}, outcome, codes


def _quantised(network):
  """The network behind a rounding of its input to five grey levels: no gradient comes through."""
  return lambda images: network(tf.round(images * 4.0) / 4.0, training=False)["logits"]


def _saturated(network):
  """Logits so large that the softmax's cross-entropy is 0, and its gradient, too."""
  return lambda images: network(images, training=False)["logits"] * 1e4


def test_an_unmasked_network_raises_no_sign_of_masking(plain, digits):
  accuracies, _, codes = _judged(plain, digits[1])
  assert accuracies["PGD"] < 0.1
  # An undefended network may saturate; what it must not do is resist where random search succeeds.
  assert not {"SQUARE_IS_STRONGER", "NOISE_IS_ENOUGH", "LARGE_EPSILON_SURVIVES", "ONE_STEP_IS_ENOUGH"} & set(codes)


def test_a_quantised_input_raises_the_alarms_and_falls_to_square(plain, digits):
  accuracies, outcome, codes = _judged(_quantised(plain), digits[1])
  assert accuracies["FGSM"] == outcome.clean.accuracy
  assert {"ZERO_GRADIENTS", "NOISE_IS_ENOUGH", "LARGE_EPSILON_SURVIVES", "SQUARE_IS_STRONGER"} <= set(codes)
  assert accuracies["PGD"] > 0.5
  assert outcome.worst_case.accuracy < 0.1


def test_saturated_logits_raise_the_alarms_and_fall_to_square(plain, digits):
  accuracies, outcome, codes = _judged(_saturated(plain), digits[1])
  assert {"ZERO_GRADIENTS", "SQUARE_IS_STRONGER"} <= set(codes)
  assert accuracies["PGD"] > 0.3
  assert outcome.worst_case.accuracy < 0.1


def test_a_randomised_network_is_noticed(plain, digits):
  noisy = lambda images: plain(images)["logits"] + tf.random.normal([tf.shape(images)[0], 10])  # noqa: E731
  judge = Judge(noisy, digits[1], jit="off")
  assert not probe(judge, Norm.LINF, 0.2, count=20).same_outputs


def test_probes_are_shares_of_the_first_images(plain, digits):
  probes = probe(Judge(plain, digits[1], jit="off"), Norm.L2, 0.5, count=40)
  assert probes.num_examples == 40
  assert probes.epsilons[0] == EpsilonPoint(epsilon=0.0, accuracy=probes.clean_accuracy)
  accuracies = [point.accuracy for point in probes.epsilons]
  assert accuracies == sorted(accuracies, reverse=True) and accuracies[-1] == 0.0
  # The largest L2 ball is the diagonal of the unit cube.
  assert probes.epsilons[-1].epsilon == pytest.approx(8.0)
  assert [point.steps for point in probes.steps] == [1, 2, 5, 10, 20, 50, 100]
