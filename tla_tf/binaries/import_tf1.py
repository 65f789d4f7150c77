"""tla-import-tf1: makes a run folder from a TF1 checkpoint of the authors.

Example:
  tla-import-tf1 --checkpoint=models/checkpoint-70000 --network=wrn_32_10 --output_dir=runs/authors_cifar10
  tla-evaluate --run_dir=runs/authors_cifar10 --data_dir=DIR --suite=table1
"""

from __future__ import annotations

from absl import flags

from tla_tf import datasets, recipes
from tla_tf.binaries import entry
from tla_tf.binaries.terminal import say
from tla_tf.errors import InputError
from tla_tf.visible import shell_word

FLAGS = flags.FLAGS

# Family of networks -> the data set that the paper trains it on.
_DATASETS = {family: name for name in datasets.names() for family in datasets.get(name).tf1_networks}

flags.DEFINE_string(
  "checkpoint",
  None,
  "Prefix of the checkpoint's files, or the folder of a TF1 Saver. Names may "
  "stand under main_encoder/ (authors) or under no scope (Madry's cifar10_challenge).",
)
flags.DEFINE_string("network", None, "mlp, lenet, resnet_50 or wrn_32_10, or another size of these.")
flags.DEFINE_string("output_dir", None, "Run folder to make.")
flags.DEFINE_enum(
  "dataset",
  None,
  [*dict.fromkeys(_DATASETS.values()), "images"],
  "What it was trained on; by default that of the network in the paper.",
)
flags.DEFINE_enum("method", "tla", recipes.names(), "How it was trained, for the records.")
entry.define_size("image_size", None, "Height and width, of --dataset=images.")
entry.define_fraction(
  "epsilon",
  None,
  "Radius (L-infinity) that it was trained at, where that is not the published one: tla-evaluate and tla-analyze then "
  "take its own.",
)
flags.DEFINE_string("data_dir", None, "Folder of the data, for later evaluations.")
flags.DEFINE_bool("allow_partial", False, "Import although some variables match nothing.")
for _name in ("checkpoint", "network", "output_dir"):
  flags.mark_flag_as_required(_name)


def main(argv: list[str]) -> None:
  """Imports one checkpoint."""
  entry.refuse_arguments(argv)
  dataset = FLAGS.dataset or _DATASETS.get(FLAGS.network.partition("_")[0])
  if dataset is None:
    raise InputError(f"--network={FLAGS.network}: expected mlp, lenet, resnet_50 or wrn_32_10.")
  entry.load_tensorflow()
  from tla_tf.persistence.tf1_import import import_checkpoint

  folder = import_checkpoint(
    FLAGS.checkpoint,
    FLAGS.network,
    FLAGS.output_dir,
    dataset,
    method=FLAGS.method,
    image_size=FLAGS.image_size,
    epsilon=FLAGS.epsilon,
    data_dir=FLAGS.data_dir,
    allow_partial=FLAGS.allow_partial,
    say=lambda text: say(*text.splitlines()),
  )
  say(
    f"run folder   {folder.path}",
    f"next         tla-evaluate --run_dir={shell_word(folder.path)}{'' if FLAGS.data_dir else ' --data_dir=DIR'}",
  )


def run() -> None:
  """Entry point of the console script."""
  entry.run(main)


if __name__ == "__main__":
  run()
