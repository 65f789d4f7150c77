"""The flags of models that were not trained here, for the tools that take them beside runs."""

from __future__ import annotations

import pathlib
import typing

from absl import flags

from tla_tf import datasets, types
from tla_tf.binaries import entry, reading_flags
from tla_tf.errors import InputError
from tla_tf.persistence.model_file import ModelFile

FLAGS = flags.FLAGS

_OF_MODELS = ("pixel_range", "custom_objects", "trust_model", "embedding_layer")
_OF_DATA = ("dataset", "data_source", *reading_flags.OF_JUDGING)
_FOREIGN = "Of models that were not trained here: "


def define(embedding: bool = False) -> None:
  """Defines the flags.

  Args:
    embedding: whether the tool looks at embeddings.
  """
  entry.define_paths(
    "saved_model",
    "SavedModels to take as well: their endpoint serve, or signature serving_default"
    + ("; their output embedding, or endpoint embed." if embedding else "."),
  )
  entry.define_paths("keras_model", ".keras files to take as well.")
  flags.DEFINE_enum("dataset", None, datasets.names(), f"{_FOREIGN}the data set; beside runs it is theirs.")
  reading_flags.define(("data_source", *reading_flags.OF_JUDGING), before=_FOREIGN)
  flags.DEFINE_multi_string(
    "pixel_range",
    ["0,1"],
    f"{_FOREIGN}lowest and highest pixel value that they take, as in 0,255. It is checked. Once for all, or once a "
    "model, --keras_model's first.",
  )
  flags.DEFINE_list(
    "custom_objects",
    [],
    f"{_FOREIGN}module:name of classes and functions that .keras files were saved with, of your own. The modules are "
    "imported, from the current folder, too: naming them is your consent that their code runs.",
  )
  flags.DEFINE_boolean(
    "trust_model",
    False,
    f"{_FOREIGN}run whatever they hold, with all your rights. Without it operations on files, networks and Python, and "
    "unknown classes, are refused by name; that is no proof that a model is harmless, see SECURITY.md.",
  )
  if embedding:
    flags.DEFINE_multi_string(
      "embedding_layer",
      None,
      f"{_FOREIGN}the layer of .keras files whose output is the embedding; by default what their last dense layer "
      "takes. Once for all, or once a file.",
    )


def define_split(verb: str) -> None:
  """Defines --split.

  Args:
    verb: what is done with images, for help.
  """
  entry.define_choice(
    "split",
    types.Split.TEST.value,
    types.Split,
    f"Images to {verb}: test; or held_out, the run's own that chose its checkpoint, for choices that no test image is "
    "to make. What is found on them goes into a folder held_out beside the rest.",
  )


def given() -> list[str]:
  """Which of the flags of paths, --run_dir among them, are given."""
  return [name for name in ("run_dir", "saved_model", "keras_model") if FLAGS[name].value]


def check() -> None:
  """Refuses what does not go together, before TensorFlow is loaded.

  Raises:
    InputError: saying what does not.
  """
  found = given()
  if not found:
    raise InputError("Give some of --run_dir, --saved_model and --keras_model.")
  wrong = [name for name in (*_OF_MODELS, *_OF_DATA) if name in FLAGS and FLAGS[name].present]
  if found == ["run_dir"] and wrong:
    raise InputError(f"--{wrong[0]} is for a foreign model: a run folder knows its own.")
  if "run_dir" in found:
    of_data = [name for name in wrong if name in _OF_DATA]
    if of_data:
      raise InputError(
        f"--{of_data[0]} is for models without runs beside them: these are judged on the data of the runs."
      )
  elif FLAGS["checkpoint"].present:
    raise InputError("--checkpoint is for a run folder: a foreign model has one set of weights.")
  if found != ["run_dir"]:
    for name in ("dataset",) * ("run_dir" not in found) + ("output_dir",):
      if not FLAGS[name].value:
        raise InputError(f"--{found[-1]} needs --{name}.")
  files()


def open_runs() -> dict[str, typing.Any]:
  """The run folders of --run_dir by name, with what is wrong said before TensorFlow is loaded."""
  from tla_tf import api

  beside = given() != ["run_dir"]
  return api.open_runs(FLAGS.run_dir, FLAGS.output_dir, beside=beside) if FLAGS.run_dir else {}


def files() -> list[ModelFile]:
  """The models, in order."""
  keras_files, saved = FLAGS.keras_model or [], FLAGS.saved_model or []
  ranges = [_range(text) for text in _each("pixel_range", len(keras_files) + len(saved))]
  layers = _each("embedding_layer", len(keras_files)) if "embedding_layer" in FLAGS else [None] * len(keras_files)
  custom = tuple(FLAGS.custom_objects)
  return [
    *(
      ModelFile(path, "keras", pixels, custom, layer, trust_model=FLAGS.trust_model)
      for path, pixels, layer in zip(keras_files, ranges, layers, strict=False)
    ),
    *(
      ModelFile(path, "saved_model", pixels, trust_model=FLAGS.trust_model)
      for path, pixels in zip(saved, ranges[len(keras_files) :], strict=True)
    ),
  ]


def settings() -> dict[str, typing.Any]:
  """What `api.evaluate_runs` and `api.analyze_runs` take of these flags."""
  if given() == ["run_dir"]:
    return {}
  about: dict[str, typing.Any] = {"models": files(), "output_dir": FLAGS.output_dir}
  if FLAGS.dataset:
    about |= {"dataset": FLAGS.dataset, "reading": reading_flags.config(FLAGS.dataset)}
  return about | ({"data_source": FLAGS.data_source} if FLAGS.data_source else {})


def folders_of(names: typing.Collection[str], runs: typing.Collection[str]) -> list[pathlib.Path]:
  """Where results of models went.

  Args:
    names: of all that was judged.
    runs: names of runs among them.
  """
  own = [name for name in names if name not in runs]
  root = pathlib.Path(FLAGS.output_dir or ".")
  return [root / name if len(names) > 1 else root for name in own]


def _each(flag: str, count: int) -> list:
  """A value for each model of a flag that is given once for all, or once a model."""
  values = FLAGS[flag].value or [None]
  if len(values) not in (1, count):
    raise InputError(f"--{flag}: given {len(values)} times for {count} models; give it once, or once a model.")
  return list(values) * (count if len(values) == 1 else 1)


def _range(text: str) -> tuple[float, float]:
  try:
    low, high = (float(value) for value in text.split(","))
  except ValueError:
    raise InputError(f"--pixel_range: expected two numbers as in 0,255, got {text}.") from None
  return low, high
