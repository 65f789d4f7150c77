"""`profile_steps`: a TensorBoard profile of some steps, and the same bits."""

import numpy as np
import pytest
import tensorflow as tf

from tla_tf import published, training
from tla_tf.config import TrainingConfig
from tla_tf.errors import InputError
from tla_tf.persistence.loading import load_network

CONFIG = published.setting("digits", "um").replace(
  network="mlp_8",
  batch_size=10,
  train_steps=6,
  checkpoint_every=3,
  validation_examples=10,
  learning_rate=0.01,
  jit="off",
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
  return training.train(CONFIG, tmp_path_factory.mktemp("plain") / "run", say=lambda line: None)


@pytest.fixture
def profiler(monkeypatch):
  """What the profiler was told."""
  told = []
  monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: told.append(("start", folder)))
  monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: told.append("stop"))
  return told


def _weights(folder):
  return [np.array(v) for v in load_network(folder, 6).variables]


def test_a_profile_is_written_and_changes_no_bits(plain, tmp_path):
  lines = []
  folder = training.train(CONFIG.replace(profile_steps=(2, 4)), tmp_path / "run", say=lines.append)
  assert list(folder.tensorboard.glob("plugins/profile/*/*.xplane.pb"))
  (line,) = (line for line in lines if "profile" in line)
  assert line.startswith(f"profile      of steps 2 to 4: tensorboard --logdir {folder.tensorboard} shows it")
  for a, b in zip(_weights(folder), _weights(plain), strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("at_once, said", [(1, "of steps 2 to 4"), (2, "of steps 1 to 5")])
def test_a_run_that_goes_on_profiles_what_is_left(at_once, said, profiler, tmp_path):
  lines = []
  config = CONFIG.replace(train_steps=6, profile_steps=(2, 4), steps_per_execution=at_once)
  training.train(config, tmp_path / "run", say=lines.append)
  assert [what for what in profiler if what == "stop"] == ["stop"] and len(profiler) == 2
  assert any(said in line for line in lines)
  training.train(config.replace(train_steps=8), tmp_path / "run", say=lines.append)
  assert len(profiler) == 2 and any("steps 2 to 4 are done already" in line for line in lines)
  training.train(config.replace(train_steps=10, profile_steps=(8, 9)), tmp_path / "run", say=lines.append)
  assert len(profiler) == 4 and any("of steps 9 to" in line for line in lines)


def test_a_run_that_ends_early_ends_the_profile(profiler, tmp_path):
  def say(line):
    if line.startswith("step 3/"):
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    training.train(CONFIG.replace(profile_steps=(2, 5)), tmp_path / "run", say=say)
  assert profiler[-1] == "stop" and len(profiler) == 2


@pytest.mark.parametrize("steps", [(3,), (0, 2), (4, 2), (5, 7), (1.0, 2), "12"])
def test_steps_that_are_none_are_refused(steps):
  with pytest.raises(InputError, match="`profile_steps`: expected a first and a last of the 6 steps, such as 20,30"):
    TrainingConfig(train_steps=6, profile_steps=steps)
