"""Adversarial images of a source network: made once, kept in its run folder, replayed on others."""

import numpy as np

from tla_tf.attacks import GradientAttack, survivor_batches
from tla_tf.persistence.kept_arrays import kept_arrays


def transfer_images(folder, network, facts, data, config, *, seed=0, batch_size=100, jit="auto", progress=None):
  """The images that an attack makes of a data set on a source network.

  Args:
    folder: `transfer/` of the source's run folder.
    network: the source network.
    facts: JSON values that name the network (its checkpoint's digest).
    data: `ImageData` to attack, whatever the source says of the clean images.
    config: AttackConfig.
    seed: of random starts.
    batch_size: images a batch.
    jit: see `attacks.Attack`.
    progress: called with ("images for transfer", batches done, batches to do),
      or None.

  Returns:
    float32 [n, ...] in [0, 1], a memory map.

  Raises:
    InputError: if the folder cannot be written, or what it holds is damaged.
  """

  def make(place):
    attack = GradientAttack(network, config, jit=jit)
    made = np.lib.format.open_memmap(place / "images.npy", "w+", np.float32, (len(data), *data.image_shape))
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
    "source": facts,
    "attack": config.to_dict(),
    "seed": seed,
    "batch_size": batch_size,
    "data_digest": data.digest(),
    "num_examples": len(data),
  }
  return kept_arrays(folder, about, make)["images"]
