"""`make soak`, in short, and that what grows is found."""

import json

import pytest
from campaigns import soak


def samples(phase, megabytes, descriptors=(3, 3)):
  many = [descriptors[0]] * (len(megabytes) - 1) + [descriptors[1]]
  return [soak.Sample(phase, float(i), float(mb), open_) for i, (mb, open_) in enumerate(zip(megabytes, many))]


@pytest.mark.parametrize(
  "life, wanted",
  [
    # What is made once is made in the first half.
    (samples("trainings", [100, 300, 400, 401, 400, 402, 401, 401]), []),
    (samples("trainings", range(100, 130, 3)), ["trainings"]),
    (samples("evaluations", [100] * 8, (3, 4)), ["evaluations"]),
    # Little at each look, and much in all.
    (samples(soak.LONG, [100 + 0.1 * i for i in range(1000)]), [soak.LONG]),
    (samples(soak.LONG, [100 + i % 2 for i in range(1000)]), []),
  ],
)
def test_what_grows_is_found(life, wanted):
  assert soak.missed(soak.growth(life)) == wanted


def test_a_short_life_has_all_phases_and_a_plot(tmp_path):
  few = ["--minutes=0.01", "--evaluations=2", "--trainings=2"]
  assert soak.main([*few, f"--json={tmp_path / 's.json'}", f"--plot={tmp_path / 's.png'}"]) in (0, 1)
  found = json.loads((tmp_path / "s.json").read_text())["phases"]
  assert {phase: row["count"] >= 2 for phase, row in found.items()} == {
    soak.LONG: True,
    "evaluations": True,
    "trainings": True,
  }
  assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
