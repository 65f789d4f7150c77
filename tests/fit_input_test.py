"""What `fit`, `evaluate` and `predict` refuse: images out of range, labels that are no classes, however they come."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import models, networks
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError

SHAPE, CLASSES, COUNT = (4, 4, 1), 3, 16
RNG = np.random.default_rng(0)
IMAGES = RNG.random((COUNT, *SHAPE), np.float32)
LABELS = np.arange(COUNT) % CLASSES


class Loader(keras.utils.PyDataset):
  """Batches of four."""

  def __init__(self, images, labels):
    super().__init__()
    self.images, self.labels = images, labels

  def __len__(self):
    return len(self.images) // 4

  def __getitem__(self, index):
    part = slice(4 * index, 4 * index + 4)
    return self.images[part], self.labels[part]


def _dataset(images, labels):
  return tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)


def _dicts(images, labels):
  return tf.data.Dataset.from_tensor_slices({"image": images, "label": labels}).batch(4)


def _generator(images, labels):
  return ((images[i : i + 4], labels[i : i + 4]) for i in range(0, len(images), 4))


# How the same images and labels come: positional arguments of `fit` and `evaluate`.
FORMS = {
  "arrays": lambda x, y: (x, y),
  "tensors": lambda x, y: (tf.constant(x), tf.constant(y)),
  "dataset": lambda x, y: (_dataset(x, y),),
  "dicts": lambda x, y: (_dicts(x, y),),
  "dict of arrays": lambda x, y: ({"image": x, "label": y},),
  "generator": lambda x, y: (_generator(x, y),),
  "PyDataset": lambda x, y: (Loader(x, y),),
}
LATE = IMAGES.copy()
LATE[-1] = 40.0


def _images(change):
  return change(IMAGES.copy())


BAD_IMAGES = {
  "grey levels": (
    _images(lambda x: np.round(255 * x)),
    "reach from 0 to 255: divide by 255|reach from .*divide by 255",
  ),
  "bytes": (_images(lambda x: (255 * x).astype(np.uint8)), "are uint8: divide by 255"),
  "integers": (_images(lambda x: (255 * x).astype(np.int64)), "are int64: divide by 255"),
  "signed": (_images(lambda x: 2 * x - 1), "reach from .*scale them"),
  "overshoot": (_images(lambda x: x + 0.01 * (x > 0.9)), "clip them"),
  "NaN": (_images(lambda x: x + np.where(x > 0.9, np.nan, 0)), "NaN"),
  "the last batch": (LATE, "reach from .* to 40: divide by 255"),
}
BAD_LABELS = {
  "negative": (np.where(LABELS == 1, -1, LABELS), "must be in 0..2, the network's 3 classes, but hold -1"),
  "too large": (LABELS + 1, "must be in 0..2.*hold 3"),
  "one-hot": (np.eye(3)[LABELS], "argmax"),
  "fractions": (LABELS + 0.5, "whole numbers, the classes, but hold 0.5"),
  "NaN": (np.where(LABELS == 1, np.nan, LABELS), "whole numbers, the classes, but hold nan"),
  "names": (np.array(["a", "b", "c"])[LABELS], "whole numbers, but are string"),
}


@pytest.fixture(scope="module", params=["graph", "xla"])
def model(request):
  network = networks.build("mlp_4", SHAPE, CLASSES)
  found = models.Undefended(network, attack=AttackConfig(0.1, 0.1, 1))
  found.compile("sgd", jit_compile=request.param == "xla")
  return found


# XLA drops assertions: it is here for what is found in the graph alone.
BOTH = pytest.mark.parametrize("model", ["graph", "xla"], indirect=True)
GRAPH = pytest.mark.parametrize("model", ["graph"], indirect=True)


@pytest.fixture
def unchanged(model):
  """Nothing is trained on a batch that is refused."""
  before, steps = model.network.get_weights(), int(model.optimizer.iterations)
  yield
  assert int(model.optimizer.iterations) == steps
  for old, new in zip(before, model.network.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)


@GRAPH
@pytest.mark.parametrize("case", BAD_IMAGES)
@pytest.mark.parametrize("form", FORMS)
def test_evaluate_refuses_images(model, form, case):
  images, fault = BAD_IMAGES[case]
  with pytest.raises(InputError, match=rf"^`(x|image)` must.*\[0, 1\], but.*({fault})[^\n]*\.$"):
    model.evaluate(*FORMS[form](images, LABELS), batch_size=None if form == "dataset" else 4, verbose=0)


# Keras itself refuses generators of names.
@GRAPH
@pytest.mark.parametrize(
  "form, case", [(f, c) for f in FORMS for c in BAD_LABELS if not (c == "names" and f in ("generator", "PyDataset"))]
)
def test_evaluate_refuses_labels(model, form, case):
  labels, fault = BAD_LABELS[case]
  with pytest.raises(InputError, match=rf"`(y|label)`.*{fault}[^\n]*\.$"):
    model.evaluate(*FORMS[form](IMAGES, labels), verbose=0)


@BOTH
@pytest.mark.parametrize("form", ["arrays", "dataset", "dicts", "generator", "PyDataset"])
@pytest.mark.parametrize("case", ["grey levels", "NaN"])
def test_fit_refuses_images(model, unchanged, form, case):
  images, fault = BAD_IMAGES[case]
  with pytest.raises(InputError, match=fault):
    model.fit(*FORMS[form](images, LABELS), verbose=0, shuffle=False)


@BOTH
@pytest.mark.parametrize("form", ["arrays", "dataset", "dicts"])
@pytest.mark.parametrize("case", ["negative", "one-hot"])
def test_fit_refuses_labels(model, unchanged, form, case):
  labels, fault = BAD_LABELS[case]
  with pytest.raises(InputError, match=fault):
    model.fit(*FORMS[form](IMAGES, labels), verbose=0, shuffle=False)


@pytest.mark.parametrize("form", ["arrays", "dataset", "generator"])
def test_predict_refuses_images(model, form):
  with pytest.raises(InputError, match="divide by 255"):
    model.predict(FORMS[form](255 * IMAGES, LABELS)[0], verbose=0)


def test_single_batches_are_checked(model, unchanged):
  for function in (model.train_on_batch, model.test_on_batch):
    with pytest.raises(InputError, match="divide by 255"):
      function(255 * IMAGES, LABELS)
    with pytest.raises(InputError, match="hold 3"):
      function(IMAGES, LABELS + 1)
  with pytest.raises(InputError, match="divide by 255"):
    model.predict_on_batch(255 * IMAGES)


@GRAPH
@pytest.mark.parametrize("form", ["arrays", "dataset", "generator"])
def test_validation_data_are_named(model, form):
  bad = FORMS[form](255 * IMAGES, LABELS)
  with pytest.raises(InputError, match="^`validation_data`: `x` must.*divide by 255"):
    model.fit(IMAGES, LABELS, validation_data=bad if form == "arrays" else bad[0], verbose=0)


@GRAPH
def test_batches_that_miss_something_are_refused(model):
  with pytest.raises(InputError, match="no labels: give `y`"):
    model.fit(IMAGES, verbose=0)
  with pytest.raises(InputError, match="no labels"):
    model.fit(tf.data.Dataset.from_tensor_slices(IMAGES).batch(4), verbose=0, shuffle=False)
  with pytest.raises(InputError, match=re.escape("no `label`, only ['image', 'labels']")):
    model.fit(tf.data.Dataset.from_tensor_slices({"image": IMAGES, "labels": LABELS}).batch(4), verbose=0)
  with pytest.raises(InputError, match="16 images, but 15 `y`"):
    model.fit(IMAGES, LABELS[1:], verbose=0)


@GRAPH
@pytest.mark.parametrize("form", FORMS)
def test_good_data_pass(model, form):
  expected = model.evaluate(IMAGES, LABELS, batch_size=4, return_dict=True, verbose=0)
  forms = [LABELS[:, None], LABELS.astype(np.float32)] if form in ("arrays", "dataset", "PyDataset") else [LABELS]
  for labels in forms:
    given = FORMS[form](IMAGES.astype(np.float64), labels)
    sized = {"batch_size": 4} if form in ("arrays", "tensors", "dict of arrays") else {}
    found = model.evaluate(*given, return_dict=True, verbose=0, **sized)
    assert found == pytest.approx(expected, rel=1e-5)


@GRAPH
def test_a_generator_loses_no_batch(model):
  seen = []

  def batches():
    for part in range(0, COUNT, 4):
      seen.append(part)
      yield IMAGES[part : part + 4], LABELS[part : part + 4]

  steps = int(model.optimizer.iterations)
  model.fit(batches(), verbose=0)
  assert seen == [0, 4, 8, 12]
  assert int(model.optimizer.iterations) == steps + 4


def test_eager_steps_are_checked():
  found = models.Undefended(networks.build("mlp_4", SHAPE, CLASSES))
  found.compile("sgd", run_eagerly=True)
  with pytest.raises(InputError, match="divide by 255"):
    found.fit(_dataset(255 * IMAGES, LABELS), verbose=0)
  found.fit(_dataset(IMAGES, LABELS), verbose=0)
