"""Adversarial images of a source network: made once, kept in its run folder, replayed on others."""

import hashlib
import json

import numpy as np

from tla_tf import files
from tla_tf.attacks import GradientAttack, survivor_batches
from tla_tf.errors import InputError


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
  key = json.dumps([facts, data.digest(), len(data), config.to_dict(), seed, batch_size], sort_keys=True)
  place = folder / hashlib.sha256(key.encode()).hexdigest()[:16]
  if not place.exists():
    if folder.is_dir():
      files.remove_leftovers(folder)
    with files.new_folder(place) as temporary:
      _make(temporary / "images.npy", network, data, config, seed, batch_size, jit, progress)
      digest = files.digest(temporary / "images.npy")
      content = {"source": facts, "attack": config.to_dict(), "seed": seed, "data_digest": data.digest(),
                 "num_examples": len(data), "sha256": digest}
      (temporary / "about.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
  try:
    known = json.loads((place / "about.json").read_text(encoding="utf-8"))["sha256"]
    if files.digest(place / "images.npy") != known:
      raise ValueError
    return np.load(place / "images.npy", mmap_mode="r", allow_pickle=False)
  except (OSError, ValueError, KeyError, TypeError):
    raise InputError(f"{place}: damaged; remove it, the images will be made again.") from None


def _make(path, network, data, config, seed, batch_size, jit, progress):
  attack = GradientAttack(network, config, jit=jit)
  made = np.lib.format.open_memmap(path, "w+", np.float32, (len(data), *data.image_shape))
  batches = survivor_batches(
    attack, data.float_images, data.labels, broken=np.zeros(len(data), bool), seed=seed, restarts=1,
    batch_size=batch_size,
    progress=progress and (lambda done, total: progress("images for transfer", done, total)))
  for chosen, found in batches:
    made[chosen] = found.adversarial
  made.flush()
