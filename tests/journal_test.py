"""The journal of an evaluation: kept, cut off, locked, removed."""

import json

import pytest

from tla_tf.errors import InputError, RecordWarning
from tla_tf.evaluation.journal import Journal

FACTS = {"network": "a", "attacks": [1, 2]}


class Interrupted(Exception):
  pass


def _fail():
  raise AssertionError("this batch was judged already")


def _interrupted(folder, batches, facts=FACTS):
  """A process that judges some batches and dies; returns the journal's path."""
  journal = Journal(folder, facts)
  with pytest.raises(Interrupted), journal.open():
    for name, result in batches.items():
      journal.recall(["PGD", name], lambda result=result: result)
    raise Interrupted
  return journal.path


def test_what_was_judged_is_not_judged_again(tmp_path):
  _interrupted(tmp_path, {1: {"broken": [3]}, 2: {"broken": []}})
  with Journal(tmp_path, FACTS).open() as journal:
    assert len(journal) == 2
    assert journal.recall(["PGD", 1], _fail) == {"broken": [3]}
    assert journal.recall(["PGD", 2], _fail) == {"broken": []}
    assert journal.recall(["PGD", 3], lambda: 7) == 7


def test_a_finished_evaluation_leaves_nothing_once_it_is_written(tmp_path):
  with Journal(tmp_path / "state", FACTS).open() as journal:
    journal.recall(["PGD", 1], lambda: 5)
  # Until the results are on disk a kill costs nothing.
  with Journal(tmp_path / "state", FACTS).open() as journal:
    assert journal.recall(["PGD", 1], _fail) == 5
  journal.discard()
  assert not (tmp_path / "state").exists()


def test_other_settings_have_another_journal(tmp_path):
  first = _interrupted(tmp_path, {1: 5})
  with Journal(tmp_path, {**FACTS, "network": "b"}).open() as journal:
    assert journal.path != first
    assert journal.recall(["PGD", 1], lambda: 6) == 6
  assert first.exists()


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_that_was_cut_off_is_judged_again(tmp_path, cut):
  path = _interrupted(tmp_path, {1: {"broken": [3]}, 2: {"broken": [4]}})
  content = path.read_bytes()
  path.write_bytes(content[:-cut])
  _interrupted(tmp_path, {1: "not asked for", 2: {"broken": [9]}})
  with Journal(tmp_path, FACTS).open() as journal:
    assert journal.recall(["PGD", 1], _fail) == {"broken": [3]}
    assert journal.recall(["PGD", 2], _fail) == {"broken": [9]}


@pytest.mark.parametrize(
  "damage",
  [
    lambda line: b"\x00\xff damaged\n",
    lambda line: line.replace(b"6", b"7", 1),
    lambda line: b"[1, 2, 3]\n",
    lambda line: b"[" * 100_000 + b"\n",
    lambda line: b"[" + b"9" * 5000 + b"]\n",
    lambda line: json.dumps(json.loads(line)[:2]).encode() + b"\n",
  ],
  ids=["no text", "digit", "types", "deep", "long number", "no checksum"],
)
def test_a_damaged_line_is_said_and_judged_again_and_the_others_are_not(tmp_path, damage):
  path = _interrupted(tmp_path, {1: 5, 2: 6, 3: 7})
  lines = path.read_bytes().splitlines(keepends=True)
  path.write_bytes(lines[0] + damage(lines[1]) + lines[2])
  untouched = path.stat().st_ino
  with pytest.warns(RecordWarning, match="1 line is damaged"), Journal(tmp_path, FACTS).open() as journal:
    assert len(journal) == 2
    # What is whole stood on the disk at every moment.
    now = path.read_bytes().splitlines(keepends=True)
    assert (now[0], now[1].strip(), now[2]) == (lines[0], b"", lines[2]) and path.stat().st_ino == untouched
    assert [journal.recall(["PGD", 1], _fail), journal.recall(["PGD", 3], _fail)] == [5, 7]
    assert journal.recall(["PGD", 2], lambda: 6) == 6
  with Journal(tmp_path, FACTS).open() as journal:
    assert len(journal) == 3


def test_two_processes_do_not_share_a_journal(tmp_path):
  with (
    Journal(tmp_path, FACTS).open(),
    pytest.raises(InputError, match="another process"),
    Journal(tmp_path, FACTS).open(),
  ):
    pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(InputError, match="cannot be made"), Journal(tmp_path / "file" / "state", FACTS).open():
    pass
