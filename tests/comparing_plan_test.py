"""Plans of comparisons: what they describe, and what is said of a wrong one."""

import pathlib
import re

import pytest

from tla_tf import datasets, published, yaml_file
from tla_tf.comparing.plan import ComparisonPlan
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.settings import presets

# The short trainings of the paper's Table 4 on MNIST.
SHORT = """
dataset: mnist
preset: mnist_mlp
settings:
  attack_steps: 5
  attack_step_size: 0.1
  train_steps: 10000
  learning_rate: 1e-3
  learning_rate_schedule: cosine
  warmup_steps: 500
  validation_attack_steps: 40
  validation_attack_step_size: 0.01
  checkpoint_every: 1000
seeds: [1, 2]
variants:
  tuned: {method: tla, init_from: at, learning_rate: 1e-4}
  um: {method: um}
  at: {method: at}
  tla: {method: tla, schedule: ["triplet:0=0,2000=1"], jit: off}
judge:
  - {suite: [table1], num_examples: 1000, source: um}
  - {suite: auto_attack, epsilon: [0.1, 3/10]}
analyze: {weak_epsilon: 0.03}
"""


def plan(**changes):
  """A small plan, changed."""
  content = {
    "dataset": "digits",
    "settings": {"network": "mlp_16", "train_steps": 20},
    "seeds": [1],
    "variants": {"at": {"method": "at"}, "tla": {"method": "tla"}},
    **changes,
  }
  return ComparisonPlan.from_dict({key: value for key, value in content.items() if value is not None})


@pytest.fixture(scope="module")
def short(tmp_path_factory):
  path = tmp_path_factory.mktemp("plan") / "short.yaml"
  path.write_text(SHORT)
  return ComparisonPlan.read(path)


def test_runs_come_seed_by_seed_and_those_that_others_begin_with_first(short):
  runs = short.runs("out", data_dir="data")
  assert [(run.variant, run.seed) for run in runs] == [
    *((name, 1) for name in ("um", "at", "tla", "tuned")),
    *((name, 2) for name in ("um", "at", "tla", "tuned")),
  ]
  assert [run.folder.as_posix() for run in runs[:2]] == ["out/runs/um/seed_1", "out/runs/at/seed_1"]
  assert [run.init_from and run.init_from.as_posix() for run in runs[6:]] == [None, "out/runs/at/seed_2"]
  assert runs[0].name == "um_seed_1"


def test_flags_are_a_command_of_the_training_tool(short):
  tuned = short.runs("out", data_dir="data")[3]
  assert tuned.flags[:2] == ("--dataset=mnist", "--preset=mnist_mlp")
  assert {"--method=tla", "--learning_rate=0.0001", "--seed=1", "--attack_step_size=0.1"} <= set(tuned.flags)
  assert tuned.flags[-3:] == ("--init_from=out/runs/at/seed_1", "--data_dir=data", "--output_dir=out/runs/tuned/seed_1")


def test_the_config_is_that_of_the_flags(short):
  at = next(run for run in short.runs("out") if run.variant == "at")
  expected = published.setting("mnist", "at", "mlp").replace(
    attack=AttackConfig(epsilon=0.3, step_size=0.1, steps=5),
    validation_attack=AttackConfig(epsilon=0.3, step_size=0.01, steps=40),
    train_steps=10000,
    learning_rate=1e-3,
    learning_rate_schedule="cosine",
    warmup_steps=500,
    checkpoint_every=1000,
    seed=1,
  )
  assert at.config == expected


def test_what_a_variant_says_itself_wins(short):
  tuned, tla = (next(run.config for run in short.runs("out") if run.variant == name) for name in ("tuned", "tla"))
  assert (tuned.learning_rate, tla.learning_rate) == (1e-4, 1e-3)
  assert tla.jit.value == "off" and tla.schedules == (("triplet", ((0, 0.0), (2000, 1.0))),)


def test_what_changes_a_preset_scales_its_step_size():
  short_steps = plan(dataset="mnist", preset="mnist_mlp", settings={"attack_steps": 20})
  assert {run.config.attack.step_size for run in short_steps.runs("out")} == {0.02}


def test_judging_has_flags_and_a_source(short):
  first, second = short.judge
  assert (dict(first.flags), first.source) == ({"suite": ("table1",), "num_examples": ("1000",)}, "um")
  assert second.flags["epsilon"] == ("0.1,3/10",) and not second.held_out
  assert short.analyze.flags == {"weak_epsilon": ("0.03",)}
  assert plan(judge=[{"suite": "quick", "split": "held_out"}]).judge[0].held_out


@pytest.mark.parametrize("name", presets.paths())
def test_every_preset_can_be_compared(name):
  dataset = max((dataset for dataset in datasets.names() if name in presets.names(dataset)), key=len)
  own = presets.texts(name, dataset)
  made = plan(
    dataset=dataset, preset=name, settings=None, variants={"one": {} if "method" in own else {"method": "at"}}
  )
  (run,) = made.runs("out")
  assert (run.config.network, run.config.train_steps) == (own["network"][0], int(own["train_steps"][0]))
  assert run.flags[:2] == (f"--dataset={dataset}", f"--preset={name}")


def test_a_plan_is_written_as_it_is_read(short, tmp_path):
  (tmp_path / "again.yaml").write_text(short.text())
  assert ComparisonPlan.read(tmp_path / "again.yaml") == short
  assert list(ComparisonPlan.read(tmp_path / "again.yaml").content) == list(short.content)


def test_a_grid_is_every_pair_of_values_of_the_variants_that_it_is_of():
  made = plan(grid={"of": ["tla"], "margin": [0.03, 0.1], "triplet_weight": [0.5, 1]})
  assert [variant.name for variant in made.variants] == [
    "at",
    "tla_margin_0.03_triplet_weight_0.5",
    "tla_margin_0.03_triplet_weight_1",
    "tla_margin_0.1_triplet_weight_0.5",
    "tla_margin_0.1_triplet_weight_1",
  ]
  triplets = [run.config.recipe.triplet for run in made.runs("out")[1:]]
  assert [(t.margin, t.weight) for t in triplets] == [(0.03, 0.5), (0.03, 1), (0.1, 0.5), (0.1, 1)]
  chosen = plan(grid={"of": "tla", "margin": [0.03, 0.1]}, select={"best_tla": "tla"})
  assert chosen.select == {"best_tla": ("tla_margin_0.03", "tla_margin_0.1")}
  assert [v.name for v in plan(grid={"of": "tla", "epsilon": ["8/255"]}).variants] == ["at", "tla_epsilon_8_255"]


def test_a_budget_of_steps_is_that_of_all_and_one_of_seconds_waits_for_a_measurement():
  steps = plan(settings=None, budget={"steps": 7})
  assert {run.config.train_steps for run in steps.runs("out")} == {7}
  seconds = plan(settings={"learning_rate_schedule": "cosine"}, budget={"seconds": 60})
  assert seconds.seconds == 60.0
  at, tla = seconds.runs("out", train_steps={"at": 500, "tla": 300})
  assert (at.config.train_steps, at.config.cosine_steps, tla.config.cosine_steps) == (500, 500, 300)
  assert "--train_steps=500" in at.flags and "--train_steps=300" in tla.flags


def test_a_variant_with_a_seed_of_its_own_is_one_run_for_all():
  variants = {
    "source": {"method": "at", "seed": 1000},
    "at": {"method": "at"},
    "tuned": {"method": "tla", "init_from": "source"},
  }
  found = plan(seeds=[1, 2], variants=variants, judge=[{"suite": ["table1"], "source": "source"}])
  runs = found.runs("out")
  assert [run.name for run in runs] == ["source_seed_1000", "at_seed_1", "tuned_seed_1", "at_seed_2", "tuned_seed_2"]
  assert runs[0].config.seed == 1000 and "--seed=1000" in runs[0].flags
  assert {run.init_from for run in runs if run.variant == "tuned"} == {runs[0].folder}
  assert (found.seed_of("source", 2), found.seed_of("at", 2)) == (1000, 2)


def test_the_plan_of_the_docs_is_one():
  page = pathlib.Path(__file__).parent.parent.joinpath("docs", "comparing.md").read_text(encoding="utf-8")
  whole, choice = (yaml_file.parse(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
  assert len(ComparisonPlan.from_dict(whole).runs("out")) == 12
  assert len(ComparisonPlan.from_dict({**whole, **choice}).select["best_tla"]) == 4


# --------------------------------------------------------------------------- wrong plans


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"dataset": None}, "dataset: is missing"),
    ({"dataset": "mnits"}, "dataset: Unknown data set 'mnits': did you mean 'mnist'?"),
    ({"seed": [1]}, "the plan: unknown key 'seed'; did you mean 'seeds'?"),
    ({"data_dir": "x"}, "data_dir: does not go with the data set digits"),
    ({"preset": "mnist_mlp"}, "the plan: 'preset=mnist_mlp': is a setting of another data set"),
    ({"seeds": []}, "seeds: expected whole numbers"),
    ({"seeds": [1, True]}, "seeds: expected whole numbers"),
    ({"seeds": [1, 1]}, "seeds: expected every seed once"),
    ({"settings": {"margins": 1}}, "settings: no flag of tla-train for digits is called 'margins'; did you mean"),
    ({"settings": {"resize": "crop"}}, "settings: no flag of tla-train for digits is called 'resize'"),
    ({"settings": {"seed": 1}}, "settings: seed is no setting of a variant; in a plan it is seeds."),
    ({"variants": {"at": {"method": "at", "seed": -1}}}, "variants: at: seed: expected a whole number of at least 0"),
    (
      {"variants": {"at": {"method": "at"}, "b": {"method": "tla", "init_from": "at", "seed": 5}}},
      "variants: b: seed: a variant with a seed of its own begins with fresh weights; leave out init_from.",
    ),
    ({"settings": {"train_steps": "many"}}, "settings: train_steps: Invalid value for 'train_steps'"),
    ({"settings": {"train_steps": None}}, "settings: train_steps: expected a number, a text"),
    ({"settings": {"learning_rate": "nan"}}, "settings: learning_rate: Invalid value"),
    ({"settings": {"jit": False}}, "settings: jit: Invalid value for 'jit': expected one of ['auto', 'on', 'off']"),
    ({"settings": {"deterministic": "no"}}, "settings: deterministic: Invalid value"),
    ({"settings": {"beta": 6}}, "settings: beta: has no effect on any of the methods ['at', 'tla']."),
    ({"settings": {"train_steps": 0}}, "variants: at: Invalid value for 'train_steps'"),
    ({"variants": {}}, "variants: expected at least one"),
    ({"variants": {"at": None}}, "variants: at: expected a mapping"),
    ({"variants": {"a/b": {"method": "at"}}}, "variants: 'a/b' is no name"),
    ({"variants": {"..": {"method": "at"}}}, "variants: '..' is no name"),
    ({"variants": {"at": {}}}, "variants: at: method: is missing"),
    ({"variants": {"at": {"method": "ta"}}}, "variants: at: method: Unknown method 'ta'"),
    ({"variants": {"at": {"method": "at", "margin": 1}}}, "variants: at: margin: has no effect on the method at."),
    ({"variants": {"at": {"method": "at", "epsilon": 8}}}, "variants: at: Invalid value for 'epsilon'"),
    ({"variants": {"at": {"method": "at", "init_from": "um"}}}, "variants: at: init_from: no variant is called 'um'"),
    ({"variants": {"at": {"method": "at", "init_checkpoint": "last"}}}, "at: init_checkpoint: needs init_from"),
    (
      {"variants": {"a": {"method": "at", "init_from": "b"}, "b": {"method": "at", "init_from": "a"}}},
      "variants: init_from: a begins with b begins with a.",
    ),
    ({"grid": {}}, "grid: expected settings"),
    ({"grid": {"of": ["tle"], "margin": [1]}}, "grid: of: no variant is called 'tle'; did you mean 'tla'?"),
    ({"grid": {"margin": 1}}, "grid: margin: expected a list of values, got 1."),
    ({"grid": {"margin": [1]}}, "variants: at_margin_1: margin: has no effect on the method at."),
    ({"grid": {"of": "tla", "margin": [1, 1]}}, "grid: tla_margin_1 is there twice."),
    ({"grid": {"method": ["at"]}}, "grid: method: is set by the variant at, too"),
    (
      {"variants": {"a": {"method": "at"}, "b": {"method": "at", "init_from": "a"}}, "grid": {"of": "a", "seed": [1]}},
      "grid: seed is no setting of a variant",
    ),
    (
      {
        "variants": {"a": {"method": "at"}, "b": {"method": "at", "init_from": "a"}},
        "grid": {"of": "a", "epsilon": [0.1]},
      },
      "variants: b: init_from: a stands for 1 variants of the grid; name one: ['a_epsilon_0.1'].",
    ),
    ({"budget": {"steps": 5}}, "budget: has steps, as the settings have train_steps"),
    ({"budget": {"hours": 5}}, "budget: unknown key 'hours'"),
    ({"budget": {"steps": 1, "seconds": 5}}, "budget: expected either steps or seconds."),
    ({"budget": {"seconds": 0}}, "budget: seconds: expected a number above 0, got 0."),
    ({"settings": {}, "budget": {"steps": 1.5}}, "budget: steps: expected a whole number above 0, got 1.5."),
    (
      {"settings": {}, "budget": {"seconds": 5}, "variants": {"a": {"method": "at", "train_steps": 5}}},
      "variants: a: has train_steps, but the budget",
    ),
    ({"select": {"best": ["at", "tle"]}}, "select: best: no variant is called 'tle'; did you mean 'tla'?"),
    ({"select": {"best": "at"}}, "select: best: has one variant only"),
    (
      {"variants": {"at": {"method": "at"}, "um": {"method": "um", "seed": 9}}, "select": {"best": ["at", "um"]}},
      "select: best: um has a seed of its own; it serves others and is not judged.",
    ),
    ({"select": {"best": ["at", "at"]}}, "select: best: at is there twice."),
    (
      {
        "variants": {"at": {"method": "at"}, "tla": {"method": "tla", "epsilon": 0.1}},
        "select": {"best": ["at", "tla"]},
      },
      "select: best: at and tla are attacked otherwise on held-out images",
    ),
    ({"judge": {}}, "judge: expected a list"),
    ({"judge": [{"num_examples": 3}]}, "judge 1: give a suite, or a suite_file."),
    ({"judge": [{"suite": "tabel1"}]}, "judge 1: suite: 'tabel1' is not known; did you mean 'table1'?"),
    ({"judge": [{"suite_file": "nowhere.yaml"}]}, "judge 1: suite_file: nowhere.yaml: no such file."),
    ({"judge": [{"suite": "quick", "run_dir": "x"}]}, "judge 1: no flag of tla-evaluate that goes into a plan"),
    ({"judge": [{"suite": "quick", "num_examples": "all"}]}, "judge 1: num_examples: Invalid value"),
    ({"judge": [{"suite": "quick"}, {"suite": ["quick"]}]}, "judge 2: is judge 1 again."),
    ({"judge": [{"suite": "quick", "source": "at"}]}, "judge 1: source: is for the black-box column"),
    ({"judge": [{"suite": "table1", "source": "um"}]}, "judge 1: source: no variant is called 'um'"),
    ({"judge": [{"suite": "quick", "epsilon": [0.1, "x"]}]}, "judge 1: epsilon: Invalid value"),
    ({"analyze": {"metric": "angle"}}, "analyze: metric: Invalid value for 'metric': expected one of ['cosine'"),
    ({"analyze": {"covariance": "spherical"}}, "analyze: covariance: 'spherical' is not known"),
  ],
)
def test_a_wrong_plan_ends_in_one_sentence_with_the_place(changes, message):
  with pytest.raises(InputError) as refused:
    plan(**changes)
  assert str(refused.value).startswith(message) or f" {message}" in str(refused.value), str(refused.value)
  assert "`" not in str(refused.value)


@pytest.mark.parametrize(
  "text, message",
  [
    ("seeds: [1]\nseeds: [2]\n", "'seeds' is there twice in line 2, column 1"),
    ("variants:\n  at: [\n", "line"),
    ("- 1\n", "the plan: expected a mapping"),
    ("dataset: !!python/object:os.system x\n", "could not determine a constructor"),
  ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path, text, message):
  (tmp_path / "plan.yaml").write_text(text)
  with pytest.raises(InputError) as refused:
    ComparisonPlan.read(tmp_path / "plan.yaml")
  assert str(refused.value).startswith(f"{tmp_path / 'plan.yaml'}: ") and message in str(refused.value)
  with pytest.raises(InputError, match="nowhere.yaml: no such file"):
    ComparisonPlan.read(tmp_path / "nowhere.yaml")


def test_yaml_words_and_numbers_are_what_they_look_like(tmp_path):
  (tmp_path / "x.yaml").write_text("[off, yes, true, 1e-4, 50000:0.01, 010, 1_000, null, ~, 2026-01-01, -3, .5]")
  read = yaml_file.read(tmp_path / "x.yaml")
  assert read == ["off", "yes", True, 1e-4, "50000:0.01", "010", "1_000", None, None, "2026-01-01", -3, 0.5]


@pytest.mark.parametrize(
  "path", sorted((pathlib.Path(__file__).parent.parent / "benchmarks").glob("*.yaml")), ids=lambda path: path.stem
)
def test_the_plans_of_the_benchmarks_can_be_run(path):
  """Their settings resolve, and each variant differs from all others."""
  plan = ComparisonPlan.read(path)
  configs = [run.config for run in plan.runs("compared")]
  assert len(configs) == len(plan.variants) * len(plan.seeds)
  assert all(config not in configs[:i] for i, config in enumerate(configs))


def test_there_are_plans_of_benchmarks():
  assert list((pathlib.Path(__file__).parent.parent / "benchmarks").glob("*.yaml"))
