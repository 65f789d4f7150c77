"""tla-analyze: how a trained network sees natural and attacked images, and which of them it can tell.

Tables 5 and 6 and Figures 1, 2, 4 and 5 of the paper; a detector for tla-export;
points for TensorBoard's projector.

Examples:
  tla-analyze --run_dir=runs/tla
  tla-analyze --run_dir=runs/um runs/at runs/tla --compare_dir=runs

Embeddings are kept in the run folder: the same command again is quick, and goes
on where it was killed.
"""

import json
import pathlib

from absl import flags

from tla_tf import types
from tla_tf.binaries import entry
from tla_tf.errors import InputError

FLAGS = flags.FLAGS

flags.DEFINE_string("run_dir", None, "Run folder; further ones may follow as plain arguments.")
entry.define_fraction("weak_epsilon", None, "Radius (L-infinity) of the attack that the detector is fitted at; by "
                      "default the paper's: mnist 0.03, cifar10 and tiny_imagenet 8/255 (digits 0.05, images 8/255: "
                      "ours).")
entry.define_fraction("strong_epsilon", None, "Radius of the attack that it is tested at; by default the paper's: "
                      "mnist 0.3, cifar10 and tiny_imagenet 25/255 (digits 0.2, images 25/255: ours).")
flags.DEFINE_integer("num_examples", None, "Test images, drawn by the seed; all by default.", lower_bound=2)
flags.DEFINE_integer("num_train_examples", None, "Natural training images among which neighbours are sought, drawn by "
                     "the seed; all by default.", lower_bound=2)
flags.DEFINE_integer("fit_examples", 10_000, "Training images that the detector is fitted to, each clean and attacked; "
                     "all where there are fewer.", lower_bound=2)
flags.DEFINE_integer("neighbors", 50, "Neighbours that vote (paper, Table 6: 50).", lower_bound=1)
entry.define_choice("metric", types.Metric.COSINE.value, types.Metric, "Of neighbours and t-SNE. The paper does not "
                    "name its metric; cosine is the angle that TLA trains.")
entry.define_choice("covariance", types.Covariance.FULL.value, types.Covariance, "Of the detector's Gaussians, one a "
                    "class: a matrix each, one matrix for all, or variances alone. AUCs are given for all three.")
flags.DEFINE_float("shrinkage", None, "Share of a multiple of the identity in the detector's covariance, 0 to 1; by "
                   "default Ledoit and Wolf's. The paper does not say how it regularises.",
                   lower_bound=0, upper_bound=1)
flags.DEFINE_boolean("unit_embeddings", False, "Scale embeddings to length 1 before the detector's Gaussians. The "
                     "paper does not say so; docs/results.md has what it does on MNIST.")
flags.DEFINE_float("false_positive_rate", 0.05, "Share of clean images that the detector may flag; its threshold is "
                   "chosen on held-out images.", lower_bound=0, upper_bound=0.999)
flags.DEFINE_list("classes", [], "Of Figures 1 and 2: a true class and the class that it is taken for, by name. By "
                  "default the true class that is misclassified most often, and what it is then taken for.")
flags.DEFINE_integer("projector_examples", 500, "Test images whose points, natural and attacked, go to TensorBoard's "
                     "projector; 0 for none.", lower_bound=0)
flags.DEFINE_string("compare_dir", None, "Folder for the tables (analysis.md) and figures of all runs side by side.")
flags.DEFINE_string("checkpoint", "best", "best on held-out images (robust accuracy; um: clean), last, or a step.")
flags.DEFINE_string("data_dir", None, "Folder of the data set's files; by default that of the training.")
flags.DEFINE_string("cache_dir", None, "Folder of decoded images; $XDG_CACHE_HOME/tla_tf or ~/.cache/tla_tf by "
                    "default.")
flags.DEFINE_integer("seed", 0, "Seed of random starts, of subsets, and of t-SNE.", lower_bound=0)
flags.DEFINE_integer("batch_size", 100, "Images a batch.", lower_bound=1)
flags.mark_flag_as_required("run_dir")


def main(argv):
  """Analyses every run, writes its results and figures, prints the tables."""
  for name in ("weak_epsilon", "strong_epsilon"):
    if FLAGS[name].value is not None and not 0 < FLAGS[name].value <= 1:
      raise InputError(f"--{name}: expected a number above 0 and at most 1, got {FLAGS[name].value:g}; 8 of 255 is "
                       "8/255.")
  entry.load_tensorflow()
  from tla_tf import files, reporting
  from tla_tf.evaluation import figure_data, run_analysis, run_evaluation

  folders = entry.open_runs([FLAGS.run_dir, *argv])
  options = _options(run_analysis)
  options.attacks(next(iter(folders.values())).read_config()[0].dataset)
  if FLAGS.compare_dir:
    files.make_folder(FLAGS.compare_dir)
  analyses = {}
  for name, folder in folders.items():
    subject = run_evaluation.run_subject(folder, FLAGS.checkpoint, FLAGS.data_dir, FLAGS.cache_dir,
                                         entry.reading_progress)
    show = entry.show_progress()
    analyses[name] = run_analysis.analyse(
      subject, folder, options, lambda what, *numbers, name=name, show=show: show(f"{name}: {what}", *numbers))
  classes = figure_data.figure_classes(list(analyses.values()), tuple(FLAGS.classes))
  queries = figure_data.figure_queries(list(analyses.values()))
  results, arrays = {}, {}
  for name, analysis in analyses.items():
    arrays[name] = figure_data.figure_arrays(analysis, classes, queries, options)
    results[name] = analysis.results
    _write(name, folders[name], analysis, arrays[name])
    _write_projector(folders[name], analysis, options)
  for table in reporting.tables_of_analysis(results):
    reporting.print_table(table)
  for name, folder in folders.items():
    print(f"results      {folder.analysis}  ({sum(results[name]['seconds'].values()):.0f} s)\n"
          f"detector     {folder.detector}  (tla-export --run_dir={folder.path} adds it as the endpoint detect)\n"
          f"projector    tensorboard --logdir {folder.tensorboard}, tab Projector")
  if FLAGS.compare_dir:
    compared = pathlib.Path(FLAGS.compare_dir)
    _draw(results, arrays, compared)
    files.write_text(compared / "analysis.md", _markdown(results))
    print(f"compared     {compared / 'analysis.md'}")


def _options(run_analysis):
  return run_analysis.Options(
    weak_epsilon=FLAGS.weak_epsilon, strong_epsilon=FLAGS.strong_epsilon, num_examples=FLAGS.num_examples,
    num_train_examples=FLAGS.num_train_examples, fit_examples=FLAGS.fit_examples, k=FLAGS.neighbors,
    metric=types.Metric(FLAGS.metric), covariance=types.Covariance(FLAGS.covariance), shrinkage=FLAGS.shrinkage,
    unit_length=FLAGS.unit_embeddings, false_positive_rate=FLAGS.false_positive_rate, seed=FLAGS.seed,
    batch_size=FLAGS.batch_size)


def _write(name, folder, analysis, arrays):
  """Writes the detector, arrays, figures, table and, last, analysis.json."""
  from tla_tf import files

  analysis.detector.save(folder.detector)
  files.write_arrays(folder.analysis_arrays, arrays)
  _draw({name: analysis.results}, {name: arrays}, folder.figures)
  files.write_text(folder.analysis_table, _markdown({name: analysis.results}))
  files.write_text(folder.analysis, json.dumps(analysis.results, indent=1) + "\n")


def _draw(results, arrays, folder):
  from tla_tf import reporting

  class_names = next(iter(results.values()))["class_names"]
  reporting.tsne_of_class(arrays, class_names, folder / "tsne_class.png")
  reporting.tsne_of_pair(arrays, class_names, folder / "tsne_pair.png")
  reporting.retrieval(arrays, class_names, folder / "retrieval.png")
  reporting.roc_curves(arrays, results, folder / "roc.png")


def _markdown(results):
  from tla_tf import reporting

  return "\n".join(f"{table.title}\n\n{reporting.markdown_table(table)}"
                   for table in reporting.tables_of_analysis(results))


def _write_projector(folder, analysis, options):
  """Writes points beside the training's curves, where `tensorboard --logdir` finds them."""
  if not FLAGS.projector_examples:
    return
  import numpy as np

  from tla_tf import reporting
  from tla_tf.evaluation import figure_data

  sides = figure_data.projector_points(analysis, FLAGS.projector_examples, options)
  names = analysis.parts.class_names
  reporting.write_projector(
    folder.tensorboard, np.concatenate([side.embeddings for side in sides]),
    np.concatenate([side.images for side in sides]),
    {"true class": [names[label] for side in sides for label in side.labels],
     "predicted class": [names[label] if label >= 0 else "NaN" for side in sides for label in side.predictions],
     "image": [kind for kind, side in zip(("natural", "attacked"), sides) for _ in side.labels],
     "outcome": ["right" if right else "wrong" for side in sides for right in ~side.errs]})


def run():
  """Entry point of the console script."""
  entry.run(main, goes_on=True)


if __name__ == "__main__":
  run()
