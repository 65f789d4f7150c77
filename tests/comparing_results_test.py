"""What a comparison found: read from run folders, averaged over seeds, shown."""

import csv
import dataclasses
import os
import pathlib
import re
import shutil

import numpy as np
import pytest
from result_support import attack_row, measured
from scipy import stats

from tla_tf import api, published
from tla_tf.comparing import results
from tla_tf.config import InitConfig
from tla_tf.persistence.checkpoints import CheckpointStore
from tla_tf.persistence.run_folder import RunFolder
from tla_tf.records import AnalysisRecord
from tla_tf.records.analysis import epsilon_key
from tla_tf.records.comparison import ComparisonRecord, Over, Quantity, RunState
from tla_tf.records.run import CheckpointRecord, DataFacts
from tla_tf.reporting import comparison_figures, comparison_tables, drawing
from tla_tf.summaries import keep_evaluations, statistics
from tla_tf.types import Norm, Split

CONFIG = published.setting("digits", "at").replace(network="mlp_16", train_steps=60, checkpoint_every=30)
SECONDS = {("at", 1): 10.0, ("at", 2): 14.0, ("tla", 1): 30.0, ("tla", 2): 34.0}


def _run(root, variant, seed, steps=60, robust=0.5, init=None):
  """A run folder without weights, with two checkpoints, of which the last one is the best."""
  folder = RunFolder(root / "runs" / variant / f"seed_{seed}")
  config = CONFIG.replace(seed=seed)
  if init:
    config = config.replace(init=InitConfig(run_dir=os.fspath(init.path), checkpoint=60, digest="d"))
  facts = DataFacts("d", (8, 8, 1), 10, tuple("0123456789"), None)
  folder.write_config(config, facts, {})
  rows = []
  for step in range(30, steps + 1, 30):
    metrics = {"val_accuracy": 0.9, "val_robust_accuracy": robust * step / 60}
    rows.append({"step": step, **metrics, "seconds": SECONDS.get((variant, seed), 2.0) / 2})
    place = folder.checkpoints / f"step_{step:09d}"
    place.mkdir(parents=True)
    score = [metrics["val_robust_accuracy"], 0.9]
    files = {"state": f"{variant}{seed}{step}"}
    CheckpointRecord(step, metrics, score, [], files).write(place / "meta.json")
  folder.write_metrics(rows)
  return folder


def _judge(folder, fell, split=Split.TEST, count=10, suite="own", epsilon=0.2, step=60):
  """Judges a run by hand: `fell` are the images of every attack."""
  rows, broken = [], []
  for name, positions in fell.items():
    share = 1 - len(positions) / count
    ends = statistics.interval(round(share * count), count)
    rows.append(attack_row(name, suite, epsilon=epsilon, accuracies=(share,), interval=ends))
    broken.append(positions)
  store = CheckpointStore(folder.checkpoints)
  one = measured(rows, broken, count=count, split=split, checkpoint=step, checkpoint_digest=store.digest(step))
  place = folder.of_split(split)
  keep_evaluations(place.evaluation, place.evaluation_images, [one])


@pytest.fixture
def compared(tmp_path):
  """(folder, runs) of AT and TLA, two seeds each: three are judged on test images, AT's on held-out ones, too."""
  runs = [(variant, seed, _run(tmp_path, variant, seed)) for variant in ("at", "tla") for seed in (1, 2)]
  for i, (_, _, folder) in enumerate(runs[:3]):
    _judge(folder, {"FGSM": range(i), "PGD": range(i, 5)})
  for _, _, folder in runs[:2]:
    _judge(folder, {"FGSM": (), "PGD": (0,)}, split=Split.HELD_OUT)
  return tmp_path, runs


def test_runs_say_how_far_they_are(compared):
  folder, runs = compared
  more = [*runs, ("um", 1, _run(folder, "um", 1, steps=30)), ("um", 2, RunFolder(folder / "runs" / "um" / "seed_2"))]
  found = results.read(folder, more)
  assert [run.state for run in found.runs[2:]] == [
    RunState.JUDGED,
    RunState.TRAINED,
    RunState.TRAINING,
    RunState.PLANNED,
  ]
  assert [(run.steps, run.train_steps, run.checkpoint) for run in found.runs[3:]] == [
    (60, 60, 60),
    (30, 60, None),
    (0, 0, None),
  ]
  assert found.runs[0].folder == "runs/at/seed_1"
  assert [(one.name, one.method, one.seeds, one.finished) for one in found.variants] == [
    ("at", "at", [1, 2], 2),
    ("tla", "at", [1, 2], 2),
    ("um", "at", [1, 2], 0),
  ]
  # Neither tests nor times of a training that is not done.
  assert found.runs[4].measures == [] and found.variant("um").measures == []


def test_numbers_are_means_over_seeds_with_intervals_over_seeds_and_images(compared):
  found = results.read(*compared)
  pgd, clean = (found.variant("at").find(name) for name in ("own/PGD", "clean"))
  assert (pgd.seeds, pgd.values, pgd.over) == ([1, 2], [0.5, 0.6], Over.BOTH)
  assert (pgd.mean, pgd.std) == (pytest.approx(0.55), pytest.approx(0.1 / 2**0.5))
  over_seeds = stats.t.ppf(0.975, 1) * pgd.std / 2**0.5
  lows, highs = zip(*(statistics.interval(count, 10) for count in (5, 6)))
  low = 0.55 - np.hypot(over_seeds, 0.55 - np.mean(lows))
  high = 0.55 + np.hypot(over_seeds, np.mean(highs) - 0.55)
  assert pgd.interval == pytest.approx((max(0, low), min(1, high)))
  assert (clean.mean, clean.std, clean.interval[1]) == (1, 0, 1)
  # One seed has its own interval, over images.
  alone = found.variant("tla").find("own/PGD")
  assert (alone.values, alone.std, alone.over) == ([0.7], None, Over.IMAGES)
  assert alone.interval == pytest.approx(statistics.interval(7, 10))
  seconds = found.variant("at").find("total seconds")
  assert (seconds.values, seconds.over) == ([10, 14], Over.SEEDS)
  validated = found.variant("at").find("validation/robust", Split.HELD_OUT)
  assert (validated.values, validated.std, validated.interval) == ([0.5, 0.5], 0, None)
  # What no share bounds may go below 0.
  assert seconds.interval[0] == pytest.approx(12 - stats.t.ppf(0.975, 1) * 2)
  single = found.runs[2].find("own/PGD")
  assert (single.value, single.count, single.total) == (0.7, 7, 10)


def test_an_interval_of_a_mean_covers_it():
  """Over trainings and images drawn anew, 95% intervals cover the true mean at least as often."""
  rng, true, covered = np.random.default_rng(0), 0.6, 0
  for _ in range(100):
    counts = [rng.binomial(200, np.clip(rng.normal(true, 0.03), 0, 1)) for _ in range(3)]
    ends = [statistics.interval(count, 200) for count in counts]
    low, high = statistics.interval_of_mean([count / 200 for count in counts], ends)
    covered += low <= true <= high
  assert covered >= 95
  assert statistics.interval_of_mean([0.5], [(0.4, 0.7)]) == pytest.approx((0.4, 0.7))
  assert statistics.interval_of_mean([0.5]) is None


def test_held_out_images_and_test_images_are_never_in_one_number(compared):
  folder, runs = compared
  found = results.read(folder, runs)
  at = found.variant("at")
  assert at.find("own/PGD", Split.HELD_OUT).values == [0.9, 0.9] and at.find("own/PGD").values == [0.5, 0.6]
  assert found.strongest.split is Split.TEST
  tables = comparison_tables.tables_of_comparison(found)
  titles = [table.title for table in tables]
  assert titles[1] == "Accuracy on 10 test images, suite own, L-inf epsilon 0.2"
  assert titles[2] == "Accuracy on 10 held-out images, suite own, L-inf epsilon 0.2"
  assert [row[2].split()[0] for row in tables[2].rows] == ["100.00%", "-"]
  # Held-out results alone make no run judged, and stand for no test result.
  for run in runs:
    for name in ("evaluation.json", "evaluation_images"):
      (run[2].path / name).rename(run[2].path / f"{name}.away") if (run[2].path / name).exists() else None
  found = results.read(folder, runs)
  assert {run.state for run in found.runs} == {RunState.TRAINED} and found.strongest is None
  assert not comparison_figures.can_draw(found)
  results.write(folder, runs)
  assert "test images, suite" not in (folder / "comparison.md").read_text()


def test_images_attacks_and_settings_that_differ_stand_apart(compared):
  folder, runs = compared
  _judge(runs[0][2], {"FGSM": (0,)}, count=20)
  _judge(runs[1][2], {"FGSM": (0,)}, epsilon=0.1)
  found = results.read(folder, runs)
  fgsm = [one for one in found.variant("at").measures if one.quantity.name == "own/FGSM"]
  kinds = {(one.quantity.num_examples, one.quantity.epsilon): one.seeds for one in fgsm if one.quantity.split == "test"}
  assert kinds == {(20, 0.2): [1], (10, 0.2): [1, 2], (10, 0.1): [2]}
  # On most images, unless another is asked for.
  assert found.variant("at").find("own/FGSM").quantity.num_examples == 20
  # The strongest attack is what most runs have, in the ball of the training.
  assert (found.strongest.norm, found.strongest.epsilon, found.strongest.num_examples) == (Norm.LINF, 0.2, 10)
  table = next(t for t in comparison_tables.measured_tables(found) if t.title.startswith("Accuracy on 10 test"))
  assert table.header == (
    "Variant",
    "Clean",
    "FGSM at 0.2",
    "PGD",
    "FGSM at 0.1",
    "Worst case at 0.2",
    "Worst case at 0.1",
  )
  assert table.rows[0][3].endswith("(0.0-100.0)") and table.rows[0][4].endswith(", 1 of 2 runs")


def test_results_are_of_one_checkpoint_that_is_there(compared):
  folder, runs = compared
  place = runs[0][2]
  _judge(place, {"PGD": (0,)}, step=30)
  first = results.read(folder, runs).runs[0]
  # What was judged last, and nothing of another, such as what was found on held-out images.
  assert (first.checkpoint, first.find("own/PGD").value) == (30, 0.9)
  assert first.find("own/FGSM") is None and first.find("own/PGD", Split.HELD_OUT) is None
  assert first.find("validation/robust", Split.HELD_OUT).value == 0.25
  shutil.rmtree(place.checkpoints / "step_000000030")
  first = results.read(folder, runs).runs[0]
  assert (first.state, first.checkpoint, first.find("own/PGD")) == (RunState.TRAINED, 60, None)
  assert first.find("own/PGD", Split.HELD_OUT).value == 0.9


def test_a_damaged_run_keeps_no_other_from_being_read(compared):
  folder, runs = compared
  (runs[0][2].path / "evaluation.json").write_text("{")
  found = results.write(folder, runs)
  assert found.runs[0].state is RunState.DAMAGED and found.variant("at").find("own/PGD").seeds == [2]
  assert [note for note in found.notes if "evaluation.json: damaged" in note]
  assert (found.variant("at").seeds, found.variant("at").finished) == ([1, 2], 1)


def test_a_checkpoint_that_goes_while_others_are_read_is_no_fault(compared, monkeypatch):
  folder, runs = compared
  record = CheckpointStore.record

  def gone(self, step):
    shutil.rmtree(self._path(30), ignore_errors=True)
    return record(self, step)

  digest = CheckpointStore(runs[0][2].checkpoints).digest(60)
  monkeypatch.setattr(CheckpointStore, "record", gone)
  found = results.write(folder, runs[:1]).runs[0]
  assert (found.checkpoint, found.checkpoint_digest) == (60, digest)


def test_seconds_count_the_trainings_that_a_run_began_with(compared):
  folder, runs = compared
  tuned = ("tuned", 1, _run(folder, "tuned", 1, init=runs[1][2]))
  found = results.read(folder, [*runs, tuned])
  assert found.variant("tuned").find("seconds").mean == 2
  assert found.variant("tuned").find("total seconds").mean == 16
  table = comparison_tables.summary_table(found)
  assert table.header[4:6] == ("own seconds", "training seconds")
  assert table.rows[2][4:6] == ("2", "16")


def test_everything_is_written_and_comes_back(compared):
  folder, runs = compared
  written = results.write(folder, runs, notes=["tla_2 failed: see its log."])
  assert ComparisonRecord.read(folder / "comparison.json") == written
  assert (folder / "figures" / "accuracy_against_seconds.png").read_bytes().startswith(b"\x89PNG")
  text = (folder / "comparison.md").read_text()
  for words in (
    "55.00% ± 7.07",
    "| tla | at | mlp_16 | 2 of 2 | 32 ± 3 |",
    "Not judged on test images: tla, seed 2 (trained).",
    "tla_2 failed: see its log.",
    "figures/accuracy_against_seconds.png",
  ):
    assert words in text, words
  with (folder / "comparison.csv").open() as file:
    lines = [line for line in csv.DictReader(file) if (line["model"], line["column"]) == ("at", "PGD")]
  assert [(line["seeds"], float(line["value"])) for line in lines] == [("2", 0.55), ("2", 0.9)]
  assert len(written.rows()) == sum(len(run.measures) for run in written.runs)


def test_an_analysis_is_part_of_it(compared):
  folder, runs = compared
  analysis = AnalysisRecord.read(pathlib.Path(__file__).parent / "fixtures" / "analysis_format_1.json")
  for i, (_, _, run) in enumerate(runs[:2]):
    digest = CheckpointStore(run.checkpoints).digest(60)
    ratios = {key: ratio and ratio + i for key, ratio in analysis.separation_ratio.items()}
    analysis.replace(checkpoint_digest=digest, separation_ratio=ratios).write(run.analysis)
    run.of_split(Split.HELD_OUT).analysis.parent.mkdir(exist_ok=True)
    analysis.replace(checkpoint_digest=digest, split=Split.HELD_OUT).write(run.of_split(Split.HELD_OUT).analysis)
  found = results.read(folder, runs)
  strong, area = (found.variant("at").find(name) for name in ("separation/strong", "area/misclassified"))
  first = analysis.separation_ratio[epsilon_key(analysis.attacks["strong"].epsilon)]
  assert strong.values == pytest.approx([first, first + 1]) and strong.over is Over.SEEDS
  assert area.values == [analysis.detection.auc_misclassified] * 2 and area.over is Over.BOTH
  assert area.interval == pytest.approx(analysis.detection.auc_misclassified_interval)
  votes = found.variant("at").find("neighbours/natural")
  assert votes.mean == analysis.knn.natural and found.runs[0].find("neighbours/natural").total == analysis.num_examples
  tables = [table for table in comparison_tables.measured_tables(found) if table.title.startswith("Analysis")]
  assert [f"{analysis.num_examples:,} {split.images}" in table.title for split, table in zip(Split, tables)] == [
    True
  ] * 2
  assert {"kNN natural", "AUC misclassified", "AUC adversarial"} <= set(tables[0].header)


def test_the_example_of_the_documentation_runs(compared, capsys):
  results.write(*compared)
  page = (pathlib.Path(__file__).parent.parent / "docs" / "comparing.md").read_text()
  (code,) = re.findall(r"```python\n(from tla_tf.records.*?)```", page, re.DOTALL)
  names = {}
  code = code.replace("compared/", f"{compared[0]}/").replace("table1/PGD-100", "own/PGD")
  exec(compile(code, "comparing.md", "exec"), names)
  assert "mean=0.7" in capsys.readouterr().out
  assert {row["quantity"] for row in names["rows"]} >= {
    "clean",
    "own/PGD",
    "worst case",
    "seconds",
    "validation/robust",
  }


def test_nothing_is_there_yet(tmp_path):
  written = results.write(tmp_path, [("at", 1, RunFolder(tmp_path / "runs" / "at" / "seed_1"))])
  assert (written.dataset, written.strongest) == ("", None)
  assert ComparisonRecord.read(tmp_path / "comparison.json") == written
  assert "| at | - | - | 0 of 1 | - |" in (tmp_path / "comparison.md").read_text()


def test_the_figure_shows_means_intervals_and_runs(compared, monkeypatch):
  drawn = []
  monkeypatch.setattr(comparison_figures, "save", lambda figure, path: drawn.append(figure))
  found = results.read(*compared)
  comparison_figures.accuracy_against_seconds(found, None)
  (figure,) = drawn
  axes = figure.axes[0]
  at = found.variant("at").of(found.strongest)
  runs, mean = axes.lines[0].get_xydata(), axes.containers[0][0].get_xydata()
  np.testing.assert_allclose(runs, [(10, at.values[0]), (14, at.values[1])])
  np.testing.assert_allclose(mean, [(12, at.mean)])
  ends = axes.containers[0][2][0].get_segments()[0][:, 1]
  np.testing.assert_allclose(ends, at.interval)
  assert len(axes.containers) == 2
  assert "95% intervals" in figure._suptitle.get_text()  # noqa: SLF001


@pytest.mark.parametrize("low, high, ticks", [(7, 60, [5, 10, 20, 50, 100]), (3, 9000, [1, 10, 100, 1000, 10000])])
def test_seconds_far_apart_have_round_ticks(low, high, ticks, compared, monkeypatch):
  drawn = []
  monkeypatch.setattr(comparison_figures, "save", lambda figure, path: drawn.append(figure))
  folder, runs = compared
  for factor, (_, _, run) in zip((low / 12, low / 12, high / 30), runs):
    run.write_metrics([row | {"seconds": row["seconds"] * factor} for row in run.read_metrics()])
  comparison_figures.accuracy_against_seconds(results.read(folder, runs[:3]), None)
  shown = [label.get_text() for label in drawn[0].axes[0].get_xticklabels()]
  assert shown == [f"{tick:,}" for tick in ticks]


@pytest.mark.parametrize("count", [9, drawing.MOST + 1])
def test_many_variants_fit(compared, count, monkeypatch):
  drawn = []
  monkeypatch.setattr(comparison_figures, "save", lambda figure, path: drawn.append(figure))
  found = results.read(*compared)
  several = [dataclasses.replace(found.variants[0], name=f"a rather long name of a variant {i}") for i in range(count)]
  comparison_figures.accuracy_against_seconds(found.replace(variants=several), None)
  width, height = drawn[0].get_size_inches()
  assert width <= drawing.MAX_WIDTH and height <= drawing.MAX_HEIGHT
  assert ("the first" in drawn[0]._suptitle.get_text()) == (count > drawing.MOST)  # noqa: SLF001


def test_the_report_begins_with_the_comparison(compared):
  folder, runs = compared
  before = api.write_report([runs[0][2].path, runs[2][2].path], folder / "before.html")
  assert "## Comparison" not in before.markdown.read_text()
  results.write(folder, runs)
  written = api.write_report([folder])
  assert written.html == folder / "report.html"
  text = written.markdown.read_text()
  assert (
    text.index("## Comparison") < text.index("## Summary") and "(<report_figures/accuracy_against_seconds.png>)" in text
  )
  for name in ("at/seed_1", "tla/seed_2"):
    assert name in text
  # Some of its runs, and a run alone.
  some = api.write_report([f"{folder}/runs/*/seed_1"], folder / "some.html").markdown.read_text()
  assert "## Comparison" in some and "seed_2" not in some.partition("## Summary")[2]
  alone = api.write_report([runs[0][2].path], folder / "alone.html").markdown.read_text()
  assert "## Comparison" not in alone


def test_quantities_know_what_they_are():
  assert Quantity(name="table1/PGD-100").suite == "table1" and Quantity(name="clean").suite is None
  assert not Quantity(name="separation/weak").is_share and Quantity(name="area/misclassified").is_share
