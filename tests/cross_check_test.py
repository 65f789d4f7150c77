"""Attacks of other libraries behind our contract, and as a check of what withstood ours."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tla_tf import attack_configs, datasets, networks, reporting
from tla_tf.attack_configs import LIBRARY_ATTACKS, LibraryConfig
from tla_tf.attacks import AttackFactory, presets
from tla_tf.attacks.libraries import LibraryAttack
from tla_tf.errors import InputError
from tla_tf.evaluation import NamedAttack, evaluate, read_suite, verify
from tla_tf.evaluation import suites as suites_module
from tla_tf.evaluation.planning import EvaluationOptions, planned_attacks
from tla_tf.evaluation.run_evaluation import evaluate_subject
from tla_tf.evaluation.subject import Subject
from tla_tf.persistence import RunFolder
from tla_tf.records.shown import cross_checked
from tla_tf.summaries import read_evaluations
from tla_tf.types import Norm

IMAGES = np.random.default_rng(1).uniform(0.3, 0.7, (6, 8, 8, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def linear():
  """Two classes on either side of a plane through the middle, which gradients find at once."""
  weights = np.random.default_rng(0).normal(size=64).astype(np.float32)

  def network(images):
    score = tf.linalg.matvec(tf.reshape(images, [-1, 64]) - 0.5, weights)
    return tf.stack([tf.zeros_like(score), score, score - 9.0, score - 9.0], 1)

  return network


@pytest.mark.parametrize(
  "name, norm", [(name, norm) for name, facts in LIBRARY_ATTACKS.items() for norm in facts.norms]
)
def test_every_attack_finds_what_lies_in_its_ball_and_nothing_else(linear, name, norm):
  labels = np.argmax(linear(IMAGES), 1)
  # Few steps go so far.
  epsilon = 0.3 if norm is Norm.LINF else 1.5
  steps = {"carlini_wagner": 30, "boundary": 30, "square": 60, "hop_skip_jump": 2}.get(LIBRARY_ATTACKS[name].name, 8)
  attack = AttackFactory(linear).make(LibraryConfig(name, epsilon, steps, 1, norm))
  before = np.random.get_state()[1].tolist()  # noqa: NPY002
  found = attack(IMAGES, labels, seed=3)
  assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
  assert verify(IMAGES, found.adversarial, epsilon, norm.value).all()
  np.testing.assert_array_equal(found.success, np.argmax(linear(found.adversarial), 1) != labels)
  assert np.sum(found.success) >= 3
  if LIBRARY_ATTACKS[name].name in ("pgd", "square"):
    np.testing.assert_array_equal(attack(IMAGES, labels, seed=3).adversarial, found.adversarial)


def test_a_decision_based_attack_without_a_start_leaves_the_image_alone():
  """A network that says the same of everything."""

  def constant(images):
    return tf.tile([[1.0, 0.0]], [tf.shape(images)[0], 1]) + 0.0 * tf.reduce_sum(images)

  for name in ("foolbox_hop_skip_jump", "art_boundary"):
    attack = AttackFactory(constant).make(LibraryConfig(name, 1.0, 2, norm=Norm.L2))
    found = attack(IMAGES, [0] * 6)
    np.testing.assert_array_equal(found.adversarial, IMAGES)
    assert not np.any(found.success)


def test_it_takes_no_targets(linear):
  with pytest.raises(InputError, match="no targets"):
    AttackFactory(linear).make(LibraryConfig())(IMAGES, [0] * 6, targets=[1] * 6)


@pytest.fixture(scope="module")
def subject():
  """An untrained network on its own answers, so that all images are classified correctly."""
  splits = datasets.load("digits")
  network = networks.build("mlp_16", (8, 8, 1), 10, seed=1)
  said = np.argmax(network(splits.test.float_images())["logits"], 1)
  splits = dataclasses.replace(splits, test=dataclasses.replace(splits.test, labels=said.astype(np.int32)))
  facts = {"checkpoint": 7, "checkpoint_digest": "d", "data_digest": "e", "config": {"dataset": "digits"}}
  return Subject(network, splits, "digits", facts, "off")


def test_other_libraries_see_what_withstood_ours_in_their_ball(subject):
  weak = presets.fgsm(0.02)
  theirs = [
    NamedAttack(name, LibraryConfig(attack, epsilon, 5, 1, norm), suite="cross_check")
    for name, attack, epsilon, norm in (
      ("a", "cleverhans_pgd", 0.02, Norm.LINF),
      ("b", "foolbox_pgd", 0.02, Norm.LINF),
      ("c", "foolbox_pgd", 0.3, Norm.L2),
    )
  ]
  found = evaluate(subject.network, subject.test.take(slice(60)), [NamedAttack("weak", weak), *theirs], jit="off")
  weak_row, a, b, c = found.attacks
  assert a.images_attacked == 60 - found.fell["weak"].sum() < 60
  assert b.images_attacked == 60 - found.fell["a"].sum()
  assert c.images_attacked == 60
  assert (found.fell["a"] >= found.fell["weak"]).all() and (found.fell["b"] >= found.fell["a"]).all()
  assert weak_row.accuracy >= a.accuracy >= b.accuracy == found.worst_case.by_threat[0].accuracy
  assert found.worst_case.by_suite["cross_check"].accuracy <= b.accuracy


OPTIONS = EvaluationOptions(
  suites=(), num_examples=40, probe_examples=0, cross_check_attacks=("cleverhans_pgd", "cleverhans_mim")
)


@pytest.fixture(scope="module")
def judged(subject, tmp_path_factory):
  """An evaluation of one weak attack with a cross-check: the outcome, its run folder and the options."""
  folder = RunFolder(tmp_path_factory.mktemp("judged"))
  (folder.path / "weak.yaml").write_text("- {attack: noise, tries: 1, epsilon: 0.02}\n")
  options = OPTIONS._replace(suite_file=folder.path / "weak.yaml")
  outcome = evaluate_subject(subject, options, state=folder.evaluation_state)
  reporting.write_evaluation("run", folder, outcome.measured, outcome.examples, outcome.class_names)
  return outcome, folder, options


def test_the_number_stands_in_record_table_and_alarm(judged):
  outcome, folder, _ = judged
  ours, theirs = (measured.record for measured in outcome.measured)
  assert (ours.suite, ours.cross_check, theirs.suite) == ("weak", None, "cross_check")
  (check,) = theirs.cross_check
  assert (check.norm, check.epsilon) == (Norm.LINF, 0.02)
  assert check.withstood == round(40 * ours.worst_case.accuracy)
  # What the random point of the ball missed, PGD finds.
  assert 0 < check.broken <= check.withstood and check.share == check.broken / 40
  assert theirs.worst_case.accuracy == pytest.approx(ours.worst_case.accuracy - check.share)
  assert "cleverhans" in theirs.versions and "cleverhans" not in ours.versions
  (alarm,) = [alarm for alarm in theirs.alarms if alarm.code == "INDEPENDENT_IS_STRONGER"]
  assert alarm.seen == cross_checked(check)
  assert "cleverhans_pgd" in folder.evaluation_table.read_text()
  assert f"run: {cross_checked(check)}" in folder.evaluation_table.read_text()
  book = json.loads(folder.evaluation.read_text())["evaluations"]
  assert book[1]["cross_check"] == [
    {"norm": "linf", "epsilon": 0.02, "withstood": check.withstood, "broken": check.broken, "share": check.share}
  ]
  known = read_evaluations(folder.evaluation, folder.evaluation_images)
  assert known.findings[0].worst_case.accuracy == theirs.worst_case.accuracy
  assert known.measured[1].record == theirs.replace(images_digest=known.measured[1].record.images_digest)


def test_a_killed_cross_check_goes_on_behind_the_last_batch(judged, subject, monkeypatch):
  outcome, folder, options = judged
  # The journal is there until it is discarded: nothing is attacked again.
  monkeypatch.setattr(LibraryAttack, "run", None)
  again = evaluate_subject(subject, options, state=folder.evaluation_state)
  assert [one.record.replace(seconds=0, attacks=[]) for one in again.measured] == [
    one.record.replace(seconds=0, attacks=[]) for one in outcome.measured
  ]
  outcome.discard()


def _names(options, dataset="digits"):
  return [(attack.name, attack.config) for attack in planned_attacks(options, dataset).attacks if "_" in attack.name]


def test_without_names_all_that_need_no_patience_run_in_every_ball():
  planned = _names(EvaluationOptions(("quick", "auto_attack_l2"), cross_check=True))
  assert {config.attack for _, config in planned} == {
    name for name, facts in LIBRARY_ATTACKS.items() if not facts.by_decisions
  }
  assert {config.norm for _, config in planned} == {Norm.LINF, Norm.L2}
  assert ("foolbox_pgd (L2 1)" in dict(planned)) == (datasets.get("digits").suite_scale.l2_epsilon == 1)
  assert [name for name, _ in _names(EvaluationOptions(cross_check_attacks=("art_hop_skip_jump",)))] == [
    "art_hop_skip_jump"
  ]


def test_a_suite_of_ones_own_names_attacks_of_other_libraries(tmp_path):
  (tmp_path / "mine.yaml").write_text(
    "- attack: foolbox_boundary\n  steps: 70\n- {attack: cleverhans_mim, epsilon: 8/255}\n"
  )
  first, second = read_suite(tmp_path / "mine.yaml", "cifar10")
  scale = datasets.get("cifar10").suite_scale
  assert first.config == LibraryConfig("foolbox_boundary", scale.l2_epsilon, 70, 1, Norm.L2)
  assert second.config == LibraryConfig("cleverhans_mim", 8 / 255, 100, 1, Norm.LINF)


def test_what_cannot_be_checked_is_refused(monkeypatch):
  for options, words in (
    (
      {"cross_check_attacks": ("foolbox_pgd", "foolbox_gpd")},
      "unknown attack 'foolbox_gpd': did you mean 'foolbox_pgd'",
    ),
    (
      {"cross_check_attacks": ("foolbox_ddn",)},
      "`cross_check`: none of foolbox_ddn searches in a ball of these suites",
    ),
  ):
    with pytest.raises(InputError, match=words):
      planned_attacks(EvaluationOptions(**options), "digits")
  with pytest.raises(InputError, match="`attack`: expected one of"):
    LibraryConfig("ours")

  def missing(name):
    raise attack_configs.importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(attack_configs.importlib.metadata, "version", missing)
  with pytest.raises(InputError, match=r"`cross_check_attacks=art_square`.*tla_tf\[crosscheck\]"):
    suites_module.cross_check([NamedAttack("x", presets.fgsm(0.1))], ["art_square"])
