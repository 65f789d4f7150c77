"""tla-report: one self-contained page on one or several runs, and the same as Markdown.

Example:
  tla-report --run_dir=runs/um runs/at runs/tla --output=runs/report.html
  tla-report --run_dir=compared

Reads what training, tla-evaluate and tla-analyze left in the run folders; says
what is missing and how to get it. Of the folder of a comparison it begins with the
comparison. Runs no model.
"""

from __future__ import annotations

from absl import flags

from tla_tf.binaries import entry, flag_names
from tla_tf.binaries.terminal import say

FLAGS = flags.FLAGS

entry.define_paths(
  "run_dir",
  "Run folder, a folder with results of a model that was not trained here, a quoted pattern ('runs/*'), or a folder of "
  "such folders.",
)
flags.DEFINE_string(
  "output",
  None,
  "HTML file to write; the Markdown goes beside it, with its figures in a folder. "
  "By default report.html in the (first) run folder, or in --output_dir.",
)
flags.DEFINE_string(
  "output_dir", None, "Where tla-evaluate and tla-analyze wrote, if they were given another --output_dir than the run."
)
flags.mark_flag_as_required("run_dir")


@flag_names.translated()
def main(argv: list[str]) -> None:
  """Writes the report."""
  from tla_tf import api

  entry.refuse_arguments(argv)
  written = api.write_report(FLAGS.run_dir, FLAGS.output, output_dir=FLAGS.output_dir)
  say(f"report       {written.html}", f"Markdown     {written.markdown}")


def run() -> None:
  """Entry point of the console script."""
  entry.run(main)


if __name__ == "__main__":
  run()
