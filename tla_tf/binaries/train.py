"""Trains on a data set: the main behind tla-train and its siblings tla-train-DATASET."""

from __future__ import annotations

import pathlib
import re
import sys

from absl import flags

from tla_tf import datasets
from tla_tf.binaries import entry, presets, training_flags
from tla_tf.errors import InputError

FLAGS = flags.FLAGS

_HELP = """{tool}: trains on {title}.

Example:
  {command} --method=tla --train_steps=1000 --output_dir=runs/{dataset}{data}

Settings that are not given have the published value of the data set, or that of
--preset=NAME. The same command goes on where a run was stopped.
"""


def main(argv: list[str]) -> None:
  """Trains as the flags say; draws the training curves; says what to do next."""
  entry.refuse_arguments(argv)
  dataset = FLAGS.dataset
  settings = training_flags.config(dataset)
  training_flags.note_unused_flags(settings)
  entry.load_tensorflow()
  from tla_tf import reporting, training

  if FLAGS.init_from is not None:
    settings = settings.replace(init=training.find_init(FLAGS.init_from, FLAGS.init_checkpoint, FLAGS.output_dir))
  folder = training.train(
    settings,
    FLAGS.output_dir,
    getattr(FLAGS, "data_dir", None),
    getattr(FLAGS, "cache_dir", None),
    reading_progress=entry.reading_progress,
  )
  figure = reporting.training_curves(
    {str(settings.method): folder.read_metrics()},
    folder.figures / "training.png",
    f"{settings.method} on {dataset}, {settings.network}",
  )
  print(
    f"run folder   {folder.path}\nfigure       {figure}\nTensorBoard  tensorboard --logdir {folder.tensorboard}\n"
    f"next         tla-evaluate --run_dir={folder.path}"
  )


def _dataset(arguments: list[str]) -> str:
  """The data set, by the script's name (tla-train-mnist) or by --dataset."""
  name = pathlib.Path(sys.argv[0]).stem.replace("_", "-").removeprefix("tla-")
  own = name.removeprefix("train-").replace("-", "_") if name.startswith("train-") else None
  given = None
  for i, word in enumerate(arguments):
    if match := re.fullmatch(r"--?dataset(?:=(.*))?", word):
      given = match[1] if match[1] is not None else next(iter(arguments[i + 1 :]), "")
  if own and given not in (None, own):
    raise InputError(f"--dataset={given}: this tool trains on {own}; give tla-train --dataset={given}.")
  if not (own or given):
    raise InputError(f"Give --dataset, one of {datasets.names()}.")
  return datasets.get(own or given).name


def run() -> None:
  """Entry point of the console scripts."""
  tool = entry.tool_name()
  try:
    dataset = _dataset(sys.argv[1:])
    arguments = presets.expand(sys.argv[1:], dataset)
  except InputError as error:
    entry.fail(error)
  spec = datasets.get(dataset)
  flags.DEFINE_string("dataset", dataset, f"Data set, one of {', '.join(datasets.names())}.")
  presets.define(dataset)
  training_flags.define(dataset)
  data = " --data_dir=DIR" if "data_dir" in spec.reading_flags else ""
  command = f"{tool} --dataset={dataset}" if tool == "tla-train" else tool
  sys.modules[__name__].__doc__ = _HELP.format(tool=tool, title=spec.title, command=command, dataset=dataset, data=data)
  entry.run(main, goes_on=True, arguments=arguments)


if __name__ == "__main__":
  run()
