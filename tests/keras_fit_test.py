"""`compile` and `fit` as Keras users know them: weights, losses, metrics and callbacks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import data, models, networks
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.ops import objectives

SHAPE, CLASSES, COUNT = (4, 4, 1), 3, 24
RNG = np.random.default_rng(0)
IMAGES = RNG.random((COUNT, *SHAPE), np.float32)
LABELS = np.arange(COUNT) % CLASSES
WEIGHTS = RNG.random(COUNT).astype(np.float32)
BY_CLASS = {0: 0.5, 2: 3.0}
ATTACK = AttackConfig(0.1, 0.1, 1)
DATA = data.ImageData(IMAGES, LABELS, ("a", "b", "c"))


def network():
  return networks.build("mlp_4", SHAPE, CLASSES, seed=0)


def compiled(method="um", jit=False, rate=0.1, **arguments):
  settings = arguments.pop("settings", {})
  model = models.RobustModel(network(), method, attack=ATTACK, **settings)
  model.compile(keras.optimizers.SGD(rate), jit_compile=jit, **arguments)
  return model


def assert_same_weights(first, second):
  for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)


def pairs(batch=8):
  return tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(batch)


# --------------------------------------------------------------------------- weights

WEIGHTED = {
  "sample_weight": ((IMAGES, LABELS), {"sample_weight": WEIGHTS, "batch_size": 8}),
  "class_weight": ((IMAGES, LABELS), {"class_weight": BY_CLASS, "batch_size": 8}),
  "class_weight of a dataset": ((pairs(),), {"class_weight": BY_CLASS}),
  "weights of a dataset": ((tf.data.Dataset.from_tensor_slices((IMAGES, LABELS, WEIGHTS)).batch(8),), {}),
}


@pytest.mark.parametrize("case", WEIGHTED)
def test_weighted_steps_equal_those_of_keras(case):
  positional, named = WEIGHTED[case]
  ours = compiled()
  ours.fit(*positional, **named, shuffle=False, verbose=0)
  own = network()
  plain = keras.Model(own.inputs, own.output["logits"])
  plain.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
  # Keras on its own fails for a class beyond the last one that the dict names.
  named = {name: {**value, 1: 1.0} if name == "class_weight" else value for name, value in named.items()}
  plain.fit(*positional, **named, shuffle=False, verbose=0)
  assert_same_weights(ours.network, own)
  unweighted = compiled()
  unweighted.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0)
  assert np.abs(unweighted.network.get_weights()[0] - own.get_weights()[0]).max() > 1e-4


def test_regularizers_of_layers_count_as_in_keras():
  def layers():
    strong = {"kernel_regularizer": keras.regularizers.L2(0.5), "bias_regularizer": "l1"}
    return keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES, **strong)])

  start = RNG.normal(size=(16, CLASSES)), RNG.normal(size=CLASSES)
  ours, plain = layers(), layers()
  for each in (ours, plain):
    each.set_weights(start)
  model = models.Undefended(ours, attack=ATTACK)
  model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
  history = model.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0).history
  plain.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
  loss = plain.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0).history["loss"]
  assert_same_weights(ours, plain)
  np.testing.assert_allclose(history["loss"], loss, rtol=1e-5)
  np.testing.assert_allclose(history["cross_entropy"][0] + history["regularization"][0], history["loss"][0], rtol=1e-5)


@pytest.mark.parametrize("jit", [False, True])
def test_batches_of_a_stream_are_weighted_by_class(jit):
  stream = data.BatchStream(DATA, 12, seed=0, classmates=False)
  model = compiled(jit=jit, rate=0.0)
  found = model.fit(stream.dataset(0, 1), class_weight=BY_CLASS, shuffle=False, verbose=0).history["loss"][0]
  batch = stream.batch(0)
  losses = objectives.cross_entropy(model.network(batch["image"], training=True)["logits"], batch["label"])
  by_hand = np.mean(losses * np.array([0.5, 1.0, 3.0])[batch["label"]])
  assert found == pytest.approx(by_hand, rel=1e-5)


def test_dicts_of_arrays_are_weighted_by_class():
  named = {"batch_size": 8, "shuffle": False, "verbose": 0, "class_weight": BY_CLASS}
  pair, both = compiled(), compiled()
  pair.fit(IMAGES, LABELS, **named)
  both.fit({"image": IMAGES, "label": LABELS}, **named)
  assert_same_weights(pair.network, both.network)


@pytest.mark.parametrize("method", ["tla", "trades", "alp"])
def test_all_that_is_a_mean_over_anchors_is_weighted(method):
  model = compiled(method, settings={"weight_decay": 0.1})
  batch = model.complete_batch((IMAGES, LABELS), model.step_seed(0))
  chosen = model.step_images(batch, model.step_seed(0))
  images, labels = ({role: pair[i] for role, pair in chosen.items()} for i in (0, 1))
  once, thrice = (model.compute(images, labels, weights=w).values for w in (None, tf.fill([COUNT], 3.0)))
  weighted = {"cross_entropy", "triplet", "kl", "pairing"}
  for name in set(once) - {"loss"}:
    assert float(thrice[name]) == pytest.approx((3 if name in weighted else 1) * float(once[name]), rel=1e-5), name


def test_evaluation_weighs_losses_as_keras_does():
  model = compiled()
  found = model.evaluate(IMAGES, LABELS, sample_weight=WEIGHTS, return_dict=True, verbose=0)
  losses = objectives.cross_entropy(model.network(IMAGES)["logits"], LABELS)
  assert found["loss"] == pytest.approx(np.mean(WEIGHTS * losses), rel=1e-5)
  plain = model.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)
  assert found["accuracy"] == plain["accuracy"]


BAD_WEIGHTS = {
  "class": ({"class_weight": {3: 1.0}}, "`class_weight`: 3 is none of the network's 3 classes"),
  "negative": ({"class_weight": {0: -1.0}}, "`class_weight`: the weight of class 0"),
  "list": ({"class_weight": [1, 2, 3]}, "`class_weight`: give a dict"),
  "NaN": ({"sample_weight": np.full(COUNT, np.nan)}, "`sample_weight` must be numbers of at least 0"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_weights_are_refused(case):
  named, fault = BAD_WEIGHTS[case]
  with pytest.raises(InputError, match=fault):
    compiled().fit(IMAGES, LABELS, verbose=0, **named)


def test_weights_twice_are_refused():
  batches = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS, WEIGHTS)).batch(8)
  with pytest.raises(InputError, match="not both"):
    compiled().fit(batches, class_weight=BY_CLASS, shuffle=False, verbose=0)


# --------------------------------------------------------------------------- a loss of one's own


def brier(labels, logits):
  """Squared distance of the prediction from the label, [n]."""
  return tf.reduce_sum(tf.square(tf.nn.softmax(logits) - tf.one_hot(labels, CLASSES)), -1)


class Brier(keras.losses.Loss):
  def call(self, y_true, y_pred):
    return brier(y_true, y_pred)


SAME_AS_CROSS_ENTROPY = {
  "sparse": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
  "one-hot": keras.losses.CategoricalCrossentropy(from_logits=True),
  "function": lambda labels, logits: objectives.cross_entropy(logits, labels),
}


@pytest.mark.parametrize("loss", SAME_AS_CROSS_ENTROPY)
def test_a_loss_takes_the_place_of_the_cross_entropy(loss):
  plain, own = compiled("at"), compiled("at", loss=SAME_AS_CROSS_ENTROPY[loss])
  for model in (plain, own):
    model.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0)
  assert_same_weights(plain.network, own.network)


@pytest.mark.parametrize("loss", [brier, Brier()], ids=["function", "subclass"])
def test_a_loss_of_ones_own_is_what_is_trained_and_evaluated(loss):
  model = compiled("at", loss=loss, rate=0.3, settings={"clean_weight": 0.5})
  before = model.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)
  assert before["loss"] == pytest.approx(np.mean(brier(LABELS, model.network(IMAGES)["logits"])), rel=1e-5)
  history = model.fit(IMAGES, LABELS, batch_size=24, epochs=8, verbose=0).history
  assert history["cross_entropy"][-1] < history["cross_entropy"][0] <= 2.0
  # The attack keeps its objective.
  assert compiled("at").evaluate(IMAGES, LABELS, return_dict=True, verbose=0)["robust_loss"] == pytest.approx(
    before["robust_loss"]
  )


def test_a_saved_model_keeps_its_loss_and_its_metrics(tmp_path):
  loss = keras.losses.CategoricalFocalCrossentropy(from_logits=True)
  model = compiled(loss=loss, metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")])
  expected = model.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)
  model.save(tmp_path / "model.keras")
  found = keras.models.load_model(tmp_path / "model.keras").evaluate(IMAGES, LABELS, return_dict=True, verbose=0)
  assert found == pytest.approx(expected, rel=1e-5)


BAD_LOSSES = {
  "by name": ("sparse_categorical_crossentropy", "takes probabilities.*from_logits=True"),
  "of probabilities": (keras.losses.CategoricalCrossentropy(), "takes probabilities"),
  "a sum": (Brier(reduction="sum"), "reduction='sum'"),
  "a mean": (lambda labels, logits: tf.reduce_mean(brier(labels, logits)), r"one number an image, \[n\], but.*\[\]"),
  "that fails": (lambda labels, logits: labels + logits, "`loss` fails on labels"),
  "several": ({"logits": brier}, "give one loss"),
}


@pytest.mark.parametrize("case", BAD_LOSSES)
def test_losses_that_steps_cannot_use_are_refused(case):
  loss, fault = BAD_LOSSES[case]
  with pytest.raises(InputError, match=fault):
    compiled(loss=loss)


def test_label_smoothing_is_of_the_cross_entropy_alone():
  with pytest.raises(InputError, match="`label_smoothing`"):
    compiled(loss=brier, settings={"label_smoothing": 0.1})


def test_a_second_compile_forgets_the_first():
  model = compiled(loss=brier, metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")])
  model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
  found = model.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)
  assert set(found) == {"loss", "accuracy", "robust_loss", "robust_accuracy"}
  assert found["loss"] == pytest.approx(
    np.mean(objectives.cross_entropy(model.network(IMAGES)["logits"], LABELS)), rel=1e-5
  )


# --------------------------------------------------------------------------- metrics


@pytest.mark.parametrize("jit", [False, True])
def test_metrics_are_logged_and_weighted(jit):
  model = compiled(
    jit=jit,
    rate=0.0,
    metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")],
    weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="weighted_accuracy")],
  )
  history = model.fit(
    IMAGES, LABELS, 8, 2, 0, validation_data=(IMAGES, LABELS, WEIGHTS), sample_weight=WEIGHTS, shuffle=False
  ).history
  assert {"accuracy", "top2", "weighted_accuracy", "val_top2", "val_weighted_accuracy"} <= set(history)
  logits = model.network(IMAGES)["logits"].numpy()
  right = logits.argmax(1) == LABELS
  assert history["val_weighted_accuracy"][-1] == pytest.approx(np.sum(WEIGHTS * right) / np.sum(WEIGHTS), rel=1e-5)
  top = np.mean([label in order[-2:] for label, order in zip(LABELS, logits.argsort(1))])
  assert history["val_top2"] == pytest.approx([top, top], rel=1e-5)


@pytest.mark.parametrize(
  "metrics, fault",
  [("accuracy", "give a list"), ([keras.metrics.Mean(name="loss")], "'loss' is logged already")],
  ids=["no list", "name taken"],
)
def test_metrics_that_cannot_be_logged_are_refused(metrics, fault):
  with pytest.raises(InputError, match=fault):
    compiled(metrics=metrics)


# --------------------------------------------------------------------------- callbacks

DIRECTIONS = {
  "val_robust_accuracy": True,
  "val_accuracy": True,
  "accuracy": True,
  "val_top2": True,
  "val_loss": False,
  "val_robust_loss": False,
  "cross_entropy": False,
}


@pytest.fixture(scope="module")
def watched():
  return compiled("tla", metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")])


@pytest.mark.parametrize("monitor", DIRECTIONS)
def test_early_stopping_knows_which_way_is_better(watched, monitor):
  callback = keras.callbacks.EarlyStopping(monitor, patience=9)
  callback.set_model(watched)
  callback.on_train_begin()
  waits = []
  for epoch, value in enumerate((0.2, 0.3, 0.1)):
    callback.on_epoch_end(epoch, {monitor: value})
    waits.append(callback.wait)
  assert waits[1:] == ([0, 1] if DIRECTIONS[monitor] else [1, 0])


def test_the_best_checkpoint_is_that_of_the_highest_robust_accuracy(watched, tmp_path):
  path = tmp_path / "best.weights.h5"
  callback = keras.callbacks.ModelCheckpoint(
    str(path), monitor="val_robust_accuracy", save_best_only=True, save_weights_only=True
  )
  callback.set_model(watched)
  for epoch, value in enumerate((0.2, 0.3, 0.1)):
    callback.on_epoch_begin(epoch)
    callback.on_epoch_end(epoch, {"val_robust_accuracy": value})
  assert callback.best == 0.3


def test_the_rate_falls_once_robust_accuracy_no_longer_rises(watched):
  callback = keras.callbacks.ReduceLROnPlateau("val_robust_accuracy", factor=0.5, patience=1)
  callback.set_model(watched)
  callback.on_train_begin()
  rates = []
  for epoch, value in enumerate((0.2, 0.3, 0.1)):
    callback.on_epoch_end(epoch, {"val_robust_accuracy": value})
    rates.append(float(watched.optimizer.learning_rate))
  assert rates == pytest.approx([0.1, 0.1, 0.05])


# --------------------------------------------------------------------------- the rest of `fit` and `compile`


def test_a_part_of_the_arrays_validates():
  model = compiled()
  history = model.fit(
    IMAGES,
    LABELS,
    8,
    validation_split=0.25,
    callbacks=[keras.callbacks.EarlyStopping("val_robust_accuracy")],
    verbose=0,
  ).history
  assert int(model.optimizer.iterations) == 3
  assert "val_robust_accuracy" in history


def test_the_scale_of_an_optimisers_loss_changes_no_step():
  plain, scaled = compiled(), models.Undefended(network(), attack=ATTACK)
  scaled.compile(keras.optimizers.SGD(0.1, loss_scale_factor=8.0), jit_compile=False)
  for model in (plain, scaled):
    model.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0)
  assert_same_weights(plain.network, scaled.network)
