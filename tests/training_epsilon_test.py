"""A run that was trained at another epsilon than its data set's is judged and analysed at its own."""

import pytest

from tla_tf import published
from tla_tf.errors import InputError
from tla_tf.evaluation import EvaluationOptions, suite
from tla_tf.evaluation.analysis_planning import AnalysisOptions
from tla_tf.evaluation.analysis_planning import planned_attacks as analysis_attacks
from tla_tf.evaluation.planning import planned_attacks
from tla_tf.records import training_epsilon
from tla_tf.types import Norm

OWN = 4 / 255
EVERY = EvaluationOptions(suites=("quick", "table1", "table3", "auto_attack"))


def test_a_run_of_the_data_sets_epsilon_gets_the_suites_as_they_are():
  plain = [attack for name in EVERY.suites for attack in suite(name, "cifar10")]
  for trained in (None, 8 / 255):
    plan = planned_attacks(EVERY, "cifar10", training_epsilon=trained)
    assert (plan.attacks, plan.epsilon, plan.notes) == (plain, 8 / 255, ())


def test_suites_are_made_for_the_epsilon_of_the_training():
  plan = planned_attacks(EVERY, "cifar10", black_box=True, training_epsilon=OWN)
  linf = [attack.config for attack in plan.attacks if attack.config.norm is Norm.LINF]
  assert {config.epsilon for config in linf} == {OWN} and plan.epsilon == OWN
  pgd = next(attack.config for attack in plan.attacks if attack.name == "PGD-7")
  assert (pgd.step_size, pgd.steps) == (pytest.approx(1 / 255), 7)
  # Other norms stay.
  others = {attack.config.norm: attack.config.epsilon for attack in plan.attacks if attack.config.norm is not Norm.LINF}
  assert others == {Norm.L2: 128 / 255, Norm.L0: 0.02}
  assert plan.notes == ("Its epsilon is 4/255, not cifar10's 8/255: judged at its own.",)


def test_what_is_asked_for_comes_first():
  asked = EvaluationOptions(suites=("table1",), epsilon=0.1)
  plan = planned_attacks(asked, "cifar10", training_epsilon=OWN)
  assert {attack.config.epsilon for attack in plan.attacks} == {0.1}
  assert (plan.epsilon, plan.notes) == (0.1, ())


def test_suites_without_an_attack_in_linf_say_nothing():
  plan = planned_attacks(EvaluationOptions(suites=("table3",)), "mnist", training_epsilon=0.1)
  assert plan.notes == () and plan.attacks == list(suite("table3", "mnist"))
  # Probes have a ball of their own there, which is the training's.
  assert plan.epsilon == 0.1


def test_a_list_of_ones_own_takes_the_epsilon_that_it_leaves_out(tmp_path):
  (tmp_path / "mine.yaml").write_text(
    "[{attack: fgsm}, {attack: apgd, epsilon: 0.2}, {attack: apgd, name: b, norm: l2}]"
  )
  options = EvaluationOptions(suites=(), suite_file=tmp_path / "mine.yaml")
  for trained, expected in ((None, 0.3), (0.1, 0.1)):
    plan = planned_attacks(options, "mnist", training_epsilon=trained)
    assert [attack.config.epsilon for attack in plan.attacks] == [expected, 0.2, 3.0]


@pytest.mark.parametrize(
  "changes, words",
  [
    ({"suites": ()}, "`suites`.*`suite_file`"),
    ({"epsilon": 8}, "`epsilon`.*at most 1.*8"),
    ({"epsilon": float("nan")}, "`epsilon`"),
    ({"l2_epsilon": -1}, "`l2_epsilon`.*-1"),
    ({"l0_epsilon": 2}, "`l0_epsilon`.*at most 1"),
    ({"num_examples": 0}, "`num_examples`"),
    ({"num_seeds": 0}, "`num_seeds`"),
    ({"batch_size": 2.5}, "`batch_size`"),
    ({"seed": -1}, "`seed`"),
    ({"suites": ("table9",)}, "Unknown suite 'table9': did you mean 'table[13]'"),
  ],
)
def test_options_of_an_evaluation_are_checked(changes, words):
  with pytest.raises(InputError, match=words):
    planned_attacks(EvaluationOptions(**changes), "mnist")


# --------------------------------------------------------------------------- analysis


def _radii(dataset, trained, **options):
  attacks = analysis_attacks(AnalysisOptions(**options), dataset, trained)
  return attacks.weak.epsilon, attacks.strong.epsilon, attacks.notes


@pytest.mark.parametrize("dataset, weak, strong", [("mnist", 0.03, 0.3), ("cifar10", 8 / 255, 25 / 255)])
def test_an_analysis_at_the_data_sets_epsilon_is_as_it_was(dataset, weak, strong):
  usual = {"mnist": 0.3, "cifar10": 8 / 255}[dataset]
  for trained in (None, usual):
    assert _radii(dataset, trained) == (weak, strong, ())


def test_the_usual_attack_is_at_the_epsilon_of_the_training():
  weak, strong, (note,) = _radii("mnist", 0.2)
  assert (weak, strong) == (0.03, 0.2)
  assert note == "Its epsilon is 0.2, not mnist's 0.3: the strong attack is at its own."
  weak, strong, (note,) = _radii("cifar10", OWN)
  assert (weak, strong) == (OWN, 25 / 255) and "the weak attack is at its own." in note
  attacks = analysis_attacks(AnalysisOptions(), "cifar10", OWN)
  assert (attacks.usual, attacks.weak.steps, attacks.weak.step_size) == ("weak", 7, pytest.approx(2.5 * OWN / 7))


@pytest.mark.parametrize(
  "dataset, trained, expected",
  [
    ("mnist", 0.02, (0.002, 0.02)),
    ("mnist", 0.03, (0.003, 0.03)),
    ("cifar10", 32 / 255, (32 / 255, 100 / 255)),
    ("cifar10", 0.6, (0.6, 1.0)),
  ],
)
def test_the_other_attack_gives_way_where_they_collide(dataset, trained, expected):
  weak, strong, (note,) = _radii(dataset, trained)
  assert (weak, strong) == pytest.approx(expected)
  assert "scales with it from" in note


def test_an_epsilon_that_is_asked_for_is_taken():
  assert _radii("mnist", 0.2, strong_epsilon=0.25) == (0.03, 0.25, ())
  weak, strong, (note,) = _radii("mnist", 0.2, weak_epsilon=0.1)
  assert (weak, strong) == (0.1, 0.2) and "scales" not in note
  with pytest.raises(InputError, match="Weak epsilon 0.2 and strong epsilon 0.2.*`weak_epsilon`"):
    _radii("mnist", 0.2, weak_epsilon=0.2)
  with pytest.raises(InputError, match="Weak epsilon 1 and strong epsilon 1"):
    _radii("cifar10", 1.0)


@pytest.mark.parametrize(
  "changes",
  [
    {"weak_epsilon": 2},
    {"num_examples": 1},
    {"fit_examples": 1},
    {"k": 0},
    {"seed": 2**32},
    {"false_positive_rate": 1.0},
    {"shrinkage": float("nan")},
    {"metric": "taxi"},
    {"covariance": "round"},
  ],
)
def test_options_of_an_analysis_are_checked(changes):
  with pytest.raises(InputError, match=f"`{next(iter(changes))}`"):
    analysis_attacks(AnalysisOptions(**changes), "mnist")


@pytest.mark.parametrize("points, expected", [((), 0.2), (((0, 0.0), (5, 1.0)), 0.2), (((0, 0.5),), 0.1)])
def test_the_epsilon_of_a_scheduled_run_is_that_of_its_end(points, expected):
  schedules = (("epsilon", points),) if points else ()
  config = published.setting("digits", "at").replace(schedules=schedules)
  assert training_epsilon(config.to_dict()) == pytest.approx(expected)


def test_nothing_is_said_where_no_attack_is_made_for_the_runs_epsilon(tmp_path):
  own = tmp_path / "own.yaml"
  own.write_text("- attack: pgd\n  epsilon: 0.2\n  step_size: 0.1\n  steps: 3\n")
  plan = planned_attacks(EvaluationOptions(suites=(), suite_file=str(own)), "digits", training_epsilon=0.05)
  assert plan.notes == ()
