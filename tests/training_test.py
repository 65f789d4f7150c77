"""The trainer's parts: the loop, optimisers, pictures, the guard."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.python.framework import config as tf_config

from tla_tf import data, datasets, published, training
from tla_tf.errors import DivergedError, InputError
from tla_tf.persistence import CheckpointStore
from tla_tf.training.determinism import make_deterministic
from tla_tf.training.loop import epochs, executions
from tla_tf.training.pictures import grid

# Without XLA, which compiles such a step for longer than it runs.
SMALL = dict(network="mlp_8", batch_size=10, validation_examples=20, train_steps=6, checkpoint_every=3, jit="off")


def _small(method="tla", **changes):
  pool = {"negative_pool_size": 10} if method == "tla" else {}
  config = published.setting("digits", method).replace(**{**SMALL, **pool, **changes})
  attack = config.attack.scaled(steps=2)
  return config.replace(attack=attack, validation_attack=attack)


class TestEpochs:
  def test_by_hand(self):
    assert list(epochs(0, 10, 5)) == [(0, 5), (5, 10)]
    assert list(epochs(12, 23, 5)) == [(12, 15), (15, 20), (20, 23)]
    assert list(epochs(12, 14, 5)) == [(12, 14)]
    assert list(executions(12, 23, 4, 5)) == [3, 4, 1, 3]
    assert list(executions(0, 4, 100, 100)) == [4]

  @given(st.integers(0, 500), st.integers(1, 500), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
  def test_every_step_once_and_checkpoints_and_logs_on_the_multiples(self, start, count, every, longest, log_every):
    stop = start + count
    position, ends, logged = start, [], []
    for begin, end in epochs(start, stop, every):
      assert begin == position
      for steps in executions(begin, end, longest, log_every):
        assert 1 <= steps <= longest
        position += steps
        logged.append(position)
      assert position == end
      ends.append(end)
    assert position == stop
    assert ends == sorted({*(s for s in range(start + 1, stop + 1) if s % every == 0), stop})
    assert {s for s in range(start + 1, stop + 1) if s % log_every == 0} <= set(logged)


class TestOptimizers:
  def test_momentum_by_hand(self):
    """a <- 0.9 a + g; w <- w - rate a, the rate outside the accumulator."""
    variable = keras.Variable([1.0])
    optimizer = training.Momentum(keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.1, 0.01]))
    optimizer.build([variable])
    optimizer.apply([tf.constant([2.0])])
    np.testing.assert_allclose(variable, [1.0 - 0.1 * 2.0])
    optimizer.apply([tf.constant([1.0])])
    np.testing.assert_allclose(variable, [0.8 - 0.01 * (0.9 * 2.0 + 1.0)], rtol=1e-6)

  def test_momentum_round_trip(self):
    again = keras.optimizers.deserialize(keras.optimizers.serialize(training.Momentum(0.3, momentum=0.5)))
    assert (float(again.learning_rate), again.momentum) == (pytest.approx(0.3), 0.5)


class TestGrid:
  def test_tiles_row_by_row(self):
    images = tf.constant(np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1) / 2) * tf.ones([3, 32, 32, 1])
    tiled = grid(images, columns=2).numpy()
    assert tiled.shape == (64, 64, 1)
    corners = tiled[[0, 0, 63, 63], [0, 63, 0, 63], 0]
    np.testing.assert_array_equal(corners, [0.0, 0.5, 1.0, 0.0])

  def test_small_images_are_enlarged(self):
    assert grid(tf.zeros([4, 8, 8, 3]), columns=2).shape == (64, 64, 3)


class TestTrain:
  def test_writes_metrics_equal_to_the_epoch_means(self, tmp_path):
    folder = training.train(_small(), tmp_path / "run", say=lambda line: None)
    rows = folder.read_metrics()
    assert [row["step"] for row in rows] == [3, 6]
    for row in rows:
      total = (
        row["cross_entropy"] + 0.5 * row["triplet"] + 0.5 * 1e-4 * row["feature_norm"] + 2e-4 * row["weight_decay"]
      )
      assert row["loss"] == pytest.approx(total, rel=1e-5)
      assert row["learning_rate"] == pytest.approx(1e-3)

  def test_says_speed_and_time_left(self, tmp_path):
    lines = []
    training.train(_small("um"), tmp_path / "run", say=lines.append)
    assert lines.pop(0).startswith("Without TensorFlow's op determinism")
    assert "starting" in lines[0]
    assert lines[1].startswith("step 3/6  loss")
    assert "steps/s" in lines[1]
    assert lines[2].endswith("0:00 left")

  def test_one_trace_for_the_whole_run(self, tmp_path, monkeypatch):
    """Remainder, whole intervals and a resume between them trace the step once each process."""
    seen = []
    build = training.trainer.build_model

    def watched(*args):
      model, network = build(*args)
      seen.append(model)
      return model, network

    monkeypatch.setattr(training.trainer, "build_model", watched)
    training.train(_small(train_steps=8), tmp_path / "run", say=lambda line: None)
    training.train(_small(train_steps=14), tmp_path / "run", say=lambda line: None)
    assert [model.trace_count for model in seen] == [1, 1]

  @pytest.mark.parametrize("at_once", [1, 100])
  def test_divergence_names_its_step_and_the_last_good_checkpoint(self, tmp_path, at_once):
    config = _small("at", optimizer="momentum", learning_rate=0.01, learning_rate_drops=((3, 1e30),))
    config = config.replace(train_steps=9, checkpoint_every=3, steps_per_execution=at_once)
    with pytest.raises(DivergedError, match="at step 6; the last good checkpoint is that of step 3"):
      training.train(config, tmp_path / "run", say=lambda line: None)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3]

  def test_weights_that_are_not_finite_are_not_saved(self, tmp_path):
    """The last step of the interval spoils the weights after a finite loss."""
    config = _small("at", optimizer="momentum", learning_rate=1e-6, weight_decay=1e3, learning_rate_drops=((4, 1e38),))
    with pytest.raises(DivergedError, match="last good checkpoint is that of step 3"):
      training.train(config, tmp_path / "run", say=lambda line: None)


class TestLoop:
  @pytest.mark.parametrize("jit", ["on", "off"])
  def test_any_number_of_steps_at_once_ends_in_the_bits_of_fit(self, tmp_path, jit):
    """Eight steps, three at once; killed at the checkpoint of step 4 it goes on with one at once."""
    config = _small(train_steps=8, checkpoint_every=4, jit=jit, log_every=100)
    digits = datasets.load("digits").train
    model, _ = training.build_model(config, digits.image_shape, digits.num_classes)
    loss = model.fit(
      data.BatchStream(digits, 10, config.seed, True, 10).dataset(0, 8), steps_per_epoch=4, epochs=2, verbose=0
    ).history["loss"]
    CheckpointStore(tmp_path / "fit").save(8, model.state(), {})
    for stop, at_once in ((4, 3), (8, 1)):
      stretch = config.replace(train_steps=stop, steps_per_execution=at_once)
      folder = training.train(stretch, tmp_path / "run", say=lambda line: None)
    assert [row["loss"] for row in folder.read_metrics()] == loss
    expected, found = (
      tf.train.load_checkpoint(str(path / "step_000000008" / "state"))
      for path in (tmp_path / "fit", folder.checkpoints)
    )
    assert expected.get_variable_to_shape_map() == found.get_variable_to_shape_map()
    for name in set(expected.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}:
      np.testing.assert_array_equal(found.get_tensor(name), expected.get_tensor(name), name)


class TestDeterminism:
  """What acts on the whole process is turned on by who owns it."""

  def test_a_training_leaves_the_process_as_it_was(self, tmp_path):
    lines = []
    training.train(_small("um", train_steps=3), tmp_path / "run", say=lines.append)
    assert not tf_config.is_op_determinism_enabled()
    assert "enable_op_determinism() first" in lines[0]
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=True)
    assert model.jit_compile
    model.fit(np.zeros((4, 2)), np.zeros(4), shuffle=True, verbose=0)

  @pytest.mark.parametrize("xla", [False, True])
  def test_an_owner_of_the_process_turns_it_on(self, monkeypatch, xla):
    called = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: called.append("ops"))
    make_deterministic(xla, True, called.append)
    assert called == ([] if xla else ["ops"])

  def test_nothing_is_said_where_nothing_is_missing(self, monkeypatch):
    said = []
    monkeypatch.setattr(tf_config, "is_op_determinism_enabled", lambda: True)
    for xla in (False, True):
      make_deterministic(xla, False, said.append)
    assert not said


def test_a_cosine_goes_on_only_with_the_length_it_began_with(tmp_path):
  config = _small(learning_rate_schedule="cosine", train_steps=3)
  training.train(config, tmp_path / "run", say=lambda line: None)
  longer = config.replace(train_steps=6, cosine_steps=6)
  with pytest.raises(InputError, match="give `cosine_steps=3` to go on"):
    training.train(longer, tmp_path / "run", say=lambda line: None)
  training.train(longer.replace(cosine_steps=3), tmp_path / "run", say=lambda line: None)
