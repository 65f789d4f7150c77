"""What `keras.models.load_model` finds in a file that holds something of ours. No TensorFlow here.

Keras knows a registered class once its module was imported. So that `import
tla_tf` is enough, in any order with `import keras`, and still loads nothing,
Keras gets stand-ins that import the class when a file asks for it.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
import typing

PACKAGE = "tla_tf"
# Class -> module; `tests/saving_test.py` holds it against the sources.
CLASSES = {
  "AdversarialTraining": "tla_tf.models.methods",
  "BranchBatchNormalization": "tla_tf.networks.batch_norm",
  "LogitPairing": "tla_tf.models.methods",
  "MaxPooling2D": "tla_tf.networks.pooling",
  "Momentum": "tla_tf.training.optimizers",
  "PadChannels": "tla_tf.networks.wide_resnet",
  "PairingLoss": "tla_tf.losses.pairing",
  "PerImageStandardisation": "tla_tf.networks.standardisation",
  "RobustModel": "tla_tf.models.robust_model",
  "TripletLoss": "tla_tf.losses.triplet",
  "TripletTraining": "tla_tf.models.methods",
  "Undefended": "tla_tf.models.methods",
  "WarmUp": "tla_tf.training.optimizers",
}


class _StandIn:
  """A class of ours that is imported when an object is made of its config."""

  def __init__(self, module: str, name: str):
    self._module, self._name = module, name

  def __repr__(self):
    return f"{self._module}.{self._name}"

  def from_config(self, config: dict) -> typing.Any:
    return getattr(importlib.import_module(self._module), self._name).from_config(config)


def _register():
  known = importlib.import_module("keras").saving.get_custom_objects()
  for name, module in CLASSES.items():
    known.setdefault(f"{PACKAGE}>{name}", _StandIn(module, name))


class _AtImportOfKeras(importlib.abc.MetaPathFinder):
  """Registers when Keras is imported, by whomever; finds nothing itself."""

  def find_spec(self, fullname: str, path: typing.Any = None, target: typing.Any = None) -> typing.Any:
    del path, target
    if fullname != "keras":
      return None
    sys.meta_path.remove(self)
    spec = importlib.util.find_spec(fullname)
    if spec is not None and spec.loader is not None:
      execute = spec.loader.exec_module

      def exec_module(module):
        execute(module)
        _register()

      spec.loader.exec_module = exec_module  # type: ignore[method-assign]
    return spec


def install() -> None:
  """Makes our classes known to Keras, now or when it is imported."""
  if "keras" in sys.modules:
    _register()
  else:
    sys.meta_path.insert(0, _AtImportOfKeras())
