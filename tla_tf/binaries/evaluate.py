"""tla-evaluate: judges trained runs, or a foreign model, under suites of attacks.

Examples:
  tla-evaluate --run_dir=runs/tla --suite=table1,table3,auto_attack --num_examples=1000
  tla-evaluate --run_dir=runs/um runs/at runs/tla --suite=quick
  tla-evaluate --run_dir=runs/tla --suite=table1 --source_run_dir=runs/um
  tla-evaluate --keras_model=mine.keras --dataset=mnist --data_dir=DIR --pixel_range=0,255 --output_dir=judged

Killed and started again, the same command goes on where it was.
"""

import json
import pathlib
import sys

from absl import flags

from tla_tf import types
from tla_tf.binaries import entry
from tla_tf.errors import InputError

FLAGS = flags.FLAGS

_SUITES = ("quick", "table1", "table3", "auto_attack", "auto_attack_l2", "auto_attack_plus")

flags.DEFINE_string("run_dir", None, "Run folder; further ones may follow as plain arguments.")
flags.DEFINE_string(
  "saved_model", None, "Judge this SavedModel instead: its endpoint serve, or its signature serving_default."
)
flags.DEFINE_string("keras_model", None, "Judge this .keras file instead.")
flags.DEFINE_list(
  "suite",
  None,
  f"One or several of {', '.join(_SUITES)}. quick: FGSM, PGD, 20-restart PGD; table1, "
  "table3: the attacks of the paper's tables with its steps (digits, images: ours); auto_attack, "
  "auto_attack_l2: the standard AutoAttack in L-infinity and in L2; auto_attack_plus: its version with "
  "more starts, in L-infinity. quick by default.",
)
flags.DEFINE_string("suite_file", None, "Your own list of attacks, YAML or JSON, see docs/evaluation.md.")
flags.DEFINE_string(
  "source_run_dir",
  None,
  "Adds table1's black-box column: images made by PGD on this run, kept there in transfer/, and replayed.",
)
flags.DEFINE_integer("num_examples", None, "Test images to judge on, the first ones; all by default.", lower_bound=1)
entry.define_fraction(
  "epsilon", None, "Replaces the radius of the suites' L-infinity attacks; step sizes scale with it."
)
flags.DEFINE_boolean(
  "eight_bit", False, "Round adversarial images to whole grey levels, as a picture file would, before they are judged."
)
flags.DEFINE_string("checkpoint", "best", "best on held-out images (robust accuracy; um: clean), last, or a step.")
flags.DEFINE_string("data_dir", None, "Folder of the data set's files; by default that of the training.")
flags.DEFINE_string(
  "cache_dir", None, "Folder of decoded images; $XDG_CACHE_HOME/tla_tf or ~/.cache/tla_tf by default."
)
flags.DEFINE_integer("seed", 0, "Seed of random starts.", lower_bound=0)
flags.DEFINE_integer(
  "num_seeds",
  1,
  "Attacks that draw run with so many seeds; tables then give mean and standard deviation.",
  lower_bound=1,
)
flags.DEFINE_integer("batch_size", 100, "Images a batch.", lower_bound=1)
flags.DEFINE_integer(
  "probe_examples", 100, "Images of the probes behind alarms and curves, the first ones; 0 for none.", lower_bound=0
)
flags.DEFINE_string("compare_dir", None, "Folder for the tables (table.md) and the figures of all runs.")
flags.DEFINE_enum(
  "dataset", None, ["digits", "mnist", "cifar10", "tiny_imagenet", "images"], "Of a foreign model: the data set."
)
entry.define_choice(
  "data_source", types.DataSource.AUTO.value, types.DataSource, "Of a foreign model: where images come from."
)
flags.DEFINE_list(
  "pixel_range",
  ["0", "1"],
  "Of a foreign model: lowest and highest pixel value that it takes, as in 0,255. It is checked.",
)
flags.DEFINE_string("output_dir", None, "Of a foreign model: where results go.")


def main(argv):
  """Evaluates every model, writes its results, prints the tables and alarms."""
  _check_flags(argv)
  folders = entry.open_runs([FLAGS.run_dir, *argv]) if FLAGS.run_dir else {}
  entry.load_tensorflow()
  from tla_tf import files, reporting

  if FLAGS.compare_dir:
    files.make_folder(FLAGS.compare_dir)
  models = _models(folders)
  source = _source() if FLAGS.source_run_dir else None
  outcomes = {name: _evaluate(name, folder, subject, source) for name, folder, subject in models}
  results = {name: outcome.results for name, outcome in outcomes.items()}
  for suite in reporting.suites_of(results):
    reporting.print_table(reporting.suite_table(results, suite))
  reporting.print_alarms(results)
  if FLAGS.compare_dir:
    folder = pathlib.Path(FLAGS.compare_dir)
    figures = _figures(results, folder, reporting)
    files.write_text(folder / "table.md", _markdown(results))
    print(f"tables       {folder / 'table.md'}\n" + "".join(f"figure       {figure}\n" for figure in figures), end="")
  for outcome in outcomes.values():
    outcome.discard()


def _check_flags(argv):
  """Refuses what is wrong before TensorFlow is loaded."""
  if FLAGS.epsilon is not None and not 0 <= FLAGS.epsilon <= 1:
    raise InputError(f"--epsilon: expected a number in [0, 1], got {FLAGS.epsilon:g}; 8 of 255 is 8/255.")
  unknown = [name for name in FLAGS.suite or () if name not in _SUITES]
  if unknown:
    raise InputError(f"--suite: unknown suite {unknown[0]!r}; expected some of {', '.join(_SUITES)}.")
  given = [name for name in ("run_dir", "saved_model", "keras_model") if FLAGS[name].value]
  if len(given) != 1:
    raise InputError(
      "Give one of --run_dir, --saved_model and --keras_model" + (f", not --{' and --'.join(given)}." if given else ".")
    )
  if given == ["run_dir"]:
    wrong = [name for name in ("dataset", "output_dir", "pixel_range", "data_source") if FLAGS[name].present]
    if wrong:
      raise InputError(f"--{wrong[0]} is for a foreign model: a run folder knows its own.")
    return
  entry.refuse_arguments(argv)
  if FLAGS["checkpoint"].present:
    raise InputError("--checkpoint is for a run folder: a foreign model has one set of weights.")
  for name in ("dataset", "output_dir"):
    if not FLAGS[name].value:
      raise InputError(f"--{given[0]} needs --{name}.")


def _models(folders):
  """(name, folder of results, function that loads the subject) of every model; cheap checks come first."""
  from tla_tf.evaluation import run_evaluation
  from tla_tf.persistence import RunFolder

  if not FLAGS.run_dir:
    model = _foreign_model()
    folder = RunFolder(FLAGS.output_dir)
    folder.require_writable()
    return [(pathlib.Path(model.path).stem, folder, lambda: _foreign_subject(model))]
  dataset = next(iter(folders.values())).read_config()[0].dataset
  run_evaluation.planned_attacks(_options(), dataset, FLAGS.source_run_dir is not None)
  return [(name, folder, lambda folder=folder: _run_subject(folder)) for name, folder in folders.items()]


def _run_subject(folder):
  from tla_tf.evaluation import run_evaluation

  return run_evaluation.run_subject(folder, FLAGS.checkpoint, FLAGS.data_dir, FLAGS.cache_dir, entry.reading_progress)


def _foreign_model():
  from tla_tf.persistence import foreign

  try:
    low, high = (float(value) for value in FLAGS.pixel_range)
  except ValueError:
    raise InputError(f"--pixel_range: expected two numbers as in 0,255, got {','.join(FLAGS.pixel_range)}.") from None
  if not low < high:
    raise InputError(f"--pixel_range: expected a lower and a higher number, got {low:g},{high:g}.")
  load = foreign.load_saved_model if FLAGS.saved_model else foreign.load_keras_model
  return load(FLAGS.saved_model or FLAGS.keras_model, (low, high))


def _foreign_subject(model):
  from tla_tf import datasets
  from tla_tf.config import ReadingConfig
  from tla_tf.evaluation import run_evaluation

  reading = ReadingConfig()
  if FLAGS.dataset == "images" and model.image_shape and None not in model.image_shape:
    reading = reading.replace(image_size=tuple(model.image_shape[:2]), channels=model.image_shape[2])
  splits = datasets.load(
    FLAGS.dataset, FLAGS.data_dir, types.DataSource(FLAGS.data_source), reading, FLAGS.cache_dir, entry.reading_progress
  )
  return run_evaluation.foreign_subject(model, FLAGS.dataset, splits)


def _options():
  from tla_tf.evaluation import run_evaluation

  suites = tuple(dict.fromkeys(FLAGS.suite or (() if FLAGS.suite_file else ("quick",))))
  return run_evaluation.Options(
    suites=suites,
    suite_file=FLAGS.suite_file,
    epsilon=FLAGS.epsilon,
    num_examples=FLAGS.num_examples,
    seed=FLAGS.seed,
    num_seeds=FLAGS.num_seeds,
    batch_size=FLAGS.batch_size,
    eight_bit=FLAGS.eight_bit,
    probe_examples=FLAGS.probe_examples,
  )


def _source():
  """The black-box attack's source: (RunFolder, Subject)."""
  from tla_tf.persistence import RunFolder

  folder = RunFolder.open(FLAGS.source_run_dir)
  folder.require_writable()
  return folder, _run_subject(folder)


def _evaluate(name, folder, load_subject, source):
  """Judges one model; writes evaluation.json, evaluation.md, evaluation_images.npz and figures."""
  from tla_tf import files, reporting
  from tla_tf.evaluation import run_evaluation

  outcome = run_evaluation.evaluate_subject(
    load_subject(),
    _options(),
    state=folder.evaluation_state,
    source=source,
    progress=entry.show_progress(quiet=("probe",)),
    on_resume=_resumed,
  )
  files.make_folder(folder.path)
  files.write_text(folder.evaluation, json.dumps(outcome.results, indent=1) + "\n")
  files.write_arrays(folder.evaluation_images, outcome.images)
  one = {name: outcome.results}
  files.write_text(folder.evaluation_table, _markdown(one))
  # Those of another evaluation would contradict the new results.
  for stale in (*folder.figures.glob("robust_accuracy*.png"), *folder.figures.glob("accuracy_curves.png")):
    stale.unlink()
  _figures(one, folder.figures, reporting)
  reporting.broken_images(
    outcome.broken,
    outcome.class_names,
    folder.figures / "adversarial_examples.png",
    title=f"{name}: images that were broken",
  )
  print(f"results      {folder.evaluation}")
  return outcome


def _figures(results, folder, reporting):
  """Draws the accuracies and curves of one or several models; returns the paths."""
  paths = []
  for i, suite in enumerate(reporting.suites_of(results)):
    paths.append(reporting.robust_accuracy(results, suite, folder / f"robust_accuracy{f'_{suite}' if i else ''}.png"))
  if all(result["probes"] for result in results.values()):
    paths.append(reporting.accuracy_curves(results, folder / "accuracy_curves.png"))
  return paths


def _markdown(results):
  """Tables and alarms as evaluation.md and table.md hold them."""
  from tla_tf import reporting

  tables = [reporting.suite_table(results, suite) for suite in reporting.suites_of(results)]
  return f"{reporting.markdown_tables(tables)}\nAlarms:\n\n{reporting.markdown_alarms(results)}"


def _resumed(batches):
  print(f"going on behind {batches} batches that were judged before", file=sys.stderr)


def run():
  """Entry point of the console script."""
  entry.run(main, goes_on=True)


if __name__ == "__main__":
  run()
