"""tla-export: writes a trained network as a SavedModel.

Example:
  tla-export --run_dir=runs/tla --output=runs/tla/saved_model
"""

from absl import flags

from tla_tf.binaries import entry

FLAGS = flags.FLAGS

flags.DEFINE_string("run_dir", None, "Run folder.")
flags.DEFINE_string("output", None, "Folder to make; run_dir/saved_model by default.")
flags.DEFINE_string("checkpoint", "best", "best on held-out images (robust accuracy; um: clean), last, or a step.")
flags.mark_flag_as_required("run_dir")


def main(argv):
  """Exports one run."""
  entry.refuse_arguments(argv)
  entry.load_tensorflow()
  from tla_tf.persistence import CheckpointStore, RunFolder, export_saved_model
  from tla_tf.persistence.loading import load_network

  folder = RunFolder.open(FLAGS.run_dir)
  _, facts = folder.read_config()
  step = CheckpointStore(folder.checkpoints).resolve(FLAGS.checkpoint)
  output = FLAGS.output or folder.saved_model
  export_saved_model(load_network(folder, step), facts["image_shape"], output)
  print(f"SavedModel   {output}  (step {step}; endpoints serve, embed; images float32 in [0, 1], "
        f"{'x'.join(map(str, facts['image_shape']))})")


def run():
  """Entry point of the console script."""
  entry.run(main)


if __name__ == "__main__":
  run()
