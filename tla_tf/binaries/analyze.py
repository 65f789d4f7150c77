"""tla-analyze: how networks see natural and attacked images, and which of them they can tell.

Tables 5 and 6 and Figures 1, 2, 4 and 5 of the paper; a detector for tla-export;
points for TensorBoard's projector.

Examples:
  tla-analyze --run_dir=runs/tla
  tla-analyze --run_dir=runs/um runs/at runs/tla --compare_dir=runs
  tla-analyze --keras_model=mine.keras --embedding_layer=pool --dataset=mnist --data_dir=DIR --output_dir=analysed

Embeddings are kept in the run folder: the same command again is quick, and goes
on where it was killed.
"""

from __future__ import annotations

import math
import typing

from absl import flags

from tla_tf import types
from tla_tf.binaries import entry, flag_names, model_flags, progress
from tla_tf.binaries.terminal import say
from tla_tf.errors import InputError
from tla_tf.persistence import run_paths
from tla_tf.visible import shell_word

FLAGS = flags.FLAGS

# Arguments of the library that are flags of another name.
_RENAMED = {"k": "neighbors", "unit_length": "unit_embeddings"}
# Flags that are arguments of `api.analyze_runs` under their own names.
_SETTINGS = (
  "weak_epsilon",
  "strong_epsilon",
  "split",
  "num_examples",
  "num_train_examples",
  "fit_examples",
  "metric",
  "shrinkage",
  "false_positive_rate",
  "seed",
  "batch_size",
  "classes",
  "projector_examples",
  "compare_dir",
  "checkpoint",
  "data_dir",
  "cache_dir",
)

entry.define_paths("run_dir", "Run folder, a quoted pattern ('runs/*'), or a folder of run folders.")
model_flags.define(embedding=True)
entry.define_fraction(
  "weak_epsilon",
  None,
  "Radius (L-infinity) of the attack that the detector is fitted at; by default the paper's: mnist 0.03, cifar10 and "
  "tiny_imagenet 8/255 (digits 0.05, images 8/255: ours), or the run's own on colour images, if it was trained at "
  "another than 8/255.",
)
entry.define_fraction(
  "strong_epsilon",
  None,
  "Radius of the attack that it is tested at; by default the paper's: mnist 0.3, cifar10 and tiny_imagenet 25/255 "
  "(digits 0.2, images 25/255: ours), or the run's own on digits and mnist, if it was trained at another.",
)
model_flags.define_split("analyse")
flags.DEFINE_integer("num_examples", None, "Images to analyse, drawn by the seed; all by default.", lower_bound=2)
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
flags.DEFINE_integer(
  "neighbors",
  None,
  "Neighbours that vote; by default 50 (paper, Table 6), or as many as the smallest class has training images.",
  lower_bound=1,
)
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
  "paper does not say so; docs/measurements.md has what it does on MNIST.",
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
flags.DEFINE_string(
  "output_dir",
  None,
  "Where results go: needed of models that were not trained here; of a run instead of its folder, which is then only "
  "read. Of several runs or models a folder of their name each.",
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


@flag_names.translated(**_RENAMED)
def main(argv: list[str]) -> None:
  """Analyses every run, writes its results and figures, prints the tables."""
  _check_flags()
  entry.refuse_arguments(argv)
  model_flags.check()
  folders = model_flags.open_runs()
  entry.load_tensorflow()
  from tla_tf import api, reporting

  settings: dict[str, typing.Any] = {name: FLAGS[name].value for name in _SETTINGS}
  with progress.Progress().beating() as shown:
    records = api.analyze_runs(
      folders,
      k=FLAGS.neighbors,
      covariance=None if FLAGS.covariance == "auto" else FLAGS.covariance,
      unit_length=FLAGS.unit_embeddings,
      progress=shown.batches(),
      reading_progress=shown.reading,
      note=lambda text: say(flag_names.said(text, **_RENAMED), error=True),
      **model_flags.settings(),
      **settings,
    )
  for table in reporting.tables_of_analysis(records):
    reporting.print_table(table)
  split = types.Split(FLAGS.split)
  exportable = not FLAGS.output_dir and split is types.Split.TEST
  for name, opened in folders.items():
    folder = opened.of_split(split)
    export = f"  (tla-export --run_dir={shell_word(folder.path)} adds it as the endpoint detect)"
    say(
      f"results      {folder.analysis}  ({sum(records[name].seconds.values()):.0f} s)",
      f"detector     {folder.detector}{export if exportable else ''}",
    )
    if FLAGS.projector_examples:
      say(f"projector    tensorboard --logdir {shell_word(folder.tensorboard)}, tab Projector")
  for place in model_flags.folders_of(records, folders):
    say(f"results      {place / 'analysis.json'}")
  if FLAGS.compare_dir:
    say(f"compared     {run_paths.of_split(FLAGS.compare_dir, split) / 'analysis.md'}")


def _check_flags() -> None:
  """Refuses what is wrong before TensorFlow is loaded."""
  for name in ("weak_epsilon", "strong_epsilon"):
    radius: typing.Any = FLAGS[name].value
    if radius is not None and not 0 < radius <= 1:
      raise InputError(f"--{name}: expected a number above 0 and at most 1, got {radius:g}; 8 of 255 is 8/255.")
  # absl lets NaN pass its bounds.
  for name in ("shrinkage", "false_positive_rate"):
    share: typing.Any = FLAGS[name].value
    if share is not None and math.isnan(share):
      raise InputError(f"--{name}: expected a number, got nan.")


def run() -> None:
  """Entry point of the console script."""
  entry.run(main, goes_on=True)


if __name__ == "__main__":
  run()
