"""Variables of a recipe's parts: trained, saved, restored and resumed with the network's."""

from __future__ import annotations

import typing

from tla_tf.lazy import lazy

keras = lazy("keras")


class Stateful:
  """A part of a step that may own variables.

  Attributes:
    state: the `keras.layers.Layer` that owns them, or None where there are none.
  """

  state: typing.Any = None

  def add_variable(
    self,
    name: str,
    shape: tuple,
    initializer: typing.Any = "zeros",
    *,
    trainable: bool = True,
    dtype: str = "float32",
    aggregation: str = "mean",
  ) -> typing.Any:
    """Makes a variable of the part's own, as `keras.layers.Layer.add_weight` does.

    Args:
      name: its name in checkpoints, unique within the part.
      shape: its shape.
      initializer: Keras initialiser or its name; give it a seed.
      trainable: whether gradients change it.
      dtype: its type.
      aggregation: how replicas' values become one, see Keras.

    Returns:
      `keras.Variable`.
    """
    if self.state is None:
      self.state = keras.layers.Layer(name=type(self).__name__.lower())
      self.state.built = True
    variable = self.state.add_weight(
      name=name, shape=shape, initializer=initializer, trainable=trainable, dtype=dtype, aggregation=aggregation
    )
    # Checkpoints follow attributes; a name of its own cannot meet those of Keras.
    setattr(self.state, f"variable_{name}", variable)
    return variable
