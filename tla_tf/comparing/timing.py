"""Measures the training step of one configuration, in a process of its own, with the threads that training will have.

python -m tla_tf.comparing.timing SETTINGS.json SECONDS.json
"""

from __future__ import annotations

import json
import pathlib
import sys

from tla_tf import files
from tla_tf.config import TrainingConfig


def main(settings: str, place: str) -> None:
  """Writes the seconds of a step of the settings in one file into another."""
  from tla_tf.training import cost

  config = TrainingConfig.from_dict(json.loads(pathlib.Path(settings).read_text(encoding="utf-8")))
  files.write_text(place, json.dumps(cost.measured_step_seconds(config)) + "\n")


if __name__ == "__main__":
  main(*sys.argv[1:])
