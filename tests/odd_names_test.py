"""Folders and files of any name: signs of shell patterns, markup and formats, control characters, very long ones."""

import re
import shutil
import urllib.parse

import cli_support as cli
import numpy as np
import pytest
import tensorflow as tf
from tf1_support import write_checkpoint

from tla_tf import files, networks
from tla_tf.errors import InputError
from tla_tf.persistence import CheckpointStore
from tla_tf.persistence.export import export_saved_model
from tla_tf.persistence.foreign import load_saved_model
from tla_tf.persistence.literal_path import literal_path
from tla_tf.persistence.tf1_import import Tf1Checkpoint

NAMES = (
  "a b",
  "at[1]",
  "[",
  "a*?",
  "back\\slash",
  'it\'s "so"',
  "#%20%s{x}$HOME",
  "ünï 数",
  "-dash",
  "`c`<b>&|",
  "line\nbreak\x1b[31m\u202e",
  "n" * 255,
)


@pytest.fixture(scope="module")
def network():
  return networks.build("mlp_4", (8, 8, 1), 10, seed=1)


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
  """A SavedModel of that network and a checkpoint of TF1's, to be copied."""
  root = tmp_path_factory.mktemp("saved")
  export_saved_model(network, (8, 8, 1), root / "model")
  write_checkpoint(root, {"v": np.float32([1, 2])})
  return root


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_into_a_folder_is_read_from_it(tmp_path, network, saved, name):
  folder = tmp_path / name
  store = CheckpointStore(folder)
  store.save(1, {"network": network}, {})
  fresh = networks.build("mlp_4", (8, 8, 1), 10, seed=2)
  store.restore(1, {"network": fresh})
  for ours, theirs in zip(network.variables, fresh.variables, strict=True):
    np.testing.assert_array_equal(ours, theirs)
  shutil.copytree(saved / "model", folder / "model")
  images = np.zeros((1, 8, 8, 1), np.float32)
  np.testing.assert_array_equal(load_saved_model(folder / "model")(images), network(images, training=False)["logits"])
  for path in saved.glob("checkpoint-70.*"):
    shutil.copy(path, folder)
  np.testing.assert_array_equal(Tf1Checkpoint(folder / "checkpoint-70").read("v"), [1, 2])


def test_a_prefix_of_odd_files_is_that_of_no_others(tmp_path, saved):
  for path in saved.glob("checkpoint-70.*"):
    shutil.copy(path, tmp_path / f"[a]*{path.suffix}")
  np.testing.assert_array_equal(Tf1Checkpoint(tmp_path / "[a]*").read("v"), [1, 2])
  with literal_path(tmp_path / "[a]") as place, pytest.raises(tf.errors.OpError):
    tf.train.load_checkpoint(place)


def test_where_no_link_can_be_made_the_remedy_is_said(tmp_path, monkeypatch):
  monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
  with literal_path(tmp_path / "plain") as place:
    assert place == str(tmp_path / "plain")
  with pytest.raises(InputError, match="rename it"), literal_path(tmp_path / "a[1]"):
    pass
  (tmp_path / "[t]").mkdir()
  monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "[t]"))
  with pytest.raises(InputError, match="rename it"), literal_path(tmp_path / "a[1]"):
    pass
  assert not list((tmp_path / "[t]").iterdir())


@pytest.mark.parametrize("name", ["n" * 255, "数" * 85, "short"])
def test_the_longest_names_are_written_and_their_leftovers_removed(tmp_path, monkeypatch, name):
  """What is written first under a temporary name needs room for that, and is told from another's."""
  files.write_text(tmp_path / name, "text")
  assert (tmp_path / name).read_text() == "text"
  (tmp_path / name).unlink()
  with monkeypatch.context() as patch:
    patch.setattr(files.shutil, "rmtree", lambda *_, **__: None)  # As a kill leaves it.
    patch.setattr(files, "_remove_dead", lambda *_: None)
    for other in (name, name[:-1]):
      with pytest.raises(ZeroDivisionError), files.new_folder(tmp_path / other):
        raise ZeroDivisionError
  assert len(list(tmp_path.iterdir())) == 2
  files.remove_leftovers(tmp_path)
  assert not list(tmp_path.iterdir())


ODD = 'a b/at[1]*/it\'s "so"/#%20%s{x}/ünï 数/back\\slash/-dash/[red]$x$|`c`<b>/line\nbreak\x1b[31m\u202e/' + "n" * 250
PLAN = """dataset: digits
settings:
  {network: mlp_16, train_steps: 6, checkpoint_every: 3, batch_size: 20, attack_steps: 2, validation_attack_steps: 2,
   validation_examples: 50, jit: "off"}
variants: {at: {method: at}}
seeds: [0]
judge: [{suite: quick, num_examples: 20}]
"""


def test_every_tool_works_in_a_folder_of_any_name(tmp_path):
  """Trains in the folder of a comparison, goes on, compares; a copy is analysed, exported, judged and reported."""
  place = tmp_path / ODD
  run = place / "runs" / "at" / "seed_0"
  for steps in (3, 6):
    cli.train_small(run, "--method=at", f"--train_steps={steps}", "--checkpoint_every=3", "--seed=0")
  assert CheckpointStore(run / "checkpoints").steps() == [3, 6]
  (place.parent / "[plan].yaml").write_text(PLAN)
  said = cli.run_well("tla-compare", f"--plan={place.parent / '[plan].yaml'}", f"--output_dir={place}")
  assert "\x1b" not in said and "\u202e" not in said and "line\\nbreak\\x1b[31m" in said
  # The run that was there is taken, and judged by a process of its own.
  assert [path.name for path in (place / "logs").iterdir()] == ["at_seed_0.evaluate.log"]
  assert (run / "evaluation.json").is_file() and (place / "comparison.md").is_file()
  copy = place.parent / "-[red] `x`"
  shutil.copytree(run, copy)
  # By its own name, which begins as a flag does.
  cli.run_well("tla-analyze", f"--run_dir={copy.name}", "--num_examples=60", "--projector_examples=0", cwd=copy.parent)
  cli.run_well("tla-export", f"--run_dir={copy.name}", f"--output={copy.name}/saved", cwd=copy.parent)
  foreign = (f"--saved_model={copy}/saved", "--dataset=digits", f"--output_dir={place.parent / 'judged'}")
  cli.run_well("tla-evaluate", *foreign, "--suite=quick", "--num_examples=20")
  cli.run_well("tla-report", f"--run_dir={place}", str(copy), f"--output={place.parent}/a [b] <c>#.html")
  text = (place.parent / "a [b] <c>#.md").read_text()
  (picture,) = re.findall(r"!\[training\]\(<(.*)>\)", text)
  assert (place.parent / urllib.parse.unquote(picture)).is_file()
