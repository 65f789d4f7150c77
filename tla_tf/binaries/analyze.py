"""tla-analyze: how a trained network sees natural and attacked images, and which of them it can tell.

Tables 5 and 6 and Figures 1, 2, 4 and 5 of the paper; a detector for tla-export;
points for TensorBoard's projector.

Examples:
  tla-analyze --run_dir=runs/tla
  tla-analyze --run_dir=runs/um runs/at runs/tla --compare_dir=runs

Embeddings are kept in the run folder: the same command again is quick, and goes
on where it was killed.
"""

import contextlib
import json
import math
import pathlib

from absl import flags

from tla_tf import types
from tla_tf.binaries import entry
from tla_tf.errors import InputError

FLAGS = flags.FLAGS

flags.DEFINE_string("run_dir", None, "Run folder; further ones may follow as plain arguments.")
entry.define_fraction(
  "weak_epsilon",
  None,
  "Radius (L-infinity) of the attack that the detector is fitted at; by "
  "default the paper's: mnist 0.03, cifar10 and tiny_imagenet 8/255 (digits 0.05, images 8/255: "
  "ours).",
)
entry.define_fraction(
  "strong_epsilon",
  None,
  "Radius of the attack that it is tested at; by default the paper's: "
  "mnist 0.3, cifar10 and tiny_imagenet 25/255 (digits 0.2, images 25/255: ours).",
)
flags.DEFINE_integer("num_examples", None, "Test images, drawn by the seed; all by default.", lower_bound=2)
flags.DEFINE_integer(
  "num_train_examples",
  None,
  "Natural training images among which neighbours are sought, drawn by the seed; all by default.",
  lower_bound=2,
)
flags.DEFINE_integer(
  "fit_examples",
  10_000,
  "Training images that the detector is fitted to, each clean and attacked; all where there are fewer.",
  lower_bound=2,
)
flags.DEFINE_integer("neighbors", 50, "Neighbours that vote (paper, Table 6: 50).", lower_bound=1)
entry.define_choice(
  "metric",
  types.Metric.COSINE.value,
  types.Metric,
  "Of neighbours and t-SNE. The paper does not name its metric; cosine is the angle that TLA trains.",
)
flags.DEFINE_enum(
  "covariance",
  "auto",
  ["auto", *types.values(types.Covariance)],
  "Of the detector's Gaussians, one a "
  "class: full (a matrix each), tied (one matrix for all) or diagonal (variances alone). auto: full up "
  "to 512 MiB, else tied. AUCs are given for all three.",
)
flags.DEFINE_float(
  "shrinkage",
  None,
  "Share of a multiple of the identity in the covariances, 0 to 1; by default "
  "Ledoit and Wolf's. The paper does not say how it regularises.",
  lower_bound=0,
  upper_bound=1,
)
flags.DEFINE_boolean(
  "unit_embeddings",
  False,
  "Scale embeddings to length 1 before the detector's Gaussians. The "
  "paper does not say so; docs/results.md has what it does on MNIST.",
)
flags.DEFINE_float(
  "false_positive_rate",
  0.05,
  "Share of clean images that the detector may flag; its threshold is chosen on held-out images.",
  lower_bound=0,
  upper_bound=0.999,
)
flags.DEFINE_list(
  "classes",
  [],
  "Of Figures 1 and 2: a true class and the class that it is taken for, by name. By "
  "default the true class that is misclassified most often, and what it is then taken for.",
)
flags.DEFINE_integer(
  "projector_examples",
  500,
  "Test images whose points, natural and attacked, go to TensorBoard's projector; 0 for none.",
  lower_bound=0,
)
flags.DEFINE_string("compare_dir", None, "Folder for the tables (analysis.md) and figures of all runs side by side.")
flags.DEFINE_string("checkpoint", "best", "best on held-out images (robust accuracy; um: clean), last, or a step.")
flags.DEFINE_string("data_dir", None, "Folder of the data set's files; by default that of the training.")
flags.DEFINE_string(
  "cache_dir", None, "Folder of decoded images; $XDG_CACHE_HOME/tla_tf or ~/.cache/tla_tf by default."
)
flags.DEFINE_integer(
  "seed", 0, "Seed of random starts, of subsets, and of t-SNE.", lower_bound=0, upper_bound=2**32 - 1
)
flags.DEFINE_integer("batch_size", 100, "Images a batch.", lower_bound=1)
flags.mark_flag_as_required("run_dir")


def main(argv):
  """Analyses every run, writes its results and figures, prints the tables."""
  _check_flags()
  folders = entry.open_runs([FLAGS.run_dir, *argv])
  entry.load_tensorflow()
  from tla_tf import files, reporting
  from tla_tf.evaluation import figure_data, run_analysis

  config, facts = next(iter(folders.values())).read_config()
  options = _options(run_analysis)
  options.attacks(config.dataset)
  figure_data.check_classes(FLAGS.classes, facts["class_names"])
  if FLAGS.compare_dir:
    files.make_folder(FLAGS.compare_dir)
  with contextlib.ExitStack() as locks:
    for folder in folders.values():
      files.make_folder(folder.embeddings)
      locks.enter_context(
        files.locked(folder.embeddings / ".lock", f"{folder.path}: another process analyses this run; wait for it.")
      )
    results, arrays = _analyse(folders, options)
  for table in reporting.tables_of_analysis(results):
    reporting.print_table(table)
  for name, folder in folders.items():
    print(
      f"results      {folder.analysis}  ({sum(results[name]['seconds'].values()):.0f} s)\n"
      f"detector     {folder.detector}  (tla-export --run_dir={folder.path} adds it as the endpoint detect)"
    )
    if FLAGS.projector_examples:
      print(f"projector    tensorboard --logdir {folder.tensorboard}, tab Projector")
  if FLAGS.compare_dir:
    compared = pathlib.Path(FLAGS.compare_dir)
    _draw(results, arrays, compared)
    files.write_text(compared / "analysis.md", reporting.markdown_tables(reporting.tables_of_analysis(results)))
    print(f"compared     {compared / 'analysis.md'}")


def _check_flags():
  """Refuses what is wrong before TensorFlow is loaded."""
  for name in ("weak_epsilon", "strong_epsilon"):
    if FLAGS[name].value is not None and not 0 < FLAGS[name].value <= 1:
      raise InputError(
        f"--{name}: expected a number above 0 and at most 1, got {FLAGS[name].value:g}; 8 of 255 is 8/255."
      )
  # absl lets NaN pass its bounds.
  for name in ("shrinkage", "false_positive_rate"):
    if FLAGS[name].value is not None and math.isnan(FLAGS[name].value):
      raise InputError(f"--{name}: expected a number, got nan.")


def _analyse(folders, options):
  """Analyses the runs and writes what belongs to each; (results, arrays), dicts from name."""
  from tla_tf.evaluation import figure_data, run_analysis, run_evaluation

  analyses = {}
  for name, folder in folders.items():
    subject = run_evaluation.run_subject(
      folder, FLAGS.checkpoint, FLAGS.data_dir, FLAGS.cache_dir, entry.reading_progress
    )
    show = entry.show_progress()
    analyses[name] = run_analysis.analyse(
      subject, folder, options, lambda what, *numbers, name=name, show=show: show(f"{name}: {what}", *numbers)
    )
  classes = figure_data.figure_classes(list(analyses.values()), tuple(FLAGS.classes))
  queries = figure_data.figure_queries(list(analyses.values()))
  arrays = {}
  for name, analysis in analyses.items():
    arrays[name] = figure_data.figure_arrays(analysis, classes, queries, options)
    _write(name, folders[name], analysis, arrays[name])
    _write_projector(folders[name], analysis, options)
  return {name: analysis.results for name, analysis in analyses.items()}, arrays


def _options(run_analysis):
  return run_analysis.Options(
    weak_epsilon=FLAGS.weak_epsilon,
    strong_epsilon=FLAGS.strong_epsilon,
    num_examples=FLAGS.num_examples,
    num_train_examples=FLAGS.num_train_examples,
    fit_examples=FLAGS.fit_examples,
    k=FLAGS.neighbors,
    metric=types.Metric(FLAGS.metric),
    covariance=None if FLAGS.covariance == "auto" else types.Covariance(FLAGS.covariance),
    shrinkage=FLAGS.shrinkage,
    unit_length=FLAGS.unit_embeddings,
    false_positive_rate=FLAGS.false_positive_rate,
    seed=FLAGS.seed,
    batch_size=FLAGS.batch_size,
  )


def _write(name, folder, analysis, arrays):
  """Writes the detector, arrays, figures, table and, last, analysis.json."""
  from tla_tf import files, reporting

  results = {name: analysis.results}
  analysis.detector.save(folder.detector)
  files.write_arrays(folder.analysis_arrays, arrays)
  _draw(results, {name: arrays}, folder.figures)
  files.write_text(folder.analysis_table, reporting.markdown_tables(reporting.tables_of_analysis(results)))
  # Tells, after a kill in between, that the arrays are of another analysis.
  about = {**analysis.results, "arrays_digest": files.digest(folder.analysis_arrays)}
  files.write_text(folder.analysis, json.dumps(about, indent=1) + "\n")


def _draw(results, arrays, folder):
  from tla_tf import reporting

  class_names = next(iter(results.values()))["class_names"]
  reporting.tsne_of_class(arrays, class_names, folder / "tsne_class.png")
  reporting.tsne_of_pair(arrays, class_names, folder / "tsne_pair.png")
  reporting.retrieval(arrays, class_names, folder / "retrieval.png")
  reporting.roc_curves(arrays, results, folder / "roc.png")


def _write_projector(folder, analysis, options):
  """Writes points beside the training's curves, where `tensorboard --logdir` finds them; none replaces old ones."""
  from tla_tf import reporting
  from tla_tf.evaluation import figure_data

  reporting.remove_projector(folder.tensorboard)
  if FLAGS.projector_examples:
    points = figure_data.projector_points(analysis, FLAGS.projector_examples, options)
    reporting.write_projector(folder.tensorboard, *points)


def run():
  """Entry point of the console script."""
  entry.run(main, goes_on=True)


if __name__ == "__main__":
  run()
