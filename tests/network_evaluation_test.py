"""`evaluate` on arrays, `tf.data` and data sets; attacks by settings, name and suite; rows and alarms."""

import numpy as np
import pytest
import tensorflow as tf

from tla_tf import data
from tla_tf.attack_configs import ApgdConfig, CarliniWagnerConfig, FabConfig, JsmaConfig
from tla_tf.attacks import presets
from tla_tf.errors import InputError
from tla_tf.evaluation import SUITES, NamedAttack, evaluate, suite
from tla_tf.evaluation.suites import usual_name
from tla_tf.networks import ForeignNetwork

KERNEL = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
IMAGES = np.random.default_rng(1).integers(0, 256, (40, 4, 4, 1)).astype(np.uint8)
FLOATS = IMAGES.astype(np.float32) / np.float32(255)


def network(images):
  return tf.reshape(images - 0.5, [-1, 16]) @ KERNEL


LABELS = np.argmax(network(FLOATS), -1)
PGD = presets.pgd(0.05, 0.02, 5)
OFF = {"jit": "off", "probe_examples": 0}
DATA = {
  "ImageData": data.ImageData(IMAGES, LABELS, tuple("abcd")),
  "arrays": (FLOATS, LABELS),
  "grey levels": (IMAGES, LABELS),
  "tensors": (tf.constant(FLOATS), tf.constant(LABELS)),
  "batches": tf.data.Dataset.from_tensor_slices((FLOATS, LABELS)).batch(7),
  "single pairs": tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)),
}


@pytest.fixture(scope="module")
def usual():
  return evaluate(network, (FLOATS, LABELS), [NamedAttack("PGD-5", PGD)], **OFF)


@pytest.mark.parametrize("form", DATA)
def test_images_of_every_form_are_judged_alike(usual, form):
  found = evaluate(network, DATA[form], PGD, **OFF)
  assert found.clean == usual.clean and found.clean.accuracy == 1
  assert [row.name for row in found.attacks] == ["PGD-5"]
  np.testing.assert_array_equal(found.fell["PGD-5"], usual.fell["PGD-5"])
  assert 0 < found.worst_case.accuracy < 1


def test_attacks_by_settings_get_names_of_their_own():
  same = [PGD, PGD.replace(epsilon=0.1), PGD.replace(step_size=0.01), NamedAttack("mine", PGD), ApgdConfig(0.05, 3)]
  found = evaluate(network, (FLOATS, LABELS), same, **OFF)
  assert [row.name for row in found.attacks] == ["PGD-5", "PGD-5 at 0.1", "PGD-5 at 0.05", "mine", "APGD-CE"]
  assert [row.config for row in found.attacks] == [*same[:3], PGD, ApgdConfig(0.05, 3)]


def test_names_are_those_of_the_suites():
  for name in SUITES:
    for attack in suite(name, "mnist"):
      # The stronger version's names tell its attacks from those of the standard one.
      assert usual_name(attack.config) == attack.name.removesuffix("+")
  assert usual_name(presets.noise(0.1, 20)) == "20xnoise"
  assert usual_name(PGD.replace(objective="margin", norm="l2", restarts=3)) == "3xC&W-5 (L2)"
  assert [usual_name(c) for c in (CarliniWagnerConfig(), JsmaConfig(), FabConfig())] == [
    "C&W (L2)",
    "JSMA (L0)",
    "FAB-T",
  ]


def test_a_suite_by_name_has_the_radii_that_are_given_or_those_of_a_data_set():
  found = evaluate(network, (FLOATS, LABELS), "quick", epsilon=0.03, **OFF)
  assert {row.epsilon for row in found.attacks} == {0.03} and {row.suite for row in found.attacks} == {"quick"}
  # Steps as on MNIST, 40 of 1/30 of the radius.
  assert (found.attacks[1].steps, found.attacks[1].step_size) == (40, pytest.approx(0.001))
  by_set = evaluate(network, (FLOATS, LABELS), ["quick", PGD], dataset="digits", **OFF)
  assert [row.config for row in by_set.attacks] == [*(a.config for a in suite("quick", "digits")), PGD]


def test_rows_are_for_pandas():
  found = evaluate(network, (FLOATS, LABELS), "quick", epsilon=0.03, **OFF)
  rows = found.rows()
  assert [(row["suite"], row["attack"]) for row in rows] == [
    (None, "clean"),
    ("quick", "FGSM"),
    ("quick", "PGD-40"),
    ("quick", "20xPGD-40"),
    ("quick", "worst case"),
    (None, "worst case"),
  ]
  assert len({tuple(row) for row in rows}) == 1
  assert rows[-1]["accuracy"] == found.worst_case.accuracy and rows[-1]["num_examples"] == 40


def test_alarms_are_raised_and_noted():
  said = []
  quantised = lambda images: network(tf.round(images * 2) / 2)  # noqa: E731
  found = evaluate(quantised, (FLOATS, LABELS), PGD, jit="off", probe_examples=20, note=said.append)
  codes = [alarm.code for alarm in found.alarms]
  assert "ZERO_GRADIENTS" in codes and "LARGE_EPSILON_SURVIVES" in codes
  assert found.probes.num_examples == 20 and found.probes.epsilon == 0.05
  assert [sentence.split(":")[0] for sentence in said] == codes


@pytest.mark.parametrize("wrapped", [False, True])
def test_probabilities_are_noticed(wrapped):
  said = []
  squashed = lambda images: tf.nn.softmax(network(images))  # noqa: E731
  judged = ForeignNetwork(squashed) if wrapped else squashed
  found = evaluate(judged, (FLOATS, LABELS), PGD, **OFF, note=said.append)
  assert [alarm.code for alarm in found.alarms] == ["PROBABILITIES_GIVEN"]
  assert said[0] == "The model returns probabilities: their logarithms are attacked." == found.notes[0]


def test_a_wrong_pixel_range_is_refused():
  images = np.random.default_rng(2).random((200, 4, 4, 1), np.float32)
  wrong = ForeignNetwork(lambda images: network(images / 255), name="mine")
  with pytest.raises(InputError, match="mine: .*`pixel_range=0,255`"):
    evaluate(wrong, (images, np.argmax(network(images), -1)), PGD, **OFF)


def test_few_classes_are_said():
  said = []
  two = lambda images: network(images)[:, :2]  # noqa: E731
  labels = np.argmax(two(FLOATS), -1)
  found = evaluate(two, (FLOATS, labels), suite("auto_attack", "mnist", 0.01)[1:2], **OFF, note=said.append)
  assert [row.name for row in found.attacks] == ["APGD-margin"]
  assert said == list(found.notes) and "with 2 classes the loss of APGD-T is constant" in said[0]


ENDLESS = tf.data.Dataset.from_tensors((FLOATS, LABELS)).repeat()
REFUSED = {
  "no pair": ((FLOATS,), PGD, {}, r"`data`: expected \(images, labels\)"),
  "flat images": ((FLOATS.reshape(40, 16), LABELS), PGD, {}, r"\[n, height, width, channels\], got shape \(40, 16\)"),
  "fewer labels": ((FLOATS, LABELS[1:]), PGD, {}, "40 images but 39 labels"),
  "a label too large": ((FLOATS, LABELS + 1), PGD, {}, r"label 4 is outside 0\.\.3"),
  "labels of another network": (
    data.ImageData(IMAGES, LABELS + 1, tuple("abcde")),
    PGD,
    {},
    "in 0..3, the network's 4",
  ),
  "an endless stream": (ENDLESS, PGD, {}, "never ends"),
  "an empty stream": (ENDLESS.take(0), PGD, {}, "is empty"),
  "a stream of images": (tf.data.Dataset.from_tensors(FLOATS), PGD, {}, r"pairs \(images, labels\)"),
  "no attack": ((FLOATS, LABELS), [], {}, "`attacks`: expected a suite's name"),
  "something else": ((FLOATS, LABELS), [3], {}, "`attacks`: expected settings of attacks, received 3"),
  "an unknown suite": ((FLOATS, LABELS), "quik", {"epsilon": 0.1}, "Unknown suite 'quik'.*quick"),
  "a suite without a radius": ((FLOATS, LABELS), "quick", {}, "give `dataset`, or `epsilon`"),
  "radii of other norms": (
    (FLOATS, LABELS),
    "table3",
    {"epsilon": 0.1, "l2_epsilon": 1.0},
    "give `dataset`, or `l0_epsilon`",
  ),
  "a radius for nothing": ((FLOATS, LABELS), PGD, {"epsilon": 0.1}, "`epsilon` are for suites"),
  "two of one name": (
    (FLOATS, LABELS),
    [NamedAttack("a", PGD), NamedAttack("a", ApgdConfig())],
    {},
    "called 'a' but differ",
  ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_judged_is_refused(case):
  images, attacks, more, words = REFUSED[case]
  with pytest.raises(InputError, match=words):
    evaluate(network, images, attacks, **OFF, **more)
