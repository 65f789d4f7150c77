"""tla-evaluate: judges trained runs, and models from elsewhere, under suites of attacks.

Examples:
  tla-evaluate --run_dir=runs/tla --suite=table1,table3,auto_attack --num_examples=1000
  tla-evaluate --run_dir=runs/um runs/at runs/tla --suite=quick
  tla-evaluate --run_dir=runs/tla --suite=table1 --source_run_dir=runs/um
  tla-evaluate --keras_model=mine.keras --dataset=mnist --data_dir=DIR --pixel_range=0,255 --output_dir=judged
  tla-evaluate --run_dir=runs/at --keras_model=a.keras b.keras --saved_model=exported --output_dir=judged

Killed and started again, the same command goes on where it was.
"""

from __future__ import annotations

import typing

from absl import flags

from tla_tf import types
from tla_tf.attack_configs import LIBRARY_ATTACKS, SUITES
from tla_tf.binaries import entry, flag_names, model_flags, progress
from tla_tf.binaries.terminal import say
from tla_tf.errors import InputError
from tla_tf.persistence import run_paths
from tla_tf.records.shown import cross_checked

FLAGS = flags.FLAGS

# Arguments of the library that are flags of another name.
_RENAMED = {"suites": "suite", "source": "source_run_dir"}
# Flags that are arguments of `EvaluationOptions`.
_OPTIONS = (
  "suite_file",
  "epsilon",
  "l2_epsilon",
  "l0_epsilon",
  "num_examples",
  "seed",
  "num_seeds",
  "batch_size",
  "eight_bit",
  "search_precision",
  "probe_examples",
  "cross_check",
  "split",
)

entry.define_paths("run_dir", "Run folder, a quoted pattern ('runs/*'), or a folder of run folders.")
model_flags.define()
flags.DEFINE_list(
  "suite",
  None,
  f"One or several of {', '.join(SUITES)}. quick: FGSM, PGD, 20-restart PGD; table1, "
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
model_flags.define_split("judge on")
flags.DEFINE_integer("num_examples", None, "Images to judge on, the first ones; all by default.", lower_bound=1)
entry.define_fractions(
  "epsilon",
  None,
  "Radius of the suites' L-infinity attacks; step sizes scale with it. By default that of the run's training; of a "
  "foreign model, and of a run that was not trained in such a ball, the data set's. Of --suite_file, for the attacks "
  "that leave it out. Several, as in 2/255,4/255,8/255, are judged one after the other: one table, one curve.",
)
entry.define_fractions("l2_epsilon", None, "The same in L2; by default the data set's.")
entry.define_fractions("l0_epsilon", None, "The same in L0, a share of pixel values; by default the data set's.")
flags.DEFINE_boolean(
  "eight_bit", False, "Round adversarial images to whole grey levels, as a picture file would, before they are judged."
)
flags.DEFINE_enum(
  "search_precision",
  "float32",
  ["float32", "bfloat16"],
  "Type in which gradient attacks (FGSM, BIM, PGD, MIM) search: bfloat16 is faster on processors that have it. What "
  "they find is judged in float32 all the same.",
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
flags.DEFINE_boolean(
  "cross_check",
  False,
  "Let other libraries attack what withstands ours, in the same balls: cleverhans, and Foolbox and ART where they are "
  "installed (pip install 'tla_tf[crosscheck]').",
)
flags.DEFINE_list(
  "cross_check_attacks",
  [],
  f"The same with these attacks only, of {', '.join(LIBRARY_ATTACKS)}. Those by decisions (boundary, hop_skip_jump) "
  "take long.",
)
flags.DEFINE_string("compare_dir", None, "Folder for the tables (table.md) and the figures of all runs.")
flags.DEFINE_string(
  "output_dir",
  None,
  "Where results go: needed of models that were not trained here; of a run instead of its folder, which is then only "
  "read. Of several runs or models a folder of their name each.",
)


@flag_names.translated(**_RENAMED)
def main(argv: list[str]) -> None:
  """Evaluates every model, writes its results, prints the tables and alarms."""
  _check_flags(argv)
  folders = model_flags.open_runs()
  entry.load_tensorflow()
  from tla_tf import reporting

  with progress.Progress().beating() as shown:
    records = _judged(folders, shown)
  judged = {name: [found] for name, found in records.items()}
  for table in reporting.suite_tables(judged):
    reporting.print_table(table)
  for name, found in records.items():
    for record in found.evaluations:
      for check in record.cross_check or ():
        say(f"cross-check  {name}: {cross_checked(check)}")
  reporting.print_alarms(judged)
  split = types.Split(FLAGS.split)
  for folder in (folder.of_split(split) for folder in folders.values()):
    say(f"results      {folder.evaluation}  (all that is known of it: {folder.evaluation_table})")
  for place in model_flags.folders_of(records, folders):
    say(f"results      {place / 'evaluation.json'}")
  if FLAGS.compare_dir:
    say(f"compared     {run_paths.of_split(FLAGS.compare_dir, split) / 'table.md'}")


def _judged(folders: dict[str, typing.Any], shown: progress.Progress) -> dict[str, typing.Any]:
  """The records of all models by name."""
  from tla_tf import api

  settings: dict[str, typing.Any] = {name: FLAGS[name].value for name in _OPTIONS}
  settings |= {
    "suites": tuple(dict.fromkeys(FLAGS.suite or (() if FLAGS.suite_file else ("quick",)))),
    "cross_check_attacks": tuple(FLAGS.cross_check_attacks),
    "source": FLAGS.source_run_dir,
    "compare_dir": FLAGS.compare_dir,
    "data_dir": FLAGS.data_dir,
    "cache_dir": FLAGS.cache_dir,
    "progress": shown.batches(quiet=("probe",)),
    "reading_progress": shown.reading,
    "note": lambda text: say(flag_names.said(text, **_RENAMED), error=True),
  }
  return api.evaluate_runs(folders, checkpoint=FLAGS.checkpoint, **model_flags.settings(), **settings)


def _check_flags(argv: list[str]) -> None:
  """Refuses what is wrong before TensorFlow is loaded."""
  given_radii: typing.Any = FLAGS.epsilon
  for radius in given_radii if isinstance(given_radii, tuple) else (given_radii,):
    if radius is not None and not 0 <= radius <= 1:
      raise InputError(f"--epsilon: expected a number in [0, 1], got {radius:g}; 8 of 255 is 8/255.")
  unknown = [name for name in FLAGS.suite or () if name not in SUITES]
  if unknown:
    raise InputError(f"--suite: unknown suite {unknown[0]!r}; expected some of {', '.join(SUITES)}.")
  entry.refuse_arguments(argv)
  model_flags.check()


def run() -> None:
  """Entry point of the console script."""
  entry.run(main, goes_on=True)


if __name__ == "__main__":
  run()
