"""A long life of one process: a long training, many evaluations, many short trainings; its memory and descriptors.

  PYTHONPATH=tests python -m campaigns.soak --minutes=60 --evaluations=200 --trainings=100 --json=build/soak.json

Memory is that of the process after a collection, with freed pages given back; what grows is the slope of a line through
the second half of each phase, when what is made once is made. It ends with status 1 if a short training or an
evaluation leaves 2 MB or more, if the long training grows by 10 MB or more in its second half, or if descriptors stay
open. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import pathlib
import sys
import tempfile
import time
import typing

import numpy as np

# MB that one short training, or one evaluation, may leave.
MOST = 2.0
# MB that the long training may take in its second half, however often it is looked at.
MOST_LONG = 10.0
LONG = "training"


class Sample(typing.NamedTuple):
  """What the process has at a moment.

  Attributes:
    phase: what it does.
    minutes: since the beginning.
    megabytes: of resident memory.
    descriptors: open ones.
  """

  phase: str
  minutes: float
  megabytes: float
  descriptors: int


class Soak:
  """The phases, one after the other, on the digits.

  Args:
    folder: for runs, which are removed when they are done.
    jit: "off", or "on" for what XLA's programs take.
  """

  def __init__(self, folder: pathlib.Path, jit: str = "off"):
    from tla_tf import published
    from tla_tf.config import AttackConfig

    attack = AttackConfig(epsilon=0.2, step_size=0.1, steps=2)
    self._config = published.setting("digits", "at").replace(
      network="mlp_16", batch_size=20, attack=attack, validation_attack=attack, validation_examples=50, jit=jit
    )
    self._folder, self._run, self._begin = folder, folder / "run", time.monotonic()
    self.samples: list[Sample] = []

  def look(self, phase: str) -> Sample:
    """Adds a sample."""
    gc.collect()
    # Only the GNU library has the call.
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    minutes = (time.monotonic() - self._begin) / 60
    self.samples.append(Sample(phase, minutes, megabytes, len(os.listdir("/proc/self/fd"))))
    return self.samples[-1]

  def train_long(self, minutes: float) -> None:
    """One training of about so long, looked at whenever it says something."""
    since = time.monotonic()
    steps = 200
    self._train(self._run, steps)
    rate = steps / (time.monotonic() - since)  # With what is compiled: too low rather than too high.
    steps += max(1, int(rate * 60 * minutes))
    self.look(LONG)
    self._train(self._run, steps, lambda text: self.look(LONG) if text.startswith("step ") else None)
    self.look(LONG)

  def evaluate(self, count: int) -> None:
    """So many evaluations of that training, each with a seed of its own."""
    from tla_tf import api

    for seed in range(count):
      with tempfile.TemporaryDirectory(dir=self._folder) as place:
        api.evaluate_run(self._run, output_dir=place, num_examples=50, seed=seed, probe_examples=20)
      self._said("evaluations", seed + 1, count)

  def train_often(self, count: int) -> None:
    """So many short trainings, each from its data to its figure."""
    for i in range(count):
      with tempfile.TemporaryDirectory(dir=self._folder) as place:
        self._train(pathlib.Path(place, "run"), 4)
      self._said("trainings", i + 1, count)

  def _said(self, phase: str, done: int, count: int) -> None:
    sample = self.look(phase)
    print(f"{phase} {done}/{count}: {sample.megabytes:.1f} MB, {sample.descriptors} descriptors", flush=True)

  def _train(self, place: pathlib.Path, steps: int, note: typing.Any = lambda _: None) -> None:
    from tla_tf import api

    config = self._config.replace(train_steps=steps, checkpoint_every=max(4, steps // 100))
    if place.exists():  # A run goes on with the interval that it began with.
      config = config.replace(checkpoint_every=self._config_of(place).checkpoint_every)
    api.train(config, place, note=note)

  def _config_of(self, place: pathlib.Path) -> typing.Any:
    from tla_tf.persistence import RunFolder

    return RunFolder(place).read_config()[0]


def growth(samples: list[Sample]) -> dict[str, dict[str, float]]:
  """Of each phase: how often it was looked at, what there was at its ends, MB that one adds, and its second half."""
  found: dict[str, dict[str, float]] = {}
  for phase in dict.fromkeys(sample.phase for sample in samples):
    seen = [sample for sample in samples if sample.phase == phase]
    late = [sample.megabytes for sample in seen[len(seen) // 2 :]]
    slope = float(np.polyfit(np.arange(len(late)), late, 1)[0]) if len(late) > 1 else 0.0
    found[phase] = {
      "count": len(seen),
      "first_mb": round(seen[0].megabytes, 1),
      "last_mb": round(seen[-1].megabytes, 1),
      "mb_each": round(slope, 3),
      "mb_late": round(slope * (len(late) - 1), 1),
      "first_descriptors": seen[0].descriptors,
      "last_descriptors": seen[-1].descriptors,
    }
  return found


def missed(found: dict[str, dict[str, float]]) -> list[str]:
  """The phases that leave too much, of what `growth` says."""
  return [
    phase
    for phase, row in found.items()
    if (row["mb_late"] >= MOST_LONG if phase == LONG else row["mb_each"] >= MOST)
    or row["last_descriptors"] > row["first_descriptors"]
  ]


def draw(samples: list[Sample], place: pathlib.Path) -> None:
  """Memory above, descriptors below, against minutes."""
  from matplotlib.figure import Figure

  figure = Figure((8, 4), layout="constrained")
  above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
  for phase in dict.fromkeys(sample.phase for sample in samples):
    seen = [sample for sample in samples if sample.phase == phase]
    minutes = [sample.minutes for sample in seen]
    above.plot(minutes, [sample.megabytes for sample in seen], ".-", label=phase)
    below.plot(minutes, [sample.descriptors for sample in seen], ".-")
  above.set(ylabel="MB in memory")
  below.set(ylabel="descriptors", xlabel="minutes")
  above.set_ylim(0, 1.1 * max(sample.megabytes for sample in samples))
  below.set_ylim(0, 1.2 * max(sample.descriptors for sample in samples))
  above.legend(frameon=False)
  place.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(place, dpi=100)


def main(arguments: typing.Sequence[str] | None = None) -> int:
  """Runs the phases; returns 1 if one of them leaves too much."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--minutes", type=float, default=60, help="of the long training")
  parser.add_argument("--evaluations", type=int, default=200)
  parser.add_argument("--trainings", type=int, default=100, help="short ones")
  parser.add_argument("--jit", choices=["off", "on"], default="off", help="whether XLA compiles, whose programs stay")
  parser.add_argument("--json", type=pathlib.Path, help="file for the figures and all samples")
  parser.add_argument("--plot", type=pathlib.Path, help="PNG file")
  given = parser.parse_args(arguments)
  with contextlib.ExitStack() as stack:
    soak = Soak(pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tla_soak_"))), given.jit)
    soak.train_long(given.minutes)
    soak.evaluate(given.evaluations)
    soak.train_often(given.trainings)
  found = growth(soak.samples)
  print(f"\n{'phase':12} {'looks':>6} {'MB first':>9} {'MB last':>9} {'MB each':>8} {'MB late':>8} {'descriptors':>12}")
  for phase, row in found.items():
    ends = f"{row['first_descriptors']} to {row['last_descriptors']}"
    figures = f"{row['first_mb']:9.1f} {row['last_mb']:9.1f} {row['mb_each']:8.3f} {row['mb_late']:8.1f}"
    print(f"{phase:12} {row['count']:6} {figures} {ends:>12}")
  if given.json:
    given.json.parent.mkdir(parents=True, exist_ok=True)
    content = {"phases": found, "samples": [sample._asdict() for sample in soak.samples]}
    given.json.write_text(json.dumps(content, indent=1) + "\n")
  if given.plot:
    draw(soak.samples, given.plot)
  too_much = missed(found)
  print(f"missed: {', '.join(too_much)}" if too_much else "nothing missed")
  return 1 if too_much else 0


if __name__ == "__main__":
  sys.exit(main())
