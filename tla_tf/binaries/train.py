"""Trains on a data set: the main behind tla-train and its siblings tla-train-DATASET."""

from __future__ import annotations

import sys

from absl import flags

from tla_tf import datasets
from tla_tf.binaries import entry, flag_names, presets, progress, training_flags
from tla_tf.binaries.terminal import say
from tla_tf.errors import InputError
from tla_tf.settings import flag_of_path
from tla_tf.settings import presets as shipped
from tla_tf.types import DistributionStrategy
from tla_tf.visible import shell_word

FLAGS = flags.FLAGS

_HELP = """{tool}: trains on {title}.

Example:
  {command} --method=tla --train_steps=1000 --output_dir=runs/{dataset}{data}

Settings that are not given have the published value of the data set, or that of
--preset=NAME. The same command goes on where a run was stopped.
"""


@flag_names.translated(**flag_of_path())
def main(argv: list[str]) -> None:
  """Trains as the flags say; draws the training curves; says what to do next."""
  entry.refuse_arguments(argv)
  dataset = FLAGS.dataset
  settings = training_flags.config(dataset)
  training_flags.note_unused_flags(settings)
  several = settings.distribution_strategy is DistributionStrategy.MULTI_WORKER_MIRRORED
  entry.load_tensorflow(settings.deterministic, workers_first=several)
  from tla_tf import api

  shown = progress.Progress()

  def note(text: str) -> None:
    say(flag_names.said(text, **flag_of_path()))
    shown.said()

  with shown.beating():
    run = api.train(
      settings,
      FLAGS.output_dir,
      data_dir=getattr(FLAGS, "data_dir", None),
      cache_dir=getattr(FLAGS, "cache_dir", None),
      init_from=FLAGS.init_from,
      init_checkpoint=FLAGS.init_checkpoint,
      note=note,
      reading_progress=shown.reading,
      owns_process=True,
    )
  if run.figure is None:
    return  # The chief says the rest.
  say(
    f"run folder   {run.folder.path}",
    f"figure       {run.figure}",
    f"TensorBoard  tensorboard --logdir {shell_word(run.folder.tensorboard)}",
    f"next         tla-evaluate --run_dir={shell_word(run.folder.path)}",
  )


def _dataset(arguments: list[str]) -> str:
  """The data set, by the script's name (tla-train-mnist) or by --dataset."""
  name = entry.tool_name().removeprefix("tla-")
  own = name.removeprefix("train-").replace("-", "_") if name.startswith("train-") else None
  given = presets.value_of("dataset", arguments)
  if own and given not in (None, own):
    raise InputError(f"--dataset={given}: this tool trains on {own}; give tla-train --dataset={given}.")
  preset = presets.value_of("preset", arguments)
  if not (own or given) and preset:
    given = next((name for name in datasets.names() if preset in shipped.names(name)), None)
  if not (own or given):
    raise InputError(f"Give --dataset, one of {datasets.names()}; with --help, too.")
  return datasets.get(own or given or "").name


def run() -> None:
  """Entry point of the console scripts."""
  tool = entry.tool_name()
  if "--version" in sys.argv[1:]:
    # It needs no data set, whose flags are defined below.
    entry.run(main, arguments=["--version"])
  try:
    dataset = _dataset(sys.argv[1:])
    arguments = presets.expand(sys.argv[1:], dataset)
  except InputError as error:
    # No flag is defined yet.
    entry.fail(InputError(flag_names.in_flags(str(error), {"preset"})))
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
