"""The trained network that oracles attack."""

import functools

import foolbox
import keras
import numpy as np
import tensorflow as tf

from tla_tf import data, datasets, models, networks
from tla_tf.attacks import presets

# Radii at which some images are broken and some are not.
EPSILON = {"linf": 0.15, "l2": 0.7}
COUNT = 200


@functools.cache
def network():
  """mlp_64 after five epochs of adversarial training on scikit-learn's digits."""
  train = datasets.load("digits").train
  network = networks.build("mlp_64", train.image_shape, train.num_classes)
  model = models.AdversarialTraining(network, attack=presets.pgd(EPSILON["linf"], 0.05, 5))
  model.compile(keras.optimizers.Adam(2e-3))
  stream = data.BatchStream(train, 50, seed=1, classmates=False)
  model.fit(stream.dataset(0, 125), verbose=0, shuffle=False)
  return network


@functools.cache
def logits():
  """The network as a Keras model that returns logits, which the other libraries expect."""
  return keras.Model(network().inputs, network().output["logits"])


def foolbox_model(logits):
  """A Keras model as Foolbox takes it; a graph, since Foolbox calls it hundreds of times."""
  return foolbox.TensorFlowModel(tf.function(logits, autograph=False), bounds=(0, 1), device="/CPU:0")


@functools.cache
def right():
  """Test images that the network classifies correctly, and their labels."""
  test = datasets.load("digits").test
  images, labels = test.float_images(), test.labels
  correct = np.argmax(network()(images)["logits"], -1) == labels
  assert correct.mean() > 0.7
  return images[correct][:COUNT], labels[correct][:COUNT].astype(np.int32)
