"""What a disk holds after the power is cut: what a program asked it to keep, and of the rest what it happens to.

POSIX promises of a file what was in it when it was last synchronised, and of a folder the names that it had then. All
else may be there or not. `Disk` remembers both of a folder's tree and makes the trees that a cut can leave.
"""

from __future__ import annotations

import enum
import os
import pathlib
import random
import stat


class Luck(enum.Enum):
  """What is on the disk of what it was not asked to keep."""

  NOTHING = "nothing"
  NAMES = "names"  # Files begin with what was synchronised, most with nothing: what file systems do that write late.
  ANYTHING = "anything"  # Every folder's names new or old, every file cut somewhere.


class Disk:
  """A folder's tree as the disk has it. What is there at first is on the disk.

  Attributes:
    root: the folder.
  """

  def __init__(self, root: str | os.PathLike[str]):
    self.root = pathlib.Path(root).resolve()
    self._content: dict[int, bytes] = {}
    self._names: dict[int, dict[str, int]] = {}
    self._pins: dict[int, int] = {}
    for folder, _, names in os.walk(self.root, topdown=False):
      for name in names:
        self.keep(os.path.join(folder, name))
      self.keep(folder)

  def keep(self, path: str | os.PathLike[str] | int) -> None:
    """Remembers what was synchronised: a path, or a descriptor."""
    path = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.fspath(path)
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
      self._names[status.st_ino] = self._listed(path)
    elif stat.S_ISREG(status.st_mode):
      self._pin(path, status.st_ino)
      self._content[status.st_ino] = pathlib.Path(path).read_bytes()

  def cut(self, place: str | os.PathLike[str], luck: Luck, rng: random.Random) -> None:
    """Writes a tree that a cut now can leave.

    Args:
      place: the folder to be made.
      luck: what survives of what was not synchronised.
      rng: decides, where luck is ANYTHING.
    """
    here = {os.stat(self.root).st_ino: str(self.root)}
    for folder, folders, names in os.walk(self.root):
      here |= {os.lstat(path).st_ino: path for name in [*folders, *names] for path in [os.path.join(folder, name)]}
    new = {Luck.NOTHING: lambda: False, Luck.NAMES: lambda: True, Luck.ANYTHING: lambda: rng.random() < 0.5}[luck]

    def make(node: int, to: pathlib.Path) -> None:
      path = here.get(node)
      if node in self._names or (path and os.path.isdir(path)):
        to.mkdir()
        # Of a folder that was removed, the files went before.
        now = self._listed(path) if path else {}
        for name, child in sorted((now if new() else self._names.get(node, {})).items()):
          make(child, to / name)
      else:
        content = self._content.get(node, b"")
        if luck is Luck.ANYTHING and path and (now_in_it := pathlib.Path(path).read_bytes()) != content and new():
          content = now_in_it[: rng.randrange(len(now_in_it) + 1)]
        to.write_bytes(content)

    make(os.stat(self.root).st_ino, pathlib.Path(place))

  def _listed(self, folder: str) -> dict[str, int]:
    """Inodes by name; from now on no other file gets them."""
    found = {entry.name: entry.inode() for entry in os.scandir(folder)}
    for name, inode in found.items():
      self._pin(os.path.join(folder, name), inode)
    return found

  def _pin(self, path: str, inode: int) -> None:
    if inode not in self._pins:
      self._pins[inode] = os.open(path, os.O_PATH | os.O_NOFOLLOW)
