"""Lines for people: at least one a minute where there is no terminal, with the time left."""

import io
import sys
import threading
import time

import pytest

from tla_tf.binaries.progress import Progress
from tla_tf.evaluation.progress import with_seconds_left
from tla_tf.records import shown
from tla_tf.training.progress import Progress as TrainingProgress


class Clock:
  """A clock that a test sets."""

  def __init__(self):
    self.now = 100.0

  def __call__(self):
    return self.now


@pytest.fixture
def clock():
  return Clock()


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
  monkeypatch.setattr(sys, "stderr", io.StringIO())


@pytest.mark.parametrize("seconds, text", [(7.4, "0:07"), (67, "1:07"), (3723, "1:02:03")])
def test_lengths_of_time(seconds, text):
  assert shown.clock(seconds) == text


def test_a_training_says_a_line_a_minute(clock):
  lines = []
  progress = TrainingProgress(100, 1100, lines.append, clock)
  progress.on_train_begin()
  for batch in range(250):
    clock.now += 0.5
    progress.on_train_batch_end(batch, {"loss": 1.25})
  assert lines.pop(0).startswith("a step takes 500 ms: the 989 that are left take 8:14, until about ")
  assert lines == [
    "step 220/1100  loss 1.250  2.0 steps/s  7:20 left",
    "step 340/1100  loss 1.250  2.0 steps/s  6:20 left",
  ]
  clock.now += 58.0
  progress.on_test_batch_end(4)
  assert lines[2].startswith("step 350/1100  held-out images: batch 5  ")
  progress.on_epoch_end(0, {"loss": 1.0, "val_accuracy": 0.5, "val_robust_accuracy": 0.25})
  assert lines[3].startswith("step 350/1100  loss 1.000  held-out 50.0% clean 25.0% robust  1.4 steps/s")
  # What was said of itself counts.
  clock.now += 30.0
  progress.on_train_batch_end(0, {"loss": 1.0})
  assert len(lines) == 4
  # A second stretch of the same training goes on with the same clock.
  progress.on_train_begin()
  clock.now += 30.0
  progress.on_train_batch_end(0, {"loss": 1.0})
  assert len(lines) == 5


def test_a_training_says_what_a_step_costs_and_when_it_ends(clock):
  lines, noon = [], time.mktime((2026, 5, 4, 12, 0, 0, 0, 0, -1))
  progress = TrainingProgress(0, 1000, lines.append, clock, lambda: noon)
  progress.on_train_begin()
  clock.now += 50.0  # Compiled, which says nothing of the others.
  for batch in range(11):
    progress.on_train_batch_end(batch, {"loss": 1.0})
    clock.now += 0.5
  end = "until about 12:08; checkpoints and held-out images come on top"
  assert lines == [f"a step takes 500 ms: the 989 that are left take 8:14, {end}"]
  # Slow ones are spoken of sooner, executions of several steps count as these, and a run that ends needs no forecast.
  lines.clear()
  progress = TrainingProgress(100, 5000, lines.append, clock, lambda: noon)
  progress.on_train_begin()
  for execution in range(2):
    progress.on_train_batch_end(4 * execution + 3, {"loss": 1.0})
    clock.now += 40.0
  (cost,) = lines
  assert cost.startswith("a step takes 10 s: the 4,892 that are left take 13:35:20, until about 2026-05-05 01:35;")
  progress = TrainingProgress(0, 11, lines.append, clock)
  progress.on_train_begin()
  for batch in range(11):
    progress.on_train_batch_end(batch, {"loss": 1.0})
  assert len(lines) == 1


def test_an_evaluation_says_a_line_a_minute_within_an_attack(clock):
  lines = []
  progress = Progress(lines.append, clock)
  show = with_seconds_left(progress.batches(quiet=("probe",)), clock)
  for batch in range(1, 8):
    clock.now += 25.0
    show("PGD-20", batch, 10)
  assert lines == ["PGD-20: batch 3/10, 2:55 left", "PGD-20: batch 6/10, 1:40 left"]
  for batch in range(8, 11):
    clock.now += 10.0
    show("PGD-20", batch, 10)
  assert lines[2:] == ["PGD-20: done"]
  clock.now += 10.0
  show("probe: 5 steps", 1, 1)
  assert len(lines) == 3  # Short ones are not worth a line,
  clock.now += 60.0
  show("probe: 10 steps", 1, 1)
  assert lines[3:] == ["probe: 10 steps: done"]  # unless a minute went by.


def test_a_batch_that_takes_minutes_is_spoken_of(clock):
  lines = []
  progress = Progress(lines.append, clock)
  clock.now += 59.0
  progress.beat()
  assert lines == []
  clock.now += 1.0
  progress.beat()
  progress.batches()("Square", 1, 4, 300.0)
  for _ in range(13):
    clock.now += 10.0
    progress.beat()
  assert lines == [
    "starting (1:00 ago)",
    "Square: batch 1/4, 5:00 left (1:00 ago)",
    "Square: batch 1/4, 5:00 left (2:00 ago)",
  ]
  progress.said()
  clock.now += 61.0
  progress.beat()
  assert lines[3:] == ["still at work, 1:01 since the last line"]


def test_reading_says_a_line_a_minute(clock):
  lines = []
  progress = Progress(lines.append, clock)
  for done in (1000, 2000, 3000, 4000):
    clock.now += 40.0
    progress.reading(done, 4000)
  assert lines == ["decoding images: 2,000/4,000", "decoded 4,000 images"]


def test_the_second_thread_ends_with_the_work():
  before = threading.active_count()
  with Progress().beating():
    assert threading.active_count() == before + 1
  assert threading.active_count() == before


def test_a_terminal_has_one_line_that_changes(clock, monkeypatch):
  terminal = io.StringIO()
  terminal.isatty = lambda: True
  monkeypatch.setattr(sys, "stderr", terminal)
  before = threading.active_count()
  with Progress(clock=clock).beating() as progress:
    assert threading.active_count() == before
    show = progress.batches()
    show("PGD", 1, 2, 7.0)
    show("PGD", 2, 2, 0.0)
  assert terminal.getvalue() == "\r\x1b[KPGD: batch 1/2, 0:07 left" + "\r\x1b[KPGD: batch 2/2, 0:00 left\r\x1b[K"
