"""What a comparison does, in which order, and that it goes on: with tools that leave results without work."""

import json
import pathlib

import pytest
from comparing_support import FakeTools, Killed, leave_evaluations, leave_training
from result_support import attack_row

from tla_tf import files
from tla_tf.comparing import estimates, runner
from tla_tf.comparing.plan import ComparisonPlan
from tla_tf.comparing.runner import Comparison
from tla_tf.errors import InputError
from tla_tf.persistence.run_folder import RunFolder
from tla_tf.training import judging_cost

PLAN = {
  "dataset": "digits",
  "settings": {"network": "mlp_16", "train_steps": 20, "checkpoint_every": 20},
  "seeds": [1, 2],
  "variants": {"tuned": {"method": "tla", "init_from": "at"}, "at": {"method": "at"}},
  "judge": [{"suite": ["quick"], "num_examples": 10}],
}


@pytest.fixture(autouse=True)
def nothing_drawn(monkeypatch):
  monkeypatch.setattr(runner.api, "write_report", lambda folder: None)
  monkeypatch.setattr(runner.results, "write", runner.results.read)
  monkeypatch.setattr(runner.reporting, "write_training", lambda folder, metrics: None)


class Tools(FakeTools):
  """Leaves what the tools leave.

  Args:
    folder: of the comparison.
    robust: robust accuracy on held-out images by variant.
    seconds: of a step, by variant.
    fail, kill: see `FakeTools`.
  """

  def __init__(self, folder, robust=None, seconds=None, **more):
    super().__init__(**more)
    self.folder, self.robust, self.seconds, self.comparison = folder, robust or {}, seconds or {}, None

  def compare(self, plan, **arguments):
    """Runs the plan; returns (Outcome, names of the jobs that ran, shortened)."""
    self.done = []
    self.comparison = Comparison(ComparisonPlan.from_dict(plan), self.folder, **arguments)
    outcome = self.comparison.run(self.start)
    return outcome, self.done

  def train(self, job, flags):
    (run,) = (run for run in self.comparison.runs() if str(run.folder) == flags["output_dir"])
    value = self.robust.get(run.variant, 0.5)
    leave_training(run, value[run.seed] if isinstance(value, dict) else value)

  def evaluate(self, job, flags):
    # Several times the same results, as no two takes as long.
    leave_evaluations(flags, [[attack_row("PGD", suite)] for suite in flags["suite"].split(",")], float(len(self.done)))

  def timing(self, job, flags):
    variant = pathlib.Path(job.command[1]).name.partition(".")[0]
    pathlib.Path(job.command[2]).write_text(json.dumps([[0, self.seconds[variant]]]))


@pytest.fixture
def tools(tmp_path):
  return Tools(tmp_path / "compared")


ALL = [
  "train at_seed_1",
  "train tuned_seed_1",
  "train at_seed_2",
  "train tuned_seed_2",
  "evaluate at_seed_1",
  "evaluate tuned_seed_1",
  "evaluate at_seed_2",
  "evaluate tuned_seed_2",
]


def test_all_are_trained_then_judged_and_nothing_twice(tools):
  said = []
  outcome, done = tools.compare(PLAN, note=said.append)
  assert done == ALL
  assert (outcome.failed, outcome.untrained) == ([], [])
  assert said[0] == f"train at_seed_1: began (1 of 4; {tools.folder / 'logs' / 'at_seed_1.train.log'})"
  assert [run.state.value for run in outcome.record.runs] == ["judged"] * 4
  assert [variant.name for variant in outcome.record.variants] == ["tuned", "at"]
  _, again = tools.compare(PLAN)
  assert again == []


def test_the_folder_knows_its_plan(tools):
  with pytest.raises(InputError, match="no comparison has begun here"):
    runner.read_plan(None, tools.folder)
  tools.compare(PLAN)
  assert runner.read_plan(None, tools.folder) == ComparisonPlan.from_dict(PLAN)


def test_no_test_image_is_looked_at_before_all_are_trained(tools):
  tools.fail = ("train at_seed_2",)
  outcome, done = tools.compare(PLAN)
  assert done == ["train at_seed_1", "train tuned_seed_1", "train at_seed_2"]
  assert [(end.job.name, end.failure) for end in outcome.failed] == [
    ("train at_seed_2", "status 1"),
    ("train tuned_seed_2", "not begun, as train at_seed_2 failed"),
  ]
  assert [run.name for run in outcome.untrained] == ["at_seed_2", "tuned_seed_2"]
  tools.fail = ()
  outcome, done = tools.compare(PLAN)
  assert done == ALL[2:] and not outcome.failed


def test_held_out_images_do_not_wait(tools):
  plan = {**PLAN, "judge": [*PLAN["judge"], {"suite": "table1", "split": "held_out"}]}
  tools.fail = ("train at_seed_2",)
  _, done = tools.compare(plan)
  assert {"evaluate at_seed_1 held out", "evaluate tuned_seed_1 held out"} == {n for n in done if "evaluate" in n}
  tools.fail = ()
  _, done = tools.compare(plan)
  assert [name for name in done if name.endswith("held out")] == [
    "evaluate at_seed_2 held out",
    "evaluate tuned_seed_2 held out",
  ]
  assert tools.compare(plan)[1] == []


@pytest.mark.parametrize("name", [ALL[1], ALL[5]])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_a_job_it_goes_on(tools, name, when):
  """After: the results are there, and nobody has heard of the tool's end."""
  tools.kill = {name: when}
  with pytest.raises(Killed):
    tools.compare(PLAN)
  tools.kill = {}
  _, done = tools.compare(PLAN)
  assert done == ALL[ALL.index(name) + (when == "after") :]


def test_of_a_group_the_best_on_held_out_images_alone_is_judged(tools):
  plan = {**PLAN, "grid": {"of": "tuned", "margin": [0.1, 0.2, 0.3]}, "select": {"best_tuned": "tuned"}}
  # By the mean over the seeds.
  tools.robust = {"tuned_margin_0.1": 0.5, "tuned_margin_0.2": {1: 0.9, 2: 0.3}, "tuned_margin_0.3": {1: 0.1, 2: 0.95}}
  outcome, done = tools.compare(plan)
  judged = [name for name in done if name.startswith("evaluate")]
  assert judged == [f"evaluate {name}_seed_{seed}" for seed in (1, 2) for name in ("at", "tuned_margin_0.2")]
  choice = json.loads((tools.folder / "selection.json").read_text())["groups"]["best_tuned"]
  assert choice["variant"] == "tuned_margin_0.2"
  assert choice["means"] == pytest.approx({"tuned_margin_0.1": 0.5, "tuned_margin_0.2": 0.6, "tuned_margin_0.3": 0.525})
  assert "tuned_margin_0.2 goes to the test images" in " ".join(outcome.record.notes)
  # What comes later may be better; that test images were looked at before is said.
  tools.robust["tuned_margin_0.4"] = 0.99
  later, done = tools.compare({**plan, "grid": {"of": "tuned", "margin": [0.1, 0.2, 0.3, 0.4]}})
  assert done[2:] == [f"evaluate tuned_margin_0.4_seed_{seed}" for seed in (1, 2)]
  assert len(outcome.record.notes) == 1 and "tuned_margin_0.2 was judged on test images, too" in later.record.notes[1]


def test_a_plan_may_grow(tools):
  tools.compare(PLAN)
  more = {
    **PLAN,
    "seeds": [1, 2, 3],
    "variants": {**PLAN["variants"], "um": {"method": "um"}},
    "judge": [*PLAN["judge"], {"suite": "table1", "source": "um"}],
  }
  _, done = tools.compare(more)
  trained, judged = done[:5], done[5:]
  assert trained == ["train um_seed_1", "train um_seed_2", "train at_seed_3", "train um_seed_3", "train tuned_seed_3"]
  assert sorted(judged) == sorted(
    [f"evaluate {name}_seed_{seed}" for name in ("at", "tuned", "um") for seed in (1, 2, 3)]
    + ["evaluate um_seed_1", "evaluate um_seed_2", "evaluate at_seed_3", "evaluate tuned_seed_3", "evaluate um_seed_3"]
  )


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"settings": {**PLAN["settings"], "epsilon": 0.1}}, "Variant at: has a run with epsilon 0.2, and the plan now"),
    ({"settings": {**PLAN["settings"], "train_steps": 10}}, "Variant at: has trained for 20 steps, and the plan now"),
    (
      {"variants": {"at": {"method": "at"}, "tuned": {"method": "tla"}}},
      "Variant tuned: has a run that began with at/seed_1, and the plan now has fresh weights",
    ),
    (
      {"variants": {"at": {"method": "tla"}}},
      "Variant at: has a run with method at, and the plan now has tla: call the changed variant another name",
    ),
  ],
)
def test_changed_settings_of_a_variant_with_runs_are_refused(tools, changes, message):
  tools.compare(PLAN)
  before = (tools.folder / "comparison.yaml").read_bytes()
  with pytest.raises(InputError) as refused:
    tools.compare({**PLAN, **changes})
  assert str(refused.value).startswith(message)
  assert (tools.folder / "comparison.yaml").read_bytes() == before


def test_more_steps_go_on_and_are_judged_again(tools):
  plan = {**PLAN, "variants": {"at": {"method": "at"}}, "seeds": [1]}
  tools.compare(plan)
  longer = {**plan, "settings": {**PLAN["settings"], "train_steps": 40}}
  assert tools.compare(longer)[1] == ["train at_seed_1", "evaluate at_seed_1"]


def test_figures_of_trainings_that_were_killed_before_they_drew_are_drawn(tools, monkeypatch):
  drawn = []

  def draw(folder, metrics):
    drawn.append(folder.path.parent.name)
    folder.figures.mkdir(parents=True)
    folder.training_figure.touch()
    if folder.path.parent.name == "tuned":
      raise InputError("metrics.jsonl: damaged.")

  monkeypatch.setattr(runner.reporting, "write_training", draw)
  outcome, _ = tools.compare({**PLAN, "seeds": [1]})
  assert sorted(drawn) == ["at", "tuned"] and not outcome.failed
  tools.compare({**PLAN, "seeds": [1]})
  assert len(drawn) == 2


def test_removed_results_are_made_again(tools):
  plan = {**PLAN, "variants": {"at": {"method": "at"}}, "seeds": [1], "judge": [{"suite": "a"}, {"suite": "quick"}]}
  plan["judge"] = [{"suite": "quick", "num_examples": 5}, {"suite": "quick", "num_examples": 10}]
  tools.compare(plan)
  (tools.folder / "runs" / "at" / "seed_1" / "evaluation.json").unlink()
  assert tools.compare(plan)[1] == ["evaluate at_seed_1", "evaluate at_seed_1"]


def test_only_some_variants_and_what_they_begin_with(tools):
  outcome, done = tools.compare({**PLAN, "variants": {**PLAN["variants"], "um": {"method": "um"}}}, only=["tun*"])
  assert done == ALL[:4]
  assert [run.name for run in outcome.untrained] == ["um_seed_1", "um_seed_2"]
  with pytest.raises(InputError, match="`only=tla`: no variant is called so; there are tuned, at."):
    tools.compare(PLAN, only=["tla"])


def test_equal_seconds_are_measured_once_and_stay(tools):
  plan = {**PLAN, "settings": {"network": "mlp_16", "learning_rate_schedule": "cosine"}, "budget": {"seconds": 6}}
  tools.seconds = {"at": 0.01, "tuned": 0.03}
  said = []
  outcome, done = tools.compare(plan, note=said.append)
  assert done == ["time tuned", "time at", *ALL]
  assert {run.variant: run.config.train_steps for run in outcome.runs} == {"at": 600, "tuned": 200}
  assert RunFolder(tools.folder / "runs" / "tuned" / "seed_1").read_config()[0].cosine_steps == 200
  assert "time tuned: 0.03 s a step, 200 steps in 6 s" in said
  assert "6 seconds of training steps" in outcome.record.notes[0]
  tools.seconds = {"um": 0.002}
  # A step of the same work is not measured again.
  more = {"um": {"method": "um"}, "wide": {"method": "at", "epsilon": 0.1, "learning_rate": 0.01}}
  outcome, done = tools.compare({**plan, "seeds": [1], "variants": {**PLAN["variants"], **more}, "judge": []})
  assert done == ["time um", "train um_seed_1", "train wide_seed_1"]
  steps = {run.variant: run.config.train_steps for run in outcome.runs}
  assert steps == {"at": 600, "wide": 600, "tuned": 200, "um": 3000}


def test_hours_are_those_of_what_is_left(tools):
  def seconds(config):
    if config.method == "um":
      raise InputError("of images of any shape")
    return 3600.0 * config.train_steps

  plan = {**PLAN, "variants": {**PLAN["variants"], "um": {"method": "um"}}}
  tools.fail = ("train at_seed_2", "train um_seed_1", "train um_seed_2")
  comparison = Comparison(ComparisonPlan.from_dict(plan), tools.folder)
  table, hours = estimates.trainings(comparison, "all", seconds)
  assert hours == 80 and list(table.rows[-1][-1:]) == ["80.0"]
  tools.compare(plan)
  table, hours = estimates.trainings(tools.comparison, "left", seconds)
  assert [(row[0], *row[3:]) for row in table.rows[:3]] == [
    ("at", "fresh weights", "20", "1 of 2", "20.0", "20.0"),
    ("um", "fresh weights", "20", "2 of 2", "unknown", "unknown"),
    ("tuned", "at", "20", "1 of 2", "20.0", "20.0"),
  ]
  assert hours == 40


def test_runs_that_were_trained_elsewhere_are_moved_into_a_new_folder(tools, tmp_path):
  tools.compare(PLAN)
  (tools.folder / "runs").rename(tmp_path / "moved")
  tools.folder = tmp_path / "new"
  tools.folder.mkdir()
  (tmp_path / "moved").rename(tools.folder / "runs")
  with pytest.raises(InputError, match="holds runs but no comparison.yaml"):
    tools.compare({**PLAN, "variants": {"at": {"method": "at"}}})
  _, done = tools.compare({**PLAN, "variants": {**PLAN["variants"], "um": {"method": "um"}}})
  assert [name for name in done if name.startswith("train")] == ["train um_seed_1", "train um_seed_2"]


def test_hours_of_judging_are_those_of_what_is_left(tools):
  plan = {**PLAN, "judge": [*PLAN["judge"], {"suite": ["table1"], "split": "held_out"}]}
  tools.fail = ("evaluate at_seed_2", "evaluate tuned_seed_2 held out")
  tools.compare(plan)
  table, hours = estimates.judgings(tools.comparison, "left", lambda one: 3600.0 * one.run.seed)
  assert table.rows == (
    ("tla-evaluate --suite=table1 --split=held_out", "1", "2.00", "2.00"),
    ("tla-evaluate --suite=quick --num_examples=10", "1", "2.00", "2.00"),
    ("in all", "", "", "4.00"),
  )
  assert hours == 4


def test_judging_is_counted_from_the_attacks_images_and_radii_of_the_plan(tools, monkeypatch):
  asked = []
  monkeypatch.setattr(judging_cost, "judging_seconds", lambda *a, **k: asked.append((a, k)) or 1.0)
  monkeypatch.setattr(judging_cost, "analysis_seconds", lambda *a, **k: asked.append((a, k)) or 2.0)
  judge = [{"suite": ["quick"], "epsilon": [0.1, "1/5"], "num_examples": 10, "num_seeds": 3}]
  variants = {"at": {"method": "at"}}
  plan = ComparisonPlan.from_dict(
    {**PLAN, "seeds": [1], "variants": variants, "judge": judge, "analyze": {"num_examples": 7}}
  )
  _, hours = estimates.judgings(Comparison(plan, tools.folder), "all")
  assert hours == pytest.approx(3 / 3600)
  (config, attacks, count), others = asked[0]
  assert (config.network, count, others) == ("mlp_16", 10, {"num_seeds": 3})
  assert {attack.config.epsilon for attack in attacks} == {0.1, 0.2}
  assert asked[1][0][1].epsilon == 0.05 and asked[1][1]["num_examples"] == 7
  assert asked[1][1]["fit_examples"] == 10_000


def test_hours_of_equal_seconds_are_those(tools):
  plan = {**PLAN, "settings": {"network": "mlp_16"}, "budget": {"seconds": 7200}}
  tools.fail, tools.seconds = ("time tuned",), {"at": 7.2}
  comparison = Comparison(ComparisonPlan.from_dict(plan), tools.folder)
  table, hours = estimates.trainings(comparison, "all", None)
  assert hours == 8 and table.rows[0][3:] == ("fresh weights", "to be measured", "2 of 2", "2.00", "4.00")
  tools.compare(plan)
  table, _ = estimates.trainings(tools.comparison, "left", lambda config: 3600.0)
  assert [row[4] for row in table.rows] == ["1,000", "to be measured", ""]


def test_what_cannot_be_timed_is_not_trained(tools):
  tools.fail = ("time tuned",)
  tools.seconds = {"at": 0.01}
  outcome, done = tools.compare({**PLAN, "settings": {"network": "mlp_16"}, "budget": {"seconds": 6}})
  assert done == ["time tuned", "time at"] and [end.job.name for end in outcome.failed] == ["time tuned"]


def test_a_variant_with_a_seed_of_its_own_serves_the_others(tools):
  source = {"um": {"method": "um", "seed": 9}}
  plan = {**PLAN, "variants": {"at": {"method": "at"}, **source}, "judge": [{"suite": "table1", "source": "um"}]}
  outcome, done = tools.compare(plan)
  assert done == [
    *("train at_seed_1", "train um_seed_9", "train at_seed_2"),
    *("evaluate at_seed_1", "evaluate at_seed_2"),
  ]
  assert f"--source_run_dir={tools.folder / 'runs' / 'um' / 'seed_9'}" in tools.commands[-1]
  assert [variant.name for variant in outcome.record.variants] == ["at"]
  assert tools.compare(plan)[1] == []


def test_no_run_is_attacked_from_itself_as_a_black_box(tools):
  plan = {**PLAN, "seeds": [1], "variants": {"um": {"method": "um"}, "at": {"method": "at"}}}
  tools.compare({**plan, "judge": [{"suite": "table1", "source": "um"}]})
  sources = [[word for word in command if "--source_run_dir" in word] for command in tools.commands[2:]]
  assert sources == [[], [f"--source_run_dir={tools.folder / 'runs' / 'um' / 'seed_1'}"]]


@pytest.mark.parametrize(
  "seconds, phases, steps",
  [
    (10, [(0, 0.1)], 100),
    (0.01, [(0, 0.1)], 1),
    # 50 cheap steps in a second, then 90 in 9.
    (10, [(0, 0.02), (50, 0.1)], 140),
    (1, [(0, 0.02), (50, 0.1)], 50),
    (0.5, [(0, 0.02), (50, 0.1)], 25),
  ],
)
def test_steps_within_seconds(seconds, phases, steps):
  assert runner.steps_within(seconds, phases) == steps


def test_evaluations_that_differ_in_one_flag_or_the_source_are_two(tools):
  plan = {**PLAN, "seeds": [1], "variants": {"um": {"method": "um"}, "at": {"method": "at"}, "alp": {"method": "alp"}}}
  judge = [{"suite": "table1", "source": source, "num_examples": n} for source in ("um", "at") for n in (5, 10)]
  _, done = tools.compare({**plan, "judge": judge}, at_once=3)
  assert sorted(done[3:]) == [f"evaluate {name}_seed_1" for name in ("alp", "at", "um") for _ in range(4)]
  names = [one.name for one in tools.comparison.judgings(False)]
  assert len(set(names)) == 12
  assert names[0] == "evaluate um_seed_1 (suite=table1 num_examples=5 source=um)"
  assert tools.compare({**plan, "judge": judge})[1] == []


def test_a_folder_of_files_for_data_that_needs_none_is_refused(tools):
  with pytest.raises(InputError, match="`data_dir` does not go with the data set digits"):
    tools.compare(PLAN, data_dir="here")


def test_two_at_once_share_the_cores(tools, monkeypatch):
  monkeypatch.setattr(runner.jobs, "cores", lambda: 9)
  plan = ComparisonPlan.from_dict(PLAN)
  threads = [Comparison(plan, tools.folder, at_once=count).threads for count in (1, 2, 4, 100)]
  assert threads == [None, 4, 2, 1]
  with pytest.raises(InputError, match="`jobs`: expected a whole number of at least 1"):
    Comparison(plan, tools.folder, at_once=0)


def test_nothing_of_anybody_elses_is_touched(tools, monkeypatch):
  tools.folder.mkdir()
  (tools.folder / "thesis.tex").write_text("x")
  with pytest.raises(InputError, match="holds thesis.tex but no comparison.yaml"):
    tools.compare(PLAN)
  assert [path.name for path in tools.folder.iterdir()] == ["thesis.tex"]
  (tools.folder / "thesis.tex").unlink()
  monkeypatch.setattr(runner, "_PATIENCE", 0.0)
  with files.locked(tools.folder / ".lock"), pytest.raises(InputError, match="another process works on this"):
    tools.compare(PLAN)
  assert tools.done == []


def test_without_its_data_nothing_begins(tools):
  plan = {**PLAN, "dataset": "mnist"}
  with pytest.raises(InputError, match="`data_dir=nowhere`: no such folder or file; give that of mnist's data"):
    tools.compare(plan, data_dir="nowhere")
  assert tools.done == [] and not tools.folder.exists()
