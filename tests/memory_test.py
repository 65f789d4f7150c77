"""What a model leaves in the process when nobody holds it: nothing of its graphs, its data and its weights."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import func_graph
from tensorflow.python.framework import ops as graph_ops

from tla_tf import data, evaluation, models, networks
from tla_tf.config import AttackConfig
from tla_tf.data.image_data import ImageData

ATTACK = AttackConfig(epsilon=0.1, step_size=0.05, steps=2)
IMAGES = np.random.default_rng(0).random((40, 8, 8, 1)).astype(np.float32)
LABELS = np.arange(40) % 10


def _fitted():
  """By Keras's `fit`, of plain arrays."""
  model = models.RobustModel(networks.build("mlp_8", (8, 8, 1), 10), "at", attack=ATTACK)
  model.compile(keras.optimizers.Adam(), jit_compile=False)
  model.fit(IMAGES, LABELS, batch_size=20, verbose=0)
  return [model, model.network]


def _streamed():
  """Of batches of a stream, which reads images by a function of Python's."""
  stream = data.BatchStream(ImageData(IMAGES, LABELS, tuple("0123456789"), source="x"), 20, 0)
  model = models.RobustModel(networks.build("mlp_8", (8, 8, 1), 10), "at", attack=ATTACK)
  model.compile(keras.optimizers.Adam(), jit_compile=False)
  model.fit(stream.dataset(0, 2), shuffle=False, verbose=0)
  return [model, model.network, stream]


def _judged():
  """By a suite of attacks."""
  network = networks.build("mlp_8", (8, 8, 1), 10)
  evaluation.evaluate(network, (IMAGES[:10], LABELS[:10]), [ATTACK], probe_examples=0, jit="off")
  return [network]


def _graphs():
  gc.collect()
  return sum(isinstance(one, func_graph.FuncGraph) for one in gc.get_objects())


@pytest.mark.parametrize("use", [_fitted, _streamed, _judged])
def test_nothing_of_a_model_outlives_it(use):
  use()  # What is made once for all models.
  graphs, gradients = _graphs(), len(graph_ops.gradient_registry._registry)  # noqa: SLF001
  left = [weakref.ref(one) for one in use()]
  assert _graphs() == graphs
  assert len(graph_ops.gradient_registry._registry) == gradients  # noqa: SLF001
  assert [one() for one in left] == [None] * len(left)


def test_a_data_set_outlives_the_stream_that_made_it():
  """Which nobody else need hold."""
  images = (IMAGES * 255).astype(np.uint8)
  batches = data.BatchStream(ImageData(images, LABELS, tuple("0123456789"), source="x"), 20, 0).dataset(0, 2)
  iterator = iter(batches.prefetch(1))
  del batches
  gc.collect()
  assert [int(tf.shape(batch["image"])[0]) for batch in iterator] == [20, 20]
