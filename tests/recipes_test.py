"""Recipes: state of terms, the memory bank, averages, schedules, TRADES; a method is one registration."""

import dataclasses
import re
import typing

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tla_tf import data, datasets, models, networks, published, recipes, registry, training
from tla_tf.config import AttackConfig, RecipeConfig, TrainingConfig, option
from tla_tf.errors import InputError
from tla_tf.ops import seeds
from tla_tf.ops.schedules import piecewise_linear
from tla_tf.persistence import CheckpointStore
from tla_tf.persistence.loading import load_network
from tla_tf.recipes import Term
from tla_tf.recipes.terms import Step
from tla_tf.recipes.trades import kl_divergence
from tla_tf.types import Role

SHAPE, CLASSES, BATCH = (8, 8, 1), 4, 12
ATTACK = AttackConfig(epsilon=0.1, step_size=0.05, steps=3)


@pytest.fixture(scope="module")
def images():
  """120 random images of four classes, each class with its own bright rows."""
  rng = np.random.default_rng(0)
  labels = np.arange(120) % CLASSES
  pixels = 0.5 * rng.random((120, *SHAPE), np.float32)
  for i, label in enumerate(labels):
    pixels[i, 2 * label : 2 * label + 2] += 0.5
  return data.ImageData(pixels.astype(np.float32), labels, ("a", "b", "c", "d"))


def _model(method, rate=0.1, **settings):
  model = models.RobustModel(
    networks.build("mlp_8", SHAPE, CLASSES), method, **{"attack": ATTACK, "seed": 5, **settings}
  )
  model.compile(keras.optimizers.SGD(rate), jit_compile=False)
  return model


def _fit(model, images, start, stop):
  stream = data.BatchStream(images, BATCH, seed=1, classmates=True, pool_size=20)
  history = model.fit(stream.dataset(start, stop), verbose=0, shuffle=False).history
  return {name: values[-1] for name, values in history.items()}


def _values(state):
  return {name: [np.array(v) for v in part.variables] for name, part in state.items()}


def _assert_same(first, second):
  assert list(first) == list(second)
  for name, values in first.items():
    for a, b in zip(values, second[name], strict=True):
      np.testing.assert_array_equal(a, b, err_msg=name)


# --------------------------------------------------------------------------- a method of one's own


@dataclasses.dataclass(frozen=True)
class CentreConfig(RecipeConfig):
  """Of the method below."""

  centre_weight: float = option(0.1, "Weight of the distance from the class's centre.")


class CentreTerm(Term):
  """Squared distance of attacked embeddings from a centre of their class, which is trained, too."""

  logged = ("centre_norm",)

  def build(self, embedding_size, num_classes, seed):
    start = keras.initializers.RandomNormal(seed=seed)
    self.centres = self.add_variable("centres", (num_classes, embedding_size), start)

  def __call__(self, step):
    own = tf.gather(tf.convert_to_tensor(self.centres), step.labels[Role.ADVERSARIAL])
    change = step.outputs[Role.ADVERSARIAL]["embedding"] - own
    norm = tf.reduce_sum(tf.square(tf.convert_to_tensor(self.centres)))
    return tf.reduce_mean(tf.reduce_sum(tf.square(change), -1)), {"centre_norm": norm}


class Centres(recipes.Recipe[CentreConfig]):
  """AT with trained centres of the classes."""

  name = "centres"
  help = "adversarial training towards centres"
  config_class = CentreConfig
  published: typing.ClassVar[dict] = {"*": CentreConfig()}

  def roles(self, config):
    return (Role.ADVERSARIAL,)

  def terms(self, config):
    return [recipes.terms.CrossEntropy(), CentreTerm("centre", config.centre_weight)]


@pytest.fixture
def centres():
  recipes.register(Centres())
  yield
  registry.METHODS._entries.pop("centres")  # noqa: SLF001


def test_a_registered_method_is_known_everywhere(centres, images):
  assert "centres" in recipes.names()
  assert published.setting("mnist", "centres").recipe == CentreConfig()
  assert list(recipes.get("centres").flags()) == ["centre_weight"]
  logged = _fit(_model("centres", centre_weight=0.5, weight_decay=0.0), images, 0, 2)
  assert set(logged) == {"loss", "cross_entropy", "centre", "centre_norm", "accuracy"}
  assert logged["loss"] == pytest.approx(logged["cross_entropy"] + 0.5 * logged["centre"], rel=1e-5)


def test_variables_of_a_term_are_trained_with_the_network(centres, images):
  model = _model("centres", rate=0.1, centre_weight=1.0)
  seed = model.step_seed(0)
  chosen = model.step_images(model.complete_batch((images.images[:8], images.labels[:8]), seed), seed)
  batch = {role: x for role, (x, _) in chosen.items()}
  labels = {Role.ADVERSARIAL: tf.constant(images.labels[:8])}
  before = np.array(model.state()["term_centre"].variables[0])
  # Another model's pass: one in training mode moves the statistics that the attack sees.
  step = _model("centres").compute(batch, labels).step
  embeddings = step.outputs[Role.ADVERSARIAL]["embedding"].numpy()
  model.train_on_batch(images.images[:8], images.labels[:8])
  # d/dc of mean |e - c|^2 is -2/n sum (e - c) over the class's embeddings.
  expected = before.copy()
  for embedding, label in zip(embeddings, images.labels[:8]):
    expected[label] += 0.1 * 2 / 8 * (embedding - before[label])
  np.testing.assert_allclose(model.state()["term_centre"].variables[0], expected, atol=1e-5)


def test_a_run_of_a_method_of_ones_own_resumes_to_the_same_bits(centres, same_bits, tmp_path):
  config = published.setting("digits", "centres").replace(
    network="mlp_8",
    batch_size=10,
    validation_examples=20,
    checkpoint_every=3,
    jit="off",
    centre_weight=0.5,
    attack=ATTACK,
    validation_attack=ATTACK,
  )
  quiet = {"say": lambda line: None}
  training.train(config.replace(train_steps=6), tmp_path / "whole", **quiet)
  training.train(config.replace(train_steps=3), tmp_path / "parts", **quiet)
  training.train(config.replace(train_steps=6), tmp_path / "parts", **quiet)
  whole, parts = (str(tmp_path / name / "checkpoints/step_000000006/state") for name in ("whole", "parts"))
  names = [name for name, _ in tf.train.list_variables(whole) if not name.startswith("_")]
  assert any(name.startswith("term_centre/") for name in names)
  for name in names:
    np.testing.assert_array_equal(tf.train.load_variable(whole, name), tf.train.load_variable(parts, name), name)


def test_two_terms_of_one_name_are_refused(monkeypatch):
  at = recipes.get("at")
  monkeypatch.setattr(type(at), "terms", lambda self, config: [CentreTerm("p"), CentreTerm("p")])
  with pytest.raises(InputError, match="'at' logs 'p' twice"):
    models.RobustModel(networks.build("mlp_8", SHAPE, CLASSES), "at")
  monkeypatch.setattr(type(at), "terms", lambda self, config: [CentreTerm("accuracy")])
  with pytest.raises(InputError, match="'accuracy' twice"):
    models.RobustModel(networks.build("mlp_8", SHAPE, CLASSES), "at")


def test_a_setting_of_a_method_may_not_be_called_like_a_shared_one():
  @dataclasses.dataclass(frozen=True)
  class SeedConfig(RecipeConfig):
    seed: int = 0

  with pytest.raises(TypeError, match="SeedConfig.seed"):
    type("Seeded", (recipes.Recipe,), {"config_class": SeedConfig})


def test_another_entry_of_a_known_name_is_refused(centres):
  recipes.register(Centres())  # The same, run anew.
  with pytest.raises(ValueError, match="another method called 'at', of tla_tf.recipes.adversarial"):
    registry.METHODS.register("at", Centres())
  with pytest.raises(ValueError, match="another data set called 'mnist'"):
    registry.DATASETS.register("mnist", datasets.get("digits"))


def test_a_look_up_that_fails_leaves_nothing_half_known(monkeypatch):
  found = registry.Registry("method", "tla_tf.recipes")

  def fail(name):
    raise ZeroDivisionError

  with monkeypatch.context() as patch:
    patch.setattr(registry.importlib, "import_module", fail)
    with pytest.raises(ZeroDivisionError):
      found.names()
    with pytest.raises(ZeroDivisionError):
      found.names()


@pytest.mark.parametrize(
  "name, value",
  [("weight_average", 1.0), ("weight_decay", -1.0), ("label_smoothing", 3.0), ("weight_average_start", -1)],
)
def test_a_model_refuses_numbers_out_of_range(name, value):
  with pytest.raises(InputError, match=f"`{name}`"):
    models.RobustModel(networks.build("mlp_8", SHAPE, CLASSES), "at", **{name: value})


# --------------------------------------------------------------------------- state of a step

STATES = {
  "average": ("at", {"weight_average": 0.9}),
  "memory bank": ("tla", {"negative_pool": "memory_bank", "memory_bank_size": 30, "memory_bank_start": 1}),
  "both": ("tla", {"negative_pool": "memory_bank", "memory_bank_size": 8, "weight_average": 0.9}),
}


@pytest.mark.parametrize("case", STATES)
def test_all_that_training_changes_is_restored_to_the_bit(images, tmp_path, case):
  method, settings = STATES[case]
  whole, first = _model(method, **settings), _model(method, **settings)
  _fit(whole, images, 0, 4)
  _fit(first, images, 0, 2)
  store = CheckpointStore(tmp_path)
  store.save(2, first.state(), {}, first.judged)
  second = _model(method, **settings)
  store.restore(2, second.state())
  _fit(second, images, 2, 4)
  _assert_same(_values(whole.state()), _values(second.state()))


def test_a_method_without_state_of_its_own_saves_what_it_always_did(images):
  for method in ("um", "at", "alp", "tla", "tla_rn", "tla_sa", "trades"):
    assert list(_model(method).state()) == ["network", "optimizer"]


# --------------------------------------------------------------------------- average of weights


def test_the_average_by_hand(images):
  model = _model("at", weight_average=0.5, weight_average_start=1)
  average, [start] = None, [[np.array(v) for v in model.network.variables]]
  trainable = [v.trainable for v in model.network.variables]
  for step in range(5):
    _fit(model, images, step, step + 1)
    weights = [np.array(v) for v in model.network.variables]
    time = step - 1
    decay = 0.0 if time < 0 else min(0.5, (1 + time) / (10 + time))
    average = [decay * a + (1 - decay) * w if t else w for a, w, t in zip(average or weights, weights, trainable)]
    for found, expected in zip(model.judged_network.variables, average, strict=True):
      np.testing.assert_allclose(found, expected, atol=1e-6)
  assert max(np.abs(a - w).max() for a, w in zip(average, weights)) > 1e-3
  assert max(np.abs(s - w).max() for s, w in zip(start, weights)) > 1e-3


def test_the_averaged_weights_are_judged(images):
  model = _model("um", weight_average=0.99, rate=0.3)
  _fit(model, images, 0, 10)
  found = model.evaluate(images.images, images.labels, batch_size=120, verbose=0, return_dict=True)
  raw, judged = (
    -np.mean(tf.nn.log_softmax(network(images.images)["logits"]).numpy()[np.arange(120), images.labels])
    for network in (model.network, model.judged_network)
  )
  assert found["loss"] == pytest.approx(judged, rel=1e-4)
  predicted = model.predict(images.images, verbose=0)["logits"]
  np.testing.assert_allclose(predicted, model.judged_network(images.images)["logits"], atol=1e-5)
  assert abs(raw - judged) > 1e-3


def test_a_run_with_an_average_is_loaded_with_it(tmp_path):
  config = published.setting("digits", "at").replace(
    network="mlp_8",
    batch_size=10,
    validation_examples=20,
    checkpoint_every=3,
    train_steps=3,
    jit="off",
    weight_average=0.5,
    attack=ATTACK,
    validation_attack=ATTACK,
  )
  folder = training.train(config, tmp_path / "run", say=lambda line: None)
  model, _ = training.build_model(config, SHAPE, 10)
  store = CheckpointStore(folder.checkpoints)
  store.restore(3, model.state())
  assert store.record(3).judged == "average"
  found = load_network(folder, 3)
  for a, b in zip(found.variables, model.judged_network.variables, strict=True):
    np.testing.assert_array_equal(a, b)
  assert any(np.any(np.array(a) != np.array(b)) for a, b in zip(found.variables, model.network.variables))


# --------------------------------------------------------------------------- schedules


@hypothesis.given(
  st.dictionaries(st.integers(0, 1000), st.floats(0, 10), min_size=1, max_size=5), st.lists(st.integers(0, 1200))
)
@hypothesis.settings(deadline=None, max_examples=50)
def test_schedules_are_numpys_interpolation(points, steps):
  points = tuple(sorted(points.items()))
  for step in steps:
    expected = np.interp(step, [x for x, _ in points], [y for _, y in points])
    np.testing.assert_allclose(piecewise_linear(step, points), expected, rtol=1e-5, atol=1e-5)


def test_epsilon_follows_its_schedule_without_a_retrace(images):
  model = _model("at", schedules={"epsilon": ((0, 0.0), (4, 1.0))})
  batch = data.BatchStream(images, BATCH, seed=1).batch(0)
  for step in (0, 1, 2, 4, 9):
    adversarial = model.step_examples(batch, step)[Role.ADVERSARIAL]
    assert np.abs(adversarial - batch["image"]).max() == pytest.approx(0.1 * min(step / 4, 1), abs=1e-6)
  _fit(model, images, 0, 6)
  assert model.trace_count == 1


def test_the_step_size_follows_epsilon_unless_it_has_its_own(images):
  batch = data.BatchStream(images, BATCH, seed=1).batch(0)
  one_step = AttackConfig(epsilon=0.1, step_size=0.02, steps=1, random_start=False)
  for own, factor in ({}, 0.5), ({"step_size": ((0, 2.0),)}, 2.0):
    model = _model("at", attack=one_step, schedules={"epsilon": ((0, 0.5),), **own})
    change = np.abs(model.step_examples(batch, 0)[Role.ADVERSARIAL] - batch["image"]).max()
    assert change == pytest.approx(0.02 * factor, abs=1e-6)


def test_the_weight_of_a_term_follows_its_schedule(images):
  model = _model("alp", pairing_weight=2.0, weight_decay=1e-2, schedules={"pairing": ((0, 0.0), (2, 1.0))})
  for step in range(4):
    logged = _fit(model, images, step, step + 1)
    weight = 2.0 * min(step / 2, 1)
    by_hand = logged["cross_entropy"] + weight * logged["pairing"] + 1e-2 * logged["weight_decay"]
    assert logged["loss"] == pytest.approx(by_hand, rel=1e-5)
  assert model.trace_count == 1


def test_a_schedule_of_something_else_is_refused():
  with pytest.raises(InputError, match="'triplett' has no schedule; did you mean 'triplet'"):
    _model("tla", schedules={"triplett": ((0, 1.0),)})


# --------------------------------------------------------------------------- memory bank


def test_the_bank_holds_the_last_clean_embeddings_first_in_first_out(images):
  size = 30  # Not a multiple of the batch.
  model = _model("tla", rate=0.0, negative_pool="memory_bank", memory_bank_size=size)
  stream = data.BatchStream(images, BATCH, seed=1, classmates=True)
  embeddings, labels = np.zeros((size, 8), np.float32), np.full(size, -1)
  place = 0
  for step in range(5):
    chosen = model.step_images(stream.batch(step), model.step_seed(step), step)
    split = {role: x for role, (x, _) in chosen.items()}, {role: y for role, (_, y) in chosen.items()}
    clean = model.compute(*split).step.outputs[Role.POSITIVE]["embedding"].numpy()
    _fit(model, images, step, step + 1)
    for embedding, label in zip(clean, split[1][Role.POSITIVE].numpy()):
      embeddings[place], labels[place] = embedding, label
      place = (place + 1) % size
    found = {v.name: np.array(v) for v in model.state()["negatives"].variables}
    np.testing.assert_allclose(found["embeddings"], embeddings, atol=1e-5)
    np.testing.assert_array_equal(found["labels"], labels)
    assert found["next"] == place


def _step(anchors, anchor_labels, number=0, **clean):
  outputs = {Role.ADVERSARIAL: {"embedding": tf.constant(anchors)}}
  labels = {Role.ADVERSARIAL: tf.constant(anchor_labels, tf.int32)}
  for role, (embeddings, its_labels) in clean.items():
    outputs[role], labels[role] = {"embedding": tf.constant(embeddings)}, tf.constant(its_labels, tf.int32)
  return Step(outputs, labels, 0.0, tf.constant([1, 2]), tf.constant(number))


@hypothesis.given(st.integers(0, 10**6))
@hypothesis.settings(deadline=None, max_examples=20)
def test_negatives_of_the_bank_are_those_of_brute_force(seed):
  rng = np.random.default_rng(seed)
  bank = recipes.negatives.MemoryBank("nearest", 20, start=0)
  bank.build(3)
  clean, labels = rng.normal(size=(11, 3)).astype(np.float32), rng.integers(0, 3, 11)
  bank.update(_step(clean, labels, **{Role.POSITIVE: (clean, labels)}))
  anchors, anchor_labels = rng.normal(size=(6, 3)).astype(np.float32), rng.integers(0, 3, 6)
  chosen = bank.choose(_step(anchors, anchor_labels))
  for i, (anchor, label) in enumerate(zip(anchors, anchor_labels)):
    others = [j for j in range(11) if labels[j] != label]
    if not others:
      assert chosen.valid[i] == 0
      continue
    cosines = [anchor @ clean[j] / np.linalg.norm(anchor) / np.linalg.norm(clean[j]) for j in others]
    np.testing.assert_allclose(chosen.embedding[i], clean[others[int(np.argmax(cosines))]], atol=1e-6)
    assert chosen.valid[i] == 1 and chosen.labels[i] != label


@pytest.mark.parametrize("rule, valid", [("nearest", 0.0), ("random", 0.0), ("authors_random", 1.0)])
def test_a_bank_of_the_anchors_class_alone_has_no_negative_but_for_the_authors_rule(rule, valid):
  bank = recipes.negatives.MemoryBank(rule, 20, start=0)
  bank.build(3)
  clean = np.ones((5, 3), np.float32)
  bank.update(_step(clean, [2] * 5, **{Role.POSITIVE: (clean, [2] * 5)}))
  np.testing.assert_array_equal(bank.choose(_step(clean, [2] * 5)).valid, [valid] * 5)


@pytest.mark.parametrize("rule", ["nearest", "random", "authors_random"])
def test_an_empty_bank_gives_no_negative(rule):
  bank = recipes.negatives.MemoryBank(rule, 20, start=0)
  bank.build(3)
  assert not np.any(bank.choose(_step(np.ones((4, 3), np.float32), [0, 1, 2, 0])).valid)


def test_the_triplet_loss_is_off_until_the_bank_starts(images):
  model = _model("tla", negative_pool="memory_bank", memory_bank_size=40, memory_bank_start=2)
  losses = [_fit(model, images, step, step + 1)["triplet"] for step in range(4)]
  assert losses[:2] == [0.0, 0.0] and min(losses[2:]) > 0.0


def test_a_batch_larger_than_the_bank_leaves_its_last_embeddings():
  bank = recipes.negatives.MemoryBank("nearest", 4, start=0)
  bank.build(1)
  clean = np.arange(6, dtype=np.float32)[:, None]
  bank.update(_step(clean, range(6), **{Role.POSITIVE: (clean, range(6))}))
  assert sorted(np.array(bank.state.variables[0])[:, 0]) == [2, 3, 4, 5]


def test_gradients_reach_negatives_of_the_batch_and_not_those_of_the_bank():
  anchors = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
  for source, expected in (recipes.negatives.Batch(), True), (recipes.negatives.MemoryBank("nearest", 4, 0), False):
    source.build(2)
    clean = tf.Variable(anchors[::-1])
    with tf.GradientTape() as tape:
      step = _step(anchors, [0, 1], **{Role.POSITIVE: (anchors, [0, 1])})
      step.outputs[Role.POSITIVE]["embedding"] = tf.convert_to_tensor(clean)
      source.update(step)
      total = tf.reduce_sum(source.choose(step).embedding)
    assert (tape.gradient(total, clean) is not None) == expected


# --------------------------------------------------------------------------- TRADES

LOGITS = np.random.default_rng(3).normal(scale=2, size=(5, 4)).astype(np.float32)


def test_the_divergence_is_kullback_and_leiblers():
  from scipy.special import rel_entr, softmax

  expected = rel_entr(softmax(LOGITS.astype(float), 1), softmax(LOGITS[::-1].astype(float), 1)).sum(1)
  np.testing.assert_allclose(kl_divergence(LOGITS, LOGITS[::-1]), expected, rtol=1e-4)
  np.testing.assert_allclose(kl_divergence(LOGITS, LOGITS), 0.0, atol=1e-6)


def test_gradients_of_the_divergence_go_through_both_branches():
  clean, attacked = tf.constant(LOGITS), tf.constant(LOGITS[::-1].copy())
  with tf.GradientTape() as tape:
    tape.watch([clean, attacked])
    total = tf.reduce_sum(kl_divergence(clean, attacked))
  of_clean, of_attacked = tape.gradient(total, [clean, attacked])
  p, q = tf.nn.softmax(clean).numpy(), tf.nn.softmax(attacked).numpy()
  np.testing.assert_allclose(of_attacked, q - p, atol=1e-5)
  log_ratio = np.log(p / q)
  np.testing.assert_allclose(of_clean, p * (log_ratio - (p * log_ratio).sum(1, keepdims=True)), atol=1e-5)


def test_the_loss_of_trades_by_hand(images):
  model = _model("trades", beta=3.0)
  chosen = model.step_images(data.BatchStream(images, BATCH, seed=1).batch(0), model.step_seed(0))
  split = {role: x for role, (x, _) in chosen.items()}, {role: y for role, (_, y) in chosen.items()}
  found = model.compute(*split)
  values, step = found.values, found.step
  clean, attacked = (tf.nn.log_softmax(step.outputs[role]["logits"]).numpy() for role in (Role.TWIN, Role.ADVERSARIAL))
  cross_entropy = -np.mean(clean[np.arange(BATCH), split[1][Role.TWIN]])
  divergence = np.mean(np.sum(np.exp(clean) * (clean - attacked), 1))
  np.testing.assert_allclose(values["loss"], cross_entropy + 3.0 * divergence, rtol=1e-4)


def test_the_attack_of_trades_starts_with_noise_and_raises_the_divergence(images):
  batch = data.BatchStream(images, 60, seed=1).batch(0)
  still = _model("trades", attack=ATTACK.replace(steps=0))
  noise = (still.step_examples(batch, 0)[Role.ADVERSARIAL] - batch["image"]).numpy()
  inside = (batch["image"].numpy() > 0.01) & (batch["image"].numpy() < 0.99)
  assert np.std(noise[inside]) == pytest.approx(0.001, rel=0.1)
  model = _model("trades")
  attacked = model.step_examples(batch, 0)[Role.ADVERSARIAL]
  logits, attacked = (model.network(x)["logits"] for x in (batch["image"], attacked))
  uniform = batch["image"] + tf.sign(noise) * 0.1
  random = model.network(tf.clip_by_value(uniform, 0, 1))["logits"]
  assert np.mean(kl_divergence(logits, attacked)) > 2 * np.mean(kl_divergence(logits, random))


def test_the_attack_of_trades_is_a_pgd_on_the_divergence_in_inference_mode(images):
  batch = data.BatchStream(images, BATCH, seed=1).batch(0)
  attack = AttackConfig(epsilon=0.1, step_size=0.03, steps=4)
  model = _model("trades", attack=attack)
  _fit(model, images, 0, 3)  # Away from where batch and moving statistics are alike.
  statistics = [np.array(v) for v in model.network.non_trainable_variables]
  x = model.perturb(batch["image"], batch["label"], tf.constant([1, 2]))
  for before, after in zip(statistics, model.network.non_trainable_variables):
    np.testing.assert_array_equal(before, after)
  clean = tf.nn.softmax(model.network(batch["image"], training=False)["logits"])
  by_hand = batch["image"] + 0.001 * seeds.normal(tf.shape(batch["image"]), tf.constant([1, 2]))
  by_hand = tf.clip_by_value(by_hand, 0.0, 1.0)
  for _ in range(4):
    with tf.GradientTape() as tape:
      tape.watch(by_hand)
      said = tf.nn.log_softmax(model.network(by_hand, training=False)["logits"])
      divergence = tf.reduce_sum(clean * (tf.math.log(clean) - said))
    moved = by_hand + 0.03 * tf.sign(tape.gradient(divergence, by_hand))
    by_hand = tf.clip_by_value(tf.clip_by_value(moved, batch["image"] - 0.1, batch["image"] + 0.1), 0.0, 1.0)
  # Where a gradient is within rounding of 0 its sign may differ.
  assert np.mean(np.abs(x - by_hand) > 1e-5) < 0.02


def test_trades_without_beta_is_the_undefended_model_but_for_its_statistics(images):
  trades, um = _model("trades", beta=0.0), _model("um")
  for model in (trades, um):
    _fit(model, images, 0, 2)
  for a, b in zip(trades.network.trainable_variables, um.network.trainable_variables):
    np.testing.assert_allclose(a, b, atol=1e-5)


# --------------------------------------------------------------------------- what every recipe says


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_says_what_it_is(name):
  recipe = recipes.get(name)
  assert recipe.name == name and recipe.help and recipe.__doc__
  for option_ in recipe.flags().values():
    assert re.fullmatch("[a-z_0-9]+", option_.flag) and option_.help.endswith(".")
  assert set(recipe.unused_fields(recipe.config_class())) <= set(recipe.flags())


@pytest.mark.parametrize("name", recipes.names())
def test_what_a_recipe_logs_is_what_its_step_gives(images, name):
  settings = TrainingConfig(method=name)
  model = models.make_model(settings.replace(attack=ATTACK), networks.build("mlp_8", SHAPE, CLASSES))
  model.compile("sgd", jit_compile=False)
  # `train_step` compares the names itself.
  assert _fit(model, images, 0, 1)["loss"] > 0


def test_a_flag_of_two_recipes_means_the_same():
  seen = {}
  for name in recipes.names():
    for flag, found in recipes.get(name).flags().items():
      assert seen.setdefault(flag, (found.kind, found.help)) == (found.kind, found.help), flag
