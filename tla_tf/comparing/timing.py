"""Measures the training step of one configuration, in a process of its own, with the threads that training will have.

python -m tla_tf.comparing.timing SETTINGS.json SECONDS.json
"""

from __future__ import annotations

import json
import sys

from tla_tf import files, limits, recipes
from tla_tf.config import TrainingConfig


def main(settings: str, place: str) -> None:
  """Writes what steps take, as `records.MeasuredStep.phases`.

  Args:
    settings: file with those of the training.
    place: the file to write.
  """
  from tla_tf.training import cost

  config = TrainingConfig.from_dict(json.loads(limits.read_json_text(settings)))
  firsts = sorted({0, recipes.get(config.method).inner_attack(config.recipe).first_pgd_step})
  phases = [(first, cost.measured_step_seconds(config, step=first)) for first in firsts]
  files.write_text(place, json.dumps(phases) + "\n")


if __name__ == "__main__":
  main(*sys.argv[1:])
