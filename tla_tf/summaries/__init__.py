"""Pure functions on result records: shares and their intervals, worst cases, alarms, what evaluations found together.

No model runs here.
"""

from tla_tf.summaries.evaluations import Evaluations, keep_evaluations, read_evaluations
from tla_tf.summaries.findings import Findings, Measured, findings_of

__all__ = ["Evaluations", "Findings", "Measured", "findings_of", "keep_evaluations", "read_evaluations"]
