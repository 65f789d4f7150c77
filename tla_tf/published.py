"""Published settings: what each data set's paper, or authors' code, trains with.

Frozen data; no TensorFlow here. Flags start from these values.
"""

from tla_tf.config import AttackConfig, TrainingConfig, TripletConfig
from tla_tf.errors import InputError
from tla_tf.types import Method, PairingTarget, PassMode

# Authors' MNIST configuration; 100 steps is the attack they watch while training.
_MNIST = TrainingConfig(
  dataset="mnist", network="lenet",
  attack=AttackConfig(epsilon=0.3, step_size=0.01, steps=40),
  validation_attack=AttackConfig(epsilon=0.3, step_size=0.01, steps=100),
  triplet=TripletConfig(weight=0.5, margin=0.05, feature_norm_weight=1e-4, twin_margin=0.05),
  negative_pool_size=50, batch_size=50, train_steps=600_000, optimizer="adam", learning_rate=1e-4,
  weight_decay=2e-4, seed=221760322, checkpoint_every=500)  # fmt: skip

# Nobody has published robust accuracy on scikit-learn's digits: ours, for quick trials.
_DIGITS = _MNIST.replace(
  dataset="digits", network="mlp_256",
  attack=AttackConfig(epsilon=0.2, step_size=0.05, steps=10),
  validation_attack=AttackConfig(epsilon=0.2, step_size=0.025, steps=20),
  validation_examples=200, train_steps=3000, learning_rate=1e-3, checkpoint_every=500)  # fmt: skip

_SETTINGS = {"digits": _DIGITS, "mnist": _MNIST}


def setting(dataset, method=Method.TLA, network=None):
  """The setting of a data set, method and network.

  LeNet's labels are smoothed by 0.1 under the TLA methods and ALP, which share
  the authors' TLA script; their AT script smooths nothing and attacks the
  network in training mode, and the MLP ignores smoothing.

  Args:
    dataset: "digits" or "mnist".
    method: a `types.Method`.
    network: a name of `networks.build`; None takes the data set's own.

  Returns:
    TrainingConfig.

  Raises:
    InputError: for another data set.
  """
  if dataset not in _SETTINGS:
    raise InputError(f"No published setting for data set {dataset!r}: expected one of {list(_SETTINGS)}.")
  method = Method(method)
  config = _SETTINGS[dataset].replace(method=method)
  if network:
    config = config.replace(network=network)
  changes = {}
  if method is Method.ALP:
    changes["pairing_weight"] = 0.5
  elif method not in (Method.UM, Method.AT):
    changes["pairing"] = PairingTarget.EMBEDDING  # match_l2 of the authors' TLA
  if method is Method.AT and dataset == "mnist":
    changes["attack_mode"] = PassMode.TRAINING
  if config.network.startswith("lenet") and method not in (Method.UM, Method.AT):
    changes["label_smoothing"] = 0.1
  return config.replace(**changes)
