"""Checkpoints as TF1's own Saver writes them."""

import numpy as np
import tensorflow as tf

from tla_tf import networks
from tla_tf.persistence.tf1_names import tf1_names

tf1 = tf.compat.v1
V1, V2 = tf1.train.SaverDef.V1, tf1.train.SaverDef.V2
SCOPE = "main_encoder/"


def write_checkpoint(folder, variables, version=V2):
  """Writes `folder`/checkpoint-70 with TF1; returns its prefix."""
  folder.mkdir(parents=True, exist_ok=True)
  with tf.Graph().as_default(), tf1.Session() as session:
    made = {}
    for name, value in variables.items():
      start = tf1.placeholder(np.asarray(value).dtype, np.shape(value))
      made[tf1.Variable(start, name=name, use_resource=False)] = {start: value}
    for variable, feed in made.items():
      session.run(variable.initializer, feed)
    saver = tf1.train.Saver(list(made), write_version=version)
    saver.save(session, str(folder / "checkpoint"), global_step=70, write_meta_graph=False)
  return folder / "checkpoint-70"


def small(network="mlp_4", scope=SCOPE, shape=(28, 28, 1), classes=3):
  """Values of a small network's variables, by TF1 name, in the order of the graph."""
  names = tf1_names(networks.build(network, shape, classes))
  rng = np.random.default_rng(0)
  return {scope + name: rng.uniform(0.5, 1.5, v.shape).astype(np.float32) for name, v in names.items()}
