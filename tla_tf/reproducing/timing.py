"""Times steps with pools of negatives in a process of its own, for the paper's Table 2.

python -m tla_tf.reproducing.timing SETTINGS.json TRAINING_TIMES.json
"""

from __future__ import annotations

import json
import sys

from tla_tf import limits
from tla_tf.config import TrainingConfig


def main(settings: str, place: str) -> None:
  """Writes `records.PoolTimes`.

  Args:
    settings: file with the `TrainingConfig` of TLA.
    place: the file to write.
  """
  from tla_tf.training.pool_times import training_times

  config = TrainingConfig.from_dict(json.loads(limits.read_json_text(settings)))
  training_times(config, progress=lambda what: print(what, flush=True)).write(place)


if __name__ == "__main__":
  main(*sys.argv[1:])
