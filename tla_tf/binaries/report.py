"""tla-report: one self-contained page on one or several runs, and the same as Markdown.

Example:
  tla-report --run_dir=runs/um runs/at runs/tla --output=runs/report.html

Reads what training, tla-evaluate and tla-analyze left in the run folders; says
what is missing and how to get it. Runs no model.
"""

import pathlib

from absl import flags

from tla_tf.binaries import entry
from tla_tf.errors import InputError

FLAGS = flags.FLAGS

flags.DEFINE_string("run_dir", None, "Run folder; further ones may follow as plain arguments.")
flags.DEFINE_string(
  "output",
  None,
  "HTML file to write; the Markdown goes beside it, with its figures in a folder. "
  "By default report.html in the (first) run folder.",
)
flags.mark_flag_as_required("run_dir")


def main(argv):
  """Writes the report."""
  if FLAGS.output is not None and pathlib.Path(FLAGS.output).suffix.lower() not in (".html", ".htm"):
    raise InputError(f"--output: expected the name of an .html file, got {FLAGS.output!r}.")
  folders = entry.open_runs([FLAGS.run_dir, *argv], writable=FLAGS.output is None)
  from tla_tf import files, reporting

  runs = [reporting.read_run(name, folder) for name, folder in folders.items()]
  document = reporting.make_report(runs)
  output = pathlib.Path(FLAGS.output or runs[0].path / "report.html")
  markdown, figures = output.with_suffix(".md"), output.with_name(f"{output.stem}_figures")
  mark = reporting.MARKDOWN_MARK.encode()
  if markdown.exists() and not markdown.read_bytes().startswith(mark):
    raise InputError(f"{markdown}: exists and is no report; choose another --output, whose .md is not taken.")
  files.make_folder(figures)
  for figure in reporting.figures_of(document):
    files.write_bytes(figures / f"{figure.name}.png", figure.light)
  files.write_text(markdown, reporting.to_markdown(document, figures.name))
  files.write_text(output, reporting.to_html(document))
  print(f"report       {output}\nMarkdown     {markdown}")


def run():
  """Entry point of the console script."""
  entry.run(main)


if __name__ == "__main__":
  run()
