"""tla-export: writes a trained network as a SavedModel.

Where tla-analyze has fitted a detector to the same checkpoint, it becomes the
endpoint detect.

Example:
  tla-export --run_dir=runs/tla --output=runs/tla/saved_model
"""

from __future__ import annotations

from absl import flags

from tla_tf.binaries import entry, flag_names
from tla_tf.binaries.terminal import say

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
flags.DEFINE_boolean(
  "uint8", False, "Add the endpoints serve_uint8 and, where there is detect, detect_uint8: of uint8 images in 0..255."
)
flags.DEFINE_enum(
  "detect_precision",
  "float64",
  ["float64", "float32"],
  "What detect computes in; float32 for converters that know no other, as TFLite's, see docs/serving.md.",
)
flags.mark_flag_as_required("run_dir")


@flag_names.translated()
def main(argv: list[str]) -> None:
  """Exports one run."""
  entry.refuse_arguments(argv)
  entry.load_tensorflow()
  from tla_tf import api

  model = api.export_run(
    FLAGS.run_dir,
    FLAGS.output,
    checkpoint=FLAGS.checkpoint,
    detect=FLAGS.detect,
    uint8=FLAGS.uint8,
    detect_precision=FLAGS.detect_precision,
    note=lambda text: say(f"note         {flag_names.said(text)}"),
  )
  say(
    f"SavedModel   {model.path}  (step {model.step}; endpoints {', '.join(model.endpoints)}; images float32 in [0, 1], "
    f"{'x'.join(map(str, model.image_shape))})"
  )
  if model.class_names:
    say(f"classes      {_some(model.class_names)}")


def _some(names: tuple[str, ...]) -> str:
  """Labels and names of the classes, as many as a reader wants to see."""
  said = [f"{label} {name}" for label, name in enumerate(names)]
  return ", ".join(said if len(said) <= 12 else [*said[:10], "...", said[-1]])


def run() -> None:
  """Entry point of the console script."""
  entry.run(main)


if __name__ == "__main__":
  run()
