"""Published settings: what a data set's paper, or authors' code, trains a method with.

Put together from the record of the data set (`datasets.DatasetSpec`) and the
recipe of the method (`recipes.Recipe`). Flags start from these values.
"""

from __future__ import annotations

from tla_tf.config import TrainingConfig
from tla_tf.errors import InputError
from tla_tf.registry import DATASETS, METHODS


def setting(dataset: str, method: str = "tla", network: str | None = None, fine_tuning: bool = False) -> TrainingConfig:
  """The setting of a data set, method and network.

  Args:
    dataset: a name of `datasets.names()`.
    method: a name of `recipes.names()`.
    network: a name of `networks.build`; None takes the data set's own.
    fine_tuning: whether training starts from a trained network, as the
      authors' TLA does from their AT on colour images.

  Returns:
    TrainingConfig.

  Raises:
    InputError: for an unknown data set or method, or a method without a setting
      for the data set.
  """
  spec, recipe = DATASETS.get(dataset), METHODS.get(method)
  known = {**recipe.published, **({dataset: spec.methods[method]} if method in spec.methods else {})}
  own = known.get(dataset, known.get("*"))
  if own is None:
    raise InputError(
      f"Method {method!r} has no published setting for data set {dataset!r}; it has them for {sorted(known)}. Give the "
      f"data set's record one (`DatasetSpec.methods`), or take another method."
    )
  network = network or spec.training.network
  changes = {**recipe.shared_settings(dataset, network), "network": network}
  if fine_tuning and spec.fine_tuning:
    changes["learning_rate"], changes["learning_rate_drops"] = spec.fine_tuning
  return spec.training.replace(method=method, recipe=own, **changes)
