"""What docs/serving.md promises of the exported model, asked of a SavedModel that was loaded."""

import importlib.util
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import networks
from tla_tf.detection import Detector, GraphDetector, fit_gaussians
from tla_tf.errors import InputError
from tla_tf.persistence import export_saved_model
from tla_tf.persistence.saved_model_check import check_saved_model

SHAPE = (8, 8, 1)
NAMES = ("pear", "Äpfel", "fig")
IMAGES = (np.random.default_rng(0).integers(0, 256, (60, *SHAPE)) / np.float32(255)).astype(np.float32)
BAD = {
  "nan": np.nan,
  "infinity": np.inf,
  "minus infinity": -np.inf,
  "above 1": 1.01,
  "below 0": -0.01,
  "0 to 255": 200.0,
}


def _detector(network, images=IMAGES):
  embeddings = network(images)["embedding"].numpy()
  gaussians = fit_gaussians(embeddings, np.arange(len(images)) % 3, 3)
  scores = np.sort(gaussians.log_densities(embeddings).max(1))
  # Between two scores, so that rounding decides nothing.
  return Detector(gaussians, scores[5:7].mean())


@pytest.fixture(scope="module")
def made():
  network = networks.build("mlp_16", SHAPE, 3, seed=1)
  return network, _detector(network)


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
  path = tmp_path_factory.mktemp("export") / "model"
  network, detector = made
  export_saved_model(
    network, SHAPE, path, GraphDetector(detector), class_names=NAMES, uint8=True, facts={"checkpoint": 70}
  )
  return path


@pytest.fixture(scope="module")
def loaded(folder):
  check_saved_model(folder)  # It holds nothing that a stranger's model would be refused for.
  return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module", params=["call", "signature", "xla"])
def detect(request, loaded):
  """The endpoint as Python calls it, as TensorFlow Serving does, and compiled."""
  return {
    "call": lambda images: loaded.detect(tf.constant(images)),
    "signature": lambda images: loaded.signatures["detect"](images=tf.constant(images)),
    "xla": tf.function(loaded.detect, jit_compile=True, autograph=False),
  }[request.param]


@pytest.mark.parametrize("value", BAD)
def test_a_bad_pixel_makes_its_image_suspect_and_touches_no_other(detect, value):
  images = IMAGES[:20].copy()
  before = {name: part.numpy() for name, part in detect(images).items()}
  assert not before["is_suspect"].all()
  bad = int(np.flatnonzero(~before["is_suspect"])[0])
  images[bad, 3, 4] = BAD[value]
  after = {name: part.numpy() for name, part in detect(images).items()}
  assert after["is_suspect"][bad]
  others = np.arange(20) != bad
  for name in before:
    np.testing.assert_array_equal(after[name][others], before[name][others])


def test_an_image_of_nothing_but_nan_has_no_class(detect):
  found = detect(np.full((2, *SHAPE), np.nan, np.float32))
  np.testing.assert_array_equal(found["is_suspect"], [True, True])
  np.testing.assert_array_equal(found["label"], [-1, -1])


def test_rounding_beyond_the_range_of_pixels_is_not_suspect(detect):
  images = np.where(IMAGES == 1.0, np.float32(1.0001), IMAGES)
  assert (images > 1).any()
  np.testing.assert_array_equal(detect(images)["is_suspect"], detect(IMAGES)["is_suspect"])


def test_nan_has_no_class_and_no_probabilities(loaded):
  images = IMAGES[:3].copy()
  images[1] = np.nan
  for served in (loaded.serve(tf.constant(images)), loaded.signatures["serving_default"](images=tf.constant(images))):
    assert served["label"][1] == -1 and np.isnan(served["probabilities"][1]).all()
    right = loaded.serve(tf.constant(IMAGES[:3]))
    for name in right:
      np.testing.assert_array_equal(served[name].numpy()[[0, 2]], right[name].numpy()[[0, 2]])


@pytest.mark.parametrize("count", [0, 1, 7, 60])
def test_any_number_of_images(made, loaded, count):
  network, detector = made
  outputs = {name: part.numpy() for name, part in network(IMAGES[:count]).items()}
  images = tf.constant(IMAGES[:count])
  served, found = loaded.serve(images), loaded.detect(images)
  np.testing.assert_allclose(served["logits"], outputs["logits"], atol=1e-5)
  np.testing.assert_allclose(tf.reduce_sum(served["probabilities"], -1), np.ones(count), atol=1e-6)
  np.testing.assert_allclose(loaded.embed(images)["embedding"], outputs["embedding"], atol=1e-5)
  np.testing.assert_allclose(found["score"], detector.score(outputs["embedding"]), rtol=1e-4, atol=1e-4)
  for label in (served["label"], found["label"]):
    np.testing.assert_array_equal(label, outputs["logits"].argmax(1))


def test_names_and_types_of_all_endpoints(loaded):
  wanted = {
    "serve": {"logits": "float32", "probabilities": "float32", "label": "int32"},
    "embed": {"embedding": "float32"},
    "detect": {"score": "float64", "is_suspect": "bool", "label": "int32"},
    "class_names": {"class_names": "string"},
  }
  wanted |= {f"{name}_uint8": wanted[name] for name in ("serve", "detect")} | {"serving_default": wanted["serve"]}
  signatures = {
    name: {output: tensor.dtype.name for output, tensor in signature.structured_outputs.items()}
    for name, signature in loaded.signatures.items()
  }
  assert signatures == wanted


def test_bytes_are_served_as_the_pixels_that_they_stand_for(loaded):
  levels = np.rint(IMAGES * 255).astype(np.uint8)
  for name in ("serve", "detect"):
    of_bytes = getattr(loaded, f"{name}_uint8")(tf.constant(levels))
    of_pixels = getattr(loaded, name)(tf.constant(IMAGES))
    for output in of_pixels:
      np.testing.assert_allclose(of_bytes[output], of_pixels[output], rtol=1e-5)


@pytest.mark.parametrize(
  "images", [np.zeros((1, *SHAPE), np.uint8), np.zeros((1, *SHAPE)), np.zeros((1, 9, 8, 1), np.float32), IMAGES[0]]
)
def test_images_of_another_type_or_size_are_refused(loaded, images):
  with pytest.raises((ValueError, TypeError)):
    loaded.serve(tf.constant(images))
  with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError)):
    loaded.signatures["serving_default"](images=tf.constant(images))


def test_names_of_the_classes(loaded, folder):
  assert [name.decode() for name in loaded.class_names()["class_names"].numpy()] == list(NAMES)
  about = json.loads((folder / "assets.extra" / "about.json").read_text(encoding="utf-8"))
  assert about == {
    "checkpoint": 70,
    "image_shape": [8, 8, 1],
    "pixel_range": [0.0, 1.0],
    "endpoints": ["serve", "embed", "detect", "serve_uint8", "detect_uint8", "class_names"],
    "class_names": list(NAMES),
  }


def test_without_names_bytes_or_a_detector(made, tmp_path):
  assert export_saved_model(made[0], SHAPE, tmp_path / "model") == ("serve", "embed")
  assert set(tf.saved_model.load(str(tmp_path / "model")).signatures) == {"serve", "embed", "serving_default"}


def test_a_network_without_embeddings_has_no_endpoint_of_them(made, tmp_path):
  network = keras.Model(made[0].inputs[0], {"logits": made[0].output["logits"]})
  assert export_saved_model(network, SHAPE, tmp_path / "model") == ("serve",)
  with pytest.raises(InputError, match="a detector needs embeddings"):
    export_saved_model(network, SHAPE, tmp_path / "other", GraphDetector(made[1]))
  assert not (tmp_path / "other").exists()


class Blind(keras.layers.Layer):
  """Sees 0 where a pixel is NaN."""

  def call(self, images):
    return tf.where(tf.math.is_nan(images), 0.0, images)


@pytest.mark.parametrize("what", ["image", "embedding", "logits"])
def test_what_the_network_hides_is_suspect(what, tmp_path):
  inputs = keras.Input(SHAPE)
  embedding = keras.layers.Flatten()(Blind()(inputs))
  logits = keras.layers.Dense(3, name="logits")(embedding)
  network = keras.Model(inputs, {"embedding": embedding, "logits": logits})
  detector = _detector(network)
  if what == "embedding":
    # Infinite where the image is white, though its logits are not.
    above = keras.layers.Lambda(lambda x: tf.where(x > 0.999, float("inf"), x))(embedding)
    network = keras.Model(inputs, {"embedding": above, "logits": logits})
  elif what == "logits":
    spoiled = keras.layers.Lambda(lambda x: x[0] + tf.where(x[1][:, :1] > 0.999, float("nan"), 0.0))(
      [logits, embedding]
    )
    network = keras.Model(inputs, {"embedding": embedding, "logits": spoiled})
  export_saved_model(network, SHAPE, tmp_path / "model", GraphDetector(detector._replace(threshold=-1e9)))
  images = np.full((2, *SHAPE), 0.5, np.float32)
  images[0, 0, 0] = np.nan if what == "image" else 1.0
  model = tf.saved_model.load(str(tmp_path / "model"))
  found = model.detect(tf.constant(images))
  np.testing.assert_array_equal(found["is_suspect"], [True, False])
  assert (found["label"][0] == -1) == (what == "logits")


# --------------------------------------------------------------------------- converters


def _tflite(folder, endpoint):
  """An endpoint converted to TFLite, as a function of images."""
  content = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[endpoint]).convert()
  interpreter = tf.lite.Interpreter(model_content=content)
  return lambda images: interpreter.get_signature_runner(endpoint)(images=images)


def _onnx(folder, endpoint):
  """The same converted to ONNX."""
  import onnxruntime
  import tf2onnx

  model = tf.saved_model.load(str(folder))
  images = tf.TensorSpec([None, *SHAPE], tf.float32, name="images")
  function = tf.function(lambda images: model.signatures[endpoint](images=images), input_signature=[images])
  content, _ = tf2onnx.convert.from_function(function, input_signature=[images], opset=17)
  session = onnxruntime.InferenceSession(content.SerializeToString(), providers=["CPUExecutionProvider"])
  names = [output.name for output in session.get_outputs()]
  return lambda images: dict(zip(names, session.run(names, {"images": images}), strict=True))


# TensorFlow has TFLite's converter; ONNX's is the extra `onnx`.
CONVERTERS = [_tflite] + [_onnx] * bool(importlib.util.find_spec("tf2onnx"))


@pytest.fixture(scope="module")
def narrow(made, tmp_path_factory):
  """A model whose detector computes in float32."""
  path = tmp_path_factory.mktemp("narrow") / "model"
  export_saved_model(made[0], SHAPE, path, GraphDetector(made[1], "float32"))
  return path


@pytest.mark.parametrize("convert", CONVERTERS)
@pytest.mark.parametrize("endpoint", ["serve", "detect"])
def test_a_converted_model_says_the_same(convert, endpoint, loaded, folder, narrow):
  images = IMAGES.copy()
  images[3], images[5, 2, 2], images[7, 0, 0] = np.nan, np.inf, 1.5
  found = convert(narrow if convert is _tflite else folder, endpoint)(images)
  wanted = loaded.signatures[endpoint](images=tf.constant(images))
  assert set(found) == set(wanted)
  for name, values in wanted.items():
    if values.dtype.is_floating:
      np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4)
    else:
      np.testing.assert_array_equal(found[name], values)
  if endpoint == "detect":
    assert found["is_suspect"][[3, 5, 7]].all() and found["label"][3] == -1


@pytest.mark.parametrize("covariance", ["full", "tied", "diagonal"])
def test_what_float32_loses(covariance):
  """A detector of 256 dimensions: scores of some hundreds keep their first five digits."""
  rng = np.random.default_rng(0)
  embeddings = np.maximum(rng.normal(size=(900, 256)) + 2 * np.eye(3, 256)[np.arange(900) % 3], 0).astype(np.float32)
  detector = Detector(fit_gaussians(embeddings, np.arange(900) % 3, 3, covariance), 0.0)
  scores = {dtype: GraphDetector(detector, dtype)(tf.constant(embeddings))[0] for dtype in ("float32", "float64")}
  assert scores["float32"].dtype == tf.float32
  np.testing.assert_allclose(scores["float64"], detector.score(embeddings), rtol=1e-9)
  np.testing.assert_allclose(scores["float32"], scores["float64"], rtol=1e-5)
