"""From tables of the paper to tables beside it: what is run, what is not run again, what is written."""

import json
import pathlib

import pytest
from comparing_support import FakeTools, Killed, leave_evaluations, leave_training
from result_support import attack_row

from tla_tf import files
from tla_tf.comparing import results, runner
from tla_tf.config import TrainingConfig
from tla_tf.records import PoolTime, PoolTimes
from tla_tf.reproducing import grids, paper, reproduce
from tla_tf.reproducing.record import ReproducedRecord

ROWS = ("AT", "tla", "mine")
ATTACKS = {"table1/FGSM": 0.7, "table1/BIM-40": 0.6, "table1/C&W-40": 0.5, "table1/PGD-100": 0.4}


@pytest.fixture(autouse=True)
def nothing_drawn(monkeypatch):
  monkeypatch.setattr(runner.api, "write_report", lambda folder: None)
  monkeypatch.setattr(runner.results, "write", results.read)


class Tools(FakeTools):
  """Leaves what the tools leave, without work."""

  def train(self, job, flags):
    folder = pathlib.Path(flags["output_dir"])
    (run,) = (run for one in self.wanted for run in one.plan.runs(folder.parents[2]) if run.folder == folder)
    leave_training(run, init_step=run.config.train_steps)

  def evaluate(self, job, flags):
    rows = [attack_row(name.partition("/")[2], "table1", accuracies=(value,)) for name, value in ATTACKS.items()]
    leave_evaluations(flags, [rows])

  def analyze(self, job, flags):
    if "compare_dir" in flags:
      files.make_folder(flags["compare_dir"])
      for name in ("tsne_class.png", "tsne_pair.png", "retrieval.png", "roc.png"):
        pathlib.Path(flags["compare_dir"], name).write_bytes(b"png")

  def timing(self, job, flags):
    TrainingConfig.from_dict(json.loads(pathlib.Path(job.command[1]).read_text()))
    times = {pool: PoolTime(method="tla", pool=pool, mining_seconds=0.1, seconds=1.0 + pool, relative=2.0)
      for pool in (0, 1, 250, 500, 1000, 2000)}  # fmt: skip
    PoolTimes(
      dataset="cifar10", network="wrn_10_2", batch_size=50, attack_steps=7, attack_batch_size=0, machine="a machine",
      versions={}, rounds=1, at=times.pop(0), pools=list(times.values()),
    ).write(job.command[2])  # fmt: skip


def run(tools, folder, *which, scale="short", **choice):
  """Reproduces a table with tools that do no work; returns (what was done, names of the jobs)."""
  tools.wanted, tools.done = grids.wanted(paper.read().chosen(*which), scale, **choice), []
  done = reproduce.reproduce(tools.wanted, folder, data_dirs={"mnist": str(folder.parent)}, start=tools.start)
  return done, tools.done


@pytest.fixture
def tiny(tmp_path):
  """A plan of one's own for Table 4."""
  path = tmp_path / "tiny.yaml"
  path.write_text(
    "dataset: mnist\nsettings: {network: mlp_16, train_steps: 20}\nseeds: [1, 2]\n"
    "variants: {at: {method: at}, tla: {method: tla}, mine: {method: tla_rn}}\n"
    "judge: [{suite: [table1], num_examples: 10}]\n"
  )
  return str(path)


def test_a_table_is_trained_judged_and_written_beside_the_papers(tmp_path, tiny):
  tools, folder = Tools(), tmp_path / "out"
  done, jobs = run(tools, folder, "table", "4", "mnist", scale=tiny, only=ROWS)
  names = [f"{name}_seed_{seed}" for seed in (1, 2) for name in ("at", "tla", "mine")]
  assert jobs == [f"train {name}" for name in names] + [f"evaluate {name}" for name in names]
  assert done.failed == [] and list(done.records) == [folder / "table_4_mnist_tiny.md"]
  record = ReproducedRecord.read(folder / "table_4_mnist_tiny.json")
  assert record == next(iter(done.records.values()))
  assert [row.name for row in record.rows] == ["AT", "TLA", "mine"]
  pgd = record.rows[1].cells[4]
  assert (pgd.column, pgd.ours, pgd.printed, pgd.by_seed) == ("PGD (100)", 0.4, "65.88%", {"1": 0.4, "2": 0.4})
  text = (folder / "table_4_mnist_tiny.md").read_text()
  assert "| TLA, ours | " in text and "| 65.88% |" in text and "| mine, ours |" in text
  assert "- Ours: mlp_16 (the paper's: mlp), 20 training steps, seeds 1, 2." in text
  assert "- Suite table1: the first 10 test images." in text
  assert [table.title for table in done.tables()] == [text.splitlines()[0].replace("\\", "")]
  _, again = run(tools, folder, "table", "4", "mnist", scale=tiny, only=ROWS)
  assert again == []


@pytest.mark.parametrize("job", ["train tla_seed_1", "evaluate at_seed_2"])
def test_killed_it_goes_on_with_what_is_missing(tmp_path, tiny, job):
  tools, folder = Tools(kill={job: "before"}), tmp_path / "out"
  with pytest.raises(Killed):
    run(tools, folder, "table", "4", "mnist", scale=tiny, only=ROWS)
  before, tools.kill = tools.done, {}
  done, after = run(tools, folder, "table", "4", "mnist", scale=tiny, only=ROWS)
  assert after[0] == job and len(before) - 1 + len(after) == 12
  assert not done.failed


def test_a_failed_training_is_named_and_the_table_has_what_there_is(tmp_path, tiny):
  tools, folder = Tools(), tmp_path / "out"
  tools.fail = ("train at_seed_1",)
  done, jobs = run(tools, folder, "table", "4", "mnist", scale=tiny, only=ROWS)
  assert [end.job.name for end in done.failed] == ["train at_seed_1"]
  assert "train tla_seed_2" in jobs and not any(name.startswith("evaluate") for name in jobs)
  assert all(cell.ours is None for row in done.records[folder / "table_4_mnist_tiny.md"].rows for cell in row.cells)


def test_rows_that_were_left_out_are_added_later(tmp_path, tiny):
  tools, folder = Tools(), tmp_path / "out"
  _, first = run(tools, folder, "table", "4", "mnist", scale=tiny, only=("at",), num_seeds=1)
  assert first == ["train at_seed_1", "evaluate at_seed_1"]
  done, second = run(tools, folder, "table", "4", "mnist", scale=tiny, only=("at", "tla"), num_seeds=1)
  assert second == ["train tla_seed_1", "evaluate tla_seed_1"]
  (record,) = done.records.values()
  assert [row.name for row in record.rows] == ["AT", "TLA"]


def test_table_2_has_times_that_are_measured_once(tmp_path):
  tools, folder = Tools(), tmp_path / "out"
  done, jobs = run(tools, folder, "table", "2", "cifar10", only=("250", "500"))
  assert jobs[-1] == "time steps of cifar10_wrn_32_10_short"
  (record,) = done.records.values()
  assert [row.name for row in record.rows] == ["250", "500"]
  assert [cell.ours for cell in record.rows[0].cells[:2]] == [0.1, 251.0]
  assert any("A step of AT takes 1 s" in note for note in record.notes)
  assert run(tools, folder, "table", "2", "cifar10", only=("250", "500"))[1] == []


def test_pictures_are_of_the_papers_classes_and_rows_and_drawn_once():
  (one,) = grids.wanted([*paper.read().chosen("figure", "1"), *paper.read().chosen("figure", "4")], "short")
  its = reproduce.comparison(one, "out")
  first, fourth = reproduce.drawings(one, its, pathlib.Path("out"), "data")
  assert first.result == pathlib.Path("out/figure_1_cifar10_short/tsne_class.png")
  assert fourth.result == pathlib.Path("out/figure_4_cifar10_short/retrieval.png")
  runs = [f"--run_dir=out/cifar10_wrn_32_10_short/runs/{name}/seed_1" for name in ("um", "at", "alp", "tla")]
  assert [word for word in first.job.command if word.startswith("--run_dir")] == runs
  assert {"--classes=deer", "--data_dir=data", "--compare_dir=out/figure_1_cifar10_short"} <= set(first.job.command)
  assert [word for word in fourth.job.command if word.startswith("--run_dir")] == [runs[1], runs[3]]


def test_a_picture_is_drawn_again_for_other_networks(tmp_path):
  result = tmp_path / "roc.png"
  further = reproduce.Further(None, result, {"checkpoints": ["a"]})
  assert not further.is_done()
  result.write_bytes(b"png")
  assert not further.is_done()
  files.write_text(further.about, json.dumps(further.facts))
  assert further.is_done()
  assert not further._replace(facts={"checkpoints": ["b"]}).is_done()


def test_contradictions_of_the_papers_numbers_stand_below_the_table_that_they_are_of():
  found = {
    (part.name, part.dataset): [str(one) for one in paper.read().contradictions if one.is_of(part)]
    for part in paper.read().parts
  }
  assert len(found["Table 1", "cifar10"]) == 3 and len(found["Table 1", "mnist"]) == 1
  assert [text.partition(" - ")[0] for text in found["Table 2", "cifar10"]] == [
    "Tables 1 and 2, CIFAR-10",
    "Table 2",
    "Table 2",
  ]
  assert found["Table 6", "mnist"] == found["Figure 5", "mnist"] == []
  assert sorted({text for texts in found.values() for text in texts}) == sorted(map(str, paper.read().contradictions))


def test_notes_say_how_many_images_a_table_is_of():
  found = grids.wanted(paper.read().chosen(dataset="cifar10"), "short")
  (one,) = (one for one in found if one.name == "cifar10_wrn_32_10_short")
  its = reproduce.comparison(one, "out")
  notes = {part.name: reproduce.notes_of(one, its, part) for part in one.parts}
  assert notes["Table 3"][0] == "Ours: wrn_10_2 (the paper's: wrn_32_10), 1,000 to 2,000 training steps, seed 1."
  assert "Suite table3: the first 200 test images." in notes["Table 3"]
  assert not any(note.startswith(("Suite table1", "Analysed")) for note in notes["Table 3"])
  assert "Analysed: 2,000 test images." in notes["Table 5"] and "Analysed: 2,000 test images." in notes["Figure 1"]
  assert any("ours on a further AT network" in note for note in notes["Table 1"])
