"""Cheap inner attacks: closed forms, balls, the switch to PGD, replays, and the guard against collapse."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import balls, data, models, networks, recipes, training
from tla_tf.attacks.gradient_loop import gradient_loop
from tla_tf.config import AttackConfig, TrainingConfig
from tla_tf.errors import AttackWarning, InputError
from tla_tf.ops import objectives, seeds
from tla_tf.persistence import CheckpointStore, RunFolder
from tla_tf.recipes.cheap_attack import InnerAttackConfig
from tla_tf.records.run import FallbackRecord
from tla_tf.training import collapse
from tla_tf.training.trainer import cautions

SHAPE, BATCH, EPSILON = (4, 4, 1), 6, 0.1
ATTACK = AttackConfig(epsilon=EPSILON, step_size=0.05, steps=3)
KEY = [3, 4]


def _linear():
  """Logits (w x, 0) of a w of signs, and those signs: the loss of class 0 grows against them at every point."""
  signs = np.where(np.arange(16) % 3 == 0, 1.0, -1.0).astype(np.float32)
  network = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(2)])
  network.layers[-1].set_weights([np.stack([signs, 0 * signs], -1), np.zeros(2, np.float32)])
  return network, signs.reshape(1, *SHAPE)


def _model(network, attack=ATTACK, method="at", **inner):
  settings = {"attack_mode": "inference"} if method == "at" else {}
  model = models.RobustModel(
    network, method, attack=attack, batch_size=BATCH, seed=5, inner_attack=InnerAttackConfig(**inner), **settings
  )
  model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
  return model


@pytest.fixture(scope="module")
def images():
  return np.random.default_rng(0).random((BATCH, *SHAPE), np.float32)


def _perturbed(model, images, step=0, label=0):
  labels = tf.fill([len(images)], label)
  return model.perturb(tf.constant(images), labels, tf.constant(KEY), tf.constant(step)).numpy()


def _uniform(images, half_width):
  return seeds.uniform(images.shape, KEY, -half_width, half_width).numpy()


# --------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("step", [0.0, 0.5, 2.0])
def test_fgsm_from_a_random_start_on_a_linear_network(images, step):
  network, signs = _linear()
  found = _perturbed(_model(network, kind="fgsm_rs", step=step), images)
  start = np.clip(images + _uniform(images, EPSILON), 0, 1)
  moved = start - (step or 1.25) * EPSILON * signs
  expected = np.clip(np.clip(moved, images - EPSILON, images + EPSILON), 0, 1)
  np.testing.assert_allclose(found, expected, atol=1e-6)
  if step == 2:  # From wherever in the ball, to its edge.
    np.testing.assert_allclose(found, np.clip(images - EPSILON * signs, 0, 1), atol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_n_fgsm_leaves_the_ball_and_never_the_pixel_range(images, noise):
  network, signs = _linear()
  found = _perturbed(_model(network, kind="n_fgsm", noise=noise), images)
  start = np.clip(images + _uniform(images, noise * EPSILON), 0, 1)
  np.testing.assert_allclose(found, np.clip(start - EPSILON * signs, 0, 1), atol=1e-6)
  assert found.min() >= 0 and found.max() <= 1
  farthest = np.abs(found - images).max()
  assert farthest <= (noise + 1) * EPSILON + 1e-6
  assert (farthest > 2 * EPSILON) == (noise == 2)


def test_a_short_pgd_is_pgd_of_its_steps(images):
  network = networks.build("mlp_8", SHAPE, 4, seed=1)
  short = _perturbed(_model(network, kind="short_pgd", steps=4, step=0.5), images)
  pgd = _perturbed(_model(network, AttackConfig(EPSILON, 0.5 * EPSILON, 4)), images)
  np.testing.assert_allclose(short, pgd, atol=1e-6)


@pytest.mark.parametrize("kind", ["short_pgd", "fgsm_rs", "free"])
def test_others_stay_in_the_ball_of_a_scheduled_epsilon(images, kind):
  model = models.RobustModel(
    networks.build("mlp_8", SHAPE, 4, seed=1),
    "at",
    attack=ATTACK,
    batch_size=BATCH,
    schedules={"epsilon": ((0, 0.1), (10, 1.0))},
    inner_attack=InnerAttackConfig(kind=kind),
  )
  model.compile("sgd", jit_compile=False)
  for step in range(4):
    model.train_on_batch(images, np.arange(BATCH) % 4)
    moved = np.abs(_perturbed(model, images, step) - images).max()
    assert 0 < moved <= EPSILON * (0.1 + 0.09 * step) + 1e-6 or (kind == "free" and step == 0)


# --------------------------------------------------------------------------- early stop


def test_friendly_pgd_leaves_what_is_misclassified():
  """One pixel, logits (x - 0.5, 0): class 0 is lost below 0.5, and a step goes down by 0.1."""
  network = lambda x: tf.concat([x[:, 0, 0] - 0.5, 0 * x[:, 0, 0]], -1)  # noqa: E731
  images = tf.reshape(tf.constant([0.45, 0.55, 0.65, 0.95]), [4, 1, 1, 1])
  found = {}
  for patience in (None, 0, 1, 9):
    loop = gradient_loop(
      networks.logits_function(network),
      objectives.get("cross_entropy"),
      balls.get("linf"),
      images,
      tf.zeros([4], tf.int32),
      images,
      epsilon=0.4,
      step_size=0.1,
      steps=4,
      record=False,
      patience=patience,
    )
    found[patience] = loop.adversarial.numpy().ravel()
  np.testing.assert_allclose(found[0], [0.45, 0.45, 0.45, 0.55], atol=1e-6)
  np.testing.assert_allclose(found[1], [0.35, 0.35, 0.35, 0.55], atol=1e-6)
  np.testing.assert_allclose(found[9], found[None])


def test_friendly_pgd_ends_when_it_has_left_all_images():
  calls = []

  def network(x):
    tf.numpy_function(lambda: calls.append(1) or np.float32(0), [], tf.float32)
    return tf.stack([x[:, 0, 0, 0] - 0.5, 0 * x[:, 0, 0, 0]], -1)

  images = tf.fill([2, 1, 1, 1], 0.55)
  arguments = (objectives.get("cross_entropy"), balls.get("linf"), images, tf.zeros([2], tf.int32), images)
  gradient_loop(
    networks.logits_function(network), *arguments, epsilon=0.4, step_size=0.1, steps=30, record=False, patience=0
  )
  assert len(calls) == 2


def test_friendliness_is_pgds_alone(images):
  network, _ = _linear()
  labels = np.where(network(images).numpy().argmax(-1) == 0, 1, 0)  # all are misclassified
  moved = {}
  for kind in ("fgsm_rs", "pgd"):
    model = _model(network, ATTACK.replace(random_start=False), kind=kind, friendly_tau=0)
    moved[kind] = model.perturb(tf.constant(images), tf.constant(labels), tf.constant(KEY)).numpy() - images
  assert np.abs(moved["pgd"]).max() == 0 < np.abs(moved["fgsm_rs"]).max()


# --------------------------------------------------------------------------- the switch


@pytest.mark.parametrize(
  "kind, random_start", [("short_pgd", True), ("fgsm_rs", False), ("n_fgsm", False), ("free", True)]
)
def test_pgd_takes_over_at_its_step_without_a_second_trace(images, kind, random_start):
  attack = ATTACK.replace(random_start=random_start)
  network = networks.build("mlp_8", SHAPE, 4, seed=1)
  labels = np.arange(BATCH) % 4
  model, plain = _model(network, attack, kind=kind, until=2), _model(network, attack)
  same = []
  for step in range(4):
    same.append(np.array_equal(_perturbed(model, images, step), _perturbed(plain, images, step)))
    model.train_on_batch(images, labels)
  assert same == [False, False, True, True]
  assert model.trace_count == 1
  model.inner_attack.switch_at(1)
  assert np.array_equal(_perturbed(model, images, 1), _perturbed(plain, images, 1))
  assert not np.array_equal(_perturbed(model, images, 0), _perturbed(plain, images, 0))
  model.train_on_batch(images, labels)
  assert model.trace_count == 1


def test_settings_of_cheap_attacks_change_no_bit_of_pgd(images):
  weights = []
  for inner in ({}, {"inner_attack": InnerAttackConfig(until=2, collapse_share=0.9)}):
    model = models.RobustModel(networks.build("mlp_8", SHAPE, 4, seed=1), "at", attack=ATTACK, seed=5, **inner)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    model.train_on_batch(images, np.arange(BATCH) % 4)
    weights.append(model.network.get_weights())
    assert "inner_attack" not in model.state()
  for first, second in zip(*weights):
    np.testing.assert_array_equal(first, second)


# --------------------------------------------------------------------------- free replays


def test_free_replays_move_by_the_gradient_of_their_own_step(images):
  """Against the algorithm by hand: r <- clip(r + epsilon sign(gradient)), weights <- weights - rate x gradient."""
  network = networks.build("mlp_8", SHAPE, 4, seed=1)
  model = _model(network, kind="free")
  by_hand = keras.models.clone_model(network)
  by_hand.set_weights(network.get_weights())
  labels, moved = np.arange(BATCH) % 4, np.zeros_like(images)
  for step in range(3):
    attacked = tf.constant(np.clip(images + moved, 0, 1))
    np.testing.assert_allclose(_perturbed(model, images, step), attacked, atol=1e-6)
    model.train_on_batch(images, labels)
    with tf.GradientTape() as tape:
      tape.watch(attacked)
      loss = tf.reduce_mean(objectives.cross_entropy(by_hand(attacked, training=True)["logits"], labels))
    *gradients, gradient = tape.gradient(loss, [*by_hand.trainable_variables, attacked])
    for variable, value in zip(by_hand.trainable_variables, gradients):
      variable.assign(variable - 0.1 * value)
    moved = np.clip(moved + EPSILON * np.sign(gradient), -EPSILON, EPSILON)
  for variable, expected in zip(network.trainable_variables, by_hand.trainable_variables):
    np.testing.assert_allclose(variable, expected, atol=1e-5)
  assert set(model.state()) == {"network", "optimizer", "inner_attack"}


def test_the_perturbation_of_a_short_batch_leaves_the_others(images):
  model = _model(networks.build("mlp_8", SHAPE, 4, seed=1), kind="free")
  model.train_on_batch(images[:4], np.arange(4))
  kept = np.array(model.state()["inner_attack"].variables[0])
  assert np.all(np.abs(kept[:4]).max(axis=(1, 2, 3)) > 0) and not kept[4:].any()


def test_a_batch_counts_for_its_replays_until_pgd_takes_over():
  labelled = data.ImageData(np.zeros((100, *SHAPE), np.uint8), np.arange(100) % 4, tuple("abcd"))
  own = data.BatchStream(labelled, BATCH, seed=1)

  def numbers(**replays):
    made = data.BatchStream(labelled, BATCH, seed=1, **replays)
    labels = [own.batch(step)["label"].numpy().tolist() for step in range(9)]
    return [labels.index(made.batch(step)["label"].numpy().tolist()) for step in range(9)]

  assert numbers() == list(range(9))
  assert numbers(replays=4) == [0, 0, 0, 0, 1, 1, 1, 1, 2]
  assert numbers(replays=3, replays_until=5) == [0, 0, 0, 1, 1, 2, 3, 4, 5]
  assert numbers(replays=1, replays_until=5) == list(range(9))


# --------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
  "settings, sentence",
  [
    ({"kind": "fgsm"}, "`kind`: expected one of"),
    ({"until": -1}, "`until`: expected a whole number of at least 0"),
    ({"replays": 0}, "`replays`: expected a whole number of at least 1"),
    ({"noise": -1.0}, "`noise`: expected a number of at least 0"),
    ({"collapse_share": 1.5}, "`collapse_share`: expected a number of at least 0 and at most 1"),
    ({"friendly_tau": -2}, "`friendly_tau`: expected a whole number of at least -1"),
  ],
)
def test_bad_settings_are_refused(settings, sentence):
  with pytest.raises(InputError, match=sentence):
    InnerAttackConfig(**settings)


def test_free_replays_need_to_know_the_batch_and_one_device():
  network = networks.build("mlp_8", SHAPE, 4)
  with pytest.raises(InputError, match="give the model its `batch_size`"):
    models.RobustModel(network, "at", inner_attack=InnerAttackConfig(kind="free"))
  any_size = keras.Sequential(
    [keras.Input((None, None, 1)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
  )
  with pytest.raises(InputError, match="needs images of one size"):
    models.RobustModel(any_size, "at", batch_size=4, inner_attack=InnerAttackConfig(kind="free"))


@pytest.mark.parametrize("method", ["um", "trades"])
def test_methods_with_another_attack_or_none_have_no_cheap_one(method):
  assert "inner_attack" not in recipes.get(method).flags()
  with pytest.raises(InputError, match="Unknown setting `inner_attack`"):
    models.RobustModel(networks.build("mlp_8", SHAPE, 4), method, inner_attack=InnerAttackConfig())


def test_the_reach_of_cheap_attacks_is_known():
  def said(**inner):
    return cautions(
      TrainingConfig(method="at", attack=ATTACK.scaled(steps=10)).replace(inner_attack=InnerAttackConfig(**inner))
    )

  assert not any(
    "inner" in line for kind in ("pgd", "fgsm_rs", "n_fgsm", "short_pgd", "free") for line in said(kind=kind)
  )
  short = [line for line in said(kind="short_pgd", steps=2) if "short_pgd" in line]
  assert len(short) == 1 and "2 steps" in short[0] and "`inner_attack_step`" in short[0]
  assert any("1 step of 0.05" in line for line in said(kind="fgsm_rs", step=0.5))
  with pytest.warns(AttackWarning, match="`fgsm_rs`: 1 step of 0.05"):
    _model(_linear()[0], kind="fgsm_rs", step=0.5)


# --------------------------------------------------------------------------- the guard


def _rows(*pairs):
  return [
    {"step": 10 * (i + 1), "accuracy": accuracy, "val_robust_accuracy": robust}
    for i, (accuracy, robust) in enumerate(pairs)
  ]


@pytest.mark.parametrize(
  "pairs, back_to",
  [
    ([(0.2, 0.1)], None),
    ([(0.2, 0.3), (0.3, 0.4), (0.6, 0.1)], 20),
    ([(0.2, 0.4), (0.3, 0.4), (0.6, 0.1)], 20),  # the later of equals
    ([(0.2, 0.3), (0.3, 0.4), (0.6, 0.21)], None),  # above the share
    ([(0.2, 0.3), (0.6, 0.4), (0.3, 0.1)], None),  # its own attack wins, too: no overfitting
    ([(0.2, 0.04), (0.3, 0.01)], None),  # within chance
    ([(0.2, 0.0), (0.3, 0.0)], None),
  ],
)
def test_what_a_collapse_is(pairs, back_to):
  found = collapse.find_collapse(_rows(*pairs), 0.5, 100)
  assert (found and found.step) == back_to
  if found:
    assert found.collapsed_at == 10 * len(pairs)


SMALL = TrainingConfig(
  dataset="digits",
  method="at",
  network="mlp_8",
  jit="off",
  attack=ATTACK,
  validation_attack=ATTACK,
  validation_examples=50,
  batch_size=10,
  train_steps=8,
  checkpoint_every=2,
  keep_checkpoints=2,
)


def _train(path, config, stops=()):
  """Trains in stretches that end at `stops` and at the config's end; returns (its last checkpoint, what was said)."""
  lines = []
  for stop in (*stops, config.train_steps):
    training.train(config.replace(train_steps=stop), path, say=lines.append)
  saved = tf.train.load_checkpoint(str(path / "checkpoints" / f"step_{config.train_steps:09d}" / "state"))
  names = [name for name in saved.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
  return {name: saved.get_tensor(name) for name in names}, lines


def _same(first, second):
  assert set(first) == set(second)
  for name, value in first.items():
    np.testing.assert_array_equal(value, second[name])


def test_a_run_goes_on_over_the_switch_to_the_same_bits(tmp_path):
  config = SMALL.replace(inner_attack=InnerAttackConfig(kind="free", until=5, replays=3))
  whole, _ = _train(tmp_path / "whole", config)
  _same(whole, _train(tmp_path / "stopped", config, stops=(4,))[0])


@pytest.fixture
def collapsing(monkeypatch):
  """Robust accuracies on held-out images that collapse in the fourth interval of a cheap attack."""
  found = collapse.find_collapse

  def injected(rows, share, examples):
    robust, own = (0.5, 0.6, 0.55, 0.01), (0.3, 0.4, 0.6, 0.9)
    told = [
      {**row, "val_robust_accuracy": robust[row["step"] // 2 - 1], "accuracy": own[row["step"] // 2 - 1]}
      for row in rows
    ]
    return found(told, share, examples)

  monkeypatch.setattr(collapse, "find_collapse", injected)


GUARDED = SMALL.replace(train_steps=10, keep_checkpoints=5, inner_attack=InnerAttackConfig(kind="free", replays=3))


def test_a_collapse_goes_back_to_the_best_checkpoint_and_on_with_pgd(tmp_path, collapsing, monkeypatch):
  whole, lines = _train(tmp_path / "whole", GUARDED)
  told = [line for line in lines if line.startswith("catastrophic overfitting")]
  assert len(told) == 1
  assert "at step 8 robust accuracy on held-out images had fallen to 1.0% of 60.0%" in told[0]
  assert "back to step 4, and on with PGD" in told[0]
  folder = RunFolder.open(tmp_path / "whole")
  assert folder.read_fallback() == FallbackRecord(4, 0.6, 8, 0.01, 0.9)
  assert [row["step"] for row in folder.read_metrics()] == [2, 4, 6, 8, 10]
  # Step 4 and what follows is what a run with the switch at 4 does.
  planned = GUARDED.replace(inner_attack=GUARDED.recipe.inner_attack.replace(until=4))
  _same(whole, _train(tmp_path / "planned", planned)[0])

  # Killed on either side of its record.
  write = RunFolder.write_fallback
  for when in ("before", "after"):

    def killed(self, record, when=when):
      if when == "after":
        write(self, record)
      raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "write_fallback", killed)
    with pytest.raises(KeyboardInterrupt):
      _train(tmp_path / when, GUARDED)
    monkeypatch.setattr(RunFolder, "write_fallback", write)
    assert max(CheckpointStore(RunFolder.open(tmp_path / when).checkpoints).steps()) == 4
    _same(whole, _train(tmp_path / when, GUARDED)[0])
    rows = [RunFolder.open(tmp_path / name).read_metrics() for name in ("whole", when)]
    assert [[{**row, "seconds": 0} for row in found] for found in rows][0] == [{**row, "seconds": 0} for row in rows[1]]
