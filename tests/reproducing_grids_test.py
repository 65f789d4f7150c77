"""The plans that the paper's tables need: which trainings, in which settings, judged with what."""

import re

import pytest

from tla_tf import published
from tla_tf.comparing.plan import ComparisonPlan
from tla_tf.errors import InputError
from tla_tf.reproducing import grids, paper
from tla_tf.types import PassMode, Schedule

PAPER = paper.read()
NETWORKS = list(dict.fromkeys((part.dataset, part.network) for part in PAPER.parts))
TUNED = {"tla", "tla_rn", "tla_sa", "pool_250", "pool_1000", "pool_2000"}


def wanted(kind, number, dataset, scale="published", **choice):
  """What one table or figure of one data set wants."""
  (found,) = grids.wanted(PAPER.chosen(kind, number, dataset), scale, **choice)
  return found


def configs(plan):
  """The settings of a plan's first seed by variant."""
  runs = plan.runs("out")
  return {name: next(run.config for run in runs if run.variant == name) for name in {run.variant for run in runs}}


@pytest.mark.parametrize("scale", grids.SCALES)
def test_every_network_of_the_paper_has_a_plan_with_every_row_of_it(scale):
  found = {(one.parts[0].dataset, one.parts[0].network): one for one in grids.wanted(PAPER.parts, scale)}
  assert list(found) == NETWORKS and len(NETWORKS) == 5
  for part in PAPER.parts:
    one = found[part.dataset, part.network]
    names = {variant.name for variant in one.plan.variants}
    assert set(part.variants.values()) <= names
    assert one.rows[one.parts.index(part)] == tuple(part.rows)
  assert {path.stem for path in grids.FOLDER.iterdir()} == {
    f"{dataset}_{network}_{scale}" for dataset, network in NETWORKS for scale in grids.SCALES
  }


@pytest.mark.parametrize("dataset, network", NETWORKS)
def test_published_plans_have_the_published_settings(dataset, network):
  plan = ComparisonPlan.read(grids.path(dataset, network, "published"))
  for run in plan.runs("out"):
    tuned = run.init_from is not None
    assert tuned == (dataset != "mnist" and run.variant in TUNED)
    expected = published.setting(dataset, run.config.method, network, fine_tuning=tuned)
    found = run.config.replace(seed=expected.seed, checkpoint_every=expected.checkpoint_every)
    if run.variant.startswith("pool_"):
      size = found.recipe.negative_pool_size
      assert run.variant == f"pool_{size}"
      found = found.replace(recipe=expected.recipe)
    assert found == expected, run.name


@pytest.mark.parametrize("dataset, network", NETWORKS)
def test_short_plans_have_the_published_losses_and_attacks_of_that_ball(dataset, network):
  """What the short scale is for: lengths, rates and networks are its own, the method is not."""
  long, short = (configs(ComparisonPlan.read(grids.path(dataset, network, scale))) for scale in grids.SCALES[:2])
  for name, config in long.items():
    assert short[name].recipe == config.recipe, name
    assert (short[name].method, short[name].batch_size) == (config.method, config.batch_size)
    assert short[name].attack.epsilon == config.attack.epsilon
    assert short[name].train_steps < config.train_steps


def test_the_short_mlp_is_the_schedule_that_docs_and_figures_are_of():
  plan = wanted("table", "4", "mnist", "short").plan
  assert plan.seeds == (1, 2, 3)
  assert [variant.name for variant in plan.variants] == ["um", "at", "alp", "tla", "tla_rn", "tla_sa"]
  for run in plan.runs("out"):
    config = run.config
    assert (config.network, config.batch_size, config.optimizer, config.train_steps) == ("mlp", 50, "adam", 10_000)
    assert (config.attack.steps, config.attack.step_size, config.attack.epsilon) == (5, 0.1, 0.3)
    assert (config.validation_attack.steps, config.validation_attack.step_size) == (40, 0.01)
    assert (config.learning_rate, config.learning_rate_schedule) == (1e-3, Schedule.COSINE)
    assert (config.warmup_steps, config.label_smoothing, config.checkpoint_every) == (500, 0, 1000)
    assert (config.seed, config.method) == (run.seed, run.variant)
  assert configs(plan)["at"].recipe.attack_mode is PassMode.TRAINING


def test_what_others_begin_with_is_trained_first():
  runs = wanted("table", "1", "tiny_imagenet").plan.runs("out")
  order = [(run.variant, run.seed) for run in runs]
  for run in runs:
    if run.init_from is not None:
      assert order.index(("at", run.seed)) < order.index((run.variant, run.seed))
      assert run.init_from == next(r.folder for r in runs if (r.variant, r.seed) == ("at", run.seed))


@pytest.mark.parametrize(
  "which, variants, suites, analysed",
  [
    (("table", "2", "cifar10"), {"at", "tla_rn", "tla", "pool_250", "pool_1000", "pool_2000"}, ["table1"], False),
    (("table", "3", "mnist"), {"at", "alp", "tla"}, ["table3"], False),
    (("table", "4", "mnist"), {"um", "at", "alp", "tla", "tla_rn", "tla_sa"}, ["table1", "auto_attack"], False),
    (("table", "5", "mnist"), {"at", "alp", "tla"}, [], True),
    (("table", "6", "tiny_imagenet"), {"at", "alp", "tla"}, [], True),
    (("figure", "5", "mnist"), {"at", "alp", "tla"}, [], True),
    (("figure", "1", "cifar10"), {"um", "at", "alp", "tla"}, [], True),
    (("figure", "4", "cifar10"), {"at", "tla"}, [], True),
  ],
)
def test_a_table_trains_and_judges_what_it_shows_and_no_more(which, variants, suites, analysed):
  plan = wanted(*which, "short").plan
  assert {variant.name for variant in plan.variants} == variants
  assert [judging.flags["suite"] for judging in plan.judge] == [(suite,) for suite in suites]
  assert all(judging.source is None for judging in plan.judge)
  assert (plan.analyze is not None) == analysed


def test_the_black_box_column_is_made_on_another_at_network():
  for dataset in ("mnist", "cifar10", "tiny_imagenet"):
    one = wanted("table", "1", dataset)
    assert [judging.source for judging in one.plan.judge] == ["source"]
    found = configs(one.plan)
    assert found["source"].method == "at" and found["source"].seed != found["at"].seed
    assert found["source"].replace(seed=0) == found["at"].replace(seed=0)
    assert "source" not in one.further


def test_a_network_that_several_tables_need_is_trained_once():
  found = grids.wanted(PAPER.chosen(dataset="mnist"), "short")
  assert [one.name for one in found] == ["mnist_lenet_short", "mnist_mlp_short"]
  lenet = found[0]
  assert [part.name for part in lenet.parts] == ["Table 1", "Table 3", "Table 5", "Table 6", "Figure 5"]
  assert [judging.flags["suite"] for judging in lenet.plan.judge] == [("table1",), ("table3",)]
  assert lenet.plan.analyze is not None


def test_only_picks_rows_with_what_they_need():
  one = wanted("table", "2", "cifar10", only=("250",), num_seeds=2)
  assert [variant.name for variant in one.plan.variants] == ["at", "pool_250"]
  assert (one.rows, one.plan.seeds) == ((("250",),), (1, 2))
  one = wanted("table", "1", "mnist", only=("TLA-RN", "um"))
  assert [variant.name for variant in one.plan.variants] == ["um", "tla_rn", "source"]
  assert one.rows == (("UM", "TLA-RN"),)
  one = wanted("table", "4", "mnist", "short", only=("tla_sa",))
  assert (one.rows, one.further) == (((),), ("tla_sa",))


@pytest.mark.parametrize(
  "choice, words",
  [
    ({"only": ("tla", "atp")}, "`only=atp`: "),
    ({"scale": "shrt"}, "`scale=shrt`: did you mean 'short'? expected one of ['published', 'short'], or the .yaml"),
    ({"scale": "nowhere.yaml"}, "nowhere.yaml: no such file"),
  ],
)
def test_wrong_choices_are_refused(choice, words):
  with pytest.raises(InputError, match=re.escape(words)):
    grids.wanted(PAPER.chosen("table", "4", "mnist"), **choice)


def test_a_plan_of_ones_own_is_a_scale(tmp_path):
  own = tmp_path / "tiny.yaml"
  text = (
    "dataset: mnist\nsettings: {network: mlp_16, train_steps: 20}\nseeds: [1]\n"
    "variants:\n  at: {method: at}\n  tla: {method: tla}\njudge: [{suite: [table1], num_examples: 50}]\n"
  )
  own.write_text(text)
  with pytest.raises(InputError, match=r"tiny.yaml: has no variant 'um', which Table 4 has a row for"):
    wanted("table", "4", "mnist", str(own))
  one = wanted("table", "4", "mnist", str(own), only=("at", "tla"))
  assert (one.name, one.scale) == ("mnist_mlp_tiny", "tiny")
  assert [run.config.network for run in one.plan.runs("out")] == ["mlp_16"] * 2
  with pytest.raises(InputError, match="a plan is of one network, and these tables are of mlp on mnist, convnet on"):
    grids.wanted(PAPER.chosen("table", "4"), str(own))
  own.write_text(text.replace("mnist", "cifar10"))
  with pytest.raises(InputError, match="is a plan for cifar10, and the table is of mnist"):
    wanted("table", "4", "mnist", str(own), only=("at",))
