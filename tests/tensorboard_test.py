"""What a training leaves for TensorBoard: scalars between checkpoints, each step once; settings; pictures."""

import collections
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.compat.proto import event_pb2
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from tla_tf import published, training
from tla_tf.persistence import RunFolder
from tla_tf.training import event_files, hparams

SMALL = published.setting("digits", "at").replace(
  network="mlp_8",
  batch_size=10,
  validation_examples=20,
  train_steps=7,
  checkpoint_every=4,
  log_every=3,
  weight_decay=0.0,
)


def _quiet(line):
  del line


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return training.train(SMALL, tmp_path_factory.mktemp("runs") / "run", say=_quiet)


def _events(folder):
  for path in sorted(folder.tensorboard.glob("events.out.tfevents.*")):
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
      yield event_pb2.Event.FromString(record)


def _scalars(folder):
  """Dict from tag to (step, value) pairs."""
  found = collections.defaultdict(list)
  for event in _events(folder):
    for value in event.summary.value:
      if value.metadata.plugin_data.plugin_name == "scalars" or value.tag in found:
        found[value.tag].append((event.step, float(tf.make_ndarray(value.tensor))))
  return found


def test_scalars_come_every_few_steps_and_at_an_intervals_end(run):
  scalars = _scalars(run)
  assert [step for step, _ in scalars["train/loss"]] == [3, 4, 6, 7]
  assert [step for step, _ in scalars["train/learning_rate"]] == [3, 4, 6, 7]
  assert [step for step, _ in scalars["heldout/robust_accuracy"]] == [4, 7]
  # They are means of the steps since the last: together the interval's, which metrics.jsonl has.
  values = dict(scalars["train/loss"])
  first, second = (row["loss"] for row in run.read_metrics())
  assert (3 * values[3] + values[4]) / 4 == pytest.approx(first, rel=1e-5)
  assert (2 * values[6] + values[7]) / 3 == pytest.approx(second, rel=1e-5)
  assert values[4] != pytest.approx(first, rel=1e-3)


def test_a_step_is_there_once_when_a_run_goes_on(run, tmp_path):
  """Killed after step 6, between checkpoints: it goes on at step 4."""
  killed = RunFolder(shutil.copytree(run.path, tmp_path / "killed"))
  shutil.rmtree(killed.checkpoints / "step_000000007")
  before = {tag: list(points) for tag, points in _scalars(killed).items()}
  training.train(SMALL, killed.path, say=_quiet)
  after = _scalars(killed)
  assert after == before  # To the bit, and no step twice.
  pictures = [
    (event.step, value.tag)
    for event in _events(killed)
    for value in event.summary.value
    if value.tag.startswith("pictures")
  ]
  assert len(pictures) == len(set(pictures)) == 2 * 3
  assert [path.name for path in killed.tensorboard.iterdir() if "tfevents" not in path.name] == []


def test_files_without_later_steps_stay_and_a_torn_end_is_no_obstacle(run, tmp_path):
  folder = RunFolder(shutil.copytree(run.path, tmp_path / "torn"))
  files = sorted(folder.tensorboard.iterdir())
  contents = {path: path.read_bytes() for path in files}
  event_files.drop_after(folder.tensorboard, 7)
  assert {path: path.read_bytes() for path in files} == contents
  for path in [path for path in files if not path.name.endswith(".hparams")]:
    path.write_bytes(contents[path][:-5])
  event_files.drop_after(folder.tensorboard, 4)
  assert max(event.step for event in _events(folder)) == 4
  event_files.drop_after(tmp_path / "none", 4)


def test_how_often_is_logged_may_change():
  assert SMALL.first_difference(SMALL.replace(log_every=1)) is None


def test_tensorboards_own_reader_finds_settings_and_final_accuracies(run, tmp_path):
  shutil.copytree(run.tensorboard, tmp_path / "at" / "tensorboard")
  events = plugin_event_multiplexer.EventMultiplexer()
  events.AddRunsFromDirectory(str(tmp_path))
  events.Reload()
  context = base_plugin.TBContext(
    data_provider=data_provider.MultiplexerDataProvider(events, str(tmp_path)), logdir=str(tmp_path)
  )
  backend = backend_context.Context(context)
  request_context, name = RequestContext(), ""
  metadata = backend.hparams_metadata(request_context, name)
  experiment = backend.experiment_from_metadata(
    request_context, name, True, metadata, backend.hparams_from_data_provider(request_context, name, 1000)
  )
  known = {info.name for info in experiment.hparam_infos}
  assert {"attack.epsilon", "method", "recipe.attack_mode", "deterministic"} <= known
  metrics = [info for info in experiment.metric_infos if info.name.tag.startswith("heldout/")]
  assert {info.name.tag for info in metrics} >= {"heldout/accuracy", "heldout/robust_accuracy"}
  request = api_pb2.ListSessionGroupsRequest(
    start_index=0,
    slice_size=10,
    allowed_statuses=[api_pb2.STATUS_SUCCESS],
    col_params=[api_pb2.ColParams(metric=info.name) for info in metrics],
  )
  handler = list_session_groups.Handler(
    request_context=request_context, backend_context=backend, experiment_id=name, request=request
  )
  (group,) = handler.run().session_groups
  assert group.hparams["attack.epsilon"].number_value == 0.2
  assert group.hparams["method"].string_value == "at"
  last = run.read_metrics()[-1]
  found = {value.name.tag: value.value for value in group.metric_values}
  assert found["heldout/robust_accuracy"] == pytest.approx(last["val_robust_accuracy"])
  assert found["heldout/accuracy"] == pytest.approx(last["val_accuracy"])


def test_every_method_has_settings_that_the_tab_takes():
  for method in ("um", "tla", "trades"):
    found = hparams.settings(published.setting("mnist", method))
    assert all(isinstance(value, (bool, int, float, str)) for value in found.values())
    assert not [name for name in found if name.startswith("init.")]
  assert found["recipe.beta"] == 1.0 and found["learning_rate_drops"] == "[[23203, 0.001]]"


def test_a_run_that_did_not_end_has_no_end(tmp_path):
  folder = RunFolder(tmp_path)
  with pytest.raises(ValueError, match="diverged"), hparams.session(folder, SMALL):
    raise ValueError("diverged")
  tags = [value.tag for event in _events(folder) for value in event.summary.value]
  assert tags == ["_hparams_/session_start_info"]
  with hparams.session(folder, SMALL):
    pass
  tags = [value.tag for event in _events(folder) for value in event.summary.value]
  assert tags == ["_hparams_/session_start_info", "_hparams_/session_end_info"]


def test_the_difference_is_scaled_to_epsilon_and_says_so(run):
  found = {}
  for event in _events(run):
    for value in event.summary.value:
      if value.tag.startswith("pictures/") and event.step == 7:
        found[value.tag] = (value.metadata.summary_description, tf.make_ndarray(value.tensor)[2])
  description, encoded = found["pictures/difference"]
  assert description == "adversarial - clean: grey is no change, white +0.2, black -0.2"
  pictures = {tag: tf.io.decode_png(image).numpy().astype(int) for tag, (_, image) in found.items()}
  shown = pictures["pictures/difference"]
  # PGD goes to the ball's edge, and not beyond: each grey level stands for 0.4 / 255.
  change = (pictures["pictures/adversarial"] - pictures["pictures/clean"]) / 255
  tiles = slice(0, 32), slice(0, 8 * 32)  # A row of the grid; missing images stay black.
  np.testing.assert_allclose(((shown / 255 - 0.5) * 0.4)[tiles], change[tiles], atol=0.005)
  assert shown.max() >= 250 and np.mean(shown == 255) < 1.0
