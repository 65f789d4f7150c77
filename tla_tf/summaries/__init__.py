"""Pure functions on result records: shares and their intervals, worst cases, alarms, what evaluations found together,
means over seeds.

No model runs here.
"""

from tla_tf.summaries.evaluations import Evaluations, keep_evaluations, read_evaluations
from tla_tf.summaries.findings import Findings, Measured, findings_of
from tla_tf.summaries.seeds import SeedGroup, over_seeds, seed_groups

__all__ = [
  "Evaluations",
  "Findings",
  "Measured",
  "SeedGroup",
  "findings_of",
  "keep_evaluations",
  "over_seeds",
  "read_evaluations",
  "seed_groups",
]
