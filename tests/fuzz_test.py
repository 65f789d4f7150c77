"""A few mutated files into every reader, as `make fuzz` feeds them thousands, and the cases that were faults once."""

import json
import random

import numpy as np
import pytest
from campaigns import bombs, fuzz, mutations, readers
from campaigns.readers import READERS

from tla_tf.errors import InputError, RecordWarning

SEED = 16


@pytest.mark.parametrize("name", READERS)
def test_a_reader_gives_the_same_data_or_one_sentence(name, tmp_path):
  reader = READERS[name]
  found = list(fuzz.fuzz(reader, range(2 if reader.tensorflow else 12), SEED, tmp_path))
  assert [one for one in found if one.outcome not in fuzz.GOOD] == []


def test_what_a_reader_must_not_do_is_seen(tmp_path):
  """Readers that are wrong."""

  def outcomes(name, read, sealed=True):
    (tmp_path / name).mkdir()
    reader = readers.Reader(name, make, "*.json", mutations.of_json, read, sealed)
    return {one.outcome for one in fuzz.fuzz(reader, range(40), SEED, tmp_path / name)}

  def make(folder):
    (folder / "a.json").write_text(json.dumps({"share": 0.1234567}))

  def trusting(folder):
    return float((folder / "a.json").read_text()[10:-1])

  def silent(folder):
    try:
      return trusting(folder)
    except ValueError:
      raise InputError("Something is wrong.") from None

  def strict(folder):
    if trusting(folder) != 0.1234567:
      raise InputError(f"{folder / 'a.json'}: damaged.")

  assert outcomes("trusting", trusting) >= {fuzz.OTHER, fuzz.TRACEBACK}
  assert outcomes("no checksum", trusting, sealed=False) >= {fuzz.ANOTHER, fuzz.TRACEBACK}
  assert outcomes("silent", silent) >= {fuzz.OTHER, fuzz.SENTENCE}
  assert fuzz.REFUSED in outcomes("strict", strict)


def test_checksums_that_cannot_be_made_right_are_wrong(tmp_path, monkeypatch):
  monkeypatch.setattr(fuzz, "_FORGED", 1.0)

  def make(folder):
    (folder / "a.json").write_text("{}")

  make(tmp_path)
  for seal, forged in ((make, True), (readers.READERS["detector.npz"].seal, False), (None, False)):
    reader = readers.Reader("a", make, "*", mutations.of_json, make, seal=seal)
    assert fuzz.damage(reader, tmp_path, random.Random(0)) is forged


@pytest.mark.parametrize("check", ["tla_tf.reproducing.reproduce.Further.is_done", "tla_tf.records.seals.fits"])
def test_measured_times_that_are_taken_unchecked_are_seen(check, tmp_path, monkeypatch):
  monkeypatch.setattr(check, lambda *_: True)
  assert fuzz.OTHER in {one.outcome for one in fuzz.fuzz(READERS["measured times"], range(20), SEED, tmp_path)}


def test_a_bomb_ends_in_data_or_in_a_sentence_that_names_it(tmp_path):
  path = tmp_path / "x"

  def outcome(error):
    def read(path):
      if error:
        raise error

    return bombs.outcome(read, path)

  assert outcome(None) == "read"
  assert outcome(InputError(f"{path}: damaged.")) == "x: damaged."
  assert outcome(OSError(22, "a named pipe", str(path))) == "x: a named pipe."
  for error in (InputError(""), InputError("Damaged."), InputError(f"{path}: a\nb."), OSError(22, "a"), ValueError()):
    assert outcome(error).startswith("CRASH")


@pytest.mark.parametrize("name", [name for name in READERS if READERS[name].repeatable])
def test_an_input_is_a_function_of_seed_reader_and_number(name, tmp_path):
  reader, contents = READERS[name], []
  for again in ("first", "second"):
    (tmp_path / again / "good").mkdir(parents=True)
    reader.make(tmp_path / again / "good")
    fuzz.damage(reader, tmp_path / again / "good", random.Random(f"{SEED} {name} 5"))
    paths = sorted(path for path in (tmp_path / again).rglob("*") if path.is_file())
    contents.append([(path.relative_to(tmp_path / again), path.read_bytes()) for path in paths])
  assert contents[0] == contents[1]


def test_values_are_compared_to_the_bit():
  assert readers.same({"a": [float("nan"), np.array([1, np.nan])]}, {"a": [float("nan"), np.array([1, np.nan])]})
  for first, second in (
    (1, 1.0),
    (1, True),
    ([1], (1,)),
    ({"a": 1}, {"b": 1}),
    (np.zeros(2), np.zeros(2, np.float32)),
    (np.zeros(2), -np.zeros(2)),
  ):
    assert not readers.same(first, second)


def test_the_table_has_a_column_for_every_kind_of_fault_that_there_was():
  good, bad = fuzz.Found(0, fuzz.SAME, "", 0.5, 2_000_000), fuzz.Found(1, fuzz.CRASH)
  lines = fuzz.table({"a": [good, good], "b": [bad]}).splitlines()
  assert lines[0].count("|") == lines[2].count("|") == 11 and " crash | faults |" in lines[0] and "hang" not in lines[0]
  assert lines[2:] == [
    "| a | 2 | 2 | 0 | 0 | 0 | 0 | 0 | 0.5 | 2 |",
    "| b | 1 | 0 | 0 | 0 | 0 | 1 | 1 | 0 | 0 |",
    "| all | 3 | 2 | 0 | 0 | 0 | 1 | 1 | 0.5 | 2 |",
  ]


def test_every_reader_has_its_share():
  counts = fuzz.shares(1000, list(READERS.values()))
  assert sum(counts.values()) >= 1000 and min(counts.values()) >= 1


CASES = {
  "weights that end too early": ("checkpoint", "state.data*", lambda content: content[: len(content) // 2]),
  "steps that are a number": (
    "config.json",
    "config.json",
    lambda text: text.replace(b'"profile_steps": []', b'"profile_steps": 5'),
  ),
  "a batch whose name is an object": ("journal", "*.jsonl", lambda lines: b"[{}, 1]\n" + lines),
  "classes beyond those of an analysis": ("analysis.json", "analysis.json", lambda text: text.replace(b'"9"', b"9")),
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_a_fault_once_is_a_sentence(case, tmp_path):
  """Checksums are right: what is wrong is what they are of."""
  name, pattern, change = CASES[case]
  reader = READERS[name]
  reader.make(tmp_path)
  path = sorted(tmp_path.rglob(pattern))[-1]
  changed = change(path.read_bytes())
  assert changed != path.read_bytes()
  path.write_bytes(changed)
  reader.seal(tmp_path)
  if name == "journal":
    with pytest.warns(RecordWarning, match="1 line is damaged"):
      reader.read(tmp_path)
  else:
    with pytest.raises(InputError, match=f"{tmp_path}/.*"):
      reader.read(tmp_path)
