"""Records: strict reading, upgrades, newer formats, and one writer."""

import dataclasses
import json
import typing

import hypothesis
import pytest
from hypothesis import strategies as st

from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.records import Record, read_object, sealed
from tla_tf.records.metrics import read_rows, write_rows
from tla_tf.records.record import unchanged
from tla_tf.types import Norm


@dataclasses.dataclass(frozen=True)
class Point:
  steps: int
  accuracy: float

  def __post_init__(self):
    if self.accuracy > 1:
      raise InputError("`accuracy` is above 1.")


@dataclasses.dataclass(frozen=True)
class Sheet(Record):
  FORMAT, FILE, REMEDY = 3, "sheet.json", "make it again"
  SEALED_SINCE = 4
  UPGRADES = {1: lambda content: {"seed": 0, **content}, 2: lambda content: {**content, "name": content.get("title")}}

  name: str | None
  seed: int
  title: typing.Any
  norm: Norm
  attack: AttackConfig
  points: list[Point]
  interval: tuple[float, float]
  classes: tuple[str, ...]
  shares: dict[str, float | None]
  sound: bool
  note: str | None = None
  extra: dict = dataclasses.field(default_factory=dict)


SHEET = Sheet(
  "a",
  3,
  "a",
  Norm.L2,
  AttackConfig(norm="l2"),
  [Point(1, 0.5), Point(2, 0.25)],
  (0.25, 0.5),
  ("cat", "dog"),
  {"0.3": 0.5, "1": None},
  True,
)


def _written(tmp_path, **changes):
  content = SHEET.to_dict() | changes
  (tmp_path / "sheet.json").write_text(json.dumps({name: v for name, v in content.items() if v is not ...}))
  return tmp_path / "sheet.json"


def test_what_is_written_is_read(tmp_path):
  SHEET.write(tmp_path / "sheet.json")
  assert Sheet.read(tmp_path / "sheet.json") == SHEET
  text = (tmp_path / "sheet.json").read_text()
  assert text.startswith('{\n "format": 3,\n "name": "a"') and text.endswith("}\n")
  assert "note" not in text and "extra" not in text
  other = SHEET.replace(note="n", extra={"any": [1, {"b": None}]})
  other.write(tmp_path / "sheet.json")
  assert Sheet.read(tmp_path / "sheet.json") == other


def test_whole_numbers_are_numbers(tmp_path):
  found = Sheet.read(_written(tmp_path, interval=[0, 1]))
  assert found.interval == (0.0, 1.0) and isinstance(found.interval[0], float)


WRONG = {
  "missing": ({"seed": ...}, "'seed' is missing"),
  "unknown": ({"sead": 1}, "'sead' is not known"),
  "text for a number": ({"seed": "3"}, "'seed' should be a whole number, not '3'"),
  "true for a number": ({"seed": True}, "'seed' should be a whole number, not True"),
  "a fraction": ({"seed": 0.5}, "'seed' should be a whole number"),
  "number for a truth": ({"sound": 1}, "'sound' should be true or false, not 1"),
  "null": ({"sound": None}, "'sound' should be true or false, not None"),
  "another choice": ({"norm": "l3"}, "'norm' should be one of .*'l2'.*not 'l3'"),
  "a list for a choice": ({"norm": []}, "'norm' should be one of"),
  "a short tuple": ({"interval": [0.5]}, "'interval' has 1 entries instead of 2"),
  "inside a tuple": ({"classes": ["cat", 5]}, r"'classes\[1\]' should be text, not 5"),
  "inside a list": ({"points": [{"steps": 1}]}, r"'points\[0\].accuracy' is missing"),
  "text for a list": ({"points": "none"}, "'points' should be a list, not 'none'"),
  "inside an object": ({"shares": {"0.3": "half"}}, "'shares.0.3' should be a number, not 'half'"),
  "what a part checks": ({"points": [{"steps": 1, "accuracy": 2}]}, r"'points\[0\]' 'accuracy' is above 1"),
  "what a config checks": ({"attack": {"steps": -1}}, "'attack' is wrong: .*'steps'"),
  "an unknown setting": ({"attack": {"step": 1}}, "'attack' is wrong: Unknown setting 'step'"),
  "no config": ({"attack": 5}, "'attack' should be an object"),
  "no format number": ({"format": "3"}, "'format' is no format number: '3'"),
  "format 0": ({"format": 0}, "'format' is no format number: 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_file_field_and_remedy(tmp_path, case):
  changes, words = WRONG[case]
  with pytest.raises(InputError, match=words) as caught:
    Sheet.read(_written(tmp_path, **changes))
  assert str(caught.value).startswith(f"{tmp_path / 'sheet.json'}: not as this release writes it")
  assert str(caught.value).endswith("; make it again.")


@pytest.mark.parametrize(
  "content, words",
  [
    (b"{", r"not JSON \(line 1, column 2\); make it again"),
    (b"", "not JSON"),
    (b'{"a": "\xff"}', "no text in UTF-8; make it again"),
    (b'{"a": 1' + b"0" * 5000 + b"}", "a number too large"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "nested too deeply; make it again"),
    (b'{"a": [1' + b"0" * 400 + b"]}", "a number too large; make it again"),
    (b"[]", "not a JSON object; make it again"),
    (b"null", "not a JSON object"),
  ],
)
def test_what_is_no_json_object_is_refused(tmp_path, content, words):
  (tmp_path / "sheet.json").write_bytes(content)
  with pytest.raises(InputError, match=f"sheet.json: damaged, {words}"):
    Sheet.read(tmp_path / "sheet.json")


def test_a_file_that_is_not_there_is_named(tmp_path):
  with pytest.raises(InputError, match="none.json: no such file"):
    read_object(tmp_path / "none.json")
  with pytest.raises(InputError, match="cannot be read"):
    read_object(tmp_path)


def test_older_formats_are_upgraded_step_by_step(tmp_path):
  # Format 1 had no number, no seed and no name; format 2 had no name.
  assert Sheet.read(_written(tmp_path, format=..., seed=..., name=...)) == SHEET.replace(seed=0)
  assert Sheet.read(_written(tmp_path, format=2, name=...)) == SHEET
  with pytest.raises(InputError, match="'title' is missing"):
    Sheet.read(_written(tmp_path, format=1, title=..., name=...))


@pytest.mark.parametrize("name, words", [("seed", "a whole number"), ("interval", "a number")])
def test_numbers_beyond_64_bits_are_refused_in_objects_that_were_not_read_here(name, words):
  value = 10**400 if name == "seed" else [0, 10**400]
  with pytest.raises(InputError, match=f"'{name}.*should be {words}"):
    Sheet.from_dict(SHEET.to_dict() | {name: value}, "sheet.json")


def test_a_newer_format_is_refused_by_name(tmp_path):
  path = _written(tmp_path, format=4, seed=...)
  with pytest.raises(InputError) as caught:
    Sheet.read(path)
  assert str(caught.value) == (
    f"{path}: format 4 of sheet.json is newer than this release reads (3); use the release that made it."
  )


def test_every_older_format_needs_an_upgrade():
  with pytest.raises(TypeError, match="upgrade"):

    class Forgotten(Record):
      FORMAT, FILE, REMEDY = 2, "a.json", "again"


def test_a_fault_of_ours_is_no_fault_of_the_file(tmp_path):
  for wrong in (SHEET.replace(seed="three"), SHEET.replace(points=[5]), SHEET.replace(interval=(1.0,))):
    with pytest.raises(TypeError, match="Sheet: '(seed|points|interval)"):
      wrong.write(tmp_path / "sheet.json")
  assert not list(tmp_path.iterdir())

  def broken(content):
    return content["no such thing"]

  @dataclasses.dataclass(frozen=True)
  class Faulty(Record):
    FORMAT, FILE, REMEDY, UPGRADES = 2, "a.json", "again", {1: broken}

  (tmp_path / "a.json").write_text("{}")
  with pytest.raises(KeyError, match="no such thing"):
    Faulty.read(tmp_path / "a.json")


_json = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
  lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
  max_leaves=8,
)


@hypothesis.given(name=st.sampled_from(sorted(SHEET.to_dict())), value=_json)
def test_any_json_in_a_field_gives_a_record_or_one_sentence(name, value):
  try:
    found = Sheet.from_dict(SHEET.to_dict() | {name: value}, "sheet.json")
  except InputError as error:
    assert str(error).startswith("sheet.json: ")
  else:
    assert Sheet.from_dict(json.loads(json.dumps(found.to_dict())), "again").to_dict().keys() == found.to_dict().keys()


@dataclasses.dataclass(frozen=True)
class Sealed(Record):
  FORMAT, FILE, REMEDY = 2, "sealed.json", "make it again"
  UPGRADES: typing.ClassVar[dict] = {1: unchanged}
  SEALED_SINCE = 2

  share: float
  names: list[str]


def test_a_change_that_leaves_a_record_whole_is_seen_by_its_checksum(tmp_path):
  place = tmp_path / "sealed.json"
  Sealed(0.25, ["a", "b"]).write(place)
  text = place.read_text()
  assert Sealed.read(place) == Sealed.from_text(text, "elsewhere") == Sealed(0.25, ["a", "b"])
  content = json.loads(text)
  place.write_text(json.dumps(content))  # Other white space says the same.
  assert Sealed.read(place).share == 0.25
  bare = {name: value for name, value in content.items() if name != "sha256"}
  for changed in (
    {**content, "share": 0.35},
    {**content, "names": ["b", "a"]},
    {**content, "format": 1},
    {**content, "sha256": "0"},
    {**content, "sha256": None},
    {**content, "sha256": ["a"]},
    bare,
  ):
    place.write_text(json.dumps(changed))
    with pytest.raises(InputError, match=r"sealed.json: damaged, .* checksum 'sha256'; make it again\.$"):
      Sealed.read(place)
  place.write_text(json.dumps({**bare, "format": 1}))  # As an older release wrote it.
  assert Sealed.read(place).share == 0.25
  # Who changes a record on purpose gives it its checksum.
  place.write_text(json.dumps(sealed({**content, "share": 0.35})))
  assert Sealed.read(place).share == 0.35


def test_what_is_no_json_is_said_with_its_place(tmp_path):
  for text, words in (('{\n "a": 1,\n "b"}', "not JSON (line 3, column 5)"), ("[" * 100_000, "nested too deeply")):
    (tmp_path / "sealed.json").write_text(text)
    with pytest.raises(InputError) as caught:
      Sealed.read(tmp_path / "sealed.json")
    assert str(caught.value) == f"{tmp_path / 'sealed.json'}: damaged, {words}; make it again."


def test_a_line_of_metrics_that_changed_moved_or_went_is_named(tmp_path):
  place = tmp_path / "metrics.jsonl"
  rows = [{"step": step, "loss": 1 / step} for step in (5, 10, 15)]
  write_rows(place, rows)
  assert read_rows(place, 15) == rows
  lines = place.read_text().splitlines()
  plain = [json.dumps(row) for row in rows]
  for changed, words in (
    ([lines[0], lines[1].replace("0.1,", "0.2,"), lines[2]], "line 2 does not fit its checksum"),
    ([lines[0], lines[2]], "line 2 does not fit its checksum"),
    ([lines[1], lines[0], lines[2]], "line 1 does not fit its checksum"),
    ([lines[0], plain[1], lines[2]], "line 2 does not fit its checksum"),
    (lines[:2], "it ends at step 10 and not at step 15"),
    ([], "it ends at step 0"),
    ([lines[0], "[]"], "line 2 is no JSON object"),
    ([lines[0], "[" * 100_000], "line 2 is no JSON object"),
    ([lines[0], '{"step": true}'], "line 2 has no 'step'"),
    ([lines[0], '{"step": ' + "9" * 5000 + "}"], "line 2 is no JSON object"),
    ([plain[0], '{"step": 7, "loss": "low"}'], "line 2 has 'loss', which is no number"),
    ([plain[1], plain[0]], "line 2 is of step 5, after one of step 10"),
  ):
    place.write_text("".join(f"{line}\n" for line in changed))
    with pytest.raises(InputError, match=f"metrics.jsonl: damaged, {words}.*; restore the file"):
      read_rows(place, 15)
  place.write_text("".join(f"{line}\n" for line in plain))  # As an older release wrote them.
  assert read_rows(place) == rows
