"""tla-export: writes a trained network as a SavedModel.

Where tla-analyze has fitted a detector to the same checkpoint, it becomes the
endpoint detect.

Example:
  tla-export --run_dir=runs/tla --output=runs/tla/saved_model
"""

from absl import flags

from tla_tf.binaries import entry
from tla_tf.errors import InputError

FLAGS = flags.FLAGS

flags.DEFINE_string("run_dir", None, "Run folder.")
flags.DEFINE_string("output", None, "Folder to make; run_dir/saved_model by default.")
flags.DEFINE_string("checkpoint", "best", "best on held-out images (robust accuracy; um: clean), last, or a step.")
flags.DEFINE_boolean(
  "detect",
  None,
  "Add the endpoint detect, and fail without a detector for this checkpoint; by "
  "default it is added where tla-analyze has fitted one.",
)
flags.mark_flag_as_required("run_dir")


def main(argv):
  """Exports one run."""
  entry.refuse_arguments(argv)
  entry.load_tensorflow()
  from tla_tf.persistence import CheckpointStore, RunFolder, export_saved_model
  from tla_tf.persistence.loading import load_network

  folder = RunFolder.open(FLAGS.run_dir)
  _, facts = folder.read_config()
  store = CheckpointStore(folder.checkpoints)
  step = store.resolve(FLAGS.checkpoint)
  output = FLAGS.output or folder.saved_model
  detector = _detector(folder, step, store.digest(step))
  export_saved_model(load_network(folder, step), facts["image_shape"], output, detector)
  endpoints = "serve, embed" + (", detect" if detector else "")
  print(
    f"SavedModel   {output}  (step {step}; endpoints {endpoints}; images float32 in [0, 1], "
    f"{'x'.join(map(str, facts['image_shape']))})"
  )


def _detector(folder, step, digest):
  """The run's detector if there is one for this checkpoint, else None; raises where --detect asks for it."""
  from tla_tf.detection import Detector, GraphDetector

  if FLAGS.detect is False:
    return None
  if not folder.detector.exists():
    if FLAGS.detect:
      raise InputError(f"{folder.path}: holds no detector; fit one with tla-analyze --run_dir={folder.path}.")
    return None
  detector = Detector.load(folder.detector)
  if detector.facts.get("checkpoint_digest") == digest:
    return GraphDetector(detector)
  reason = (
    f"{folder.detector}: was fitted to the checkpoint of step {detector.facts.get('checkpoint')}, not to that "
    f"of step {step}; fit it again with tla-analyze --run_dir={folder.path} --checkpoint={step}"
  )
  if FLAGS.detect:
    raise InputError(f"{reason}.")
  print(f"note         no endpoint detect. {reason}, or leave it out with --nodetect.")
  return None


def run():
  """Entry point of the console script."""
  entry.run(main)


if __name__ == "__main__":
  run()
