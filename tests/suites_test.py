"""Suites as data: the paper's Table 3, AutoAttack, a user's own list."""

import json

import pytest
from suite_support import LIST_OF_ATTACKS

from tla_tf import attack_configs
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.evaluation import SUITES, NamedAttack, read_suite, suite
from tla_tf.evaluation.planning import EvaluationOptions, one_by_one, planned_attacks, replaced_for_classes
from tla_tf.types import ApgdLoss, Norm, Objective, Target


def _settings(attacks, *names):
  return [(attack.name, *(getattr(attack.config, name, None) for name in names)) for attack in attacks]


@pytest.mark.parametrize(
  "dataset, l0, l2, steps, step_size", [("mnist", 0.1, 3.0, 40, 0.1), ("cifar10", 0.02, 128 / 255, 10, 32 / 255)]
)
def test_table3_has_the_papers_attacks(dataset, l0, l2, steps, step_size):
  attacks = suite("table3", dataset)
  assert _settings(attacks, "norm", "epsilon")[0] == ("JSMA (L0)", Norm.L0, l0)
  assert _settings(attacks, "norm", "epsilon", "steps", "step_size", "objective")[1:3] == [
    (f"PGD-{steps} (L2)", Norm.L2, l2, steps, step_size, Objective.CROSS_ENTROPY),
    (f"C&W-{steps} (L2)", Norm.L2, l2, steps, step_size, Objective.MARGIN),
  ]
  assert {a.config.epsilon for a in attacks[1:]} == {l2}
  assert [type(a.config) for a in attacks[3:]] == [
    attack_configs.CarliniWagnerConfig,
    attack_configs.DeepFoolConfig,
    attack_configs.DeepFoolConfig,
  ]
  assert [a.config.steps for a in attacks[4:]] == [2, 50]


@pytest.mark.parametrize(
  "name, norm, epsilon", [("auto_attack", Norm.LINF, 8 / 255), ("auto_attack_l2", Norm.L2, 128 / 255)]
)
def test_auto_attack_is_the_standard_version(name, norm, epsilon):
  attacks = suite(name, "cifar10")
  apgd, targeted, fab, square = (attack.config for attack in attacks)
  assert all(attack.on_survivors and attack.suite == name for attack in attacks)
  assert {(c.norm, c.epsilon) for c in (apgd, targeted, fab, square)} == {(norm, epsilon)}
  assert (apgd.loss, apgd.steps, apgd.restarts) == (ApgdLoss.CROSS_ENTROPY, 100, 1)
  assert (targeted.loss, targeted.steps, targeted.restarts) == (ApgdLoss.TARGETED_DLR, 100, 9)
  assert (type(fab), fab.steps, fab.restarts) == (attack_configs.FabConfig, 100, 9)
  assert (type(square), square.steps, square.initial_share) == (attack_configs.SquareConfig, 5000, 0.8)
  assert not square.rescale_schedule


def test_auto_attack_plus_has_more_starts_and_names_of_its_own():
  attacks = suite("auto_attack_plus", "mnist")
  assert [(a.name, a.config.restarts) for a in attacks] == [
    ("5xAPGD-CE", 5),
    ("5xAPGD-DLR", 5),
    ("Square+", 1),
    ("APGD-T+", 9),
    ("FAB-T+", 9),
  ]
  assert attacks[1].config.loss is ApgdLoss.DLR
  assert not {a.name for a in attacks} & {a.name for a in suite("auto_attack", "mnist")}


def _for_classes(count, suites=("auto_attack",), **options):
  plan = planned_attacks(EvaluationOptions(suites=suites, **options), "images")
  return replaced_for_classes(plan, count)


@pytest.mark.parametrize(
  "name, count, expected",
  [
    ("auto_attack", 4, {"APGD-CE": "cross_entropy", "APGD-T": "targeted_dlr"}),
    ("auto_attack", 3, {"APGD-CE": "cross_entropy", "APGD-DLR": "dlr"}),
    ("auto_attack", 2, {"APGD-CE": "cross_entropy", "APGD-margin": "margin"}),
    ("auto_attack_l2", 3, {"APGD-CE (L2)": "cross_entropy", "APGD-DLR (L2)": "dlr"}),
    ("auto_attack_plus", 3, {"5xAPGD-CE": "cross_entropy", "5xAPGD-DLR": "dlr", "APGD-DLR+": "dlr"}),
    ("auto_attack_plus", 2, {"5xAPGD-CE": "cross_entropy", "5xAPGD-margin": "margin", "APGD-margin+": "margin"}),
  ],
)
def test_with_few_classes_losses_that_are_none_are_replaced_and_said(name, count, expected):
  plan = _for_classes(count, (name,))
  apgd = {a.name: a.config.loss for a in plan.attacks if isinstance(a.config, attack_configs.ApgdConfig)}
  assert apgd == expected
  before = [a.name for a in suite(name, "images")]
  changed = [a.name for a in plan.attacks if a.name not in before]
  assert len(plan.replaced) == len(changed)
  assert all(f"{name}: with {count} classes" in said and new in said for said, new in zip(plan.replaced, changed))


def test_a_list_of_ones_own_is_not_changed_but_refused(tmp_path):
  (tmp_path / "mine.yaml").write_text("[{name: ratio, attack: apgd, loss: targeted_dlr}]")
  own = dict(suites=(), suite_file=tmp_path / "mine.yaml")
  assert _for_classes(4, **own).replaced == ()
  with pytest.raises(InputError, match="ratio: `loss=targeted_dlr` is constant with 3 classes.*`loss=dlr`"):
    _for_classes(3, **own)
  (tmp_path / "mine.yaml").write_text("[{attack: apgd, loss: dlr, target: random}]")
  with pytest.raises(InputError, match="`loss=margin`"):
    _for_classes(3, **own)


def test_every_suite_has_its_attacks():
  # Their names stand where tools read them without TensorFlow.
  assert all(suite(name, "mnist") for name in SUITES)


def test_suites_share_an_attack_but_no_link_of_a_chain(tmp_path):
  attacks = planned_attacks(EvaluationOptions(suites=("quick", "table1")), "mnist").attacks
  assert [a.suite for a in attacks if a.name == "PGD-40"] == ["quick", "table1"]
  (tmp_path / "table1.yaml").write_text("[{name: Square, attack: square, rescale_schedule: false, on_survivors: true}]")
  own = EvaluationOptions(suites=("table1",), suite_file=tmp_path / "table1.yaml")
  assert planned_attacks(own, "mnist").attacks[-1].suite == "table1.yaml"
  with pytest.raises(InputError, match="'Square' but differ"):
    planned_attacks(own._replace(suites=("auto_attack",)), "mnist")
  (tmp_path / "table1.yaml").write_text("[{name: FGSM, attack: fgsm, epsilon: 0.1}]")
  with pytest.raises(InputError, match="'FGSM' but differ"):
    planned_attacks(own, "mnist")


@pytest.mark.parametrize(
  "dataset, name, steps, step_size",
  [("mnist", "BB-100", 100, 0.01), ("cifar10", "BB-7", 7, 2 / 255), ("tiny_imagenet", "BB-10", 10, 2 / 255)],
)
def test_the_black_box_column_is_the_papers(dataset, name, steps, step_size):
  last = suite("table1", dataset, black_box=True)[-1]
  assert (last.name, last.config.attack.steps, last.config.attack.step_size) == (name, steps, step_size)
  assert name not in [attack.name for attack in suite("table1", dataset)]


def test_another_epsilon_is_that_of_the_linf_attacks():
  assert {a.config.epsilon for a in suite("auto_attack", "mnist", 0.2)} == {0.2}
  assert suite("table1", "mnist", 0.15, black_box=True)[-1].config.attack.step_size == pytest.approx(0.005)


def test_a_radius_is_for_the_suites_of_its_norm_and_the_others_are_named():
  plan = planned_attacks(EvaluationOptions(suites=("quick", "table3"), epsilon=0.2), "mnist")
  assert plan.attacks == [*suite("quick", "mnist", 0.2), *suite("table3", "mnist")]
  assert plan.unmoved == (
    "`epsilon` is a radius in L-infinity, in which table3 has no attack of a radius that is left open: unchanged.",
  )
  plan = planned_attacks(EvaluationOptions(suites=("table3",), l2_epsilon=1.5, l0_epsilon=0.2), "mnist")
  jsma, pgd, _, search, *_ = (attack.config for attack in plan.attacks)
  assert (jsma.epsilon, pgd.epsilon, pgd.step_size, plan.unmoved) == (0.2, 1.5, pytest.approx(0.05), ())
  assert (search.epsilon, search.step_size) == (1.5, 0.01)  # Adam's rate is no length.
  with pytest.raises(InputError, match="`epsilon` .*table3 has no attack.*give `l2_epsilon` or `l0_epsilon`"):
    planned_attacks(EvaluationOptions(suites=("table3",), epsilon=0.2), "mnist")
  with pytest.raises(InputError, match="`l2_epsilon` .*quick has no attack.*give `epsilon`"):
    planned_attacks(EvaluationOptions(l2_epsilon=0.2), "mnist")


def test_a_radius_is_for_what_a_list_of_ones_own_leaves_open(tmp_path):
  (tmp_path / "mine.yaml").write_text("[{attack: fgsm}, {attack: square, epsilon: 0.1}]")
  options = EvaluationOptions(suites=(), suite_file=tmp_path / "mine.yaml", epsilon=0.2)
  assert [attack.config.epsilon for attack in planned_attacks(options, "mnist").attacks] == [0.2, 0.1]
  (tmp_path / "mine.yaml").write_text("[{attack: square, epsilon: 0.1}]")
  with pytest.raises(InputError, match="mine.yaml has no attack of a radius.*write it into the `suite_file`"):
    planned_attacks(options, "mnist")


def test_several_radii_are_an_evaluation_each():
  options = EvaluationOptions(suites=("quick", "table3"), epsilon=(0.1, 0.2, 0.3), l2_epsilon=[1.0, 2.0])
  found = [(one.suites, one.epsilon, one.l2_epsilon) for one in one_by_one(options, "mnist")]
  assert found == [(("quick", "table3"), 0.1, 1.0), (("quick", "table3"), 0.2, 2.0), (("quick",), 0.3, None)]
  assert one_by_one(EvaluationOptions(epsilon=[0.1]), "mnist") == [EvaluationOptions(epsilon=0.1)]
  assert one_by_one(EvaluationOptions(), "mnist") == [EvaluationOptions()]
  with pytest.raises(InputError, match="`epsilon`.*one radius"):
    planned_attacks(EvaluationOptions(epsilon=(0.1, 0.2)), "mnist")
  for wrong, words in (
    ((), "a radius or several"),
    ((0.1, 0.1), "once"),
    ((0.1, 2.0), "at most 1"),
    ("0.1", "several"),
  ):
    with pytest.raises(InputError, match=f"`epsilon`.*{words}"):
      one_by_one(EvaluationOptions(epsilon=wrong), "mnist")


def test_a_list_of_ones_own(tmp_path):
  path = tmp_path / "mine.yaml"
  path.write_text(LIST_OF_ATTACKS)
  long, apgd, square, jsma = read_suite(path, "mnist")
  assert long == NamedAttack("long", AttackConfig(8 / 255, 0.001, 200, restarts=5), suite="mine")
  assert apgd == NamedAttack("apgd", attack_configs.ApgdConfig(0.3, loss="dlr"), Target.LEAST_LIKELY, suite="mine")
  assert square == NamedAttack(
    "square", attack_configs.SquareConfig(3.0, 100, norm="l2"), on_survivors=True, suite="mine"
  )
  assert (jsma.config.epsilon, jsma.config.theta) == (0.1, -1)


def test_a_list_as_json_is_the_same(tmp_path):
  (tmp_path / "mine.json").write_text(json.dumps([{"attack": "fgsm", "epsilon": "8/255"}]))
  (tmp_path / "mine.yml").write_text("[{attack: fgsm, epsilon: 8/255}]")
  first, second = (read_suite(tmp_path / name, "mnist") for name in ("mine.json", "mine.yml"))
  assert first == second and first[0].config.epsilon == 8 / 255


WRONG = {
  "[{attack: pdg}]": r"attack 1: unknown attack 'pdg'.*pgd",
  "[{attack: fgsm}, {steps: 3}]": "attack 2: has no 'attack'",
  "[pgd]": "attack 1: has no 'attack'",
  "[{attack: fgsm, steps: 3}]": "attack 1: fgsm: .*'steps'",
  "[{attack: pgd, steps: many}]": "attack 1: .*'steps'.*many",
  "[{attack: pgd, norm: [l2], epsilon: 1}]": "attack 1: pgd: ",
  "[{attack: square, epsilon: 7}]": "attack 1: .*'epsilon'.*7",
  "[{attack: square, norm: l3}]": "attack 1: norm 'l3'",
  "[{attack: deepfool, norm: linf}]": "attack 1: .*'norm'",
  "[{attack: square, target: cat}]": "attack 1: target 'cat'",
  "[{attack: square, on_survivors: 2}]": "attack 1: on_survivors",
  "[{attack: square}, {attack: square}]": "two attacks are called 'square'",
  "[{attack: [pgd]}]": r"attack 1: unknown attack \['pgd'\]",
  "[{attack: fgsm, 3: 4}]": "attack 1: fgsm: .*keywords",
  "[{attack: mim, step_size: 0.1, steps: 3, momentum_rule: fast}]": "attack 1: mim: .*fast",
  "[{attack: square, steps: 1" + "0" * 400 + "}]": "attack 1: 'steps' is too large",
  "[" * 5000: "neither YAML nor JSON",
  "[]": "expected a list",
  "{}": "expected a list",
  "attacks: 5": "expected a list",
  "a: [": "neither YAML nor JSON",
  "!!python/object/apply:os.system ['true']": "neither YAML nor JSON",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_in_a_list_is_named(tmp_path, text):
  path = tmp_path / "mine.yaml"
  path.write_text(text)
  with pytest.raises(InputError, match=WRONG[text]) as caught:
    read_suite(path, "mnist")
  assert str(path) in str(caught.value)


def test_a_list_that_is_not_there(tmp_path):
  with pytest.raises(InputError, match="none.yaml: no such file"):
    read_suite(tmp_path / "none.yaml", "mnist")


@pytest.mark.parametrize("kind", attack_configs.KINDS)
def test_every_kind_goes_through_json(kind):
  config = attack_configs.KINDS[kind]()
  assert attack_configs.kind(config) == kind
  assert attack_configs.KINDS[kind].from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
  "config, expected",
  [
    (AttackConfig(), True),
    (AttackConfig(random_start=False), False),
    (attack_configs.ApgdConfig(), True),
    (attack_configs.SquareConfig(), True),
    (attack_configs.FabConfig(), False),
    (attack_configs.DeepFoolConfig(), False),
    (attack_configs.TransferConfig(), False),
  ],
)
def test_which_attacks_draw(config, expected):
  assert attack_configs.draws(config) == expected


PGD = AttackConfig(steps=40)


@pytest.mark.parametrize(
  "changes, expected",
  [
    ({}, True),
    ({"steps": 100}, True),
    ({"restarts": 20}, True),
    ({"steps": 39}, False),
    ({"step_size": 0.02}, False),
    ({"epsilon": 0.4}, False),
    ({"objective": "margin"}, False),
    ({"random_start": False}, False),
  ],
)
def test_which_attack_contains_another(changes, expected):
  assert attack_configs.contains(PGD.replace(**changes), PGD) == expected
  assert not attack_configs.contains(attack_configs.ApgdConfig(), PGD)
