"""Which run folders are meant, and what they are called."""

import pytest

from tla_tf.errors import InputError
from tla_tf.persistence.run_paths import find_run_folders, short_names


@pytest.fixture
def root(tmp_path, monkeypatch):
  for name in ("runs/at_2", "runs/at_10", "runs/um", "runs/deep/at_2", "odd/[at]", "odd/a", "runs/compared"):
    (tmp_path / name).mkdir(parents=True)
    if name != "runs/compared":
      (tmp_path / name / "config.json").write_text("{}")
  (tmp_path / "runs" / "table.md").write_text("")
  monkeypatch.chdir(tmp_path)
  return tmp_path


@pytest.mark.parametrize(
  "given, expected",
  [
    (["runs/um"], ["runs/um"]),
    (["runs/at_*"], ["runs/at_2", "runs/at_10"]),
    (["runs/at_?"], ["runs/at_2"]),
    (["runs"], ["runs/at_2", "runs/at_10", "runs/um"]),
    (["runs/"], ["runs/at_2", "runs/at_10", "runs/um"]),
    (["runs/um", "runs/*", "runs/../runs/at_2"], ["runs/um", "runs/at_2", "runs/at_10"]),
    # What is there is meant, not what it would match.
    (["odd/[at]"], ["odd/[at]"]),
    (["odd/[ab]"], ["odd/a"]),
    (["runs/**/at_2"], ["runs/deep/at_2"]),
    # Opening it says what is wrong.
    (["nothing"], ["nothing"]),
    (["runs/table.md"], ["runs/table.md"]),
    ([], []),
  ],
)
def test_run_folders_that_are_meant(root, given, expected):
  assert [str(path) for path in find_run_folders(given)] == expected


@pytest.mark.parametrize("given, words", [("none_*", "matches no run folder"), ("runs/compared", "none lies in it")])
def test_no_run_folder_is_one_sentence(root, given, words):
  with pytest.raises(InputError, match=words):
    find_run_folders([given])


@pytest.mark.parametrize(
  "paths, expected",
  [
    (["/r/um", "/r/at"], ["um", "at"]),
    (["/r/first/at", "/r/second/at", "/r/um"], ["first/at", "second/at", "um"]),
    (["/a/x/at", "/b/x/at", "/b/y/at"], ["a/x/at", "b/x/at", "y/at"]),
    (["/at", "/x/at"], ["at", "x/at"]),
    (["/r/um"], ["um"]),
    ([], []),
  ],
)
def test_names_are_short_and_different(paths, expected):
  assert short_names(paths) == expected
