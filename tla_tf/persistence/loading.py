"""Getting a trained network back from a run folder."""

from tla_tf import networks
from tla_tf.persistence.checkpoints import CheckpointStore


def load_network(folder, step):
  """The network of a run with the weights of a checkpoint.

  Args:
    folder: RunFolder.
    step: a checkpoint's step.

  Returns:
    A `keras.Model`, see `networks.build`.

  Raises:
    InputError: if the folder or the checkpoint is damaged or they do not fit.
  """
  config, facts = folder.read_config()
  network = networks.build(config.network, facts["image_shape"], facts["num_classes"], seed=config.seed)
  CheckpointStore(folder.checkpoints).restore(step, network)
  return network
