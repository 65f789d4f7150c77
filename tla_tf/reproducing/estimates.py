"""What reproducing takes on this machine."""

from __future__ import annotations

from tla_tf.comparing import work
from tla_tf.files import AnyPath
from tla_tf.reporting import Number, Table
from tla_tf.reproducing import reproduce
from tla_tf.reproducing.grids import Wanted
from tla_tf.training import cost


def table(one: Wanted, output_dir: AnyPath) -> tuple[Table, float]:
  """The trainings of a network that are left, with their hours, and the sum of these.

  Args:
    one: of `grids.wanted`.
    output_dir: folder of the comparisons.
  """
  runs = reproduce.comparison(one, output_dir).runs()
  rows, total = [], 0.0
  for variant in one.plan.variants:
    own = [run for run in runs if run.variant == variant.name]
    left = [1 - work.steps_done(run) / run.config.train_steps for run in own]
    each = cost.run_seconds(own[0].config) / 3600 if sum(left) else 0.0
    hours = each * sum(max(0.0, share) for share in left)
    total += hours
    rows.append(
      (
        variant.name,
        variant.init_from or "fresh weights",
        own[0].config.network,
        f"{own[0].config.train_steps:,}",
        f"{sum(share > 0 for share in left)} of {len(left)}",
        _hours(each),
        _hours(hours),
      )
    )
  rows.append(("in all", "", "", "", "", "", _hours(total)))
  title = f"{one.name}: {', '.join(dict.fromkeys(part.name for part in one.parts))}"
  header = ("variant", "begins with", "network", "steps", "seeds left", "hours a run", "hours")
  return Table(title, header, tuple(rows)), total


def _hours(value: float) -> str:
  return Number(value, 1 if value >= 10 else 2, percent=False)
