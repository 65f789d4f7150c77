"""Published settings: what each data set's paper, or authors' code, trains with.

Frozen data; no TensorFlow here. Flags start from these values.
"""

from tla_tf.config import AttackConfig, TrainingConfig, TripletConfig
from tla_tf.errors import InputError
from tla_tf.types import Method, PairingTarget, PassMode, Positives

# Authors' MNIST configuration; 100 steps is the attack they watch while training.
_MNIST = TrainingConfig(
  dataset="mnist",
  network="lenet",
  attack=AttackConfig(epsilon=0.3, step_size=0.01, steps=40),
  validation_attack=AttackConfig(epsilon=0.3, step_size=0.01, steps=100),
  triplet=TripletConfig(weight=0.5, margin=0.05, feature_norm_weight=1e-4, twin_margin=0.05),
  negative_pool_size=50,
  batch_size=50,
  train_steps=600_000,
  optimizer="adam",
  learning_rate=1e-4,
  weight_decay=2e-4,
  seed=221760322,
  checkpoint_every=500,
)

# Nobody has published robust accuracy on scikit-learn's digits: ours, for quick trials.
_DIGITS = _MNIST.replace(
  dataset="digits",
  network="mlp_256",
  attack=AttackConfig(epsilon=0.2, step_size=0.05, steps=10),
  validation_attack=AttackConfig(epsilon=0.2, step_size=0.025, steps=20),
  validation_examples=200,
  train_steps=3000,
  learning_rate=1e-3,
  checkpoint_every=500,
)

# Authors' CIFAR-10 configuration; training from scratch.
_CIFAR10 = TrainingConfig(
  dataset="cifar10",
  network="wrn_32_10",
  augment_pad=2,
  augment_flip=True,
  attack=AttackConfig(epsilon=8 / 255, step_size=2 / 255, steps=7),
  validation_attack=AttackConfig(epsilon=8 / 255, step_size=1 / 255, steps=20),
  triplet=TripletConfig(
    weight=2.0, margin=0.03, feature_norm_weight=1e-3, positives=Positives.BOTH, twin_margin=0.03, twin_noise=8 / 255
  ),
  negative_pool_size=500,
  batch_size=50,
  train_steps=80_000,
  optimizer="momentum",
  learning_rate=0.1,
  learning_rate_drops=((50_000, 0.01), (60_000, 0.001)),
  weight_decay=2e-4,
  seed=441760342,
)

# Authors' Tiny ImageNet configuration; the twin's margin is 30 times the class-mate's.
_TINY_IMAGENET = _CIFAR10.replace(
  dataset="tiny_imagenet",
  network="resnet_50",
  augment_pad=4,
  validation_attack=AttackConfig(epsilon=8 / 255, step_size=2 / 255, steps=10),
  triplet=TripletConfig(
    weight=0.5, margin=0.02, feature_norm_weight=1e-3, positives=Positives.BOTH, twin_margin=0.6, twin_noise=8 / 255
  ),
  negative_pool_size=20,
  batch_size=20,
  seed=221760322,
)

# A user's own folders: ours. Tiny ImageNet's with a larger batch, and neither the matching of embeddings
# nor AT's attack in training mode, which are the authors' choices for their data.
_IMAGES = _TINY_IMAGENET.replace(dataset="images", batch_size=50, negative_pool_size=50)

_SETTINGS = {
  "digits": _DIGITS,
  "mnist": _MNIST,
  "cifar10": _CIFAR10,
  "tiny_imagenet": _TINY_IMAGENET,
  "images": _IMAGES,
}

# The learning rate when a trained network is fine-tuned: (first rate, drops).
_FINE_TUNING = {
  "cifar10": (0.1, ((1_000, 0.01), (5_000, 0.001))),
  "tiny_imagenet": (1e-4, ((60_000, 1e-5),)),
  "images": (1e-4, ((60_000, 1e-5),)),
}


def setting(dataset, method=Method.TLA, network=None, fine_tuning=False):
  """The setting of a data set, method and network.

  LeNet's labels are smoothed by 0.1 under the TLA methods and ALP, which share
  the authors' TLA script; their AT script smooths nothing and attacks the
  network in training mode, and the other networks ignore smoothing. On Tiny
  ImageNet the TLA methods match the embeddings of A' and A besides.

  Args:
    dataset: "digits", "mnist", "cifar10", "tiny_imagenet" or "images".
    method: a `types.Method`.
    network: a name of `networks.build`; None takes the data set's own.
    fine_tuning: whether training starts from a trained network, as the
      authors' TLA does from their AT on colour images.

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
    if dataset == "tiny_imagenet":
      changes["pairing_weight"] = 0.5
  if method is Method.AT and dataset in ("mnist", "cifar10", "tiny_imagenet"):
    changes["attack_mode"] = PassMode.TRAINING
  if config.network.startswith("lenet") and method not in (Method.UM, Method.AT):
    changes["label_smoothing"] = 0.1
  if fine_tuning and dataset in _FINE_TUNING:
    changes["learning_rate"], changes["learning_rate_drops"] = _FINE_TUNING[dataset]
  return config.replace(**changes)
