"""tla-evaluate: judges one or several trained runs under a suite of attacks.

Example:
  tla-evaluate --run_dir=runs/tla --suite=table1 --num_examples=1000
  tla-evaluate --run_dir=runs/um runs/at runs/tla --suite=quick
"""

import json
import os
import pathlib
import sys

from absl import flags

from tla_tf.binaries import entry
from tla_tf.errors import InputError

FLAGS = flags.FLAGS

flags.DEFINE_string("run_dir", None, "Run folder; further ones may follow as plain arguments.")
flags.DEFINE_enum("suite", "quick", ["quick", "table1"], "quick: FGSM, PGD, 20-restart PGD; table1: the white-box "
                  "attacks of the paper's Table 1 with its steps (digits, images: ours).")
flags.DEFINE_integer("num_examples", None, "Test images to judge on, the first ones; all by default.", lower_bound=1)
entry.define_fraction("epsilon", None, "Replaces the suite's epsilon; step sizes scale with it.")
flags.DEFINE_string("checkpoint", "best", "best on held-out images (robust accuracy; um: clean), last, or a step.")
flags.DEFINE_string("data_dir", None, "Folder of the data set's files; by default that of the training.")
flags.DEFINE_string("cache_dir", None, "Folder of decoded images; $XDG_CACHE_HOME/tla_tf or ~/.cache/tla_tf by "
                    "default.")
flags.DEFINE_integer("seed", 0, "Seed of random starts.", lower_bound=0)
flags.DEFINE_integer("batch_size", 100, "Images a batch.", lower_bound=1)
flags.DEFINE_string("compare_dir", None, "Folder for the table (table.md) and the figure "
                    "(robust_accuracy.png) of all runs.")
flags.mark_flag_as_required("run_dir")


def main(argv):
  """Evaluates every run, writes its results, prints one table."""
  if FLAGS.epsilon is not None and not 0 <= FLAGS.epsilon <= 1:
    raise InputError(f"--epsilon: expected a number in [0, 1], got {FLAGS.epsilon:g}; 8 of 255 is 8/255.")
  entry.load_tensorflow()
  from tla_tf import evaluation, files, reporting
  from tla_tf.persistence import RunFolder

  run_dirs = [FLAGS.run_dir, *argv]
  # What can be refused is refused before the first of many hours.
  folders = [RunFolder.open(run_dir) for run_dir in run_dirs]
  datasets = [folder.read_config()[0].dataset for folder in folders]
  if len(set(datasets)) > 1:
    raise InputError(f"Runs on different data sets ({', '.join(sorted(set(datasets)))}) make no common table: "
                     "evaluate them one by one.")
  for folder in folders:
    folder.require_writable()
  if FLAGS.compare_dir:
    files.make_folder(FLAGS.compare_dir)
  names = [os.path.basename(os.path.abspath(run_dir)) for run_dir in run_dirs]
  if len(set(names)) < len(names):
    names = run_dirs
  results = {name: _evaluate(name, folder) for name, folder in zip(names, folders)}
  evaluation.print_table(results, _title(results))
  if FLAGS.compare_dir:
    folder = pathlib.Path(FLAGS.compare_dir)
    figure = reporting.robust_accuracy(results, folder / "robust_accuracy.png", _title(results))
    files.write_text(folder / "table.md", f"{_title(results)}\n\n{evaluation.markdown_table(results)}")
    print(f"table        {folder / 'table.md'}\nfigure       {figure}")


def _title(results):
  first = next(iter(results.values()))
  epsilon = entry.pixels(first["attacks"][0]["epsilon"])
  return (f"Accuracy on {first['clean']['num_examples']} test images of {first['config']['dataset']}, "
          f"suite {first['suite']}, L-inf epsilon {epsilon}")


def _evaluate(name, folder):
  """Judges one run; writes evaluation.json, evaluation.md and figures."""
  from tla_tf import evaluation, files, reporting
  from tla_tf.evaluation import run_evaluation

  outcome = run_evaluation.evaluate_run(
    folder, suite_name=FLAGS.suite, num_examples=FLAGS.num_examples, epsilon=FLAGS.epsilon,
    checkpoint=FLAGS.checkpoint, data_dir=FLAGS.data_dir, seed=FLAGS.seed, batch_size=FLAGS.batch_size,
    progress=_progress, cache_dir=FLAGS.cache_dir, reading_progress=entry.reading_progress)
  files.write_text(folder.evaluation, json.dumps(outcome.results, indent=1) + "\n")
  one = {name: outcome.results}
  files.write_text(folder.evaluation_table, f"{_title(one)}\n\n{evaluation.markdown_table(one)}")
  reporting.robust_accuracy(one, folder.figures / "robust_accuracy.png", _title(one))
  if len(outcome.broken.images):
    reporting.adversarial_examples(*outcome.broken, path=folder.figures / "adversarial_examples.png",
                                   title=f"{name}: images that {outcome.attack} broke")
  print(f"results      {folder.evaluation}")
  return outcome.results


def _progress(name, done, total, seconds_left):
  if sys.stderr.isatty():
    print(f"\r\x1b[K{name}: batch {done}/{total}, {seconds_left:.0f} s left", end="" if done < total else "\r\x1b[K",
          file=sys.stderr, flush=True)
  elif done == total:
    print(f"{name}: done", file=sys.stderr)


def run():
  """Entry point of the console script."""
  entry.run(main)


if __name__ == "__main__":
  run()
