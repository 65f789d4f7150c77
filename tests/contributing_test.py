"""The examples of CONTRIBUTING.md: a method, a loss, a data set and an attack that work everywhere at once."""

import pathlib
import re

import numpy as np
import pytest

import tla_tf
from tla_tf import datasets, networks, published, registry, settings
from tla_tf.evaluation import verify
from tla_tf.persistence import CheckpointStore

PAGE = (pathlib.Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def names():
  """What the page's blocks define, one after the other."""
  blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
  assert len(blocks) == 4
  names = {"__name__": "contributing"}
  for block in blocks:
    exec(compile(block, "CONTRIBUTING.md", "exec"), names)
  yield names
  for name in ("boosted", "centre"):
    registry.METHODS._entries.pop(name)  # noqa: SLF001
  registry.DATASETS._entries.pop("stripes")  # noqa: SLF001


@pytest.mark.parametrize("method", ["boosted", "centre", "tla"])
def test_methods_and_the_data_set_train_resume_and_are_judged(names, without_xla, method, tmp_path):
  config = published.setting("stripes", method).replace(train_steps=20, checkpoint_every=10, learning_rate=1e-2)
  tla_tf.train(config.replace(train_steps=10), tmp_path / "run")
  run = tla_tf.train(config, tmp_path / "run")
  assert run.step == 20
  logged = {"boosted": {"boosted_cross_entropy", "margin"}, "centre": {"cross_entropy", "centre"}, "tla": {"triplet"}}
  assert logged[method] <= set(run.metrics[-1])
  record = tla_tf.evaluate_run(tmp_path / "run", num_examples=20, probe_examples=0)
  assert 0 <= record.worst_case.accuracy <= record.clean.accuracy <= 1
  assert {row.epsilon for row in record.attacks} == {0.1}
  parts = CheckpointStore(tmp_path / "run" / "checkpoints").record(20).parts
  assert ("term_centre" in parts) == (method == "centre")


def test_settings_of_the_method_are_flags(names):
  option = settings.recipe_options()["margin_weight"]
  assert (option.path, option.kind) == ("recipe.margin_weight", float)
  assert published.setting("mnist", "boosted").replace(margin_weight=0.5).recipe.margin_weight == 0.5


def test_the_boosted_cross_entropy_by_hand(names):
  logits = np.array([[2.0, 0.0, 1.0], [0.0, 0.0, 3.0]], np.float32)
  probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  step = tla_tf.recipes.terms.Step(
    {"adversarial": {"logits": names["tf"].constant(logits)}},
    {"adversarial": names["tf"].constant([0, 1])},
    0.0,
    None,
    0,
  )
  value, logged = names["BoostedCrossEntropy"](0.5)(step)
  margin = -np.mean(np.log(1.0001 - np.array([probabilities[0, 2], probabilities[1, 2]])))
  expected = -np.mean(np.log([probabilities[0, 0], probabilities[1, 1]])) + 0.5 * margin
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  np.testing.assert_allclose(logged["margin"], margin, rtol=1e-5)


def test_the_attack_stays_in_its_ball(names):
  test = datasets.load("stripes").test
  network = networks.build("mlp_8", test.image_shape, test.num_classes)
  images = test.float_images(slice(30))
  found = names["SignNoise"](network, names["SignNoiseConfig"](epsilon=0.05))(images, test.labels[:30], seed=1)
  assert verify(images, np.asarray(found.adversarial), 0.05).all()
  said = np.argmax(network(found.adversarial)["logits"], -1)
  np.testing.assert_array_equal(found.success, said != test.labels[:30])
