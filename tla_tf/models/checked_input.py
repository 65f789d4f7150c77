"""Batches that reach a model, checked before they are used.

A batch's types are checked when its step is traced, its values at every step, in
the graph but outside of what XLA compiles, which would drop the check. Nothing is
trained on a batch that is refused.
"""

from __future__ import annotations

import contextlib
import typing

import keras
import tensorflow as tf

from tla_tf.errors import InputError
from tla_tf.ops import inputs

# Labels of a batch -> their images; first as `fit` calls both, then as the dict of a `data.BatchStream` does.
_LABELS = {"y": "x", "label": "image", "pool_label": "pool"}
# What else of images it may hold.
_IMAGES = ("image", "positive", "pool")


class InputChecks:
  """Checks what `fit`, `evaluate` and `predict` are given.

  Args:
    num_classes: of the network.
  """

  def __init__(self, num_classes: int):
    self._num_classes = num_classes
    self._refusal: InputError | None = None

  # ------------------------------------------------------------- batches, in a graph

  def batch(self, data: typing.Any) -> dict[str, tf.Tensor]:
    """A batch as steps take it.

    Args:
      data: `(images, labels)`, or a dict of a `data.BatchStream`.

    Returns:
      Dict with "image" float32 [n, ...] and "label" int32 [n], and what else of
      images and labels the dict holds. Its values are there only once they are
      found to be right.

    Raises:
      InputError: for types and shapes that are wrong; for values when the graph
        runs (within `sentences`).
    """
    images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
    if weights is not None:
      raise InputError("Sample and class weights are not supported: every image counts the same.")
    if isinstance(images, dict):
      return self._checked_dict(images)
    if labels is None:
      raise InputError("A batch has images but no labels: give `y`, or batches (images, labels).")
    image, label = self._checked({"x": images}, {"y": labels})
    return {"image": image, "label": label}

  def images(self, data: typing.Any) -> tf.Tensor:
    """The images of a batch, of which `predict` needs no more: float32 [n, ...]."""
    images, _, _ = keras.utils.unpack_x_y_sample_weight(data)
    named = _members(images, labelled=False)[0] if isinstance(images, dict) else {"x": images}
    return self._checked(named, {})[0]

  def _checked_dict(self, batch):
    images, labels = _members(batch)
    return dict(zip([*images, *labels], self._checked(images, labels)))

  def _checked(self, images, labels):
    """Float32 images and int32 labels [n], in this order, that depend on their check."""
    images = {name: tf.convert_to_tensor(values) for name, values in images.items()}
    labels = {name: tf.convert_to_tensor(values) for name, values in labels.items()}
    for name, values in images.items():
      inputs.require_image_type(values.dtype, name)
    for name, values in labels.items():
      inputs.require_label_type(values.shape, values.dtype, name)
    flat = [tf.reshape(values, [-1]) for values in labels.values()]
    valid = [inputs.valid_images(values) for values in images.values()]
    valid += [inputs.valid_labels(values, self._num_classes) for values in flat]
    # Shapes may be unknown while a graph is made.
    counts = [tf.shape(images[of])[0] for of in (_LABELS[name] for name in labels)]
    valid += [tf.size(values) == count for values, count in zip(flat, counts)]

    def refuse():
      def say(*values):
        self._say(dict(zip([*images, *labels], values)))
        return False

      return tf.numpy_function(say, [*images.values(), *labels.values()], tf.bool)

    passed = tf.cond(tf.reduce_all(valid), lambda: tf.constant(True), refuse)
    with tf.control_dependencies([passed]):
      return [
        *(tf.identity(tf.cast(values, tf.float32)) for values in images.values()),
        *(tf.identity(tf.cast(values, tf.int32)) for values in flat),
      ]

  def _say(self, arrays):
    """Raises the sentence that fits, and remembers it: a graph would wrap it into its own error."""
    try:
      for name, array in arrays.items():
        if name in _LABELS:
          inputs.require_labels(array, len(arrays[_LABELS[name]]), self._num_classes, name)
        else:
          inputs.require_images(array, name)
    except InputError as error:
      self._refusal = error
      raise

  @contextlib.contextmanager
  def sentences(self, about: str = "") -> typing.Iterator[None]:
    """Makes one sentence of what a graph raises for a batch that was refused.

    Args:
      about: argument that the data came by, to begin the sentence with.
    """
    self._refusal = None
    try:
      yield
    except (tf.errors.OpError, InputError) as error:
      refusal = error if isinstance(error, InputError) else self._refusal
      if refusal is None or (refusal is error and not about):
        raise
      raise InputError(f"`{about}`: {refusal}" if about else str(refusal)) from None
    finally:
      self._refusal = None

  # ------------------------------------------------------------- arrays and data sets, before a graph is made

  def require(self, x: typing.Any, y: typing.Any = None, labelled: bool = True) -> None:
    """Checks all that can be known of an argument of `fit`, `evaluate` or `predict` before it is used.

    Args:
      x: images, or whatever Keras takes.
      y: labels of an array.
      labelled: whether labels are needed.

    Raises:
      InputError: for arrays as in `batch`; for a `tf.data.Dataset` by its types.
    """
    if isinstance(x, tf.data.Dataset):
      self._require_spec(x.element_spec, labelled)
    elif isinstance(x, dict):
      self._require_arrays(*_members(x, labelled))
    elif _is_array(x):
      if labelled and y is None:
        raise InputError("There are images but no labels: give `y`.")
      self._require_arrays({"x": x}, {"y": y} if labelled else {})

  def _require_arrays(self, images, labels):
    for name, values in images.items():
      if _is_array(values):
        inputs.require_images(values, name)
    for name, values in labels.items():
      if _is_array(values):
        inputs.require_labels(values, len(images[_LABELS[name]]), self._num_classes, name)

  def _require_spec(self, spec, labelled):
    x, y, _ = keras.utils.unpack_x_y_sample_weight(spec)
    images, labels = _members(x, labelled) if isinstance(x, dict) else ({"x": x}, {"y": y} if labelled else {})
    for name, part in images.items():
      if isinstance(part, tf.TensorSpec):
        inputs.require_image_type(part.dtype, name)
    for name, part in labels.items():
      if isinstance(part, tf.TensorSpec):
        inputs.require_label_type(part.shape, part.dtype, name)


def _members(batch, labelled=True):
  """(dict of images, dict of labels) of a dict."""
  names = [name for name in _IMAGES if name in batch or name == "image"]
  labels = [label for label, images in _LABELS.items() if images in names and labelled]
  missing = next((name for name in [*names, *labels] if name not in batch), None)
  if missing is not None:
    raise InputError(f"A batch has no `{missing}`, only {sorted(batch)}: see `data.BatchStream.batch`.")
  return {name: batch[name] for name in names}, {name: batch[name] for name in labels}


def _is_array(values):
  return (hasattr(values, "shape") and hasattr(values, "dtype")) or type(values).__module__.startswith("pandas.")
