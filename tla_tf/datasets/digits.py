"""scikit-learn's handwritten digits: 1,797 images of 8x8, no download."""

from __future__ import annotations

import numpy as np

from tla_tf.config import AttackConfig
from tla_tf.data.image_data import ImageData, Splits, split
from tla_tf.datasets.mnist import SPEC as MNIST
from tla_tf.datasets.spec import AnalysisScale, DatasetSpec, SuiteScale
from tla_tf.registry import DATASETS

HELDOUT = 200
TEST = 360


def load_digits(heldout: int = 0) -> Splits:
  """Returns `Splits` of 1,237 / 200 / 360 images [n, 8, 8, 1], uint8.

  The test images are the last 360 in scikit-learn's order, from other writers
  than most of the training images.

  Args:
    heldout: number of training images held out; 0 takes 200.
  """
  from sklearn import datasets

  bunch = datasets.load_digits()
  # The 17 grey levels 0..16 become 0..255.
  images = np.rint(bunch.images * (255.0 / 16.0)).astype(np.uint8)[..., None]
  names = tuple(str(name) for name in bunch.target_names)
  data = ImageData(images, bunch.target, names, source="scikit-learn's digits")
  return split(data.take(slice(-TEST)), data.take(slice(-TEST, None)), heldout or HELDOUT)


# Nobody has published robust accuracy on scikit-learn's digits: ours, for quick trials.
SPEC = DATASETS.register(
  "digits",
  DatasetSpec(
    name="digits",
    title="scikit-learn's digits",
    read=lambda data_dir, data_source, reading, cache_dir, progress: load_digits(reading.heldout),
    training=MNIST.training.replace(
      dataset="digits",
      network="mlp_256",
      attack=AttackConfig(epsilon=0.2, step_size=0.05, steps=10),
      validation_attack=AttackConfig(epsilon=0.2, step_size=0.025, steps=20),
      validation_examples=200,
      train_steps=3000,
      learning_rate=1e-3,
    ),
    suite_scale=SuiteScale(
      epsilon=0.2,
      step_size=0.025,
      bim_steps=20,
      margin_steps=20,
      pgd_steps=20,
      long_pgd_steps=50,
      mim_steps=100,
      long_step_size=0.025,
      black_box_steps=20,
      l2_epsilon=1.0,
      l2_step_size=0.1,
      l2_steps=20,
      l0_epsilon=0.1,
    ),
    analysis_scale=AnalysisScale(0.05, 20, 0.2, 50, "strong"),
    image_shape=(8, 8, 1),
    class_names=MNIST.class_names,
    reading_flags=(),
    heldout_help="Default: 200.",
    rank=0,
  ),
)
