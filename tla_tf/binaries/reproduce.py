"""tla-reproduce: trains, judges and analyses what a table of the paper needs, and writes the paper's table beside ours.

Examples:
  tla-reproduce --table=4 --dataset=mnist --scale=short --data_dir=DIR --output_dir=reproduced
  tla-reproduce --figure=5 --dataset=mnist --scale=short --only=at,tla --data_dir=DIR --output_dir=reproduced
  tla-reproduce --dry_run

Killed at any moment and given again, the same command goes on; what is finished is not touched. Without --table and
--figure it is for all of them.
"""

from __future__ import annotations

import pathlib
import typing

from absl import flags

from tla_tf.binaries import entry, flag_names
from tla_tf.binaries.terminal import say
from tla_tf.errors import InputError, ToolError

FLAGS = flags.FLAGS

_RENAMED = {"num_seeds": "seeds"}

flags.DEFINE_list("table", [], "Tables of the paper, 1 to 6.")
flags.DEFINE_list("figure", [], "Figures of the paper: 1, 2, 4, 5.")
flags.DEFINE_string("dataset", None, "mnist, cifar10 or tiny_imagenet; by default all that the table is of.")
flags.DEFINE_string(
  "scale",
  "published",
  "published: the authors' settings and lengths. short: an affordable schedule, which the plan in "
  "tla_tf/reproducing/grids and the notes below every table state. Or a .yaml file, a plan of your own whose variants "
  "are called as the rows (docs/comparing.md).",
)
flags.DEFINE_integer(
  "seeds", None, "Train so many seeds of everything, 1, 2, ...; by default the plan's.", lower_bound=1
)
flags.DEFINE_list("only", [], "Rows to train and show, as in um,at,tla-rn; what they need is trained, too.")
flags.DEFINE_boolean("dry_run", False, "Say what would be run, with estimated hours on this machine, and do nothing.")
flags.DEFINE_string("output_dir", None, "Folder of the tables, and of a comparison for every network.")
flags.DEFINE_string(
  "data_dir",
  None,
  "Folder of the data set's files; of several data sets a folder that holds one of each one's name (DIR/mnist).",
)
flags.DEFINE_integer(
  "jobs",
  1,
  "Trainings and evaluations at the same time, each with its part of the cores. On CPUs small networks get further "
  "with several; on a GPU one has it to itself.",
  lower_bound=1,
)


@flag_names.translated(**_RENAMED)
def main(argv: list[str]) -> int:
  """Reproduces tables and figures, or says what that would take."""
  from tla_tf.reproducing import grids, paper

  entry.refuse_arguments(argv)
  asked: dict[str, typing.Any] = {kind: FLAGS[kind].value for kind in (paper.TABLE, paper.FIGURE)}
  pairs: list[typing.Any] = [(kind, number) for kind, numbers in asked.items() for number in dict.fromkeys(numbers)]
  parts = [
    part for kind, number in pairs or [(None, None)] for part in paper.read().chosen(kind, number, FLAGS.dataset)
  ]
  wanted = grids.wanted(parts, FLAGS.scale, only=FLAGS.only, num_seeds=FLAGS.seeds)
  if FLAGS.dry_run:
    return _say_what_it_takes(wanted)
  if FLAGS.output_dir is None:
    raise InputError("Give `output_dir`, the folder of the tables, or `dry_run`.")
  return _reproduce(wanted)


def _reproduce(wanted: list) -> int:
  from tla_tf import reporting
  from tla_tf.reproducing import reproduce

  done = reproduce.reproduce(wanted, FLAGS.output_dir, data_dirs=_data_dirs(wanted), at_once=FLAGS.jobs, note=say)
  for table in done.tables():
    reporting.print_table(table)
  for path in done.records:
    say(f"reproduced   {path}")
  if done.failed:
    said = "; ".join(f"{end.job.name}: {end.failure}; {end.job.log}" for end in done.failed)
    raise ToolError(f"{len(done.failed)} of the jobs failed, which the same command tries again ({said}).")
  return 0


def _data_dirs(wanted: list) -> dict[str, str | None]:
  """The folder of every data set's files."""
  names = list(dict.fromkeys(one.plan.dataset for one in wanted))
  if FLAGS.data_dir is None or len(names) == 1:
    return dict.fromkeys(names, FLAGS.data_dir)
  places = {name: pathlib.Path(FLAGS.data_dir, name) for name in names}
  for place in places.values():
    if not place.is_dir():
      raise InputError(
        f"{place}: no such folder; of several data sets `data_dir` holds one of each: {', '.join(names)}."
      )
  return {name: str(place) for name, place in places.items()}


def _say_what_it_takes(wanted: list) -> int:
  entry.load_tensorflow()
  from tla_tf import reporting
  from tla_tf.comparing import estimates
  from tla_tf.reproducing import reproduce

  total = 0.0
  for one in wanted:
    comparison = reproduce.comparison(one, FLAGS.output_dir or ".")
    of = ", ".join(dict.fromkeys(part.name for part in one.parts))
    for what, table_of in (("trainings", estimates.trainings), ("judging", estimates.judgings)):
      table, hours = table_of(comparison, f"{one.name}: {what} of {of}")
      total += hours
      reporting.print_table(table)
  say(f"in all       {total:,.1f} hours on this machine, one after the other")
  return 0


def run() -> None:
  """Entry point of the console script."""
  entry.run(main, goes_on=True)


if __name__ == "__main__":
  run()
