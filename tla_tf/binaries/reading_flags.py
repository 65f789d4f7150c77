"""The flags of where images come from and how they are read, for the tools that train and those that judge."""

from __future__ import annotations

import typing

from absl import flags

from tla_tf import datasets, types
from tla_tf.binaries import entry
from tla_tf.config import ReadingConfig
from tla_tf.errors import InputError
from tla_tf.settings import reading_options

FLAGS = flags.FLAGS

# Those that a tool which judges has: of image folders, without what is a flag of another meaning there.
OF_JUDGING = (
  "heldout_examples",
  "image_size",
  "resize",
  "channels",
  "use_val",
  "test_fraction",
  "split_seed",
  "skip_bad",
)


def define(names: typing.Iterable[str], data_dir_help: str = "", heldout_help: str = "", before: str = "") -> None:
  """Defines some of these flags, all unset.

  Args:
    names: which.
    data_dir_help: what the help of --data_dir says.
    heldout_help: what that of --heldout_examples says of the default.
    before: what the help of all others begins with.
  """
  makers: dict[str, typing.Callable] = {
    "data_dir": lambda name: flags.DEFINE_string(name, None, data_dir_help),
    "data_source": lambda name: entry.define_choice(
      name,
      None,
      types.DataSource,
      f"{before}auto: files or prepared TFDS data, whichever data_dir holds; tfds: through TFDS, downloading what is "
      "missing.",
    ),
    "cache_dir": lambda name: flags.DEFINE_string(
      name, None, f"{before}Folder of decoded images; $XDG_CACHE_HOME/tla_tf or ~/.cache/tla_tf by default."
    ),
    "heldout_examples": lambda name: flags.DEFINE_integer(
      name,
      None,
      f"{before}Images held out to choose the best checkpoint, never trained on. {heldout_help}".strip(),
      lower_bound=1,
    ),
    "classes": lambda name: flags.DEFINE_list(
      name, None, f"{before}Classes to read, in their order of labels; all by default."
    ),
    "image_size": lambda name: entry.define_size(
      name,
      None,
      f"{before}Height and width, 64 or 64x48; by default the size that the model takes, or that of the first image, "
      "which all must then have.",
    ),
    "resize": lambda name: entry.define_choice(
      name,
      None,
      types.Resize,
      f"{before}What is done with an image of another size. refuse: stop; stretch: "
      "scale, whatever its proportions; crop: scale until it covers the size, keep the middle.",
    ),
    "channels": lambda name: flags.DEFINE_integer(name, None, f"{before}3 for colour, 1 for grey."),
    "use_val": lambda name: flags.DEFINE_boolean(
      name,
      None,
      f"{before}Hold out the images of val/, where there is such a folder, in place of training images; the default.",
    ),
    "test_fraction": lambda name: entry.define_fraction(
      name,
      None,
      f"{before}Without a folder test/: share of every class that becomes the test images, as in 0.2, drawn by "
      "--split_seed. A run remembers it: judging reads the same images.",
    ),
    "split_seed": lambda name: flags.DEFINE_integer(
      name, None, f"{before}Seed of --test_fraction; 0 by default, whatever --seed is.", lower_bound=0
    ),
    "skip_bad": lambda name: flags.DEFINE_boolean(
      name, None, f"{before}Leave out files that cannot be read, and list them; without it the first one ends the tool."
    ),
  }
  for name in names:
    makers[name](name)


def config(dataset: str) -> ReadingConfig | None:
  """The ReadingConfig of the flags of judging; None where none is given.

  Raises:
    InputError: for a value out of its range, or a flag that the data set has no use for.
  """
  given = [name for name in OF_JUDGING if FLAGS[name].value is not None]
  useless = [name for name in given if name not in ("heldout_examples", *datasets.get(dataset).reading_flags)]
  if useless:
    raise InputError(f"--{useless[0]} does not go with --dataset={dataset}, whose images are read in one way.")
  paths = reading_options()
  values: dict[str, typing.Any] = {paths[name].path.removeprefix("reading."): FLAGS[name].value for name in given}
  return ReadingConfig(**values) if values else None
