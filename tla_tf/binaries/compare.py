"""tla-compare: trains variants x seeds from one file, judges them, and puts them into one table.

Example:
  tla-compare --plan=plan.yaml --data_dir=DIR --output_dir=compared
  tla-compare --plan=plan.yaml --data_dir=DIR --output_dir=compared --dry_run

Killed at any moment and given again, the same command goes on; what is finished is not touched. docs/comparing.md
says what a plan holds.
"""

from __future__ import annotations

import pathlib
import sys
import typing

from absl import flags

from tla_tf.binaries import entry, flag_names
from tla_tf.binaries.terminal import say
from tla_tf.errors import ToolError
from tla_tf.visible import shell_command

if typing.TYPE_CHECKING:
  from tla_tf.comparing.runner import Comparison, Outcome

FLAGS = flags.FLAGS

flags.DEFINE_string(
  "plan",
  None,
  "YAML file: data set, settings, variants, seeds, how they are judged. By default that which the folder "
  "was begun with.",
)
flags.DEFINE_string("output_dir", None, "Folder of the comparison: new, empty, or of the same plan to go on with.")
flags.DEFINE_string("data_dir", None, "Folder of the data set's files; by default the plan's.")
flags.DEFINE_integer(
  "jobs",
  1,
  "Trainings and evaluations at the same time, each with its part of the cores. On CPUs small networks get further "
  "with several; on a GPU one has it to itself.",
  lower_bound=1,
)
flags.DEFINE_list(
  "only",
  [],
  "Variants to work on now, by name or pattern ('tla*'). Test images wait until all of the plan are trained.",
)
flags.DEFINE_boolean("dry_run", False, "Say what would be run, with estimated hours on this machine, and do nothing.")
flags.mark_flag_as_required("output_dir")


@flag_names.translated()
def main(argv: list[str]) -> None:
  """Runs the comparison, or says what it would run."""
  from tla_tf.comparing import runner

  entry.refuse_arguments(argv)
  comparison = runner.Comparison(
    runner.read_plan(FLAGS.plan, FLAGS.output_dir),
    FLAGS.output_dir,
    at_once=FLAGS.jobs,
    only=FLAGS.only,
    data_dir=FLAGS.data_dir,
    note=say,
  )
  if FLAGS.dry_run:
    _say_what_would_be_run(comparison)
  else:
    _say_what_was_done(comparison.run())


def _say_what_was_done(outcome: Outcome) -> None:
  """Says where results are; raises ToolError where something failed."""
  from tla_tf import reporting

  if outcome.untrained and not outcome.failed:
    names = ", ".join(run.name for run in outcome.untrained)
    say(f"not trained  {names}: test images are judged when all of the plan are")
  if outcome.record is not None:
    for table in reporting.tables_of_comparison(outcome.record)[:-1]:
      reporting.print_table(table)
    say(f"compared     {pathlib.Path(FLAGS.output_dir) / 'comparison.md'}")
  if outcome.failed:
    said = "; ".join(f"{end.job.name}: {end.failure}" for end in outcome.failed)
    raise ToolError(
      f"{len(outcome.failed)} of the jobs failed, which the same command tries again; their logs are in "
      f"{pathlib.Path(FLAGS.output_dir) / 'logs'} ({said})"
    )


def _say_what_would_be_run(comparison: Comparison) -> None:
  """Prints commands, and what they take."""
  from tla_tf import reporting

  judgings = [one for held_out in (True, False) for one in comparison.judgings(held_out)]
  left = [one.job() for one in judgings if not comparison.is_done(one)]
  for job in [*comparison.trainings(), *left]:
    # Equal seconds are measured first, and change the number of steps.
    say(f"{pathlib.Path(sys.executable).name} -m {shell_command(job.command)}")
  entry.load_tensorflow()
  from tla_tf.comparing import estimates

  total = 0.0
  for title, table_of in (("Trainings", estimates.trainings), ("Judging", estimates.judgings)):
    table, hours = table_of(comparison, f"{title}, one after the other on this machine")
    total += hours
    reporting.print_table(table)
  say(f"in all       {total:,.1f} hours on this machine, one after the other")


def run() -> None:
  """Entry point of the console script."""
  entry.run(main, goes_on=True)


if __name__ == "__main__":
  run()
