"""Arrays kept on disk: made once, whole, checked, and still read where an earlier release wrote them."""

import concurrent.futures
import errno
import hashlib
import json
import threading

import numpy as np
import pytest

from tla_tf import files, limits
from tla_tf.data import cache
from tla_tf.errors import InputError, RecordWarning
from tla_tf.persistence.kept_arrays import kept_arrays

FACTS = {"part": "test", "attack": {"epsilon": 0.1, "steps": 5}, "sizes": [1, 2]}
KEY = "0123456789abcdef" * 4


def make(folder):
  np.save(folder / "images.npy", np.arange(6.0).reshape(2, 3))
  np.save(folder / "labels.npy", np.array([4, 5]))


def fail(_):
  raise AssertionError("made again")


def put(folder, record, facts, key):
  """Writes a folder of arrays as release 0.1.0 did."""
  folder.mkdir(parents=True)
  make(folder)
  known = {name: hashlib.sha256((folder / f"{name}.npy").read_bytes()).hexdigest() for name in ("images", "labels")}
  (folder / record).write_text(json.dumps({**facts, key: known}, indent=1))


def places(folder):
  return [path for path in folder.iterdir() if path.name != ".kept.lock"]


def forget(place, name):
  """Takes an array out of the record's list of digests."""
  about = json.loads((place / "about.json").read_text())
  del about["sha256"][name]
  (place / "about.json").write_text(json.dumps(about))


def assert_right(arrays):
  assert list(arrays) == ["images", "labels"]
  assert all(isinstance(array, np.memmap) and not array.flags.writeable for array in arrays.values())
  assert arrays["images"].tolist() == [[0, 1, 2], [3, 4, 5]] and arrays["labels"].tolist() == [4, 5]


def test_arrays_of_a_run_are_made_once(tmp_path):
  assert_right(kept_arrays(tmp_path / "kept", FACTS, make, "test-"))
  assert_right(kept_arrays(tmp_path / "kept", FACTS, fail, "test-"))
  (place,) = places(tmp_path / "kept")
  assert {path.name for path in place.iterdir()} == {"about.json", "images.npy", "labels.npy"}


def test_arrays_of_other_facts_lie_elsewhere(tmp_path):
  kept_arrays(tmp_path, FACTS, make)
  kept_arrays(tmp_path, {**FACTS, "part": "train"}, make)
  assert len(places(tmp_path)) == 2


def test_arrays_that_an_earlier_release_kept_beside_a_run_are_read(tmp_path):
  name = f"test-{hashlib.sha256(json.dumps(FACTS, sort_keys=True).encode()).hexdigest()[:16]}"
  put(tmp_path / name, "about.json", FACTS, "sha256")
  assert_right(kept_arrays(tmp_path, FACTS, fail, "test-"))


def test_images_that_an_earlier_release_decoded_are_read(tmp_path):
  put(tmp_path / KEY[:32], "meta.json", {"format": 1, "key": KEY}, "files")
  assert_right(cache.load(tmp_path, KEY, fail))


@pytest.mark.parametrize(
  "spoil",
  [
    lambda place: (place / "images.npy").write_bytes(b"damaged"),
    lambda place: (place / "labels.npy").unlink(),
    lambda place: (place / "about.json").write_text("[]"),
    lambda place: (place / "about.json").write_text(json.dumps({"part": "train", "sha256": {}})),
    lambda place: (place / "about.json").write_text("[" * 100_000),
    lambda place: forget(place, "labels"),
    lambda place: (forget(place, "labels"), (place / "labels.npy").write_bytes(b"damaged")),
  ],
  ids=["array", "no array", "record", "record of others", "deep record", "no digest", "no digest of a damaged array"],
)
def test_damaged_arrays_of_a_run_are_made_again_and_said(tmp_path, spoil):
  kept_arrays(tmp_path, FACTS, make)
  (place,) = places(tmp_path)
  spoil(place)
  with pytest.warns(RecordWarning, match=f"{place.name}: damaged; what it held is made again"):
    assert_right(kept_arrays(tmp_path, FACTS, make))
  assert_right(kept_arrays(tmp_path, FACTS, fail))


def test_what_a_killed_writer_left_is_removed(tmp_path):
  kept_arrays(tmp_path, FACTS, make)
  (place,) = places(tmp_path)
  for name in (f".{place.name}.tmp-abcdefgh", f".{place.name}.abcdefgh"):
    (tmp_path / name).mkdir()
  (tmp_path / ".mine.abcdefgh").mkdir()
  kept_arrays(tmp_path, FACTS, fail)
  assert {path.name for path in places(tmp_path)} == {place.name, ".mine.abcdefgh"}


def test_arrays_that_cannot_be_read_now_are_not_made_again(tmp_path, monkeypatch):
  kept_arrays(tmp_path, FACTS, make)
  (place,) = places(tmp_path)
  before = (place / "images.npy").read_bytes()

  def refuse(*_):
    raise OSError(errno.EIO, "Input/output error", str(place / "about.json"))

  monkeypatch.setattr(limits, "read_json_text", refuse)
  with pytest.raises(InputError, match=f"{place.name}: cannot be read .Input/output error"):
    kept_arrays(tmp_path, FACTS, fail)
  assert (place / "images.npy").read_bytes() == before


def test_arrays_are_made_by_one_process_while_the_others_wait(tmp_path):
  begun, made = threading.Barrier(3), []

  def dear(folder):
    made.append(folder)
    make(folder)

  def ask():
    begun.wait()
    assert_right(kept_arrays(tmp_path, FACTS, dear))

  with concurrent.futures.ThreadPoolExecutor(3) as pool:
    for asked in [pool.submit(ask) for _ in range(3)]:
      asked.result()
  assert len(made) == 1


def test_what_another_writer_of_a_cache_is_at_stays(tmp_path):
  (tmp_path / ".other.abcdefgh").mkdir()
  cache.load(tmp_path, KEY, make)
  assert (tmp_path / ".other.abcdefgh").is_dir()


def test_the_error_of_a_maker_is_not_one_of_the_cache(tmp_path):
  def refuse(_):
    raise InputError(f"{tmp_path}/cats/1.png: no whole image.")

  with pytest.raises(InputError, match="no whole image.$"):
    cache.load(tmp_path, KEY, refuse)


def test_the_first_damaged_file_is_named(tmp_path):
  make(tmp_path)
  known = files.digests(tmp_path)
  assert list(known) == ["images.npy", "labels.npy"] and files.first_damaged(tmp_path, known) is None
  (tmp_path / "labels.npy").write_bytes(b"")
  assert files.first_damaged(tmp_path, known) == "labels.npy"
  (tmp_path / "images.npy").unlink()
  assert files.first_damaged(tmp_path, known) == "images.npy"


def test_a_lock_is_held_by_one_process_at_a_time(tmp_path):
  place = tmp_path / "lock"
  with files.locked(place, "is busy"), pytest.raises(InputError, match="is busy"), files.locked(place, "is busy"):
    pass
  with files.locked(place):
    pass
  missing = tmp_path / "no" / "lock"
  with pytest.raises(InputError, match="cannot be written"), files.locked(missing):
    pass
