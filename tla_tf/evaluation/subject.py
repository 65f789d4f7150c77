"""Who is judged: the network of a run folder, or a foreign model, with its data."""

from __future__ import annotations

import pathlib
import typing

from tla_tf import datasets
from tla_tf.config import ReadingConfig
from tla_tf.data import ImageData, Splits
from tla_tf.errors import InputError
from tla_tf.persistence import RunFolder
from tla_tf.persistence.loading import load_checkpoint
from tla_tf.records import training_epsilon
from tla_tf.records.run import DataFacts

if typing.TYPE_CHECKING:
  from tla_tf.persistence.foreign import ForeignModel


class Subject(typing.NamedTuple):
  """Who is judged.

  Attributes:
    network: a `keras.Model` or callable, images -> logits or a dict with "logits".
    splits: `data.Splits`; `test` is what is judged on.
    dataset: the data set's name.
    facts: dict of JSON values for result records: "config", "data_digest", and what
      names the network, "checkpoint_digest".
    jit: whether XLA compiles the attacks: "auto", "on" or "off".
    probabilities: whether logits are logarithms of probabilities.
    range_doubt: why the pixel range may be wrong, or None.
  """

  network: typing.Any
  splits: Splits
  dataset: str
  facts: dict
  jit: str
  probabilities: bool = False
  range_doubt: str | None = None

  @property
  def test(self) -> ImageData:
    return self.splits.test

  @property
  def training_epsilon(self) -> float | None:
    """The radius in L-infinity that the network was trained at, as far as is known."""
    return training_epsilon(self.facts["config"])

  @property
  def embedding_width(self) -> int:
    """Length of the vector that the network makes of an image.

    Raises:
      InputError: if it makes none.
    """
    outputs = self.network(self.test.float_images(slice(1)), training=False)
    if not isinstance(outputs, dict) or "embedding" not in outputs:
      raise InputError("The network returns no embedding, which an analysis looks at: train one that does.")
    return int(outputs["embedding"].shape[-1])


def run_subject(
  folder: RunFolder,
  checkpoint: str | int = "best",
  data_dir: str | pathlib.Path | None = None,
  cache_dir: str | pathlib.Path | None = None,
  reading_progress: typing.Callable | None = None,
) -> Subject:
  """The network of a run folder with its data.

  Args:
    folder: RunFolder.
    checkpoint: "best", "last" or a step.
    data_dir: where the data files are; None for where training found them.
    cache_dir: folder of decoded images; None for the user's own.
    reading_progress: called with the number of image files decoded and to decode, or
      None.

  Returns:
    Subject.

  Raises:
    InputError: for a bad run folder, checkpoint or data.
  """
  config, facts = folder.read_config()
  if facts.digest is None and not (data_dir or facts.data_dir):
    raise InputError(
      f"{folder.path}: holds an imported network, which does not say where its data are; give `data_dir`."
    )
  network, step, checkpoint_digest = load_checkpoint(folder, checkpoint)
  splits = datasets.load(
    config.dataset, data_dir or facts.data_dir, config.data_source, config.reading, cache_dir, reading_progress
  )
  digest = _require_fitting_data(folder, facts, splits)
  return Subject(
    network,
    splits,
    config.dataset,
    {"checkpoint": step, "checkpoint_digest": checkpoint_digest, "config": config.to_dict(), "data_digest": digest},
    config.jit.value,
  )


def foreign_subject(
  model: ForeignModel,
  dataset: str,
  splits: Splits,
  reading: ReadingConfig = ReadingConfig(),
  with_embedding: bool = False,
) -> Subject:
  """A foreign model with the images of a data set.

  Args:
    model: `persistence.foreign.ForeignModel`.
    dataset: the data set's name.
    splits: `data.Splits`.
    reading: how they were read.
    with_embedding: whether its embedding is wanted, too, to be analysed.

  Returns:
    Subject.

  Raises:
    InputError: if the model does not fit the data, its pixel range is wrong, or it has
      no embedding that is wanted.
  """
  model.check_data(splits.test)
  more: dict = {} if reading == ReadingConfig() else {"reading": reading.to_dict()}
  if splits.left_out:
    more["left_out"] = [list(each) for each in splits.left_out]
  if with_embedding:
    more["embedding_layer"] = model.embedding_layer
  return Subject(
    model.with_embedding() if with_embedding else model,
    splits,
    dataset,
    {
      "checkpoint": None,
      "checkpoint_digest": model.digest,
      "data_digest": splits.digest(),
      "config": {
        "dataset": dataset,
        "model": str(model.path),
        "kind": model.kind,
        "pixel_range": list(model.pixel_range),
        "probabilities": model.probabilities,
        **more,
      },
    },
    "off",
    model.probabilities,
    model.doubt,
  )


def _require_fitting_data(folder: RunFolder, facts: DataFacts, splits: Splits) -> str:
  """Raises InputError for other data than the run's; returns their digest."""
  digest = splits.digest()
  # An imported network comes without the data that it was trained on: shapes must do.
  if facts.digest is not None and digest != facts.digest:
    raise InputError(
      f"{folder.path}: was trained on other data than these (their digests differ); give the right `data_dir`."
    )
  found, expected = (splits.test.image_shape, splits.test.num_classes), (facts.image_shape, facts.num_classes)
  if found != expected:
    raise InputError(
      f"{folder.path}: its network takes images {expected[0]} of {expected[1]} classes, the data "
      f"have {found[0]} of {found[1]}; give the right `data_dir`."
    )
  return digest
