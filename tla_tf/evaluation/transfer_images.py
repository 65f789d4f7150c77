"""Adversarial images of a source network: made once, kept in its run folder, replayed on others."""

from __future__ import annotations

import pathlib
import typing

import numpy as np

from tla_tf import files
from tla_tf.attack_configs import TransferConfig
from tla_tf.attacks import GradientAttack, survivor_batches
from tla_tf.config import AttackConfig
from tla_tf.data import ImageData
from tla_tf.errors import InputError
from tla_tf.evaluation.subject import Subject
from tla_tf.evaluation.suites import NamedAttack
from tla_tf.persistence import RunFolder
from tla_tf.persistence.kept_arrays import kept_arrays


class Source(typing.NamedTuple):
  """The network that a black-box attack makes its images on, and the run folder that keeps them."""

  folder: RunFolder
  subject: Subject


def images_of_attacks(
  attacks: typing.Iterable[NamedAttack],
  source: Source | None,
  data: ImageData,
  data_digest: str,
  *,
  seed: int = 0,
  batch_size: int = 100,
  progress: typing.Callable | None = None,
) -> dict[TransferConfig, np.ndarray]:
  """What the transfer attacks of an evaluation replay.

  Args:
    attacks: NamedAttack of all suites.
    source: Source, or None for no images.
    data: `ImageData` to attack.
    data_digest: of the data set that the network under attack was trained on.
    seed: of random starts.
    batch_size: images a batch.
    progress: called with (what, batches done, batches to do), or None.

  Returns:
    Dict from TransferConfig to float32 [n, ...] in [0, 1].

  Raises:
    InputError: if the source saw other data, or no attack is for it.
  """
  if source is None:
    return {}
  if source.subject.facts["data_digest"] != data_digest:
    raise InputError(
      f"{source.folder.path}: was trained on other data than the network under attack; give another `source`."
    )
  configs = [attack.config for attack in attacks if isinstance(attack.config, TransferConfig)]
  if not configs:
    raise InputError("`source` is for the black-box column of suite table1, which is not asked for.")
  return {
    config: transfer_images(
      source.folder.transfer,
      source.subject.network,
      source.subject.facts["checkpoint_digest"],
      data,
      config.attack,
      seed=seed,
      batch_size=batch_size,
      jit=source.subject.jit,
      progress=progress,
    )
    for config in configs
  }


def transfer_images(
  folder: pathlib.Path,
  network: typing.Any,
  digest: str,
  data: ImageData,
  config: AttackConfig,
  *,
  seed: int = 0,
  batch_size: int = 100,
  jit: str = "auto",
  progress: typing.Callable | None = None,
) -> np.ndarray:
  """The images that an attack makes of a data set on a source network.

  Args:
    folder: `transfer/` of the source's run folder.
    network: the source network.
    digest: of its checkpoint.
    data: `ImageData` to attack, whatever the source says of the clean images.
    config: AttackConfig.
    seed: of random starts.
    batch_size: images a batch.
    jit: whether XLA compiles the attack: "auto", "on" or "off".
    progress: called with ("images for transfer", batches done, batches to do), or None.

  Returns:
    float32 [n, ...] in [0, 1], a memory map.

  Raises:
    InputError: if the folder cannot be written, or not be read.
  """

  def make(place: pathlib.Path) -> None:
    attack = GradientAttack(network, config, jit=jit)
    made = files.new_array(place / "images.npy", np.float32, (len(data), *data.image_shape))
    batches = survivor_batches(
      attack,
      data.float_images,
      data.labels,
      broken=np.zeros(len(data), bool),
      seed=seed,
      restarts=1,
      batch_size=batch_size,
      progress=progress and (lambda done, total: progress("images for transfer", done, total)),
    )
    for chosen, found in batches:
      made[chosen] = found.adversarial
    made.flush()

  about = {
    "source": digest,
    "attack": config.to_dict(),
    "seed": seed,
    "batch_size": batch_size,
    "data_digest": data.digest(),
    "num_examples": len(data),
  }
  return kept_arrays(folder, about, make)["images"]
