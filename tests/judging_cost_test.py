"""Estimates of judging and analysing against counts by hand."""

import pytest

from tla_tf import networks, published
from tla_tf.attack_configs import (
  ApgdConfig,
  CarliniWagnerConfig,
  DeepFoolConfig,
  FabConfig,
  JsmaConfig,
  LibraryConfig,
  SquareConfig,
  TransferConfig,
)
from tla_tf.attacks import presets
from tla_tf.evaluation.planning import EvaluationOptions, planned_attacks
from tla_tf.evaluation.suites import NamedAttack
from tla_tf.networks.flops import flops
from tla_tf.training import cost
from tla_tf.training.judging_cost import analysis_seconds, forward_passes, judging_seconds

CONFIG = published.setting("digits", "at", "mlp_8")


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch):
  """One forward pass of one image a second; nothing else takes time."""
  once = flops(networks.build("mlp_8", (8, 8, 1), 10))
  monkeypatch.setattr(cost, "judging_rate", lambda *given: float(once.forward))
  monkeypatch.setattr(cost, "STARTING", 0.0)
  monkeypatch.setattr("tla_tf.training.judging_cost._COMPILING", 0.0)
  monkeypatch.setattr("tla_tf.training.judging_cost._ANALYSING", 0.0)


@pytest.mark.parametrize(
  "config, passes",
  [
    (presets.fgsm(0.3), 3),
    (presets.pgd(0.3, 0.01, 40), 81),
    (ApgdConfig(steps=100), 201),
    (FabConfig(steps=100), 201),
    (SquareConfig(steps=5000), 5000),
    (CarliniWagnerConfig(steps=1000, binary_search_steps=9), 18000),
    (DeepFoolConfig(steps=50, candidates=9), 500),
    (DeepFoolConfig(steps=2, candidates=20), 20),  # ten classes have nine others
    (JsmaConfig(epsilon=0.1), 8),  # 6.4 of 64 pixels, in pairs
    (LibraryConfig("foolbox_pgd", steps=30), 61),
    (TransferConfig(), 1),
  ],
)
def test_passes_of_an_attack(config, passes):
  assert forward_passes(config, (8, 8, 1), 10) == passes


def test_an_evaluation_is_its_clean_pass_and_its_attacks():
  assert judging_seconds(CONFIG, [], 5) == 5.0
  attacks = [NamedAttack("PGD", presets.pgd(0.3, 0.01, 40)), NamedAttack("BIM", presets.bim(0.3, 0.01, 10))]
  assert judging_seconds(CONFIG, attacks, 5) == 5 * (1 + 81 + 21)
  # What draws nothing runs once.
  assert judging_seconds(CONFIG, attacks, 5, num_seeds=3) == 5 * (1 + 3 * 81 + 21)


def test_further_starts_and_longer_attacks_see_what_stands():
  short = NamedAttack("short", presets.pgd(0.3, 0.01, 10))
  long = NamedAttack("long", presets.pgd(0.3, 0.01, 100, restarts=20))
  assert judging_seconds(CONFIG, [long], 10) == 10 * (1 + 201 + 19 * 0.5 * 201)
  assert judging_seconds(CONFIG, [short, long], 10) == 10 * (1 + 21 + 20 * 0.5 * 201)
  assert judging_seconds(CONFIG, [short, long], 10, standing=0.1) == pytest.approx(10 * (1 + 21 + 20 * 0.1 * 201))


def test_attacks_on_survivors_see_what_stands():
  attacks = planned_attacks(EvaluationOptions(suites=("auto_attack",)), "digits").attacks
  expected = 2 * (1 + 201 + 9 * 0.5 * 201 + 9 * 0.5 * 201 + 0.5 * 5000)
  assert judging_seconds(CONFIG, attacks, 2) == expected
  # Those of their own suite.
  assert judging_seconds(CONFIG, [NamedAttack("FGSM", presets.fgsm(0.3)), *attacks], 2) == expected + 2 * 3


def test_an_analysis_is_its_attacks_its_embeddings_and_its_neighbours():
  weak, strong = presets.pgd(0.03, 0.01, 10), presets.pgd(0.3, 0.01, 20)
  found = analysis_seconds(CONFIG, weak, strong, num_examples=5, num_train_examples=100, fit_examples=7)
  neighbours = 2 * 3 * 5 * 100 * 8 / flops(networks.build("mlp_8", (8, 8, 1), 10)).forward
  assert found == pytest.approx(5 * (21 + 41 + 1) + 7 * (21 + 1) + 100 + neighbours)


def test_all_suites_have_a_price():
  options = EvaluationOptions(suites=("table1", "table3", "auto_attack"))
  attacks = planned_attacks(options, "mnist", black_box=True).attacks
  assert judging_seconds(published.setting("mnist", "at", "mlp"), attacks, 1) > len(attacks)
