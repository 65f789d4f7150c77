"""Arrays that are dear to compute: made once, kept beside the run, checked when read."""

import hashlib
import json

import numpy as np

from tla_tf import files
from tla_tf.errors import InputError


def kept_arrays(folder, facts, make, prefix=""):
  """Arrays by name, made where they are not kept yet.

  They lie in a folder of their own, whose name is a digest of `facts`, as
  `.npy` files beside `about.json`. A kill leaves them whole or not there.

  Args:
    folder: where such folders are kept.
    facts: dict of JSON values that determine the arrays.
    make: function that writes `NAME.npy` files into an empty folder.
    prefix: what the folder's name begins with.

  Returns:
    Dict from name to read-only memory map.

  Raises:
    InputError: if the folder cannot be written, or what it holds is damaged.
  """
  key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
  place = folder / f"{prefix}{key}"
  if not place.exists():
    if folder.is_dir():
      files.remove_leftovers(folder)
    with files.new_folder(place) as temporary:
      make(temporary)
      digests = {path.stem: files.digest(path) for path in sorted(temporary.glob("*.npy"))}
      about = json.dumps({**facts, "sha256": digests}, indent=1) + "\n"
      (temporary / "about.json").write_text(about, encoding="utf-8")
  try:
    known = json.loads((place / "about.json").read_text(encoding="utf-8"))["sha256"]
    if any(files.digest(place / f"{name}.npy") != digest for name, digest in known.items()):
      raise ValueError
    return {name: np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in known}
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    raise InputError(f"{place}: damaged; remove it, what it held will be made again.") from None
